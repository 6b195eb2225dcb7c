//! `partition.metadata`: whose log a directory is.
//!
//!     version: 0
//!     topic_id: 4L6g3nShT-eMCtK--X86sw        (no line end)

use std::io;
use std::path::Path;

use host::{Fs, OpenMode};
use protocol::Uuid;

const NAME: &str = "partition.metadata";

/// The topic id; None if there is none. After a crash a file that is not whole counts as none: it is written again.
pub(crate) fn read(fs: &Fs, dir: &Path, clean: bool) -> io::Result<Option<Uuid>> {
    let path = dir.join(NAME);
    if !fs.exists(&path) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&fs.read_to_end(&path)?).into_owned();
    let line = text.lines().find_map(|l| l.strip_prefix("topic_id:"));
    match line.map(|id| id.trim().parse()) {
        Some(Ok(id)) => Ok(Some(id)),
        _ if !clean => Ok(None),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} has no topic id", path.display()))),
    }
}

/// Written once, when the directory is made; the log's first flush makes it durable, before any record counts as such.
pub(crate) fn write(fs: &Fs, dir: &Path, topic_id: Uuid) -> io::Result<()> {
    let file = fs.open(&dir.join(NAME), OpenMode::Create)?;
    file.set_len(0)?;
    file.write_all_at(format!("version: 0\ntopic_id: {topic_id}").as_bytes(), 0)
}

pub(crate) fn sync(fs: &Fs, dir: &Path) -> io::Result<()> {
    let path = dir.join(NAME);
    if fs.exists(&path) { fs.open(&path, OpenMode::ReadWrite)?.sync() } else { Ok(()) }
}
