//! Refused starts: the file is in use, has two names, has lost its database, or is empty, or there
//! are too few file descriptors.
//!
//! A refused start says what is wrong and what to do, and changes no file.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bookd::cli::exit::Exit;
use tempfile::TempDir;

use crate::accidents::{contents, has_all, offline, remove, served, with_ending};
use crate::kill::{Process, command};
use crate::people::said;

/// The message of a start that is refused with this exit code.
fn refused_start(file: &Path, exit: Exit) -> String {
    let mut child = command(file).spawn().unwrap();
    let mut banner = String::new();
    if BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut banner)
        .unwrap()
        > 0
    {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("{} is served: {banner}", file.display());
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(exit.code().into()),
        "{}: {}",
        file.display(),
        said(&output)
    );
    said(&output)
}

#[tokio::test]
async fn a_second_server_is_refused_by_whichever_path_it_comes() {
    let folder = TempDir::new().unwrap();
    let home = folder.path();
    let file = home.join("bookd.db");
    fs::create_dir(home.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(&file, home.join("elsewhere/link.db")).unwrap();
    std::os::unix::fs::symlink(home, home.join("elsewhere/home")).unwrap();
    let process = Process::start(&file);
    fs::hard_link(&file, home.join("second.db")).unwrap();
    // The lock does not depend on any file beside the database.
    let _none = fs::remove_file(with_ending(&file, ".lock"));
    for path in [
        "bookd.db",
        "elsewhere/link.db",
        "elsewhere/home/bookd.db",
        "elsewhere/../bookd.db",
        "second.db",
    ] {
        let message = refused_start(&home.join(path), Exit::TryAgain);
        assert!(
            message.contains("in use by another bookd") && message.contains(path),
            "{path}: {message}"
        );
        let output = offline(home, &["check", "--store", &format!("sqlite:{path}")]);
        assert_eq!(
            output.status.code(),
            Some(Exit::TryAgain.code().into()),
            "{path}: {}",
            said(&output)
        );
    }
    assert!(
        !with_ending(&file, ".lock").exists(),
        "the lock is on the file itself"
    );
    assert!(process.terminate_beside_clients().await.success());
}

#[tokio::test]
async fn a_file_with_two_names_is_refused_by_every_command_and_told_how_to_find_the_other() {
    let folder = TempDir::new().unwrap();
    let home = folder.path();
    let file = home.join("bookd.db");
    let (process, channel, answers) = served(&file).await;
    drop(channel);
    assert!(process.terminate_beside_clients().await.success());
    fs::hard_link(&file, home.join("second.db")).unwrap();
    for name in ["bookd.db", "second.db"] {
        let message = refused_start(&home.join(name), Exit::Invalid);
        assert!(
            message.contains(name)
                && message.contains("2 names (hard links)")
                && message.contains("-inum"),
            "{message}"
        );
        for words in [&["check"][..], &["export"]] {
            let output = offline(
                home,
                &[words, &["--store", &format!("sqlite:{name}")]].concat(),
            );
            assert_eq!(
                output.status.code(),
                Some(Exit::Invalid.code().into()),
                "{words:?}: {}",
                said(&output)
            );
        }
    }
    fs::remove_file(home.join("second.db")).unwrap();
    has_all(&file, &answers).await;
}

#[tokio::test]
async fn a_start_beside_the_wal_of_a_database_that_is_gone_is_refused_and_makes_none() {
    let folder = TempDir::new().unwrap();
    let home = folder.path();
    let file = home.join("bookd.db");
    let (process, channel, answers) = served(&file).await;
    drop(channel);
    process.kill();
    fs::copy(&file, home.join("saved")).unwrap();
    let wal = fs::read(with_ending(&file, "-wal")).unwrap();
    for is_empty in [false, true] {
        remove(&file);
        if is_empty {
            fs::write(&file, "").unwrap();
        }
        let message = refused_start(&file, Exit::Invalid);
        assert!(
            message.contains("bookd.db-wal holds changes of a database that is no longer in"),
            "{message}"
        );
        assert!(
            message.contains("restore a backup") && message.contains("move"),
            "{message}"
        );
        assert_eq!(file.exists(), is_empty, "no file was created");
        fs::write(home.join("new.json"), r#"{"calendars": []}"#).unwrap();
        for words in [
            &["import", "new.json"][..],
            &["check"],
            &["export"],
            &["backup", "copy.db"],
            &["clock", "reset"],
        ] {
            let refused = offline(home, words);
            assert_eq!(
                refused.status.code(),
                Some(Exit::Invalid.code().into()),
                "{words:?}: {}",
                said(&refused)
            );
            assert!(
                is_empty || said(&refused).contains("no longer in"),
                "{words:?}: {}",
                said(&refused)
            );
        }
        assert_eq!(
            fs::read(with_ending(&file, "-wal")).unwrap(),
            wal,
            "the WAL is left as it was"
        );
        fs::copy(home.join("saved"), &file).unwrap();
    }
    has_all(&file, &answers).await;
}

#[test]
fn an_empty_file_is_no_store_to_anybody_but_a_server_that_makes_one_of_it() {
    let folder = TempDir::new().unwrap();
    let home = folder.path();
    let file = home.join("bookd.db");
    fs::write(&file, "").unwrap();
    fs::write(home.join("new.json"), r#"{"calendars": []}"#).unwrap();
    let before = contents(home);
    for words in [
        &["check"][..],
        &["export"],
        &["backup", "copy.db"],
        &["restore", "bookd.db", "--store", "sqlite:new.db"],
    ] {
        let output = offline(home, words);
        assert_eq!(
            output.status.code(),
            Some(Exit::Invalid.code().into()),
            "{words:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains("bookd.db is not a bookd database (it is empty)"),
            "{}",
            said(&output)
        );
        assert_eq!(contents(home), before, "{words:?}");
    }
    let asked = offline(home, &["import", "new.json", "--dry-run"]);
    assert!(asked.status.success(), "{}", said(&asked));
    assert_eq!(contents(home), before, "asking makes no store");
    // A crash leaves an empty file when the file was just created.
    assert!(Process::start(&file).terminate().success());
    assert!(offline(home, &["check"]).status.success());
}

#[test]
fn a_start_without_descriptors_says_so_and_how_to_raise_the_limit() {
    /// Descriptors of the standard streams, and one for the loader of the binary.
    const LEAST: u32 = 4;
    let folder = TempDir::new().unwrap();
    let path = Path::new(env!("CARGO_BIN_EXE_bookd"));
    for limit in LEAST..100 {
        let file = folder.path().join(format!("{limit}.db"));
        let script = format!(
            "ulimit -n {limit}; exec {} serve --listen 127.0.0.1:0 --workers 2 --log error --store sqlite:{}",
            path.display(),
            file.display()
        );
        let mut serve = Command::new("sh");
        serve
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = serve.spawn().unwrap();
        let mut banner = String::new();
        if BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut banner)
            .unwrap()
            > 0
        {
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(limit > LEAST + 10, "{limit}");
            return;
        }
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{limit}: {message}");
        assert!(
            message.contains("no file descriptor is left; raise the limit"),
            "{limit}: {message}"
        );
        assert!(
            message.contains("ulimit -n") && !message.contains("permissions"),
            "{limit}: {message}"
        );
    }
    panic!("the server never starts");
}
