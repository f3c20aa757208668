//! What an operator does with a running server: asks whether it serves, switches reflection off, and
//! has it read its configuration again.

use std::path::Path;
use std::process::{Command, Stdio};

use bookd::cli::exit::Exit;
use bookd::proto::v1 as pb;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use tempfile::TempDir;
use tonic::Code;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::harness::{connect, reason};
use crate::kill::Process;
use crate::people::{bookd, said};

/// Looks at the log so often for a line: each time it does something that takes a while.
const LOOKS: usize = 200;

/// Has a process read its configuration again.
pub fn hangup(process: &Process) {
    let sent = Command::new("kill")
        .args(["-HUP", &process.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// A server with this configuration and no setting by flag, whose log is the file `errors`.
pub fn start(folder: &Path, configuration: &str) -> Process {
    let file = folder.join("bookd.toml");
    std::fs::write(&file, configuration).unwrap();
    let mut served = Command::new(env!("CARGO_BIN_EXE_bookd"));
    served
        .args(["serve", "--listen", "127.0.0.1:0", "--confirm-clock"])
        .arg("--store")
        .arg(format!("sqlite:{}", folder.join("bookd.db").display()))
        .arg("--config")
        .arg(&file);
    let log = std::fs::File::create(folder.join("errors")).unwrap();
    Process::spawn_into(served, "with this program", Stdio::from(log))
}

/// What a method of reflection answers to nothing at all: it is there, or not.
async fn reflection(channel: Channel) -> Result<(), tonic::Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let request = tonic::Request::new(tokio_stream::empty::<()>());
    let codec = ProstCodec::<(), ()>::default();
    let opened = grpc.streaming(request, path.parse().unwrap(), codec).await;
    opened.map(drop)
}

#[tokio::test]
async fn a_server_says_whether_it_serves_by_the_exit_code_of_a_command() {
    let folder = TempDir::new().unwrap();
    let process = start(folder.path(), "");
    let server = process.address.to_string();
    let ask = |words: &[&str]| bookd(&server, folder.path(), words);
    let healthy = ask(&["health"]);
    assert!(healthy.status.success(), "{}", said(&healthy));
    assert_eq!(said(&healthy).trim(), "SERVING");
    let one = ask(&["health", "bookd.v1.BookingService", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&said(&one)).unwrap();
    assert_eq!(shown["status"], "SERVING");
    let failed = Some(i32::from(Exit::Failed.code()));
    let unknown = ask(&["health", "bookd.v1.NoService"]);
    assert_eq!(unknown.status.code(), failed, "{}", said(&unknown));
    assert!(process.terminate_beside_clients().await.success());
    let gone = ask(&["health"]);
    assert_eq!(gone.status.code(), failed);
    assert!(said(&gone).contains("nobody answers"), "{}", said(&gone));
    let wrong = ask(&["health", "--client-cert", "none.pem"]);
    assert_eq!(wrong.status.code(), Some(i32::from(Exit::Usage.code())));
}

#[tokio::test]
async fn reflection_can_be_switched_off_and_health_stays() {
    for (configuration, is_on) in [("", true), ("reflection = false\n", false)] {
        let folder = TempDir::new().unwrap();
        let process = start(folder.path(), configuration);
        let channel = connect(process.address).await;
        let asked = reflection(channel.clone()).await;
        match asked {
            Ok(()) => assert!(is_on),
            Err(status) => {
                assert!(!is_on, "{status}");
                assert_eq!(status.code(), Code::Unimplemented);
            }
        }
        drop(channel);
        let healthy = bookd(&process.address.to_string(), folder.path(), &["health"]);
        assert!(healthy.status.success(), "{}", said(&healthy));
        assert!(process.terminate_beside_clients().await.success());
    }
}

#[tokio::test]
async fn a_configuration_that_is_read_again_says_what_is_in_force_and_what_needs_a_restart() {
    let folder = TempDir::new().unwrap();
    let home = folder.path();
    let process = start(home, "log = \"error\"\ngrace = 10\n");
    let log = || std::fs::read_to_string(home.join("errors")).unwrap();
    let mut calendars = CalendarServiceClient::new(connect(process.address).await);
    let mut call = async || {
        let all = pb::ListCalendarsRequest::default();
        calendars.list_calendars(all).await
    };
    call().await.unwrap();
    assert!(!log().contains("bookd serves"), "INFO is not logged");

    let configure = |text: &str| std::fs::write(home.join("bookd.toml"), text).unwrap();
    configure("log = \"info\"\ncaller_rate = 1\ncaller_burst = 2\ngrace = 11\n");
    hangup(&process);
    let mut refused = 0;
    for _ in 0..LOOKS {
        if log().contains("the configuration was read again") {
            break;
        }
        refused += usize::from(call().await.is_err());
    }
    let lines = log();
    let settings = |ending: &str| -> Vec<&str> {
        let told = lines.lines().filter(|line| line.contains(ending));
        told.filter_map(|line| line.split("setting=").nth(1))
            .collect()
    };
    assert_eq!(
        settings("this setting is in force"),
        [
            "BOOKD_CALLER_RATE=1",
            "BOOKD_CALLER_BURST=2",
            "BOOKD_LOG=info"
        ]
    );
    assert_eq!(settings("needs a restart"), ["BOOKD_GRACE=11"]);
    for _ in 0..LOOKS {
        if let Err(status) = call().await {
            assert_eq!(reason(&status), "RATE_LIMITED");
            refused += 1;
            break;
        }
    }
    assert!(refused > 0, "nobody is counted");

    configure("caller_rate = 0\n");
    hangup(&process);
    for _ in 0..LOOKS {
        if log().contains("cannot be used: all stays as it is") {
            break;
        }
        let _counted = call().await;
    }
    assert!(log().contains("cannot be used: all stays as it is"));
    drop(calendars);
    assert!(process.terminate_beside_clients().await.success());
}
