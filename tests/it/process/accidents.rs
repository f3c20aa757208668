//! Accidents with the database file that happen to operators, done to the real binary: none goes
//! unseen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bookd::cli::exit::Exit;
use bookd::proto::v1 as pb;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::harness::connect;
use crate::kill::{Process, nth, open};
use crate::people::{bookd, said};
use crate::stored::raw;

pub fn offline(folder: &Path, words: &[&str]) -> Output {
    bookd("127.0.0.1:1", folder, words)
}

pub fn with_ending(file: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", file.display()))
}

async fn book(channel: &Channel, n: i64) -> Result<pb::BookAppointmentResponse, tonic::Status> {
    BookingServiceClient::new(channel.clone())
        .book_appointment(nth(n))
        .await
        .map(tonic::Response::into_inner)
}

/// A server on a new file, after three bookings, with their answers.
pub async fn served(file: &Path) -> (Process, Channel, Vec<pb::BookAppointmentResponse>) {
    let process = Process::start(file);
    let channel = connect(process.address).await;
    open(&channel).await;
    let mut answers = Vec::new();
    for n in 0..3 {
        answers.push(book(&channel, n).await.unwrap());
    }
    (process, channel, answers)
}

/// Asserts that a server on the file answers every acknowledged booking as before.
pub async fn has_all(file: &Path, answers: &[pb::BookAppointmentResponse]) {
    let process = Process::start(file);
    let channel = connect(process.address).await;
    for (n, answer) in answers.iter().enumerate() {
        let again = book(&channel, i64::try_from(n).unwrap()).await.unwrap();
        assert_eq!(
            (&again.appointment, again.revision),
            (&answer.appointment, answer.revision),
            "booking {n}"
        );
    }
    drop(channel);
    assert!(process.terminate_beside_clients().await.success());
}

/// An accident: the ending of the file's name, the action, and words of the message about it.
struct Accident {
    ending: &'static str,
    happens: fn(&Path),
    says: &'static str,
}

pub fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn move_away(path: &Path) {
    fs::rename(path, path.with_file_name("moved")).unwrap();
}

/// Replaces a file with a copy, as an editor, `rsync` or a restore by hand does.
fn replace(path: &Path) {
    let copy = path.with_file_name("copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(copy, path).unwrap();
}

fn link_elsewhere(path: &Path) {
    move_away(path);
    std::os::unix::fs::symlink(path.with_file_name("moved"), path).unwrap();
}

const ACCIDENTS: [Accident; 9] = [
    Accident {
        ending: "",
        happens: remove,
        says: "bookd.db was removed",
    },
    Accident {
        ending: "",
        happens: move_away,
        says: "bookd.db was removed",
    },
    Accident {
        ending: "",
        happens: replace,
        says: "bookd.db was replaced by another file",
    },
    Accident {
        ending: "",
        happens: link_elsewhere,
        says: "bookd.db was replaced by another file",
    },
    Accident {
        ending: "-wal",
        happens: remove,
        says: "bookd.db-wal was removed",
    },
    Accident {
        ending: "-wal",
        happens: move_away,
        says: "bookd.db-wal was removed",
    },
    Accident {
        ending: "-wal",
        happens: replace,
        says: "bookd.db-wal was replaced by another file",
    },
    Accident {
        ending: "-shm",
        happens: remove,
        says: "bookd.db-shm was removed",
    },
    Accident {
        ending: "-shm",
        happens: replace,
        says: "bookd.db-shm was replaced by another file",
    },
];

#[tokio::test]
async fn nothing_is_acknowledged_once_a_file_is_gone_and_the_server_says_which_and_ends() {
    for Accident {
        ending,
        happens,
        says,
    } in ACCIDENTS
    {
        for is_idle in [false, true] {
            let folder = TempDir::new().unwrap();
            let file = folder.path().join("bookd.db");
            let (process, channel, _) = served(&file).await;
            happens(&with_ending(&file, ending));
            if !is_idle {
                let refused = book(&channel, 3).await.expect_err(says);
                let allowed = [tonic::Code::Unavailable, tonic::Code::Unknown];
                assert!(allowed.contains(&refused.code()), "{says}: {refused:?}");
            }
            let (status, message) = tokio::task::spawn_blocking(|| process.ended_by_itself())
                .await
                .unwrap();
            assert_eq!(
                status.code(),
                Some(Exit::FileGone.code().into()),
                "{says}: {message}"
            );
            let line = message
                .lines()
                .find(|line| line.contains("ERROR"))
                .expect(&message);
            assert!(
                line.contains(says)
                    && line.contains("bookd check") | line.contains("restore a backup"),
                "{line}"
            );
            assert!(!message.contains("is on disk"), "{message}");
        }
    }
}

#[tokio::test]
async fn a_stop_does_not_say_that_all_is_on_disk_when_the_file_is_gone() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bookd.db");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_bookd"));
    serve.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--store",
        &format!("sqlite:{}", file.display()),
    ]);
    let process = Process::spawn(serve, "with this program");
    remove(&file);
    let (status, message) = tokio::task::spawn_blocking(|| process.terminate_and_read())
        .await
        .unwrap();
    assert_eq!(
        status.code(),
        Some(Exit::FileGone.code().into()),
        "{message}"
    );
    assert!(
        message.contains("bookd.db was removed") && !message.contains("is on disk"),
        "{message}"
    );
}

#[tokio::test]
async fn what_was_acknowledged_is_there_when_a_moved_database_is_put_back_or_its_wal_was_lost() {
    for (ending, happens, mends) in [
        (
            "",
            move_away as fn(&Path),
            (|path| fs::rename(path.with_file_name("moved"), path).unwrap()) as fn(&Path),
        ),
        ("-wal", remove, |_| ()),
        ("-wal", replace, |_| ()),
        ("-shm", remove, |_| ()),
    ] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("bookd.db");
        let (process, channel, answers) = served(&file).await;
        drop(channel);
        happens(&with_ending(&file, ending));
        let (status, _) = tokio::task::spawn_blocking(|| process.ended_by_itself())
            .await
            .unwrap();
        assert_eq!(status.code(), Some(Exit::FileGone.code().into()));
        mends(&with_ending(&file, ending));
        let check = offline(folder.path(), &["check"]);
        assert!(check.status.success(), "{ending}: {}", said(&check));
        has_all(&file, &answers).await;
    }
}

#[tokio::test]
async fn another_writer_of_the_file_stops_the_server_instead_of_being_refused_for_ever() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("bookd.db");
    for (sql, is_noticed) in [
        // A server on another machine does this if it has the file over a network on which locks do
        // not work.
        (
            "insert into changes select max(revision) + 1, time, record, caller, replaced, events, segments from changes",
            true,
        ),
        (
            "delete from changes where revision = (select max(revision) from changes)",
            true,
        ),
        ("update meta set value = value", false),
    ] {
        let process = Process::start(&file);
        let channel = connect(process.address).await;
        open(&channel).await;
        raw(&file).execute_batch(sql).unwrap();
        let booked = book(&channel, 0).await;
        assert_eq!(booked.is_err(), is_noticed, "{sql}: {booked:?}");
        let process = if is_noticed {
            let refused = booked.unwrap_err();
            assert_eq!(
                refused.code(),
                tonic::Code::Unavailable,
                "nothing happened: {refused:?}"
            );
            let (status, message) = tokio::task::spawn_blocking(|| process.ended_by_itself())
                .await
                .unwrap();
            assert_eq!(
                status.code(),
                Some(Exit::WriterStopped.code().into()),
                "{message}"
            );
            assert!(
                message.contains("ERROR")
                    && message.contains("another program writes to the database"),
                "{message}"
            );
            Process::start(&file)
        } else {
            process
        };
        drop(channel);
        assert!(process.terminate_beside_clients().await.success());
        ["", "-wal", "-shm"]
            .into_iter()
            .for_each(|ending| drop(fs::remove_file(with_ending(&file, ending))));
    }
}

/// The files of a folder: name, content, and time of the last write.
pub fn contents(folder: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|it| {
            let it = it.unwrap();
            let name = it.file_name().into_string().unwrap();
            (
                name,
                fs::read(it.path()).unwrap(),
                it.metadata().unwrap().modified().unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

/// Asserts how a check of the store in this folder exits, what it says, and that it leaves the
/// folder as it was.
fn check_leaves(home: &Path, exit: Exit, says: &str) {
    let before = contents(home);
    let output = offline(home, &["check"]);
    assert_eq!(
        output.status.code(),
        Some(exit.code().into()),
        "{}",
        said(&output)
    );
    assert!(said(&output).contains(says), "{}", said(&output));
    assert!(
        contents(home) == before,
        "{:?}",
        contents(home).iter().map(|it| &it.0).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_check_writes_nothing_and_sees_what_is_in_the_wal() {
    let folder = TempDir::new().unwrap();
    let home = folder.path().join("served");
    fs::create_dir(&home).unwrap();
    let file = home.join("bookd.db");
    let (process, channel, _) = served(&file).await;
    drop(channel);
    process.kill();
    let revisions = "log        R4       4 ";
    check_leaves(&home, Exit::Done, revisions);
    remove(&with_ending(&file, "-shm"));
    check_leaves(&home, Exit::Done, revisions);
    assert!(
        Process::start(&file)
            .terminate_beside_clients()
            .await
            .success()
    );
    assert!(!with_ending(&file, "-wal").exists());
    check_leaves(&home, Exit::Done, revisions);
    // The damage is only in the WAL.
    let other = folder.path().join("copied");
    fs::create_dir(&other).unwrap();
    let connection = raw(&file);
    connection
        .execute_batch("update appointments set start = start + 60 where key = 2")
        .unwrap();
    for ending in ["", "-wal"] {
        fs::copy(
            with_ending(&file, ending),
            with_ending(&other.join("bookd.db"), ending),
        )
        .unwrap();
    }
    check_leaves(&other, Exit::Failed, "rows: appointment");
    remove(&with_ending(&other.join("bookd.db"), "-wal"));
    check_leaves(&other, Exit::Done, revisions);
    drop(connection);
    // A transaction was interrupted without a WAL.
    let connection = raw(&file);
    let spilled = "pragma journal_mode = delete; pragma cache_size = 1; begin; create table t (x); \
         insert into t select randomblob(1000) from changes, changes, changes, changes";
    connection.execute_batch(spilled).unwrap();
    for ending in ["", "-journal"] {
        fs::copy(
            with_ending(&file, ending),
            with_ending(&other.join("bookd.db"), ending),
        )
        .unwrap();
    }
    check_leaves(&other, Exit::Invalid, "start `bookd serve` on it once");
    drop(connection);
    // A file of an older schema is upgraded in a copy.
    let older = folder.path().join("older");
    fs::create_dir(&older).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/schema-3.db");
    fs::copy(kept, older.join("bookd.db")).unwrap();
    check_leaves(&older, Exit::Drifted, "sessions: ");
}
