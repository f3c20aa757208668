//! Clients that are not of this repository run the README's tour over TLS with a token, and go on
//! through restarts of the server under the service config of `deploy/grpc`: Python's grpcio,
//! Node's @grpc/grpc-js and `buf curl`, which knows the contract by reflection alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
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
            let token = letters.repeat(16);
            write(file, &token);
            write(
                &format!("{file}.header"),
                &format!("authorization: Bearer {token}\n"),
            );
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

/// Calls a method by `buf curl` with the token of this file; answers what it says, or the error.
fn buf_curl(
    (files, port): (&Files, u16),
    token: &str,
    method: &str,
    request: &Value,
) -> Result<Value, Value> {
    let mut buf = Command::new(tools().join("node_modules/.bin/buf"));
    buf.current_dir(files.folder())
        .args(["curl", "--protocol", "grpc", "--cacert", "ca.pem"])
        .args(["-H", &format!("@{token}.header")])
        .args(["-d", &request.to_string()])
        .arg(format!("https://localhost:{port}/bookd.v1.{method}"));
    let output = buf.output().expect("buf is installed, see .ci/run");
    let read = |text: &[u8]| {
        serde_json::from_slice(text).unwrap_or_else(|_| panic!("{method}: {}", said(&output)))
    };
    if output.status.success() {
        Ok(read(&output.stdout))
    } else {
        Err(read(&output.stderr))
    }
}

/// The date of the next Monday.
fn monday() -> String {
    let mut date = Command::new("date");
    let output = date.args(["-d", "next monday", "+%F"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn buf_takes_the_tour_over_tls_with_a_token_and_without_the_contract() {
    let files = Files::write();
    let port = free_port();
    let _server = files.serve(port);
    let call = |method: &str, request: Value| buf_curl((&files, port), "token", method, &request);
    let asked = |method: &str, request: Value| call(method, request).unwrap();
    let who = asked("AccessService/GetPrincipal", json!({}));
    assert_eq!(who["principal"]["name"], "desk");
    let rules = [("09:00", "12:00"), ("13:00", "17:00")]
        .map(|(start, end)| json!({ "start_time": start, "end_time": end }));
    let hours = json!({ "calendar_id": "ada", "time_zone": "Europe/Paris", "rules": rules });
    asked("AvailabilityService/SetAvailability", hours);
    let monday = monday();
    let day = json!({ "calendar_id": "ada", "date": monday });
    let free = || {
        let listed = asked("SlotsService/ListSlots", day.clone());
        listed["slots"].as_array().unwrap().len()
    };
    assert_eq!(free(), 7);
    let at_ten = json!({
        "calendar_id": "ada",
        "local_start": format!("{monday}T10:00"),
        "invitee": { "name": "Grace Hopper", "email": "grace@example.com" },
        "request_id": "a1",
    });
    const BOOK: &str = "BookingService/BookAppointment";
    let booked = asked(BOOK, at_ten.clone());
    assert_eq!(booked, asked(BOOK, at_ten.clone()), "it happened once");
    let mut second = at_ten;
    second["request_id"] = json!("b1");
    let refused = call(BOOK, second).unwrap_err();
    assert_eq!(refused["code"], "aborted", "{refused}");
    assert_eq!(free(), 6);
    const LIST: &str = "ListService/ListAppointments";
    let own = json!({ "calendar_id": "ada" });
    let listed = asked(LIST, own.clone());
    assert_eq!(listed["appointments"][0], booked["appointment"]);
    let refused = buf_curl((&files, port), "wrong", LIST, &own).unwrap_err();
    assert_eq!(refused["code"], "unauthenticated", "{refused}");
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
