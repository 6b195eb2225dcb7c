//! An ordered map whose copies share what has not changed.
//!
//! ```text
//!  chunks ──► [ ●───────────── ●───────────── ●────────── ]   one Arc; copied on the first change after a clone
//!               │              │              │
//!               ▼              ▼              ▼
//!          [k0 .. k40]    [k41 .. k80]   [k81 .. k99]         1..=64 sorted entries each; only the touched one is copied
//! ```
//!
//! Invariant: no chunk is empty, a chunk has at most `CHUNK_ENTRIES_MAX` entries, keys ascend within and across chunks.
//! A change after a clone copies one pointer per chunk and one chunk: with 10,000 entries some 300 pointers and 64 entries.

use std::borrow::Borrow;
use std::sync::Arc;

/// A chunk that outgrows this is cut in half.
const CHUNK_ENTRIES_MAX: usize = 64;
/// A chunk that shrinks to this joins a neighbour of the same size or less.
const CHUNK_ENTRIES_FEW: usize = 16;

type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A persistent sorted map. Values are best `Arc`s or small: a touched chunk clones all of its values.
#[derive(Clone, Debug)]
pub struct ChunkedMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

impl<K, V> Default for ChunkedMap<K, V> {
    fn default() -> Self {
        ChunkedMap { chunks: Arc::default(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> ChunkedMap<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        Some(&chunk[at].1)
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The value to change in place. Copies what other clones of the map still share.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let chunk_at = self.chunk_of(key);
        let at = self.chunks.get(chunk_at)?.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let chunk = Arc::make_mut(&mut Arc::make_mut(&mut self.chunks)[chunk_at]);
        Some(&mut chunk[at].1)
    }

    /// Sets the value of `key` and returns the former one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let chunk_at = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        }
        let chunk_at = chunk_at.min(chunks.len() - 1);
        let chunk = Arc::make_mut(&mut chunks[chunk_at]);
        match chunk.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => return Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) => chunk.insert(at, (key, value)),
        }
        self.len += 1;
        if chunk.len() > CHUNK_ENTRIES_MAX {
            // Keys that only grow (partition indexes) would leave half-full chunks behind a cut in the middle.
            let cut = if chunk_at + 1 == chunks.len() { CHUNK_ENTRIES_MAX } else { CHUNK_ENTRIES_MAX / 2 };
            let upper = Arc::make_mut(&mut chunks[chunk_at]).split_off(cut);
            chunks.insert(chunk_at + 1, Arc::new(upper));
        }
        None
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let chunk_at = self.chunk_of(key);
        let at = self.chunks.get(chunk_at)?.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let (_, value) = Arc::make_mut(&mut chunks[chunk_at]).remove(at);
        self.len -= 1;
        if chunks[chunk_at].is_empty() {
            chunks.remove(chunk_at);
        } else {
            join_small_neighbour(chunks, chunk_at);
        }
        Some(value)
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|(k, v)| (k, v))
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.iter().map(|(k, _)| k)
    }

    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.iter().map(|(_, v)| v)
    }

    /// Whether both are one unchanged copy: cheap, and false says nothing.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }

    /// The chunk that holds `key` if any does: the first whose last key is not below it, else one past the end.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.chunks.partition_point(|chunk| chunk.last().is_some_and(|(last, _)| last.borrow() < key))
    }
}

fn join_small_neighbour<K: Clone, V: Clone>(chunks: &mut Vec<Chunk<K, V>>, at: usize) {
    if chunks[at].len() > CHUNK_ENTRIES_FEW {
        return;
    }
    let lower = if at + 1 < chunks.len() { at } else { at.saturating_sub(1) };
    let Some(upper) = chunks.get(lower + 1).filter(|c| c.len() <= CHUNK_ENTRIES_FEW).cloned() else { return };
    if chunks[lower].len() <= CHUNK_ENTRIES_FEW {
        Arc::make_mut(&mut chunks[lower]).extend(upper.iter().cloned());
        chunks.remove(lower + 1);
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> PartialEq for ChunkedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || (self.len == other.len && self.iter().eq(other.iter()))
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for ChunkedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = ChunkedMap::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl<K: Ord + Clone, V: Clone> ChunkedMap<K, V> {
        fn assert_well_formed(&self) {
            assert!(self.chunks.iter().all(|c| !c.is_empty() && c.len() <= CHUNK_ENTRIES_MAX));
            assert!(self.keys().zip(self.keys().skip(1)).all(|(a, b)| a < b));
            assert_eq!(self.iter().count(), self.len());
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_btree_map(ops in prop::collection::vec((0u8..4, 0i32..300, any::<u16>()), 0..1200)) {
            let mut map = ChunkedMap::default();
            let mut model = BTreeMap::new();
            for (op, key, value) in ops {
                match op {
                    0 | 1 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    2 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    _ => {
                        let (ours, models) = (map.get_mut(&key), model.get_mut(&key));
                        prop_assert_eq!(ours.is_some(), models.is_some());
                        ours.into_iter().chain(models).for_each(|v| *v = value);
                    }
                }
            }
            map.assert_well_formed();
            prop_assert!(map.iter().eq(model.iter()));
            for key in 0..300 {
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
        }

        #[test]
        fn a_clone_keeps_its_own_state(
            first in prop::collection::vec(0i32..500, 1..300),
            second in prop::collection::vec(0i32..500, 1..300),
        ) {
            let mut map: ChunkedMap<i32, i32> = first.iter().map(|k| (*k, 1)).collect();
            let before = map.clone();
            let copy: BTreeMap<i32, i32> = before.iter().map(|(k, v)| (*k, *v)).collect();
            for key in &second {
                if key % 3 == 0 { map.remove(key); } else { map.insert(*key, 2); }
            }
            map.assert_well_formed();
            prop_assert!(before.iter().eq(copy.iter()));
        }
    }

    #[test]
    fn one_change_copies_one_chunk() {
        let mut map: ChunkedMap<i32, Arc<i32>> = (0..10_000).map(|k| (k, Arc::new(k))).collect();
        let before = map.clone();
        map.insert(5_000, Arc::new(-1));
        let shared = map.chunks.iter().zip(before.chunks.iter()).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared + 1, before.chunks.len());
        assert!(before.chunks.len() < 10_000 / 32, "ascending keys fill their chunks");
    }

    #[test]
    fn removing_everything_leaves_nothing() {
        let mut map: ChunkedMap<i32, i32> = (0..1000).map(|k| (k, k)).collect();
        for key in (0..1000).rev() {
            assert_eq!(map.remove(&key), Some(key));
            map.assert_well_formed();
        }
        assert!(map.is_empty() && map.get(&1).is_none() && map.chunks.is_empty());
    }
}
