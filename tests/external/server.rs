//! A process of the binary on a new file, and requests over HTTP/1.0, whose answers come in one
//! piece.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process of this test, which is killed by its id when it is dropped.
pub struct Started(Child);

impl Started {
    pub fn new(command: &mut Command) -> Self {
        let name = command.get_program().to_owned();
        let started = command.spawn();
        Self(started.unwrap_or_else(|error| panic!("{name:?} cannot be started: {error}")))
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Has it stop in order, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        self.0.wait().unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Starts a server; answers it when it serves, with what it has printed.
pub fn serving(command: &mut Command) -> (Started, String) {
    let mut process = Started::new(command.stdout(Stdio::piped()));
    let mut output = BufReader::new(process.child().stdout.take().unwrap());
    let mut banner = String::new();
    while !banner.contains("with this program") {
        assert_ne!(output.read_line(&mut banner).unwrap(), 0, "{banner}");
    }
    (process, banner)
}

/// A server with an admin port.
pub struct Bookd {
    _process: Started,
    _folder: TempDir,
    pub admin: SocketAddr,
}

impl Bookd {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bookd"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--confirm-clock", "--log", "warn"])
            .arg("--store")
            .arg(format!(
                "sqlite:{}",
                folder.path().join("bookd.db").display()
            ));
        let (process, banner) = serving(&mut command);
        let admin = banner.split("http://").nth(1).unwrap();
        Self {
            admin: admin.split('/').next().unwrap().parse().unwrap(),
            _process: process,
            _folder: folder,
        }
    }
}

/// The body of an answer; none while nobody answers, or answers something else than 200.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.split(' ').nth(1)? == "200").then(|| body.to_owned())
}
