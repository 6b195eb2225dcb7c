//! Randomness.

use std::sync::{Arc, Mutex};

/// The host's source of random numbers: the kernel's in production, a seeded one in simulation.
#[derive(Clone)]
pub struct Entropy {
    source: Arc<Source>,
}

enum Source {
    Kernel,
    /// SplitMix64; its state.
    Seeded(Mutex<u64>),
}

impl Entropy {
    pub(crate) fn kernel() -> Entropy {
        Entropy { source: Arc::new(Source::Kernel) }
    }

    pub(crate) fn seeded(seed: u64) -> Entropy {
        Entropy { source: Arc::new(Source::Seeded(Mutex::new(seed))) }
    }

    pub fn fill(&self, bytes: &mut [u8]) {
        match &*self.source {
            Source::Kernel => {
                let mut filled = 0;
                while filled < bytes.len() {
                    let got =
                        rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty());
                    filled += got.expect("the kernel gives random bytes once it has started");
                }
            }
            Source::Seeded(_) => {
                for eight in bytes.chunks_mut(8) {
                    let random = self.u64().to_le_bytes();
                    eight.copy_from_slice(&random[..eight.len()]);
                }
            }
        }
    }

    pub fn u64(&self) -> u64 {
        match &*self.source {
            Source::Kernel => {
                let mut bytes = [0; 8];
                self.fill(&mut bytes);
                u64::from_le_bytes(bytes)
            }
            Source::Seeded(state) => split_mix(&mut state.lock().expect("no panic while it is held")),
        }
    }

    pub fn u128(&self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }

    /// A number below `limit`, which must not be zero. The bias of the remainder is below 2^-32 for limits that fit 32 bits.
    pub fn below(&self, limit: u64) -> u64 {
        self.u64() % limit
    }
}

/// The next number of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}
