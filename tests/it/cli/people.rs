//! The command line: every method has a command, and every command has examples that work.
//!
//! The commands run as a binary of its own, against a server in another process.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use bookd::cli::arguments::{Arguments, CliCommand as Parsed};
use bookd::proto::FILE_DESCRIPTOR_SET;
use clap::{CommandFactory, Parser};
use prost_reflect::DescriptorPool;

use crate::kill::Process;

/// Runs the binary in this folder against the server at this address.
pub fn bookd(server: &str, folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command
        .args(words)
        .current_dir(folder)
        .env("BOOKD_SERVER", server)
        .output()
        .unwrap()
}

/// The text of stdout and then of stderr.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Adds this command and all below it, each with the words that name it.
pub fn leaves(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
    found.push((name.to_owned(), command.clone()));
    for inner in command.get_subcommands() {
        leaves(inner, &format!("{name} {}", inner.get_name()), found);
    }
}

/// The example lines in the help of a command.
pub fn examples(command: &clap::Command) -> Vec<String> {
    let help = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    help.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("bookd "))
        .map(ToOwned::to_owned)
        .collect()
}

/// The words of a line, split at spaces and unquoted as by a shell.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in line.chars() {
        match (quote, character) {
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if character == open => quote = None,
            (None, ' ') if !word.is_empty() => words.push(std::mem::take(&mut word)),
            (None, ' ') => {}
            _ => word.push(character),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn every_command_has_an_example_that_the_command_line_takes() {
    let mut all = Vec::new();
    leaves(&Arguments::command(), "bookd", &mut all);
    assert!(all.len() > 40, "{}", all.len());
    for (name, command) in all.iter().filter(|(name, _)| name != "bookd") {
        let examples = examples(command);
        assert!(!examples.is_empty(), "{name} --help shows no example");
        for example in examples {
            assert!(
                example.starts_with(name.as_str()),
                "{name} --help shows {example}"
            );
            if let Err(error) = Arguments::try_parse_from(words(&example)) {
                panic!("{example}: {error}");
            }
        }
    }
}

#[test]
fn every_unary_method_of_the_contract_has_a_command() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let methods = pool
        .services()
        .flat_map(|it| it.methods().collect::<Vec<_>>());
    let unary: BTreeSet<String> = methods
        .filter(|it| !it.is_server_streaming())
        .map(|it| it.name().to_owned())
        .collect();
    let mut all = Vec::new();
    leaves(&Arguments::command(), "bookd", &mut all);
    let mut reached = BTreeSet::new();
    for example in all
        .iter()
        .filter(|(name, _)| name != "bookd call")
        .flat_map(|(_, it)| examples(it))
    {
        if let Parsed::Client(command) = Arguments::try_parse_from(words(&example)).unwrap().command
        {
            reached.insert(command.method().to_owned());
        }
    }
    assert!(unary.len() >= 36, "{unary:?}");
    assert_eq!(
        unary.difference(&reached).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
}

/// A field that the kept contract lacks could be removed or renumbered, and the check for breaking
/// changes would not see it.
#[test]
fn the_kept_contract_has_everything_that_is_in_the_contract() {
    let kept = std::fs::read(format!(
        "{}/tests/files/v1.binpb",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap();
    let named = |descriptors: &[u8]| -> BTreeSet<String> {
        let pool = DescriptorPool::decode(descriptors).unwrap();
        let ours: Vec<_> = pool
            .all_messages()
            .filter(|it| it.package_name() == "bookd.v1")
            .collect();
        let fields = ours.iter().flat_map(|message| {
            message
                .fields()
                .map(|it| format!("{} = {}", it.full_name(), it.number()))
        });
        let enums = pool
            .all_enums()
            .filter(|it| it.package_name() == "bookd.v1")
            .collect::<Vec<_>>();
        let values = enums.iter().flat_map(|enumeration| {
            enumeration
                .values()
                .map(|it| format!("{} = {}", it.full_name(), it.number()))
        });
        let methods = pool.services().flat_map(|service| {
            service
                .methods()
                .map(|it| it.full_name().to_owned())
                .collect::<Vec<_>>()
        });
        fields.chain(values).chain(methods).collect()
    };
    let (kept, now) = (named(&kept), named(FILE_DESCRIPTOR_SET));
    assert!(
        kept.contains("bookd.v1.Appointment.location = 24"),
        "{kept:?}"
    );
    let missing: Vec<_> = now.difference(&kept).collect();
    assert!(
        missing.is_empty(),
        "make tests/files/v1.binpb anew, as .ci/run says: it lacks {missing:?}"
    );
}

/// Runs a command line, which must succeed, and returns its output.
fn well(process: &Process, folder: &Path, line: &str) -> String {
    let words = words(line);
    let output = bookd(
        &process.address.to_string(),
        folder,
        &words.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    assert!(output.status.success(), "{line}\n{}", said(&output));
    said(&output)
}

/// The id in the last column of the last line of a table.
pub fn id_of(table: &str) -> String {
    table.split_whitespace().last().unwrap().to_owned()
}

/// Makes the calendars of a doctor and a room, changes them, and puts their types.
fn make_calendars(run: &impl Fn(&str) -> String) {
    run(
        "calendar create dr-lee --name \"Dr Lee\" --zone Europe/Paris --owner Lee --owner-email lee@example.com",
    );
    run("hours dr-lee daily 08:00-18:00");
    run("hours room-1 daily 08:00-18:00 --zone Europe/Paris");
    for calendar in ["dr-lee", "room-1"] {
        run(&format!(
            "types put {calendar} visit --duration 30m --or-duration 1h --step 15m --buffer-after 10m"
        ));
    }
    assert!(run("calendar update dr-lee --per-day 20 --metadata floor=2").contains("per_day 20"));
    let updated = run("calendar update dr-lee --owner-email dr@example.com --clear limits");
    assert!(
        updated.contains("name Lee, email dr@example.com") && !updated.contains("per_day"),
        "{updated}"
    );
    assert!(run("calendars dr").contains("Dr Lee"));
    run("types put dr-lee visit --keep --notice 10m");
    let visit = run("types get dr-lee visit");
    assert!(visit.contains("600s") && visit.contains("900s"), "{visit}");
    assert!(run("types list dr-lee").contains("visit"));
    run("types put dr-lee gone");
    run("types delete dr-lee gone");
}

/// Books an appointment on both calendars, updates, moves and cancels it.
fn book_move_and_cancel(run: &impl Fn(&str) -> String) {
    let booked = run(
        "book dr-lee,room-1 tomorrow 10:00 --all --type visit --name Grace --note first --metadata a=b",
    );
    assert!(booked.contains("dr-lee, room-1"), "{booked}");
    let id = id_of(&booked);
    assert_eq!(
        run("free-busy dr-lee,room-1 --from today --to \"tomorrow\" --json")
            .matches("calendar_id")
            .count(),
        2
    );
    assert!(run("explain dr-lee tomorrow 10:00 --type visit").contains("BUSY_BOOKING"));
    assert!(run(&format!("slots dr-lee tomorrow --type visit --moving {id}")).contains("10:00"));
    assert!(
        run(&format!("update {id} --email grace@example.com")).contains("Grace"),
        "the name stays"
    );
    assert!(run(&format!("move {id} tomorrow 11:00 --duration 1h")).contains("11:00"));
    assert!(run(&format!("cancel {id} --reason ill")).contains("cancelled"));
    assert_eq!(run("list dr-lee"), "none\n");
    assert!(run("list dr-lee --state cancelled").contains(&id));
}

/// Confirms and releases holds, approves and declines requests.
fn hold_and_request(run: &impl Fn(&str) -> String) {
    let hold = id_of(&run("hold dr-lee tomorrow 12:00 --type visit --ttl 10m"));
    run(&format!("extend {hold} --ttl 15m"));
    assert!(run(&format!("book --hold {hold} --name Bea")).contains("confirmed"));
    let hold = id_of(&run("hold dr-lee tomorrow 14:00 --type visit"));
    assert!(run(&format!("confirm {hold} --name Bea")).contains("confirmed"));
    let hold = id_of(&run("hold dr-lee tomorrow 16:00 --type visit"));
    assert!(run(&format!("release {hold}")).contains("cancelled"));
    run("types put dr-lee visit --keep --approval");
    let request = id_of(&run("book dr-lee tomorrow 16:00 --type visit --name Cy"));
    assert!(run(&format!("approve {request}")).contains("confirmed"));
    let request = id_of(&run("book dr-lee tomorrow 17:00 --type visit --name Cy"));
    assert!(run(&format!("decline {request} --reason full")).contains("declined"));
}

/// Puts and deletes overrides, and puts busy time.
fn change_hours(run: &impl Fn(&str) -> String) {
    run("overrides put dr-lee 2031-12-24 closed --to 2031-12-26 --note Christmas");
    assert!(run("hours dr-lee").contains("2031-12-25"));
    run("overrides delete dr-lee 2031-12-24 2031-12-25 2031-12-26");
    run(
        "busy put dr-lee google --from 2031-03-01 --to 2031-03-08 2031-03-02T09:00/2031-03-02T10:30",
    );
    assert!(
        run("busy list dr-lee --from 2031-03-01 --to 2031-03-08").contains("2031-03-02T08:00:00Z"),
        "by its clocks"
    );
}

#[test]
fn a_clinic_is_run_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder.path().join("bookd.db"));
    let run = |line: &str| well(&process, folder.path(), line);
    make_calendars(&run);
    book_move_and_cancel(&run);
    hold_and_request(&run);
    change_hours(&run);
    let batch = "[{\"calendar_id\":\"room-1\",\"local_start\":\"DATET09:00\",\"invitee\":{\"name\":\"Di\"}}]";
    let tomorrow = run("slots dr-lee tomorrow --limit 1 --json");
    let tomorrow = &tomorrow.split("\"local_start\": \"").nth(1).unwrap()[..10];
    std::fs::write(
        folder.path().join("batch.json"),
        batch.replace("DATE", tomorrow),
    )
    .unwrap();
    assert!(run("batch batch.json").contains("Di"));
    assert!(run("changes dr-lee --limit 5").contains("declined"));
    assert_eq!(
        run("changes dr-lee --limit 5 --json")
            .matches("commit_time")
            .count(),
        5
    );
    assert!(run("info").contains("time zone release"));
    let output = bookd(
        &process.address.to_string(),
        folder.path(),
        &["book", "a,b", "tomorrow", "10:00"],
    );
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(run("calendar delete room-1 --force --dry-run").contains("room-1 would be deleted"));
    assert!(process.terminate().success());
}

#[test]
fn a_command_that_changes_hours_shows_which_appointments_then_lie_outside() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder.path().join("bookd.db"));
    let run = |line: &str| well(&process, folder.path(), line);
    run("hours ada daily 09:00-12:00 --zone Europe/Paris");
    run("types put ada visit --duration 1h");
    let ids = [
        "book ada tomorrow 09:00 --type visit --name Grace",
        "book ada tomorrow 10:00 --name Bea",
    ];
    let ids = ids.map(|line| id_of(&run(line)));
    let shows = |line: &str, warning: &str, named: [bool; 2]| {
        let shown = run(line);
        assert_eq!(
            ids.each_ref().map(|id| shown.contains(id)),
            named,
            "{line}\n{shown}"
        );
        assert!(shown.contains(warning), "{line}\n{shown}");
        assert_eq!(
            shown.contains("open hours"),
            !warning.is_empty(),
            "{line}\n{shown}"
        );
    };
    let (one, both) = (
        "1 upcoming appointment lies outside open hours",
        "2 upcoming appointments lie outside open hours",
    );
    shows(
        "calendar update ada --zone Asia/Tokyo --dry-run",
        both,
        [true, true],
    );
    shows("calendar update ada --name Ada", "", [false, false]);
    shows(
        "types put ada visit --keep --hours \"daily 10:00-12:00\"",
        one,
        [true, false],
    );
    shows("types put ada default", "", [false, false]);
    shows("types get ada visit", "", [false, false]);
    shows("calendar update ada --name Lovelace", one, [true, false]);
    assert!(process.terminate().success());
}

#[test]
fn all_pages_of_a_list_come_up_to_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder.path().join("bookd.db"));
    let run = |line: &str| well(&process, folder.path(), line);
    run("hours ada daily 00:00-24:00");
    run("types put ada short --duration 1m");
    let ids = |answer: &str| answer.matches("\"start_time\"").count();
    assert_eq!(
        ids(&run("slots ada tomorrow --type short --json --limit 1440")),
        1_440,
        "the limit is larger than one page"
    );
    assert_eq!(
        ids(&run("slots ada tomorrow --type short --json --limit 1001")),
        1_001
    );
    assert!(run("slots ada tomorrow --type short --limit 3").contains("there is more"));
    assert!(process.terminate().success());
}

#[test]
fn the_dockerfile_names_what_there_is_and_settings_that_are_taken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("Dockerfile")).unwrap();
    let lines = |word: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix(word))
            .map(|it| it.trim().to_owned())
            .collect()
    };
    let copied = lines("COPY ")
        .into_iter()
        .filter(|it| !it.starts_with("--from"));
    let sources: Vec<String> = copied
        .flat_map(|it| words(it.rsplit_once(' ').unwrap().0))
        .collect();
    for needed in [
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "proto",
        "src",
        "tests",
        "benches",
    ] {
        assert!(
            sources.iter().any(|it| it == needed),
            "{needed} is not copied"
        );
    }
    let ignored = std::fs::read_to_string(root.join(".dockerignore")).unwrap();
    for source in &sources {
        assert!(root.join(source).exists(), "{source} is not there");
        assert!(
            ignored.lines().any(|it| it == format!("!{source}")),
            "{source} is ignored"
        );
    }
    let toolchain = std::fs::read_to_string(root.join("rust-toolchain.toml")).unwrap();
    let channel = toolchain
        .split("channel = \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert!(
        lines("FROM ")[0].starts_with(&format!("rust:{channel}-")),
        "the compiler that gates builds the image"
    );
    // Nothing but where the configuration is: a variable would outrank a file that is mounted.
    assert_eq!(lines("ENV "), ["BOOKD_CONFIG=/etc/bookd/bookd.toml"]);
    let file = root.join("deploy/docker/bookd.toml");
    assert!(lines("COPY ").contains(&"deploy/docker/bookd.toml /etc/bookd/bookd.toml".to_owned()));
    let mut serve = Command::new(env!("CARGO_BIN_EXE_bookd"));
    serve
        .args(["serve", "--print-config", "--config"])
        .arg(&file);
    let config = said(&serve.output().unwrap());
    let setting = |name: &str| {
        let found = config.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_else(|| panic!("{config}"))
    };
    assert_eq!(lines("EXPOSE "), ["50051"]);
    assert_eq!(setting("BOOKD_LISTEN="), "0.0.0.0:50051");
    assert_eq!(lines("USER "), ["10001:10001"]);
    let volume = &lines("VOLUME ")[0];
    assert!(setting("BOOKD_STORE=").starts_with(&format!("sqlite:{volume}/")));
}
