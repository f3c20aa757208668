//! TLS of the binary: bookings over mutual TLS by the command line, certificates replaced while it
//! serves, and starts that would serve strangers.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bookd::cli::exit::Exit;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::kill::Process;
use crate::people::said;
use crate::server::eventually;
use crate::tls::Files;

/// A free port of this machine.
const HERE: &str = "127.0.0.1:0";
/// The last line that a server prints before it serves.
const READY: &str = "with this program";

/// The command that serves a file, without TLS.
fn serving(file: &Path, listen: &str, log: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command.args(["serve", "--listen", listen, "--confirm-clock", "--log", log]);
    command
        .arg("--store")
        .arg(format!("sqlite:{}", file.display()));
    command
}

/// The flags of TLS.
fn with_tls(mut command: Command, files: &Files) -> Command {
    command.arg("--tls-cert").arg(files.path("server.pem"));
    command.arg("--tls-key").arg(files.path("server.key"));
    command
}

/// The flags of TLS that asks clients for certificates.
fn with_mutual_tls(command: Command, files: &Files) -> Command {
    let mut command = with_tls(command, files);
    command.arg("--client-ca").arg(files.path("ca.pem"));
    command
}

/// Runs a client command in the folder of the files.
fn bookd(files: &Files, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
    command.args(arguments).current_dir(files.path(""));
    command.output().unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

/// A server with mutual TLS, and the files of a client `grace`, of a stranger, and of the authority
/// of that one.
fn mutual(home: &TempDir) -> (Files, Process) {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let files = Files::new(&ours);
    files.write("grace", &ours.client("grace", &[]));
    files.write("stranger", &other.client("stranger", &[]));
    std::fs::write(files.path("other.pem"), other.pem()).unwrap();
    let command = serving(&home.path().join("bookd.db"), HERE, "warn");
    let process = Process::spawn(with_mutual_tls(command, &files), READY);
    (files, process)
}

/// Runs a command that is described by its words.
fn bookd_words(files: &Files, words: &str) -> Output {
    bookd(files, &words.split(' ').collect::<Vec<_>>())
}

#[test]
fn the_command_line_books_over_mutual_tls() {
    let home = TempDir::new().unwrap();
    let (files, process) = mutual(&home);
    let (plain, banner) = (process.address, &process.banner);
    assert!(banner.contains("serves gRPC with TLS and client certificates on "));
    assert!(banner.contains("grpcurl -cacert ca.pem -cert client.pem"));
    let grace = "--server-ca ca.pem --client-cert grace.pem --client-key grace.key";
    for words in [
        format!("hours ada daily 09:00-17:00 --server https://{plain} {grace}"),
        format!("book ada tomorrow 10:00 --name Grace --server {plain} {grace}"),
    ] {
        let done = bookd_words(&files, &words);
        assert_eq!(code(&done), Some(0), "{words}: {}", said(&done));
    }
    let mut by_environment = Command::new(env!("CARGO_BIN_EXE_bookd"));
    by_environment
        .args(["list", "ada"])
        .env("BOOKD_SERVER", format!("https://{plain}"))
        .env("BOOKD_SERVER_CA", files.path("ca.pem"))
        .env("BOOKD_CLIENT_CERT", files.path("grace.pem"))
        .env("BOOKD_CLIENT_KEY", files.path("grace.key"));
    let listed = said(&by_environment.output().unwrap());
    assert!(listed.contains("Grace"), "{listed}");
    assert!(process.terminate().success());
}

/// Options after `--server`, with `AT` for the address, the exit code, and what the message says.
const REFUSED: [(&str, Exit, &str); 12] = [
    (
        "https://AT --server-ca ca.pem",
        Exit::TryAgain,
        "--client-cert",
    ),
    (
        "https://AT --server-ca ca.pem --client-cert stranger.pem --client-key stranger.key",
        Exit::TryAgain,
        "--client-cert",
    ),
    (
        "https://AT --server-ca other.pem",
        Exit::TryAgain,
        "is --server-ca the authority",
    ),
    (
        "https://AT --server-ca ca.pem --server-name bookd.example",
        Exit::TryAgain,
        "--server-name",
    ),
    ("AT", Exit::TryAgain, "the connection broke"),
    (
        "https://AT",
        Exit::Usage,
        "name the authority of its certificate with --server-ca",
    ),
    (
        "http://AT --server-ca ca.pem",
        Exit::Usage,
        "write https://",
    ),
    (
        "https://AT --server-ca ca.pem --client-cert grace.pem",
        Exit::Usage,
        "--client-cert needs --client-key",
    ),
    (
        "AT --client-cert grace.pem --client-key grace.key",
        Exit::Usage,
        "inside TLS alone",
    ),
    (
        "AT --server-ca ca.pem --client-cert grace.pem --client-key stranger.key",
        Exit::Usage,
        "grace.pem and stranger.key cannot be used",
    ),
    (
        "AT --server-ca ca.pem --client-cert lost.pem --client-key grace.key",
        Exit::Usage,
        "--client-cert lost.pem: cannot be read",
    ),
    (
        "https://AT --server-ca grace.key",
        Exit::Usage,
        "holds no certificate",
    ),
];

#[test]
fn a_client_command_without_good_certificates_says_what_is_wrong_and_what_next() {
    let home = TempDir::new().unwrap();
    let (files, process) = mutual(&home);
    let address = process.address.to_string();
    for (options, exit, text) in REFUSED {
        let options = options.replace("AT", &address);
        let output = bookd_words(&files, &format!("info --server {options}"));
        let said = said(&output);
        assert_eq!(code(&output), Some(exit.code().into()), "{options}: {said}");
        assert!(said.contains(text), "{options}: {said}");
    }
    assert!(process.terminate().success());
}

#[tokio::test]
async fn a_hangup_replaces_the_certificate_and_files_that_cannot_be_used_leave_it() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (files, home) = (Files::new(&ours), TempDir::new().unwrap());
    std::fs::write(files.path("other.pem"), other.pem()).unwrap();
    let log = home.path().join("log");
    let command = with_tls(serving(&home.path().join("bookd.db"), HERE, "info"), &files);
    let process = Process::spawn_into(command, READY, File::create(&log).unwrap().into());
    assert!(process.banner.contains("serves gRPC with TLS on "));
    let server = format!("https://{}", process.address);
    let ask = |authority: &str| {
        bookd(
            &files,
            &["info", "--server", &server, "--server-ca", authority],
        )
    };
    let lines = |text: &str| {
        let log = std::fs::read_to_string(&log).unwrap();
        log.lines().filter(|line| line.contains(text)).count()
    };
    let hang_up = || {
        let id = process.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &id]).status().unwrap();
        assert!(sent.success());
    };
    assert_eq!(code(&ask("ca.pem")), Some(0));
    files.write("server", &other.server("two"));
    hang_up();
    eventually(|| lines("the files of TLS were read again") == 1).await;
    assert_eq!(lines("CN=two"), 1);
    assert_eq!(code(&ask("other.pem")), Some(0));
    assert_eq!(code(&ask("ca.pem")), Some(Exit::TryAgain.code().into()));

    std::fs::write(files.path("server.key"), "nothing").unwrap();
    hang_up();
    eventually(|| lines("the files of TLS cannot be used") == 1).await;
    assert_eq!(lines("server.key"), 1);
    assert_eq!(lines("holds no private key"), 1);
    assert_eq!(code(&ask("other.pem")), Some(0));
    assert!(process.terminate_beside_clients().await.success());
}

#[test]
fn a_start_that_would_serve_strangers_is_refused_unless_they_are_asked_or_wanted() {
    let authority = Authority::new("ours");
    let (files, home) = (Files::new(&authority), TempDir::new().unwrap());
    let file = home.path().join("bookd.db");
    let usage = Some(Exit::Usage.code().into());
    let everywhere = || serving(&file, "0.0.0.0:0", "warn");
    for mut refused in [everywhere(), with_tls(everywhere(), &files)] {
        let output = refused.output().unwrap();
        let said = said(&output);
        assert_eq!(code(&output), usage, "{said}");
        for way_out in ["--client-ca", "127.0.0.1", "--insecure"] {
            assert!(said.contains(way_out), "{said}");
        }
        assert!(!file.exists(), "nothing was done");
    }
    let demo = bookd(&files, &["demo", "--listen", "0.0.0.0:0"]);
    assert_eq!(code(&demo), usage, "{}", said(&demo));

    let asked = with_mutual_tls(everywhere(), &files);
    let (status, said) = Process::spawn(asked, READY).terminate_and_read();
    assert!(status.success() && said.is_empty(), "{said}");
    let mut wanted = everywhere();
    wanted.arg("--insecure");
    let (status, said) = Process::spawn(wanted, READY).terminate_and_read();
    assert!(status.success());
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.contains("WARN") && said.contains("--insecure"),
        "{said}"
    );
}

#[test]
fn a_start_with_half_of_the_files_or_bad_ones_is_refused() {
    let authority = Authority::new("ours");
    let (files, home) = (Files::new(&authority), TempDir::new().unwrap());
    let file = home.path().join("bookd.db");
    let key = files.path("server.key");
    for (flag, lacking) in [
        ("--tls-cert", "--tls-key"),
        ("--tls-key", "--tls-cert"),
        ("--client-ca", "--tls-cert"),
    ] {
        let output = serving(&file, HERE, "warn")
            .arg(flag)
            .arg(&key)
            .output()
            .unwrap();
        assert_eq!(code(&output), Some(Exit::Usage.code().into()));
        assert!(said(&output).contains(lacking), "{}", said(&output));
    }
    std::fs::remove_file(&key).unwrap();
    let output = with_tls(serving(&file, HERE, "warn"), &files)
        .output()
        .unwrap();
    let said = said(&output);
    assert_eq!(code(&output), Some(Exit::Failed.code().into()), "{said}");
    assert!(said.contains("server.key: cannot be read"), "{said}");
    assert!(!file.exists(), "nothing was done");
}

#[test]
fn the_configuration_shows_the_files_of_tls() {
    let mut serve = Command::new(env!("CARGO_BIN_EXE_bookd"));
    serve.args(["serve", "--print-config", "--tls-cert", "a.pem"]);
    serve
        .env("BOOKD_TLS_KEY", "a.key")
        .env("BOOKD_CLIENT_CA", "ca.pem");
    // What a client shows is no certificate of the server.
    serve
        .env("BOOKD_CLIENT_CERT", "b.pem")
        .env("BOOKD_CLIENT_KEY", "b.key");
    let config = said(&serve.env("BOOKD_INSECURE", "true").output().unwrap());
    for line in [
        "BOOKD_TLS_CERT=a.pem",
        "BOOKD_TLS_KEY=a.key",
        "BOOKD_CLIENT_CA=ca.pem",
        "BOOKD_INSECURE=true",
    ] {
        assert!(config.lines().any(|it| it == line), "{config}");
    }
    assert!(!config.contains("b.pem") && !config.contains("b.key"));
}

/// Runs the commands for trying as docs/OPERATIONS.md shows them, where there is an openssl.
#[test]
fn the_certificates_that_the_documents_make_are_served_and_shown() {
    if Command::new("openssl")
        .arg("version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        return;
    }
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let text = std::fs::read_to_string(text).unwrap();
    let script = text
        .split("```sh\n")
        .find(|block| block.contains("openssl x509 -req"))
        .and_then(|block| block.split("```").next())
        .unwrap();
    let files = Files::new(&Authority::new("replaced by the script"));
    let made = Command::new("sh")
        .args(["-e", "-c", script])
        .current_dir(files.path(""))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let home = TempDir::new().unwrap();
    let process = Process::spawn(
        with_mutual_tls(serving(&home.path().join("bookd.db"), HERE, "warn"), &files),
        READY,
    );
    let output = bookd(
        &files,
        &[
            "info",
            "--server",
            &format!("https://localhost:{}", process.address.port()),
            "--server-ca",
            "ca.pem",
            "--client-cert",
            "client.pem",
            "--client-key",
            "client.key",
        ],
    );
    assert_eq!(code(&output), Some(0), "{}", said(&output));
    assert!(process.terminate().success());
}
