//! Exit codes: each has one meaning in all commands.
//!
//! `--help` and `docs/OPERATIONS.md` list them all.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use bookd::cli::exit::Exit;

use crate::kill::{Process, command};
use crate::people::{bookd, said};

#[test]
fn a_writer_that_stops_ends_its_server_with_a_code_that_nothing_else_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bookd.db");
    let process = Process::start(&file);
    let server = process.address.to_string();
    assert!(
        bookd(
            &server,
            folder.path(),
            &["hours", "ada", "daily", "09:00-17:00"]
        )
        .status
        .success()
    );
    // A write as by a server on another machine that has the file over a network file system, where
    // the lock does not hold.
    let other = "insert into changes select max(revision) + 1, time, record, caller, replaced, events, segments from changes";
    crate::stored::raw(&file).execute_batch(other).unwrap();
    let asked = bookd(
        &server,
        folder.path(),
        &["hours", "bob", "daily", "09:00-17:00"],
    );
    assert_eq!(
        asked.status.code(),
        Some(Exit::TryAgain.code().into()),
        "{}",
        said(&asked)
    );
    let (status, complaint) = process.ended_by_itself();
    assert_eq!(status.code(), Some(8), "{complaint}");
    let wrong = command(&file).arg("--no-such-flag").output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
}

#[test]
fn every_exit_code_is_one_thing_and_the_help_and_the_documents_name_them_all() {
    let codes: BTreeSet<u8> = Exit::ALL.iter().map(|it| it.code()).collect();
    assert_eq!(codes.len(), Exit::ALL.len(), "no number twice");
    let help = Command::new(env!("CARGO_BIN_EXE_bookd"))
        .arg("--help")
        .output()
        .unwrap();
    let help = said(&help).split_whitespace().collect::<Vec<_>>().join(" ");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/OPERATIONS.md")).unwrap();
    let table = text
        .split("| exit code | meaning |\n|---|---|\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    assert_eq!(table.lines().count(), Exit::ALL.len());
    for (exit, row) in Exit::ALL.iter().zip(table.lines()) {
        assert!(
            help.contains(&format!("{} {}", exit.code(), exit.meaning())),
            "--help does not tell {exit:?}"
        );
        let begins = format!("| {} | {}", exit.code(), exit.meaning());
        assert!(
            row.starts_with(&begins),
            "docs/OPERATIONS.md: {row}, and not {begins}"
        );
    }
}

#[test]
fn what_cannot_be_opened_ends_every_command_alike() {
    let folder = tempfile::tempdir().unwrap();
    let letter = folder.path().join("letter.db");
    std::fs::write(
        &letter,
        b"Dear Ada, this is a letter and no database. ".repeat(8),
    )
    .unwrap();
    let (letter, absent) = (
        letter.display().to_string(),
        folder.path().join("absent.db").display().to_string(),
    );
    let served = folder.path().join("served.db");
    let process = Process::start(&served);
    let served = served.display().to_string();
    let code = |words: &[&str], store: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
        let output = command
            .args(words)
            .args(["--store", &format!("sqlite:{store}")])
            .output()
            .unwrap();
        (output.status.code().unwrap(), said(&output))
    };
    for (store, expected, words) in [
        (&letter, Exit::Invalid, "no bookd database"),
        (&absent, Exit::NotFound, "there"),
        (&served, Exit::TryAgain, "in use by another bookd"),
    ] {
        for command in ["check", "export"] {
            let (code, said) = code(&[command], store);
            assert_eq!(
                code,
                i32::from(expected.code()),
                "{command} {store} ({words}): {said}"
            );
        }
        // `serve` makes a file that does not exist.
        if expected != Exit::NotFound {
            let (code, said) = code(&["serve"], store);
            assert_eq!(
                code,
                i32::from(expected.code()),
                "serve {store} ({words}): {said}"
            );
        }
    }
    for (store, expected) in [(&letter, Exit::Invalid), (&served, Exit::TryAgain)] {
        let calendars = folder.path().join("calendars.json");
        std::fs::write(&calendars, r#"{"calendars": []}"#).unwrap();
        let (code, said) = code(&["import", calendars.to_str().unwrap()], store);
        assert_eq!(code, i32::from(expected.code()), "import {store}: {said}");
    }
    assert!(process.terminate().success());
}
