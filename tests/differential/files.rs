//! What lies in the directory of a partition: which files, and the batches of the log.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, Value as Json};

use crate::mask::{self, Ids};

/// Names of files; logs as batches; small text files as they are; the length of indexes in entries is each broker's own.
pub fn partition(data: &Path, partition: &str, ids: &mut Ids) -> Json {
    let mut seen = Map::new();
    let Ok(entries) = std::fs::read_dir(data.join(partition)) else { return Json::from("no such directory") };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file of the directory").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().expect("files have names").to_string_lossy().into_owned();
        let bytes = Bytes::from(std::fs::read(&path).unwrap_or_default());
        let content = match name.rsplit_once('.').map_or(name.as_str(), |(_, end)| end) {
            "log" => mask::records(&bytes, ids),
            "leader-epoch-checkpoint" => Json::from(String::from_utf8_lossy(&bytes).replace('\n', "/")),
            _ => Json::Null,
        };
        seen.insert(name, content);
    }
    Json::Object(seen)
}
