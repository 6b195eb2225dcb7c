//! The house rules, as tests: what a person would have to repeat in every review.
//!
//! Levels of crates, length of files and functions, one handler per API key, a word on top of every file, and nothing left
//! lying about. Exceptions stand in `tests/tidy-exceptions.txt` with the size they had; an entry may shrink, never grow.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
/// The list of exceptions may only shrink: lower this number with it. One more than the list has entries.
const EXCEPTIONS_LIMIT: usize = 1;

/// A crate may depend on crates of a lower level, and on what stands beside it here.
const LEVELS: &[(&str, &str, u8)] = &[
    ("protocol", "protocol", 0),
    ("host", "host", 0),
    ("wire", "protocol/wire", 1),
    ("storage", "storage", 1),
    ("metadata", "controller/metadata", 1),
    ("base2histogram", "controller/histogram", 0),
    ("coordinator", "broker/coordinator", 2),
    ("controller", "controller", 2),
    ("broker", "broker", 3),
    ("tools", "tools", 4),
    ("tests", "tests", 5),
];

/// Dependencies that one crate alone may link.
const ONLY: &[(&str, &str)] =
    &[("rocksdb", "controller"), ("openraft", "controller"), ("axum", "broker"), ("clap", "tools")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file that git tracks or would track, relative to the root.
fn files() -> Vec<String> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is here: this is a checkout");
    let mut files: Vec<String> = String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect();
    files.retain(|f| root().join(f).is_file());
    assert!(files.len() > 20, "git lists the tree");
    files
}

fn rust_files() -> Vec<String> {
    files().into_iter().filter(|f| f.ends_with(".rs") && !f.starts_with("protocol/fuzz/")).collect()
}

/// Paths of modules that are compiled for tests only: `#[cfg(test)] mod name;`, without `.rs`.
fn test_modules() -> Vec<String> {
    let mut found = Vec::new();
    for file in rust_files() {
        let text = read(&root().join(&file));
        let stem = file.trim_end_matches(".rs");
        let inside = match stem.rsplit_once('/') {
            Some((dir, "lib" | "main" | "mod")) => dir.to_owned(),
            _ => stem.to_owned(),
        };
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]") {
            let module = pair[1]
                .trim()
                .trim_start_matches("pub ")
                .strip_prefix("mod ")
                .and_then(|m| m.strip_suffix(';'));
            if let Some(module) = module {
                found.push(format!("{inside}/{module}"));
            }
        }
    }
    found
}

/// Files that ship: no tests, no test crate, nothing that is compiled for tests only.
fn production_files() -> Vec<String> {
    let tests = test_modules();
    let of_tests =
        |f: &String| tests.iter().any(|t| *f == format!("{t}.rs") || f.starts_with(&format!("{t}/")));
    rust_files().into_iter().filter(|f| is_production(f) && !of_tests(f)).collect()
}

fn is_production(file: &str) -> bool {
    !file.starts_with("tests/")
        && !file.contains("/tests/")
        && !file.ends_with("/tests.rs")
        && !file.ends_with("_tests.rs")
        && !file.contains("/examples/")
        && !file.contains("/benches/")
}

/// The text without its inline test modules.
fn without_tests(text: &str) -> Vec<(usize, &str)> {
    let mut kept = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((n, line)) = lines.next() {
        if line.trim_start().starts_with("#[cfg(test)]") || line.trim_start().starts_with("#[cfg(all(test") {
            let indent = line.len() - line.trim_start().len();
            // Skip the item that follows, to the line that closes it at the same depth.
            for (_, inner) in lines.by_ref() {
                let depth = inner.len() - inner.trim_start().len();
                let closes = inner.trim_start().starts_with('}') && depth == indent;
                if closes || (depth == indent && inner.trim_end().ends_with(';')) {
                    break;
                }
            }
            continue;
        }
        kept.push((n + 1, line));
    }
    kept
}

/// `(name, first line, number of lines)` of each function; relies on the format that `make verify` demands.
fn functions(lines: &[(usize, &str)]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, (number, line)) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(name) = function_name(trimmed) else { continue };
        let indent = &line[..line.len() - trimmed.len()];
        let close = format!("{indent}}}");
        // A signature may end in `;` (a trait) or open and close on one line.
        if trimmed.ends_with(';') || (trimmed.contains('{') && trimmed.ends_with('}')) {
            continue;
        }
        if let Some(end) = lines[at..].iter().position(|(_, l)| *l == close) {
            found.push((name, *number, end + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace().peekable();
    while let Some(word) = words.next() {
        match word {
            "fn" => {
                let rest = words.next()?;
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                return Some(name);
            }
            "const" | "async" | "unsafe" | "extern" | "\"C\"" => {}
            word if word.starts_with("pub") => {}
            _ => return None,
        }
    }
    None
}

fn exceptions() -> BTreeMap<String, usize> {
    let text = read(&root().join("tests/tidy-exceptions.txt"));
    text.lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'))
        .map(|l| {
            let (size, what) = l.split_once(' ').expect("SIZE WHAT");
            (what.to_owned(), size.parse().expect("a number of lines"))
        })
        .collect()
}

#[test]
fn functions_fit_a_screen_and_files_a_sitting() {
    let allowed = exceptions();
    assert!(
        allowed.len() < EXCEPTIONS_LIMIT,
        "{} exceptions, below {EXCEPTIONS_LIMIT} allowed",
        allowed.len()
    );
    let mut used = BTreeSet::new();
    let mut faults = Vec::new();
    let mut check = |what: String, size: usize, max: usize, line: usize| {
        match allowed.get(&what) {
            Some(known) if size <= *known => {
                used.insert(what);
            }
            _ if size > max => faults.push(format!("{what}: {size} lines (line {line}), {max} allowed")),
            _ => {}
        };
    };
    for file in &production_files() {
        let text = read(&root().join(file));
        let lines = without_tests(&text);
        check(file.clone(), lines.len(), FILE_LINES_MAX, 1);
        for (name, line, size) in functions(&lines) {
            check(format!("{file}::{name}"), size, FUNCTION_LINES_MAX, line);
        }
    }
    let stale: Vec<_> = allowed.keys().filter(|k| !used.contains(*k)).collect();
    assert!(stale.is_empty(), "exceptions nobody needs any more, remove them: {stale:?}");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn crates_depend_downwards_only() {
    let level: BTreeMap<&str, u8> = LEVELS.iter().map(|(name, _, level)| (*name, *level)).collect();
    let manifests: Vec<String> = files()
        .into_iter()
        .filter(|f| f.ends_with("Cargo.toml") && f != "Cargo.toml" && !f.contains("/fuzz/"))
        .collect();
    assert_eq!(manifests.len(), LEVELS.len(), "a crate is missing from the table of levels: {manifests:?}");
    for (name, dir, own) in LEVELS {
        for dependency in dependencies(&read(&root().join(dir).join("Cargo.toml"))) {
            if let Some(theirs) = level.get(dependency.as_str()) {
                assert!(
                    theirs < own,
                    "{name} (level {own}) must not depend on {dependency} (level {theirs})"
                );
            }
            for (part, owner) in ONLY {
                assert!(
                    dependency != *part || name == owner,
                    "only {owner} may link {part}, but {name} does"
                );
            }
        }
    }
    let broker = dependencies(&read(&root().join("broker/Cargo.toml")));
    assert!(!broker.contains(&"controller".to_owned()), "only the wire joins broker and controller");
}

fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line == "[build-dependencies]";
        } else if inside && let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            names.push(name.trim().to_owned());
        }
    }
    names
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> = rust_files()
        .into_iter()
        .filter(|f| !read(&root().join(f)).lines().next().unwrap_or("").starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "these files do not open with //! : {silent:#?}");
}

#[test]
fn nothing_is_left_lying_about() {
    // Spelled in halves, so that this file does not find itself.
    let banned: Vec<(String, &str)> = vec![
        (["TO", "DO"].concat(), "open an issue, or list it under Not yet"),
        (["FIX", "ME"].concat(), "mend it"),
        (["print", "ln!("].concat(), "use tracing; tools write to a Write"),
        (["dbg", "!("].concat(), "use tracing"),
        ([".unwrap", "()"].concat(), "expect(\"why it cannot fail\") or an error"),
        (["unimple", "mented!("].concat(), "answer with Kafka's error"),
    ];
    let mut faults = Vec::new();
    for file in &production_files() {
        let text = read(&root().join(file));
        for (number, line) in without_tests(&text) {
            for (word, instead) in &banned {
                let in_doc_example = line.trim_start().starts_with("//") && word.starts_with('.');
                // What a build script prints is how it talks to cargo.
                let build_script = file.ends_with("build.rs") && word.starts_with("print");
                if line.contains(word.as_str()) && !in_doc_example && !build_script {
                    faults.push(format!("{file}:{number}: {word} ({instead})"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let words = [
        ["/wo", "rk/"].concat(),
        ["/ro", "ot/"].concat(),
        ["/ho", "me/"].concat(),
        ["sha", "red/peers"].concat(),
    ];
    let mut faults = Vec::new();
    for file in files() {
        let bytes = std::fs::read(root().join(&file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|w| line.contains(w.as_str())) {
                faults.push(format!("{file}:{}", number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "paths of one machine: {faults:#?}");
}

#[test]
fn each_api_key_has_one_handler_file_and_each_handler_one_key() {
    for (name, dispatch, handlers) in [
        ("broker", "broker/src/dispatch.rs", "broker/src/handlers"),
        ("controller", "controller/src/dispatch.rs", "controller/src/handlers"),
    ] {
        let table = read(&root().join(dispatch));
        let mut modules = BTreeSet::new();
        for file in files().iter().filter(|f| f.starts_with(&format!("{handlers}/"))) {
            let rest = &file[handlers.len() + 1..];
            let module = rest.split('/').next().unwrap().trim_end_matches(".rs");
            if module != "mod" {
                modules.insert(module.to_owned());
            }
        }
        assert!(!modules.is_empty(), "{name} has handlers");
        for module in &modules {
            let uses = table.matches(&format!("{module}::")).count();
            assert!(uses > 0, "{handlers}/{module}.rs is in no row of {dispatch}");
        }
    }
}

/// The words between quotes in one list of `deny.toml`.
fn allowed_licences() -> BTreeSet<String> {
    let text = read(&root().join("deny.toml"));
    let list = text.split_once("allow = [").expect("deny.toml allows licences").1;
    let list = list.split_once(']').expect("the list ends").0;
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met by what is allowed. Of nested ones, only `A AND (B OR C)` occurs; older crates
/// write a slash for OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    expression.replace('/', " OR ").split(" AND ").all(|part| {
        let choices = part.trim_matches(['(', ')']).split(" OR ");
        choices.into_iter().any(|licence| allowed.contains(licence.trim()))
    })
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "cargo lists the dependencies");
    let allowed = allowed_licences();
    let licence = |package: &serde_json::Value| package["license"].as_str().unwrap_or("none").to_owned();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !is_allowed(&licence(package), &allowed))
        .map(|package| format!("{}: {}", package["name"], licence(package)))
        .collect();
    assert!(refused.is_empty(), "deny.toml does not allow: {refused:#?}");
    assert!(!is_allowed("GPL-3.0-only", &allowed) && !is_allowed("MIT AND GPL-2.0-only", &allowed));
}

#[test]
fn every_crate_keeps_its_decisions_in_its_readme() {
    for (name, dir, _) in LEVELS {
        let readme = read(&root().join(dir).join("README.md"));
        assert!(readme.contains("Decided"), "{name}: README.md has no Decided list");
        assert!(readme.lines().count() <= 140, "{name}: README.md is longer than two screens");
    }
}
