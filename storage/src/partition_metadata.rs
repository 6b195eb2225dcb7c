//! `partition.metadata`: whose log a directory is.
//!
//!     version: 0
//!     topic_id: 4L6g3nShT-eMCtK--X86sw

use std::io;
use std::path::Path;

use host::Fs;
use protocol::Uuid;

const NAME: &str = "partition.metadata";

pub(crate) fn read(fs: &Fs, dir: &Path) -> io::Result<Option<Uuid>> {
    let path = dir.join(NAME);
    if !fs.exists(&path) {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&fs.read_to_end(&path)?).into_owned();
    let line = text.lines().find_map(|l| l.strip_prefix("topic_id:"));
    match line.map(|id| id.trim().parse()) {
        Some(Ok(id)) => Ok(Some(id)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} has no topic id", path.display()))),
    }
}

/// Written once, when the directory is made. Not synced on its own: a lost file is written again from the metadata.
pub(crate) fn write(fs: &Fs, dir: &Path, topic_id: Uuid) -> io::Result<()> {
    let file = fs.open(&dir.join(NAME), host::OpenMode::Create)?;
    file.set_len(0)?;
    file.write_all_at(format!("version: 0\ntopic_id: {topic_id}\n").as_bytes(), 0)
}
