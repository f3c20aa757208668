//! The style rules that a machine can check: layers, headers, sizes, names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// The layers: no file below the first path names any of the others. The core and the transport are
/// not listed, because they are crates of their own that depend on nothing of bookd, and the core
/// on nothing that does input or output. What the standard library would still let the core do is
/// refused by `crates/core/clippy.toml`.
const LAYERS: [(&str, &[&str]); 6] = [
    (
        "src/store",
        &[
            "bookd_transport",
            "clock",
            "cli",
            "config",
            "engine",
            "api",
            "log",
            "ids",
            "proto",
            "service",
            "telemetry",
            "zones",
        ],
    ),
    (
        "src/engine",
        &[
            "bookd_transport",
            "cli",
            "config",
            "api",
            "ids",
            "proto",
            "service",
            "telemetry",
            "zones",
        ],
    ),
    ("src/api", &["cli", "config", "service", "telemetry"]),
    (
        "src/log",
        &[
            "bookd_transport",
            "api",
            "cli",
            "config",
            "engine",
            "ids",
            "proto",
            "service",
            "telemetry",
            "zones",
        ],
    ),
    (
        "src/admin",
        &[
            "bookd_transport",
            "cli",
            "config",
            "service",
            "telemetry",
            "clap",
            "comfy_table",
            "indicatif",
        ],
    ),
    (
        "src/zones.rs",
        &[
            "bookd_transport",
            "cli",
            "config",
            "engine",
            "api",
            "proto",
            "service",
            "store",
        ],
    ),
];

/// The files that may name exit codes: the one that defines them, and `main`, which returns one.
const EXIT_CODES: [&str; 2] = ["src/cli/exit.rs", "src/main.rs"];

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Every file of these folders with this extension, by its path from the root, with its text.
pub(crate) fn files(folders: &[&str], ending: &str) -> Vec<(PathBuf, String)> {
    let mut waiting: Vec<PathBuf> = folders
        .iter()
        .map(|folder| root().join(folder))
        .filter(|it| it.exists())
        .collect();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|it| it == ending) {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
        }
    }
    found.sort();
    found
}

fn rust() -> Vec<(PathBuf, String)> {
    files(&["src", "crates", "tests", "benches", "build.rs"], "rs")
}

/// Whether a text names `tonic::Code`: a `Code::` that is not the end of a longer name.
fn names_codes(text: &str) -> bool {
    text.match_indices("Code::")
        .any(|(at, _)| !text[..at].ends_with(|before: char| before.is_alphanumeric()))
}

pub(crate) fn complain(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn each_layer_imports_only_what_stands_below_it() {
    let mut wrong = Vec::new();
    for (path, text) in files(&["src"], "rs") {
        for (layer, forbidden) in LAYERS.iter().filter(|(layer, _)| path.starts_with(layer)) {
            for name in *forbidden {
                let of_crate = [format!("crate::{name}::"), format!("use crate::{name};")];
                if of_crate.iter().any(|it| text.contains(it))
                    || text.contains(&format!("use {name}::"))
                {
                    wrong.push(format!("{}: {layer} must not know {name}", path.display()));
                }
            }
        }
        let may_name_codes = path.starts_with("src/api/convert/status");
        if path.starts_with("src/api") && !may_name_codes && names_codes(&text) {
            wrong.push(format!(
                "{}: only convert/status decides codes",
                path.display()
            ));
        }
        let asks_for_all = ["engine.read(", "dyn Reader", "dyn Store"]
            .iter()
            .any(|it| text.contains(it));
        if path.starts_with("src/api") && asks_for_all {
            wrong.push(format!(
                "{}: the API reads through Queries and LogReader",
                path.display()
            ));
        }
    }
    complain(&wrong);
}

/// The name of the type that a line defines, if it defines one.
fn defined_type(line: &str) -> Option<&str> {
    let bare = line.trim_start();
    let bare = ["pub ", "pub(super) ", "pub(crate) "]
        .iter()
        .find_map(|it| bare.strip_prefix(it))
        .unwrap_or(bare);
    let of_type = |kind: &str| bare.strip_prefix(kind);
    let named = ["struct ", "enum ", "trait "]
        .iter()
        .find_map(|kind| of_type(kind));
    // An indented `type` is an associated type of an implementation.
    let named = named.or_else(|| of_type("type ").filter(|_| !line.starts_with(' ')))?;
    named
        .split(|it: char| !it.is_alphanumeric() && it != '_')
        .next()
        .filter(|name| !name.is_empty())
}

#[test]
fn no_two_types_have_one_name() {
    let mut files_of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files(&["src", "crates"], "rs") {
        let product = text.split("\nmod tests {").next().unwrap_or(&text);
        for name in product.lines().filter_map(defined_type) {
            files_of
                .entry(name.to_owned())
                .or_default()
                .insert(path.display().to_string());
        }
    }
    let twice = files_of.into_iter().filter(|(_, files)| files.len() > 1);
    complain(
        &twice
            .map(|(name, files)| format!("{name} is a type in {files:?}"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn exit_codes_are_named_in_one_file() {
    let wrong = files(&["src", "crates"], "rs")
        .into_iter()
        .filter(|(path, text)| {
            let names = text.contains("ExitCode") || text.contains("process::exit(");
            names && EXIT_CODES.iter().all(|it| path != Path::new(it))
        });
    complain(
        &wrong
            .map(|(path, _)| format!("{}: only exit.rs names exit codes", path.display()))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let has_header = |text: &str| {
        text.lines()
            .next()
            .is_some_and(|line| line.starts_with("//! "))
    };
    let wrong = rust().into_iter().filter(|(_, text)| !has_header(text));
    complain(
        &wrong
            .map(|(path, _)| format!("{}: begins without //!", path.display()))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for (path, text) in rust() {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            wrong.push(format!(
                "{}: {} lines, at most {FILE_LINES_MAX}",
                path.display(),
                lines.len()
            ));
        }
        for (first, length) in functions(&lines) {
            if length > FUNCTION_LINES_MAX {
                wrong.push(format!(
                    "{}:{}: a function of {length} lines",
                    path.display(),
                    first + 1
                ));
            }
        }
    }
    complain(&wrong);
}

/// The index of the first line of each function, and its number of lines: to the line that closes
/// it at its own indentation.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let begins = |line: &str| {
        let line = line.trim_start();
        let words = [
            "pub ",
            "pub(super) ",
            "pub(crate) ",
            "const ",
            "async ",
            "unsafe ",
        ];
        let bare = words
            .iter()
            .fold(line, |line, word| line.strip_prefix(word).unwrap_or(line));
        bare.starts_with("fn ")
    };
    let end = |first: usize| {
        let closes = |line: &str| {
            line.trim_start().starts_with('}') && indentation(line) == indentation(lines[first])
        };
        lines[first..]
            .iter()
            .position(|line| closes(line))
            .unwrap_or(0)
    };
    let ends_at_once =
        |line: &str| line.trim_end().ends_with(';') || line.trim_end().ends_with('}');
    let starts =
        (0..lines.len()).filter(|first| begins(lines[*first]) && !ends_at_once(lines[*first]));
    starts.map(|first| (first, end(first) + 1)).collect()
}

#[test]
fn nothing_is_left_to_be_done_later_and_no_test_is_ignored_in_silence() {
    let mut wrong = Vec::new();
    let marks = [
        "TO".to_owned() + "DO",
        "FIX".to_owned() + "ME",
        "X".repeat(3),
    ];
    for (path, text) in rust() {
        for mark in marks.iter().filter(|mark| text.contains(mark.as_str())) {
            wrong.push(format!("{}: {mark}", path.display()));
        }
        if text.contains(&("#[".to_owned() + "ignore]")) {
            wrong.push(format!(
                "{}: a test is ignored without a reason",
                path.display()
            ));
        }
    }
    complain(&wrong);
}

/// Reasons that nothing returns yet, because they belong to authentication.
const RESERVED: [&str; 1] = ["ERROR_REASON_UNSPECIFIED"];

#[test]
fn every_reason_and_every_method_of_the_contract_is_in_a_test_and_every_method_in_the_docs() {
    let texts = |folder, ending| -> String {
        files(&[folder], ending)
            .into_iter()
            .map(|it| it.1)
            .collect()
    };
    let (tests, proto) = (texts("tests/it", "rs"), texts("proto/bookd/v1", "proto"));
    let reasons =
        std::fs::read_to_string(root().join("proto/bookd/v1/error_reason.proto")).unwrap();
    let reasons = reasons
        .lines()
        .filter_map(|line| line.trim().split_once(" = "))
        .map(|(name, _)| name);
    let reasons = reasons.filter(|it| it.chars().all(|it| it.is_ascii_uppercase() || it == '_'));
    let is_untested =
        |reason: &&str| !RESERVED.contains(reason) && !tests.contains(&format!("\"{reason}\""));
    assert_eq!(
        reasons.filter(is_untested).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
    let methods = proto
        .lines()
        .filter_map(|line| line.trim().strip_prefix("rpc ")?.split_once('('));
    let snake = |name: &str| -> String {
        let spelled = name.chars().flat_map(|it| {
            it.is_ascii_uppercase()
                .then_some('_')
                .into_iter()
                .chain([it])
        });
        spelled
            .collect::<String>()
            .to_ascii_lowercase()
            .trim_start_matches('_')
            .to_owned()
    };
    let shown = std::fs::read_to_string(root().join("docs/API.md")).unwrap();
    let is_hidden = |name: &&str| !shown.contains(&format!("\n### {name}\n"));
    assert_eq!(
        methods
            .clone()
            .map(|(name, _)| name)
            .filter(is_hidden)
            .collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
    let untested = methods
        .map(|(name, _)| snake(name))
        .filter(|it| !tests.contains(&format!(".{it}(")));
    assert_eq!(untested.collect::<Vec<_>>(), Vec::<String>::new());
}
