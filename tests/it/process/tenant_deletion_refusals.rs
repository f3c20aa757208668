//! `bookd tenant delete` is refused before it changes anything: without a word of consent, and where
//! it could not succeed.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::backup::{names, run_json};
use crate::people::{bookd, said};
use crate::tenant_deletion::offline;
use crate::tenant_world::Tenants;
use crate::transfer::well;

#[tokio::test]
async fn nothing_is_deleted_before_somebody_says_so() {
    let (folder, _grants) = Tenants::new().await.stop().await;
    let home = folder.path();
    well(home, &["check"]);
    let before = std::fs::read(home.join("bookd.db")).unwrap();
    let shown = run_json(home, &["tenant", "delete", "acme/", "--dry-run"]);
    assert_eq!(shown["deleted"], json!(false));
    assert_eq!(shown["calendars"], json!(3));
    assert_eq!(shown["deleted_calendars"], json!(1));
    for (words, code, says) in [
        (&["tenant", "delete", "acme/"][..], 2, "say --yes"),
        (&["tenant", "delete", "acme"], 2, "is acme/ meant?"),
        (&["tenant", "delete", ""], 2, "must not be empty"),
        (&["tenant", "delete", "acm/", "--yes"], 4, "nothing of acm/"),
        (
            &[
                "tenant",
                "delete",
                "acme/",
                "--yes",
                "--store",
                "sqlite:no.db",
            ],
            4,
            "no.db",
        ),
    ] {
        let (ended, said) = offline(home, words);
        assert_eq!(ended, Some(code), "{words:?}: {said}");
        assert!(said.contains(says), "{words:?}: {said}");
    }
    let asked = bookd(
        "127.0.0.1:1",
        home,
        &["tenant", "delete", "acme/", "--json"],
    );
    assert_eq!(asked.status.code(), Some(2));
    assert!(asked.stdout.is_empty(), "{}", said(&asked));
    well(home, &["check"]);
    let is_same = |folder: &Path| {
        let export = |of: &Path| well(of, &["tenant", "export", "acme/", "--codes"]);
        let kept = TempDir::new().unwrap();
        std::fs::write(kept.path().join("bookd.db"), &before).unwrap();
        export(folder) == export(kept.path())
    };
    assert!(is_same(home));
    let process = crate::kill::Process::start(&home.join("bookd.db"));
    let (code, said) = offline(home, &["tenant", "delete", "acme/", "--yes"]);
    assert_eq!(code, Some(7), "{said}");
    assert!(process.terminate().success());
    assert!(is_same(home));
}

#[tokio::test]
async fn a_deletion_that_cannot_succeed_is_refused_at_its_beginning() {
    let (folder, _grants) = Tenants::new().await.stop().await;
    let home = folder.path();
    let whole = well(home, &["tenant", "export", "acme/"]);
    let delete = ["tenant", "delete", "acme/", "--yes"];
    // A replication or another reader: it would read on in a file that has no name any more.
    let reader = rusqlite::Connection::open(home.join("bookd.db")).unwrap();
    reader.execute_batch("begin").unwrap();
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    reader
        .query_row("select count(*) from changes", [], count)
        .unwrap();
    // It would die after the copy.
    let refused = Command::new(env!("CARGO_BIN_EXE_bookd"))
        .args(delete)
        .current_dir(home)
        .env("BOOKD_DIE_AT", "TenantDeletion:1")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    assert!(!home.join("bookd.db.new.part").exists());
    drop(reader);
    // A folder of somebody else.
    let foreign = home.join("bookd.db.new.part");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("mine.txt"), "mine").unwrap();
    let (code, text) = offline(home, &delete);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the store is as it was"), "{text}");
    assert!(foreign.join("mine.txt").exists());
    assert_eq!(well(home, &["tenant", "export", "acme/"]), whole);
}

#[test]
fn an_older_file_is_not_upgraded_by_a_look_at_a_tenant() {
    let folder = TempDir::new().unwrap();
    let older = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files/schema-5.db");
    let file = folder.path().join("bookd.db");
    std::fs::copy(&older, &file).unwrap();
    for words in [
        &["tenant", "export", "clinic/"][..],
        &["tenant", "delete", "clinic/", "--dry-run"],
        &["tenant", "delete", "clinic/", "--yes"],
    ] {
        let (code, text) = offline(folder.path(), words);
        assert_eq!(code, Some(3), "{words:?}: {text}");
        assert!(text.contains("start `bookd serve` on it once"), "{text}");
        assert_eq!(names(folder.path()), ["bookd.db"]);
        assert_eq!(
            std::fs::read(&file).unwrap(),
            std::fs::read(&older).unwrap()
        );
    }
}
