//! The commands backup and restore: what they refuse and print, and which files they write and
//! leave.
//!
//! Neither overwrites a file, and a failed one leaves nothing.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bookd::clock::{Clock, SystemClock};
use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::harness::connect;
use crate::kill::{Process, nth, open};
use crate::people::{bookd, said};
use crate::stored::raw;

fn offline(folder: &Path, words: &[&str]) -> Output {
    bookd("127.0.0.1:1", folder, words)
}

/// The JSON that a successful command prints.
pub fn run_json(folder: &Path, words: &[&str]) -> Value {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let output = offline(folder, &words);
    assert!(output.status.success(), "{words:?}\n{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The names of the files in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let name =
        |it: std::io::Result<std::fs::DirEntry>| it.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

/// The names of the files in a folder, without those that SQLite leaves beside a store that was
/// only read.
fn kept(folder: &Path) -> Vec<String> {
    let is_left = |it: &String| it.starts_with("bookd.db-");
    names(folder)
        .into_iter()
        .filter(|it| !is_left(it))
        .collect()
}

/// Asserts that a command is refused with this exit code, prints all of these words, and leaves the
/// folder as it was.
fn refuses(folder: &Path, words: &[&str], code: i32, says: &[&str]) {
    let before = kept(folder);
    let output = offline(folder, words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    assert!(
        output.stdout.is_empty() && said.starts_with("bookd: "),
        "{words:?}: {said}"
    );
    for text in says {
        assert!(said.contains(text), "{words:?}: {said} does not say {text}");
    }
    assert_eq!(kept(folder), before, "{words:?}");
}

/// Books these hours one after the other, and answers the last answer.
pub async fn book(channel: &Channel, hours: std::ops::Range<i64>) -> pb::BookAppointmentResponse {
    let mut last = None;
    for n in hours {
        last = Some(
            BookingServiceClient::new(channel.clone())
                .book_appointment(nth(n))
                .await
                .unwrap()
                .into_inner(),
        );
    }
    last.unwrap()
}

/// A folder with a store of some appointments, and a backup of it.
async fn served() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let home = folder.path().to_owned();
    let process = Process::start(&home.join("bookd.db"));
    let channel = connect(process.address).await;
    open(&channel).await;
    book(&channel, 0..5).await;
    drop(channel);
    assert!(process.terminate_beside_clients().await.success());
    run_json(&home, &["backup", "copy.db"]);
    (folder, home)
}

#[tokio::test]
async fn a_backup_never_takes_the_place_of_anything_and_says_what_it_cannot_copy() {
    let (_folder, home) = served().await;
    let letter = "Dear Ada, this is a letter and no database. ".repeat(8);
    std::fs::write(home.join("letter"), &letter).unwrap();
    refuses(
        &home,
        &["backup", "letter"],
        5,
        &["letter: there already", "move it away"],
    );
    assert_eq!(
        std::fs::read_to_string(home.join("letter")).unwrap(),
        letter
    );
    std::fs::write(home.join("new.db-wal"), "a WAL of another database").unwrap();
    refuses(
        &home,
        &["backup", "new.db"],
        5,
        &["new.db-wal: there already"],
    );
    refuses(
        &home,
        &["backup", "no/new.db"],
        4,
        &["no/new.db", "its folder does not exist"],
    );
    refuses(
        &home,
        &["backup", "other.db", "--store", "sqlite:none.db"],
        4,
        &["none.db cannot be read"],
    );
    refuses(
        &home,
        &["backup", "other.db", "--store", "sqlite:."],
        3,
        &["is no file"],
    );
    refuses(
        &home,
        &["backup", "other.db", "--store", "sqlite:letter"],
        3,
        &["letter is not a bookd database"],
    );
    refuses_other_versions(&home);
}

/// Asserts that a file of a newer version is neither backed up nor restored, and that one of an
/// older version is only restored.
fn refuses_other_versions(home: &Path) {
    let of_version = |version| {
        std::fs::remove_file(home.join("version.db")).ok();
        std::fs::copy(home.join("copy.db"), home.join("version.db")).unwrap();
        let connection = raw(home.join("version.db"));
        connection
            .pragma_update(None, "user_version", version)
            .unwrap();
    };
    of_version(99);
    refuses(
        home,
        &["backup", "other.db", "--store", "sqlite:version.db"],
        3,
        &["written by a newer bookd", "99"],
    );
    refuses(
        home,
        &["restore", "version.db", "--store", "sqlite:other.db"],
        3,
        &["written by a newer bookd", "99"],
    );
    of_version(0);
    refuses(
        home,
        &["backup", "other.db", "--store", "sqlite:version.db"],
        3,
        &["older bookd", "bookd serve"],
    );
    // A backup of an older version is restored all the same, and upgraded.
    let older = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/schema-1.db");
    std::fs::copy(older, home.join("older.db")).unwrap();
    let refused = offline(home, &["backup", "other.db", "--store", "sqlite:older.db"]);
    assert!(
        refused.status.code() == Some(3) && said(&refused).contains("older bookd"),
        "{}",
        said(&refused)
    );
    let restored = run_json(home, &["restore", "older.db", "--store", "sqlite:newer.db"]);
    assert_eq!(
        (&restored["calendars"], &restored["appointments"]),
        (&json!(2), &json!(16))
    );
}

#[tokio::test]
async fn a_backup_that_cannot_be_written_whole_leaves_nothing() {
    let (_folder, home) = served().await;
    let before = kept(&home);
    // The limit allows 50 KiB of a file, enough for the files that SQLite puts beside the store.
    let path = Path::new(env!("CARGO_BIN_EXE_bookd"));
    let script = format!(
        "trap '' XFSZ; ulimit -f 100; exec {} backup other.db",
        path.display()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&home)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("bookd.db was copied to other.db")
            && message.contains("nothing of the copy was left"),
        "{message}"
    );
    assert_eq!(kept(&home), before);
}

#[tokio::test]
async fn a_damaged_store_is_not_backed_up_and_a_damaged_backup_is_not_restored() {
    let (_folder, home) = served().await;
    let change = |file: &str, sql: &str| raw(home.join(file)).execute_batch(sql).unwrap();
    change(
        "bookd.db",
        "update appointments set start = start + 60 where key = 3",
    );
    refuses(
        &home,
        &["backup", "other.db"],
        1,
        &[
            "bookd.db is damaged, and nothing was written",
            "rows: appointment",
        ],
    );
    std::fs::copy(home.join("copy.db"), home.join("changed.db")).unwrap();
    change("changed.db", "delete from changes where revision = 3");
    let store = ["--store", "sqlite:restored.db"];
    refuses(
        &home,
        &["restore", "changed.db", store[0], store[1]],
        1,
        &["changed.db is damaged", "log: revision 4"],
    );
    let mut bytes = std::fs::read(home.join("copy.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0xa5);
    std::fs::write(home.join("torn.db"), &bytes).unwrap();
    refuses(
        &home,
        &["restore", "torn.db", store[0], store[1]],
        1,
        &["torn.db is damaged, and nothing was written"],
    );
    bytes.truncate(middle);
    std::fs::write(home.join("short.db"), &bytes).unwrap();
    refuses(
        &home,
        &["restore", "short.db", store[0], store[1]],
        1,
        &["short.db"],
    );
}

#[tokio::test]
async fn a_restore_never_takes_the_place_of_anything_and_waits_for_nobody() {
    let (_folder, home) = served().await;
    let served = std::fs::read(home.join("bookd.db")).unwrap();
    refuses(
        &home,
        &["restore", "copy.db"],
        5,
        &["bookd.db", "there already", "move it away"],
    );
    refuses(
        &home,
        &["restore", "none.db", "--store", "sqlite:new.db"],
        4,
        &["none.db cannot be read"],
    );
    std::fs::write(home.join("letter"), "Dear Ada").unwrap();
    refuses(
        &home,
        &["restore", "letter", "--store", "sqlite:new.db"],
        3,
        &["letter is not a bookd database"],
    );
    // A WAL that was left behind would be taken for that of the new file.
    std::fs::write(home.join("new.db-wal"), "left behind").unwrap();
    refuses(
        &home,
        &["restore", "copy.db", "--store", "sqlite:new.db"],
        5,
        &["new.db-wal: there already"],
    );
    assert_eq!(std::fs::read(home.join("bookd.db")).unwrap(), served);
    let process = Process::start(&home.join("bookd.db"));
    refuses(
        &home,
        &["restore", "copy.db"],
        7,
        &["bookd.db is in use by another bookd", "stop it first"],
    );
    assert!(process.terminate().success());
    // With a clock behind the backup's last change, times would run backwards.
    let future = SystemClock.now().seconds() + 86_400;
    let last = "where revision = (select max(revision) from changes)";
    let sql = format!(
        "update appointments set update_time = {future}, create_time = {future} {last}; \
         update changes set time = {future} {last}"
    );
    raw(home.join("copy.db")).execute_batch(&sql).unwrap();
    refuses(
        &home,
        &["restore", "copy.db", "--store", "sqlite:late.db"],
        7,
        &["the clock shows", "set the clock right"],
    );
}

#[tokio::test]
async fn a_backup_is_one_file_on_its_own_that_whoever_may_read_the_store_may_read() {
    let (_folder, home) = served().await;
    let mode = |file: &str| {
        std::fs::metadata(home.join(file))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    std::fs::set_permissions(
        home.join("bookd.db"),
        std::fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    let made = run_json(&home, &["backup", "mine.db"]);
    assert_eq!(mode("mine.db"), 0o640);
    let bytes = std::fs::metadata(home.join("mine.db")).unwrap().len();
    assert_eq!(made["bytes"], bytes);
    assert_eq!(
        names(&home)
            .iter()
            .filter(|it| it.starts_with("mine.db"))
            .count(),
        1,
        "{:?}",
        names(&home)
    );
    run_json(&home, &["restore", "mine.db", "--store", "sqlite:again.db"]);
    assert_eq!(mode("again.db"), 0o640);
    // Without `--json` it prints a table.
    let output = offline(&home, &["backup", "table.db"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        [
            "FILE",
            "REVISION",
            "CALENDARS",
            "APPOINTMENTS",
            "BYTES",
            "SECONDS",
            "FINDINGS"
        ]
    );
    assert_eq!(rows[1][..4], ["table.db", "6", "1", "5"]);
}

/// Imports a store that takes a while to copy.
fn large(home: &Path) {
    let start = |n: usize| {
        format!(
            "{}-01-01T{:02}:{:02}:00Z",
            2031 + n / 1_440,
            n / 60 % 24,
            n % 60
        )
    };
    let appointments: Vec<Value> = (0..20_000)
        .filter(|n| n % 1_440 != 1_439)
        .map(|n| json!({ "start_time": start(n), "end_time": start(n + 1), "note": "n".repeat(200) }))
        .collect();
    let file = json!({ "calendars": [{ "calendar_id": "ada", "appointments": appointments }] });
    std::fs::write(home.join("large.json"), file.to_string()).unwrap();
    let output = offline(home, &["import", "large.json"]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_backup_that_is_interrupted_leaves_nothing_and_one_that_is_killed_nothing_with_its_name() {
    let folder = TempDir::new().unwrap();
    let home = folder.path();
    large(home);
    let before = names(home);
    for (signal, code) in [("-INT", Some(1)), ("-TERM", Some(1)), ("-KILL", None)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
        let errors = File::create(home.join("large.json")).unwrap();
        command
            .args(["backup", "other.db"])
            .current_dir(home)
            .stdout(Stdio::null())
            .stderr(errors);
        let mut child = command.spawn().unwrap();
        while !names(home).iter().any(|it| it.ends_with(".part")) {
            assert!(
                child.try_wait().unwrap().is_none(),
                "the backup ended before it was interrupted"
            );
            std::thread::yield_now();
        }
        assert!(
            Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        let left: Vec<String> = kept(home)
            .into_iter()
            .filter(|it| !before.contains(it))
            .collect();
        match code {
            Some(_) => assert_eq!(left, Vec::<String>::new(), "{signal}"),
            None => {
                assert!(
                    left.len() == 1
                        && left[0].starts_with("other.db.")
                        && left[0].ends_with(".part"),
                    "{left:?}"
                )
            }
        }
        let message = std::fs::read_to_string(home.join("large.json")).unwrap();
        assert!(
            code.is_none() || message.contains("interrupted; nothing was written"),
            "{message}"
        );
    }
    // The file that was left does not disturb the next backup.
    assert_eq!(
        run_json(home, &["backup", "other.db"])["appointments"],
        19_987
    );
}
