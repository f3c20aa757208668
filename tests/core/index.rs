//! The index of files in ARCHITECTURE.md, made from the headers of the files so that it always
//! matches the tree.
//!
//! `BOOKD_RENEW_DOCS=1 cargo test -p bookd-core --test core index::` renews it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::tidy::{files, root};

const HEADING: &str = "## Index of files\n";
const PREFACE: &str = "\nMade from the first sentence of each file's header by \
                       `BOOKD_RENEW_DOCS=1 cargo test -p bookd-core --test core index::`.\n";

/// The comment marker of a header, by the extension of the file.
const MARKERS: [(&str, &str); 4] = [("rs", "//!"), ("proto", "//"), ("sql", "--"), ("sh", "#")];

/// The first sentence of the first block of comment lines, without a shell's `#!` and the syntax
/// line of a proto file.
fn first_sentence(text: &str, marker: &str) -> String {
    let is_of_header = |line: &&str| line.starts_with(marker) && !line.starts_with("#!");
    let header = text
        .lines()
        .skip_while(|line| !is_of_header(line))
        .take_while(is_of_header);
    let words = header.map(|line| line[marker.len()..].trim());
    let paragraph: Vec<&str> = words.take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let end = paragraph.find(". ").unwrap_or(paragraph.len());
    paragraph[..end]
        .trim_end_matches(['.', ':'])
        .replace('|', "\\|")
}

fn index() -> String {
    let mut folders: BTreeMap<String, String> = BTreeMap::new();
    for (ending, marker) in MARKERS {
        for (path, text) in files(
            &[
                "build.rs",
                "src",
                "crates",
                "proto",
                "tests",
                "benches",
                "scripts",
                "fuzz/targets",
            ],
            ending,
        ) {
            let folder = path.parent().unwrap_or(Path::new("")).display().to_string();
            let name = path.file_name().unwrap().to_string_lossy();
            let rows = folders.entry(folder).or_default();
            writeln!(rows, "| `{name}` | {} |", first_sentence(&text, marker)).unwrap();
        }
    }
    let mut index = format!("{HEADING}{PREFACE}");
    for (folder, rows) in folders {
        let folder = if folder.is_empty() {
            "the root".to_owned()
        } else {
            format!("`{folder}`")
        };
        write!(
            index,
            "\n### {folder}\n\n| file | what it is |\n|---|---|\n{rows}"
        )
        .unwrap();
    }
    index
}

#[test]
fn the_index_of_files_is_what_their_headers_say() {
    let path = root().join("docs/ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text
        .find(HEADING)
        .expect("docs/ARCHITECTURE.md ends with the index of files");
    let expected = index();
    if std::env::var_os("BOOKD_RENEW_DOCS").is_some() {
        std::fs::write(&path, format!("{}{expected}", &text[..at])).unwrap();
        return;
    }
    assert_eq!(
        text[at..],
        expected,
        "BOOKD_RENEW_DOCS=1 makes the index anew"
    );
}
