//! Every command that README and docs show is run, and prints what they show.
//!
//! Ids, codes, digits and the width of columns may differ.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::kill::Process;

/// A command in a document, and the output that the document shows for it.
struct Shown {
    command: String,
    output: String,
}

impl Shown {
    /// Whether the command is `NAME=value`, which the commands after it use.
    fn is_assignment(&self) -> bool {
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|it| it.is_ascii_uppercase());
        self.command
            .split_once('=')
            .is_some_and(|(name, _)| is_name(name))
    }
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// The `$ ` lines of a console block, each with its output.
fn shown(block: &str) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => shown.push(Shown {
                command: command.to_owned(),
                output: String::new(),
            }),
            None => {
                let last = shown.last_mut().unwrap();
                last.output.push_str(line);
                last.output.push('\n');
            }
        }
    }
    shown
}

/// Stand-ins for grpcurl and buf, made of `bookd call`: they check method, fields and values.
const GRPCURL: &str = r#"#!/bin/sh
[ "$1" = -plaintext ] || exit 64
shift
request='{}'
if [ "$1" = -d ]; then request=$2; shift 2; fi
case $2 in grpc.health.v1.*) exec bookd info --server "$1" ;; esac
exec bookd call "${2#*/}" "$request" --server "$1" --json
"#;
const BUF: &str = r#"#!/bin/sh
[ "$1 $2 $3 $4" = "curl --protocol grpc --http2-prior-knowledge" ] || exit 64
shift 4
request='{}'
if [ "$1" = -d ]; then request=$2; shift 2; fi
address=${1#http://}
exec bookd call "${address##*/}" "$request" --server "${address%%/*}" --json
"#;

/// A folder with the stand-ins as executable files.
fn tools() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in [("grpcurl", GRPCURL), ("buf", BUF)] {
        let file = folder.path().join(name);
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// Runs a line in a shell that finds the binary and the server; returns its output and whether it
/// succeeded.
fn run(line: &str, process: &Process, home: &Path) -> (String, bool) {
    run_with(line, process, home, "")
}

/// The same with further folders, each ended by a colon, at the start of `PATH`.
fn run_with(line: &str, process: &Process, home: &Path, folders: &str) -> (String, bool) {
    let folder = Path::new(env!("CARGO_BIN_EXE_bookd")).parent().unwrap();
    let path = format!(
        "{folders}{}:{}",
        folder.display(),
        std::env::var("PATH").unwrap()
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{line} 2>&1")])
        .env("PATH", path)
        .current_dir(home);
    let output = shell
        .env("BOOKD_SERVER", process.address.to_string())
        .output()
        .unwrap();
    (
        String::from_utf8(output.stdout).unwrap(),
        output.status.success(),
    )
}

/// The text without what changes between runs: ids, codes, etags, digits and the width of columns.
fn alike(text: &str) -> String {
    let is_id = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    let is_code = |word: &str| {
        word.len() == 9
            && word.as_bytes()[4] == b'-'
            && word
                .chars()
                .all(|it| it == '-' || it.is_ascii_digit() || it.is_ascii_uppercase())
    };
    let is_hex = |word: &str| word.len() >= 16 && word.chars().all(|it| it.is_ascii_hexdigit());
    let word = |word: &str| match word.trim_matches(':') {
        bare if is_id(bare) => "ID".to_owned(),
        bare if is_code(bare) => "CODE".to_owned(),
        bare if is_hex(bare) => "HEX".to_owned(),
        _ => word
            .chars()
            .map(|it| if it.is_ascii_digit() { '0' } else { it })
            .collect(),
    };
    let ends = |it: char| it.is_whitespace() || "\",{}[]".contains(it);
    let words = |line: &str| {
        line.split(ends)
            .filter(|it| !it.is_empty())
            .map(word)
            .collect::<Vec<_>>()
    };
    let line = |line: &str| words(line).join(" ");
    text.lines()
        .map(line)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Runs the console blocks of a file in order; returns the file with the present output.
fn renewed(file: &str, process: &Process, home: &Path) -> String {
    let text = std::fs::read_to_string(path(file)).unwrap();
    let mut parts = text.split("```console\n");
    let mut renewed = parts.next().unwrap().to_owned();
    let mut assigned = String::new();
    for part in parts {
        let (block, rest) = part.split_once("```").unwrap();
        renewed.push_str("```console\n");
        for example in shown(block) {
            let said = if example.is_assignment() {
                assigned.push_str(&format!("{}; ", example.command));
                String::new()
            } else {
                run(&format!("{assigned}{}", example.command), process, home).0
            };
            let is_alike = alike(&said) == alike(&example.output);
            let output = if is_alike { example.output } else { said };
            renewed.push_str(&format!("$ {}\n{output}", example.command));
        }
        renewed.push_str(&format!("```{rest}"));
    }
    renewed
}

/// `BOOKD_RENEW_DOCS=1` writes the output of the commands into the documents instead.
#[test]
fn what_the_documents_show_is_what_the_commands_say() {
    for file in [
        "README.md",
        "docs/API.md",
        "docs/OPERATIONS.md",
        "docs/MIGRATING.md",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(&folder.path().join("bookd.db"));
        let (text, renewed) = (
            std::fs::read_to_string(path(file)).unwrap(),
            renewed(file, &process, folder.path()),
        );
        assert!(text.contains("```console\n$ "), "{file} shows no command");
        assert!(process.terminate().success());
        if std::env::var_os("BOOKD_RENEW_DOCS").is_some() {
            std::fs::write(path(file), renewed).unwrap();
            continue;
        }
        let differs = text
            .lines()
            .zip(renewed.lines())
            .find(|(shown, said)| shown != said);
        assert!(
            text == renewed,
            "{file} shows, and the command says: {differs:#?}"
        );
    }
}

#[test]
fn the_lines_for_grpcurl_and_buf_name_methods_and_fields_that_there_are() {
    let (folder, tools) = (tempfile::tempdir().unwrap(), tools());
    let process = Process::start(&folder.path().join("bookd.db"));
    let tools = format!("{}:", tools.path().display());
    let mut lines: Vec<String> = process
        .banner
        .lines()
        .map(str::trim)
        .map(str::to_owned)
        .collect();
    for file in [
        "README.md",
        "docs/API.md",
        "docs/OPERATIONS.md",
        "docs/MIGRATING.md",
    ] {
        let text = std::fs::read_to_string(path(file)).unwrap();
        let blocks = text
            .split("```sh\n")
            .skip(1)
            .map(|it| it.split("```").next().unwrap());
        lines.extend(
            blocks
                .flat_map(str::lines)
                .map(|it| it.replace("127.0.0.1:50051", &process.address.to_string())),
        );
    }
    lines.retain(|line| line.starts_with("grpcurl ") || line.starts_with("buf "));
    assert!(lines.len() >= 5, "{lines:?}");
    for line in lines {
        let (said, is_done) = run_with(&line, &process, folder.path(), &tools);
        assert!(is_done, "{line}\n{said}");
    }
    assert!(process.terminate().success());
}

#[test]
fn the_two_commands_of_the_readme_are_those_that_gate() {
    let read = |file: &str| std::fs::read_to_string(path(file)).unwrap();
    let commands = ["cargo run --release -- serve", "cargo test"];
    commands.iter().for_each(|command| {
        assert!(
            read("README.md")
                .lines()
                .any(|line| line.starts_with(command))
        )
    });
    assert!(
        read(".ci/run")
            .lines()
            .any(|line| line == "cargo test --locked")
    );
}

#[test]
fn the_migration_guide_shows_a_line_for_every_call_that_it_maps() {
    let text = std::fs::read_to_string(path("docs/MIGRATING.md")).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("grpcurl "))
        .collect();
    assert!(lines.len() >= 25, "{}", lines.len());
    let methods = [
        "SetAvailability",
        "PutOverrides",
        "ListSlots",
        "BookAppointment",
        "HoldAppointment",
        "ConfirmAppointment",
        "ListAppointments",
        "CreateCalendar",
        "ListCalendars",
        "GetCalendar",
        "UpdateCalendar",
        "DeleteCalendar",
        "PutAppointmentType",
    ];
    for method in methods {
        assert!(
            lines
                .iter()
                .any(|line| line.ends_with(&format!("/{method}"))),
            "{method}"
        );
    }
}

/// Runs backup and restore as the text shows them, with the server up, and the statement of
/// `sqlite3 bookd.db "…"` on the database after the server has stopped.
#[test]
fn what_is_shown_copies_a_database_that_is_served_and_cleans_one_that_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bookd.db");
    let process = Process::start(&file);
    for calendar in ["ada", "bea"] {
        assert!(
            run(
                &format!("bookd hours {calendar} daily 09:00-17:00"),
                &process,
                folder.path()
            )
            .1
        );
    }
    let text = std::fs::read_to_string(path("docs/OPERATIONS.md")).unwrap();
    let statements: Vec<&str> = text
        .split("`sqlite3 bookd.db \"")
        .skip(1)
        .map(|it| it.split("\"`").next().unwrap())
        .collect();
    let [clean] = statements[..] else {
        panic!("{statements:?}")
    };
    let shown = |word: &str| {
        text.split("\n$ ")
            .find(|it| it.starts_with(&format!("bookd {word} ")))
            .unwrap()
    };
    for word in ["backup", "restore"] {
        let (command, output) = shown(word).split_once('\n').unwrap();
        let (said, is_done) = run(command, &process, folder.path());
        assert!(is_done, "{said}");
        // The numbers in the text are those of another store.
        let words = |text: &str| -> Vec<String> {
            let is_word = |it: &&str| !it.contains(|letter: char| letter.is_ascii_digit());
            text.split_whitespace()
                .filter(is_word)
                .map(str::to_owned)
                .collect()
        };
        let shown = words(output.split("\n```").next().unwrap());
        assert_eq!(words(&said), shown, "{command}");
    }
    assert!(process.terminate().success());
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch(clean)
        .unwrap();
    assert_eq!(
        std::fs::metadata(folder.path().join("bookd.db-wal")).map_or(0, |it| it.len()),
        0
    );
}
