//! Where a server's settings come from: a `server.properties` file, the environment, `--set`; the later wins.
//!
//!     file  <  WEIR_LOG_DIRS=/data  <  --set log.dirs=/data
//!
//! Names are Kafka's. In the environment a dot is `_`, an underscore `__` and a dash `___`, as in Kafka's container image,
//! with the prefix `WEIR_`. Unknown names are kept and warned about, since Kafka keeps them for plug-ins; a value that its
//! definition refuses stops the start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Environment variables that share the prefix but are not settings of a server.
const NOT_SETTINGS: &[&str] = &[
    "WEIR_BOOTSTRAP",
    "WEIR_COMMAND_CONFIG",
    "WEIR_LOG",
    "WEIR_CACHE",
    "WEIR_CMD",
    "WEIR_SIM_SEED",
    "WEIR_SIM_SEEDS",
];

/// Why a server's settings cannot be read. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the config file {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {reason}", path.display())]
    BadLine { path: PathBuf, line: usize, reason: String },
    #[error("--set wants name=value, not {0:?}")]
    BadSet(String),
}

/// The settings as given, before any of them is interpreted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub values: BTreeMap<String, String>,
    /// True when nothing but defaults is in force: no file was named.
    pub no_file: bool,
}

impl Settings {
    /// Reads the file (if any), then the environment, then `--set`.
    pub fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Settings, Error> {
        let mut values = match file {
            Some(path) => read_file(path)?,
            None => BTreeMap::new(),
        };
        values.extend(environment.filter_map(|(name, value)| Some((setting_of_variable(&name)?, value))));
        for set in sets {
            let (name, value) = set.split_once('=').ok_or_else(|| Error::BadSet(set.clone()))?;
            if name.trim().is_empty() {
                return Err(Error::BadSet(set.clone()));
            }
            values.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        Ok(Settings { values, no_file: file.is_none() })
    }
}

/// `java.util.Properties` syntax, which `server.properties` is written in.
#[allow(clippy::disallowed_methods)] // Before there is a host: the file says what the host is to be.
pub fn read_file(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = std::fs::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    let bad = |line: usize, reason: String| Error::BadLine { path: path.to_owned(), line, reason };
    let mut values = BTreeMap::new();
    let mut failed = None;
    java_properties::PropertiesIter::new(std::io::Cursor::new(&text))
        .read_into(|name, value| {
            if name.is_empty() {
                failed = Some(value.clone());
            }
            values.insert(name, value);
        })
        .map_err(|e| bad(e.line_number().unwrap_or(0), e.to_string()))?;
    if let Some(value) = failed {
        let line = line_of(&text, &value);
        return Err(bad(line, format!("a name is missing before {value:?}")));
    }
    refuse_lines_without_a_value_sign(path, &text)?;
    Ok(values)
}

/// Java takes `just words` for the name `just` with the value `words`. In a server's file that is a slip of the pen.
fn refuse_lines_without_a_value_sign(path: &Path, text: &[u8]) -> Result<(), Error> {
    let text = String::from_utf8_lossy(text);
    let mut continued = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let is_name = !continued && !trimmed.is_empty() && !trimmed.starts_with(['#', '!']);
        if is_name && !trimmed.contains(['=', ':']) && !trimmed.ends_with('\\') {
            let reason = format!("{:?} is not name=value", trimmed.trim_end());
            return Err(Error::BadLine { path: path.to_owned(), line: number + 1, reason });
        }
        continued = line.ends_with('\\') && (continued || is_name);
    }
    Ok(())
}

fn line_of(text: &[u8], value: &str) -> usize {
    let text = String::from_utf8_lossy(text);
    text.lines().position(|l| l.trim().trim_start_matches(['=', ':']).trim() == value).map_or(0, |n| n + 1)
}

/// `WEIR_ADVERTISED_LISTENERS` is `advertised.listeners`; None for a variable that is not a setting.
fn setting_of_variable(variable: &str) -> Option<String> {
    if NOT_SETTINGS.contains(&variable) {
        return None;
    }
    let rest = variable.strip_prefix("WEIR_")?;
    let mut name = String::with_capacity(rest.len());
    let mut underscores = 0;
    for c in rest.chars().chain(std::iter::once('\0')) {
        if c == '_' {
            underscores += 1;
            continue;
        }
        name.push_str(match underscores {
            0 => "",
            1 => ".",
            2 => "_",
            _ => "-",
        });
        underscores = 0;
        if c != '\0' {
            name.extend(c.to_lowercase());
        }
    }
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    fn variable(name: &str) -> Option<String> {
        setting_of_variable(name)
    }

    #[test]
    fn variables_are_named_as_in_kafkas_image() {
        assert_eq!(variable("WEIR_LOG_DIRS").as_deref(), Some("log.dirs"));
        assert_eq!(variable("WEIR_A__B").as_deref(), Some("a_b"));
        assert_eq!(variable("WEIR_A___B").as_deref(), Some("a-b"));
        assert_eq!(variable("KAFKA_LOG_DIRS"), None);
        assert_eq!(variable("WEIR_LOG"), None);
    }

    #[test]
    fn the_later_source_wins() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("server.properties");
        std::fs::write(
            &file,
            "# comment\nlog.dirs=/a\nnode.id = 3\nnum.partitions: 4\nlisteners=A://:1,\\\n  B://:2\n",
        )
        .expect("written");
        let environment = [("WEIR_LOG_DIRS".to_owned(), "/b".to_owned())];
        let s =
            Settings::read(Some(&file), environment.into_iter(), &["node.id=4".to_owned()]).expect("read");
        assert_eq!(s.values["log.dirs"], "/b");
        assert_eq!(s.values["node.id"], "4");
        assert_eq!(s.values["num.partitions"], "4");
        assert_eq!(s.values["listeners"], "A://:1,B://:2");
    }

    #[test]
    fn a_bad_line_is_named_by_file_and_number() {
        let dir = tempfile::tempdir().expect("a directory");
        for (text, number) in [("a=1\njust words\n", 2), ("a=1\n\n= value\n", 3), ("a=\\uZZZZ\n", 1)] {
            let file = dir.path().join("bad.properties");
            std::fs::write(&file, text).expect("written");
            let error =
                Settings::read(Some(&file), std::iter::empty(), &[]).expect_err("refused").to_string();
            assert!(error.contains(&format!("line {number}")), "{text:?}: {error}");
        }
        assert!(Settings::read(None, std::iter::empty(), &["novalue".to_owned()]).is_err());
        assert!(Settings::read(Some(&dir.path().join("absent")), std::iter::empty(), &[]).is_err());
    }
}
