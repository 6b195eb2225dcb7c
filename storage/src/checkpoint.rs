//! Kafka's checkpoint files: text, one entry a line, replaced as a whole.
//!
//!     0                          version
//!     2                          number of entries
//!     orders 0 1200              topic, partition, offset      (or: epoch, start offset)
//!     orders 1 7

use std::io;
use std::path::Path;

use host::Fs;

/// The file is not a checkpoint.
fn malformed(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is malformed: {why}", path.display()))
}

/// Reads the entries' words; no file has no entries.
pub(crate) fn read(fs: &Fs, path: &Path) -> io::Result<Vec<Vec<String>>> {
    if !fs.exists(path) {
        return Ok(Vec::new());
    }
    let bytes = fs.read_to_end(path)?;
    let text = String::from_utf8(bytes).map_err(|_| malformed(path, "it is not text"))?;
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some("0") {
        return Err(malformed(path, "version 0 is expected in the first line"));
    }
    let count: Option<usize> = lines.next().and_then(|l| l.trim().parse().ok());
    let entries: Vec<Vec<String>> = lines
        .filter(|l| !l.trim().is_empty())
        .map(|l| l.split_whitespace().map(str::to_owned).collect())
        .collect();
    if count != Some(entries.len()) {
        return Err(malformed(path, "the number of entries does not match"));
    }
    Ok(entries)
}

pub(crate) fn write(fs: &Fs, path: &Path, entries: &[String]) -> io::Result<()> {
    let mut text = format!("0\n{}\n", entries.len());
    for entry in entries {
        text.push_str(entry);
        text.push('\n');
    }
    fs.atomic_write(path, text.as_bytes())
}

/// A word as a number.
pub(crate) fn number<T: std::str::FromStr>(path: &Path, words: &[String], at: usize) -> io::Result<T> {
    words.get(at).and_then(|w| w.parse().ok()).ok_or_else(|| malformed(path, "a number is expected"))
}
