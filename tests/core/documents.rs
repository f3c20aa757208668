//! What the documents name is there: files, functions, fields, tests.

use std::path::PathBuf;

use crate::tidy::{complain, files, root};

/// The documents for people who build bookd.
fn documents() -> Vec<(PathBuf, String)> {
    let folders = [
        "docs",
        "README.md",
        "CONTRIBUTING.md",
        "tests/TRACK_RECORD.md",
    ];
    files(&folders, "md")
}

/// What stands between backticks in a text.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_documents_name_no_file_that_is_not_there() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let is_file = |name: &&str| {
            let folders = [
                "src/", "crates/", "tests/", "proto/", "benches/", "scripts/",
            ];
            folders.iter().any(|folder| name.starts_with(folder))
                && name.contains('.')
                && !name.contains(['*', ' ', '…'])
        };
        for name in quoted(&text).filter(is_file) {
            if !root().join(name).exists() {
                wrong.push(format!(
                    "{} names {name}, which is not there",
                    path.display()
                ));
            }
        }
    }
    complain(&wrong);
}

/// The last name of a path such as `Engine::watch` or `it: watch::a_test_…`, and whether it is
/// only the beginning of one; none for what is no path of functions.
fn last_name(quoted: &str) -> Option<(&str, bool)> {
    let path = quoted.rsplit_once(": ").map_or(quoted, |(_, path)| path);
    let is_path = path.contains("::")
        && path
            .chars()
            .all(|letter| letter.is_alphanumeric() || "_:…".contains(letter));
    let last = path.rsplit("::").next().filter(|_| is_path)?;
    let name = last.trim_end_matches('…').trim_end_matches('_');
    let is_function = name.starts_with(|first: char| first.is_lowercase());
    is_function.then_some((name, name.len() < last.len()))
}

#[test]
fn the_documents_name_no_function_and_no_test_that_is_not_there() {
    let code: String = files(&["src", "crates", "tests", "benches", "fuzz/targets"], "rs")
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let defines = |definition: &str, is_beginning: bool| {
        code.match_indices(definition).any(|(at, _)| {
            let next = code[at + definition.len()..].chars().next();
            let goes_on = |next: char| next.is_alphanumeric() || next == '_';
            is_beginning || !next.is_some_and(goes_on)
        })
    };
    let is_there = |name: &str, is_beginning: bool| {
        let items = ["fn ", "mod ", "macro_rules! ", "const ", "static "];
        items.iter().any(|kind| defines(&format!("{kind}{name}"), is_beginning))
            // A field.
            || [" ", "("].iter().any(|before| defines(&format!("{before}{name}:"), true))
    };
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        for (name, is_beginning) in quoted(&text).filter_map(last_name) {
            if !is_there(name, is_beginning) {
                wrong.push(format!(
                    "{} names {name}, which is not there",
                    path.display()
                ));
            }
        }
    }
    complain(&wrong);
}
