//! Every command that README and docs show is run, and its output is what they show, but for dates, ids and versions.

use std::path::Path;
use std::process::Command;

use crate::kill::Process;

/// A command and what is shown below it.
struct Shown {
    command: String,
    output: String,
}

/// The `$ ` lines of the console blocks of a file, each with its output.
fn console(file: &str) -> Vec<Shown> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let mut shown: Vec<Shown> = Vec::new();
    for block in text.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match line.strip_prefix("$ ") {
                Some(command) => shown.push(Shown { command: command.to_owned(), output: String::new() }),
                None => {
                    let last = shown.last_mut().unwrap();
                    last.output.push_str(line);
                    last.output.push('\n');
                }
            }
        }
    }
    shown
}

/// Runs a line in a shell that finds the binary and the server; answers what it said, and whether it went well.
fn run(line: &str, process: &Process, home: &Path) -> (String, bool) {
    let folder = Path::new(env!("CARGO_BIN_EXE_bookd")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{line} 2>&1")]).env("PATH", path).current_dir(home);
    let output = shell.env("BOOKD_SERVER", process.address.to_string()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

/// The text with what changes from run to run made alike: ids, codes, etags, digits, and the width of columns.
fn alike(text: &str) -> String {
    let is_id = |word: &str| word.len() == 36 && word.matches('-').count() == 4;
    let is_code = |word: &str| {
        word.len() == 9
            && word.as_bytes()[4] == b'-'
            && word.chars().all(|it| it == '-' || it.is_ascii_digit() || it.is_ascii_uppercase())
    };
    let is_etag = |word: &str| {
        let bare = word.trim_matches(|it| "\",".contains(it));
        bare.len() == 16 && bare.chars().all(|it| it.is_ascii_hexdigit())
    };
    let word = |word: &str| match word {
        word if is_id(word) => "ID".to_owned(),
        word if is_code(word) => "CODE".to_owned(),
        word if is_etag(word) => "ETAG".to_owned(),
        word => word.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect(),
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_documents_show_is_what_the_commands_say() {
    for file in ["README.md", "docs/API.md", "docs/OPERATIONS.md", "docs/MIGRATING.md"] {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(&folder.path().join("bookd.db"));
        let shown = console(file);
        assert!(!shown.is_empty(), "{file} shows no command");
        for Shown { command, output } in shown {
            let (said, _) = run(&command, &process, folder.path());
            assert_eq!(alike(&said), alike(&output), "{file}: {command}\n{said}");
        }
        assert!(process.terminate().success());
    }
}

#[test]
fn every_call_of_the_migration_table_goes_well() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder.path().join("bookd.db"));
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/MIGRATING.md")).unwrap();
    let calls: Vec<&str> = text.split('`').filter(|it| it.starts_with("bookd call ")).collect();
    assert!(calls.len() >= 8);
    for call in calls {
        let (said, is_done) = run(call, &process, folder.path());
        assert!(is_done, "{call}\n{said}");
    }
    assert!(process.terminate().success());
}
