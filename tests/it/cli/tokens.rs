//! `bookd token`: on a store that nobody serves, and of a server; and what a restore makes of tokens.

use std::path::Path;
use std::process::{Command, Output};

use bookd::cli::exit::Exit;
use serde_json::Value;
use tempfile::TempDir;

use crate::kill::Process;
use crate::people::{bookd, said};

const STORE: &str = "sqlite:bookd.db";

fn exit(output: &Output) -> Option<Exit> {
    let all = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Invalid,
        Exit::NotFound,
        Exit::TryAgain,
    ];
    let code = output.status.code();
    all.into_iter().find(|it| code == Some(it.code().into()))
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder with an empty store, and a function that runs commands in it without a server.
fn with_store() -> TempDir {
    let folder = TempDir::new().unwrap();
    assert!(
        Process::start(&folder.path().join("bookd.db"))
            .terminate()
            .success()
    );
    folder
}

fn offline(home: &Path, words: &[&str]) -> Output {
    bookd("127.0.0.1:1", home, words)
}

/// Creates a token in the store and writes it into a file of the name; answers its id.
fn create(home: &Path, name: &str, scopes: &str) -> String {
    let words = [
        "token", "create", name, "--scopes", scopes, "--store", STORE, "--json",
    ];
    let created = json(&offline(home, &words));
    std::fs::write(home.join(name), created["token"].as_str().unwrap()).unwrap();
    let id = created["record"]["token_id"].as_str().unwrap().to_owned();
    assert!(
        created["token"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{id}_"))
    );
    id
}

fn listed(output: &Output) -> Vec<String> {
    let tokens = json(output)["tokens"].clone();
    let tokens = tokens.as_array().cloned().unwrap_or_default();
    let name = |it: &Value| it["name"].as_str().unwrap().to_owned();
    tokens.iter().map(name).collect()
}

#[test]
fn the_first_administrator_makes_a_token_in_the_store_and_the_others_by_the_server() {
    let folder = with_store();
    let home = folder.path();
    let root = create(home, "root", "admin");
    let shown = offline(home, &["token", "list", "--store", STORE]);
    assert!(said(&shown).contains(&root) && said(&shown).contains("admin"));
    let secret = std::fs::read_to_string(home.join("root")).unwrap();
    assert!(!said(&shown).contains(&secret));

    let process = Process::start(&home.join("bookd.db"));
    let server = process.address.to_string();
    let ask = |words: &[&str]| bookd(&server, home, words);
    assert!(said(&ask(&["calendars"])).contains("CREDENTIALS_INVALID"));
    let held = ask(&["token", "list", "--store", STORE]);
    assert_eq!(exit(&held), Some(Exit::TryAgain), "{}", said(&held));
    let words = "token create acme/desk --scopes read,book --prefix acme/ --expires 90d";
    let words: Vec<&str> = words.split(' ').chain(["--token-file", "root"]).collect();
    let created = ask(&words);
    let text = said(&created);
    assert!(created.status.success(), "{text}");
    for part in ["acme/desk", "read, book", "acme/", "shown this once"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let desk = text.split_whitespace().find(|it| it.len() == 49).unwrap();
    std::fs::write(home.join("desk"), desk).unwrap();
    let who = ask(&["whoami", "--token-file", "desk"]);
    assert!(said(&who).contains("acme/desk"), "{}", said(&who));
    let denied = ask(&["token", "list", "--token-file", "desk"]);
    assert!(
        said(&denied).contains("PERMISSION_DENIED"),
        "{}",
        said(&denied)
    );
    let all = ask(&["token", "list", "--token-file", "root"]);
    assert!(said(&all).contains("LAST USED") && !said(&all).contains(desk));
    let revoked = ask(&["token", "revoke", &desk[..16], "--token-file", "root"]);
    assert!(
        said(&revoked).contains("OK, revision"),
        "{}",
        said(&revoked)
    );
    let refused = ask(&["whoami", "--token-file", "desk"]);
    assert!(
        said(&refused).contains("CREDENTIALS_INVALID"),
        "{}",
        said(&refused)
    );
    assert!(process.terminate().success());

    let check = offline(home, &["check", "--store", STORE, "--json"]);
    assert_eq!(json(&check)["damaged"], false, "{}", said(&check));
    let database = std::fs::read(home.join("bookd.db")).unwrap();
    let digits = &secret.as_bytes()[17..];
    assert!(
        !database.windows(digits.len()).any(|it| it == digits),
        "only its hash is kept"
    );
}

#[test]
fn arguments_that_cannot_be_used_are_named() {
    let folder = with_store();
    let home = folder.path();
    for (words, wanted, part) in [
        (
            "create bootstrap --scopes read",
            Exit::Usage,
            "another principal",
        ),
        ("create desk --scopes raed", Exit::Usage, "raed"),
        ("create desk", Exit::Usage, "--scopes"),
        (
            "create desk --scopes read --prefix acme",
            Exit::Usage,
            "--prefix",
        ),
        (
            "create desk --scopes read --expires 4000d",
            Exit::Invalid,
            "ten years",
        ),
        (
            "create desk --scopes read --expires 0s",
            Exit::Invalid,
            "after now",
        ),
        ("revoke desk", Exit::Usage, "TOKEN"),
        (
            "revoke bookd_aaaaaaaaaa",
            Exit::NotFound,
            "there is no token",
        ),
    ] {
        let words = words.split(' ').chain(["--store", STORE]);
        let words: Vec<&str> = ["token"].into_iter().chain(words).collect();
        let output = offline(home, &words);
        assert_eq!(exit(&output), Some(wanted), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(part), "{words:?}: {}", said(&output));
    }
    let tried = [
        "token",
        "create",
        "desk",
        "--scopes",
        "read",
        "--dry-run",
        "--store",
        STORE,
    ];
    assert!(offline(home, &tried).status.success());
    let all = offline(home, &["token", "list", "--store", STORE, "--json"]);
    assert!(listed(&all).is_empty(), "nothing was changed");
    let elsewhere = ["token", "list", "--store", "sqlite:other.db"];
    let missing = offline(home, &elsewhere);
    assert_eq!(exit(&missing), Some(Exit::NotFound), "{}", said(&missing));
    assert!(!home.join("other.db").exists());
}

#[test]
fn a_restore_drops_all_tokens_unless_it_is_told_to_keep_them_and_the_store_stays_guarded() {
    let folder = with_store();
    let home = folder.path();
    create(home, "root", "admin");
    create(home, "desk", "read");
    assert!(
        offline(home, &["backup", "copy.db", "--store", STORE])
            .status
            .success()
    );
    let restore = |to: &str, more: &[&str]| {
        let words: Vec<&str> = ["restore", "copy.db", "--store", to]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        let restored = offline(home, &words);
        assert!(restored.status.success(), "{}", said(&restored));
        said(&restored)
    };
    let dropped = restore("sqlite:dropped.db", &[]);
    assert!(dropped.contains("2 of them"), "{dropped}");
    let kept = restore("sqlite:kept.db", &["--keep-tokens"]);
    assert!(!kept.contains("dropped"), "{kept}");
    let of = |store: &str| {
        listed(&offline(
            home,
            &["token", "list", "--store", store, "--json"],
        ))
    };
    assert_eq!(of("sqlite:dropped.db").len(), 0);
    assert_eq!(of("sqlite:kept.db").len(), 2);
    for file in ["dropped.db", "kept.db"] {
        let store = format!("sqlite:{file}");
        let check = offline(home, &["check", "--store", &store, "--json"]);
        assert_eq!(json(&check)["damaged"], false, "{file}: {}", said(&check));
    }

    for (file, is_known) in [("dropped.db", false), ("kept.db", true)] {
        let process = Process::start(&home.join(file));
        let server = process.address.to_string();
        let stranger = bookd(&server, home, &["calendars"]);
        assert!(
            said(&stranger).contains("CREDENTIALS_INVALID"),
            "{}",
            said(&stranger)
        );
        let root = bookd(&server, home, &["calendars", "--token-file", "root"]);
        assert_eq!(root.status.success(), is_known, "{}", said(&root));
        assert!(process.terminate().success());
    }
    // Nothing of an export is a token.
    assert!(
        offline(home, &["export", "all.json", "--store", STORE])
            .status
            .success()
    );
    let exported = std::fs::read_to_string(home.join("all.json")).unwrap();
    assert!(!exported.contains("bookd_") && !exported.contains("desk"));
}

#[test]
fn tokens_of_the_store_keep_strangers_away_and_want_tls_off_this_machine() {
    let folder = with_store();
    let home = folder.path();
    let started = |more: &[&str]| -> Command {
        let mut serve = Command::new(env!("CARGO_BIN_EXE_bookd"));
        serve
            .args(["serve", "--listen", "0.0.0.0:0", "--store", STORE])
            .args(more)
            .current_dir(home);
        serve
    };
    let refused = |more: &[&str]| {
        let output = started(more).output().unwrap();
        assert_eq!(exit(&output), Some(Exit::Usage), "{}", said(&output));
        said(&output)
    };
    assert!(refused(&[]).contains("--insecure"));
    create(home, "root", "admin");
    assert!(refused(&[]).contains("--plaintext-behind-proxy"));
    assert!(refused(&["--insecure"]).contains("--plaintext-behind-proxy"));
    let behind = started(&["--plaintext-behind-proxy"]);
    let process = Process::spawn(behind, "with this program");
    assert!(process.terminate().success());
}
