//! Clients that are not of this repository run the README's tour over TLS with a token, and go on
//! through restarts of the server under the service config of `deploy/grpc`: Python's grpcio and
//! Node's @grpc/grpc-js.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::authority::Authority;
use crate::server::{Started, serving};

/// Restarts of the server under load.
const RESTARTS: usize = 5;
/// The files of tokens, each with the letters of its token.
const TOKENS: [(&str, &str); 2] = [("token", "q4"), ("wrong", "k7")];

fn root(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// Where `.ci/run` installs what these tests need.
fn tools() -> PathBuf {
    let named = std::env::var_os("BOOKD_TOOLS").map(PathBuf::from);
    named.unwrap_or_else(|| std::env::temp_dir().join("bookd-tools"))
}

fn python(script: &str) -> Command {
    let mut command = Command::new(tools().join("python/bin/python"));
    command.arg(root("tests/external/clients").join(script));
    command
}

fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", tools().join("node_modules"))
        .arg(root("tests/external/clients").join(script));
    command
}

/// The files of a server with TLS and one grant: `token` may do everything, `wrong` nothing.
struct Files(TempDir);

impl Files {
    fn write() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        let authority = Authority::new("Trial authority");
        let server = authority.server("bookd");
        write("ca.pem", &authority.pem());
        write("server.pem", &server.certificate);
        write("server.key", &server.key);
        for (file, letters) in TOKENS {
            write(file, &letters.repeat(16));
        }
        let path = |file: &str| folder.path().join(file).display().to_string();
        let configuration = format!(
            "tls_cert = {:?}\ntls_key = {:?}\nlog = \"warn\"\nstore = {:?}\n\
             [[grant]]\nname = \"desk\"\ntoken_file = {:?}\nscopes = [\"admin\"]\n",
            path("server.pem"),
            path("server.key"),
            format!("sqlite:{}", path("bookd.db")),
            path("token"),
        );
        write("bookd.toml", &configuration);
        Self(folder)
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Starts a server by these files on this port.
    fn serve(&self, port: u16) -> Started {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
        command
            .args(["serve", "--confirm-clock", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--config")
            .arg(self.folder().join("bookd.toml"));
        serving(&mut command).0
    }

    /// Runs a client to its end; its arguments begin with address, folder and contract.
    fn arguments(&self, command: &mut Command, port: u16) {
        command
            .arg(format!("localhost:{port}"))
            .arg(self.folder())
            .arg(root("proto"));
    }
}

/// A port that nobody has. Another program may take it meanwhile, which then is a failure.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr];
    texts.map(|it| String::from_utf8_lossy(it)).join("\n")
}

fn takes_the_tour(mut client: Command) {
    let files = Files::write();
    let port = free_port();
    let _server = files.serve(port);
    files.arguments(&mut client, port);
    let output = client
        .output()
        .expect("the client's language is installed, see .ci/run");
    let said = said(&output);
    assert!(
        output.status.success() && said.contains("the tour is done"),
        "{said}"
    );
}

#[test]
fn python_takes_the_tour_over_tls_with_a_token() {
    takes_the_tour(python("tour.py"));
}

#[test]
fn node_takes_the_tour_over_tls_with_a_token() {
    takes_the_tour(node("tour.js"));
}

#[test]
fn no_call_of_a_client_with_the_shipped_service_config_fails_while_the_server_restarts() {
    let files = Files::write();
    let port = free_port();
    let mut server = files.serve(port);
    let mut client = python("load.py");
    files.arguments(&mut client, port);
    client
        .arg(root("deploy/grpc/service-config.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut client = Started::new(&mut client);
    let mut output = BufReader::new(client.child().stdout.take().unwrap());
    let mut input = client.child().stdin.take().unwrap();
    // Each stop comes when every thread of the client has had an answer again.
    let mut goes_on = || {
        writeln!(input).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "on");
    };
    goes_on();
    for _ in 0..RESTARTS {
        assert!(server.terminate().success(), "it stops in order");
        server = files.serve(port);
        goes_on();
    }
    drop(input);
    let mut told = String::new();
    output.read_to_string(&mut told).unwrap();
    let counts: Vec<usize> = told
        .split(|it: char| !it.is_ascii_digit())
        .filter_map(|it| it.parse().ok())
        .take(2)
        .collect();
    let [answered, failed] = counts[..] else {
        panic!("{told}");
    };
    assert!(answered > 100 && failed == 0, "{told}");
    drop(server);
}
