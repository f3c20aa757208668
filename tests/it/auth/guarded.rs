//! A server with credentials over real sockets: whose name stands in changes, whose request ids are
//! whose, and what becomes of streams and calls when a right is taken away.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bookd::auth::{Access, Grant, GrantConfig, Grants, Rate, Rates};
use bookd::cli::exit::Exit;
use bookd::proto::v1 as pb;
use bookd::proto::v1::access_service_client::AccessServiceClient;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::harness::{Bookd, connect, reason};
use crate::kill::{Process, command_logging};
use crate::operations::hangup;
use crate::people::{bookd, said};

/// Sends a token on each call.
#[derive(Clone)]
pub struct Bearer(pub MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub type Guarded = InterceptedService<Channel, Bearer>;

pub fn token(name: &str) -> String {
    format!("{name}-{}", "q4".repeat(13))
}

pub async fn connected(bookd: &Bookd, name: &str) -> Guarded {
    connected_with(bookd, &token(name)).await
}

/// A client that sends this token.
pub async fn connected_with(bookd: &Bookd, token: &str) -> Guarded {
    let bearer = format!("Bearer {token}").parse().unwrap();
    InterceptedService::new(connect(bookd.address()).await, Bearer(bearer))
}

/// Writes the token of a caller into a file of its name.
pub fn token_file(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, token(name)).unwrap();
    file
}

/// The grants of callers, each with its scopes on all calendars.
pub fn grants(folder: &Path, callers: &[(&str, &[&str])]) -> Grants {
    let on_all = |(name, scopes)| (name, scopes, "");
    let callers: Vec<_> = callers.iter().copied().map(on_all).collect();
    grants_on(folder, &callers)
}

/// The grants of callers, each with scopes and a prefix. A caller may have several.
pub fn grants_on(folder: &Path, callers: &[(&str, &[&str], &str)]) -> Grants {
    let grant = |(name, scopes, prefix): &(&str, &[&str], &str)| Grant {
        name: Some((*name).to_owned()),
        token_file: Some(token_file(folder, name)),
        scopes: scopes.iter().map(|it| (*it).to_owned()).collect(),
        prefix: (*prefix).to_owned(),
        ..Grant::default()
    };
    let config = GrantConfig {
        grants: callers.iter().map(grant).collect(),
        ..GrantConfig::default()
    };
    Grants::load(&config, None).unwrap()
}

pub async fn open(caller: &Guarded, calendar_id: &str, request_id: &str) -> Result<i64, Status> {
    let rule = pb::AvailabilityRule {
        start_time: "09:00".to_owned(),
        end_time: "17:00".to_owned(),
        ..Default::default()
    };
    let request = pb::SetAvailabilityRequest {
        calendar_id: calendar_id.to_owned(),
        rules: vec![rule],
        request_id: request_id.to_owned(),
        ..Default::default()
    };
    let answer = AvailabilityServiceClient::new(caller.clone())
        .set_availability(request)
        .await?;
    Ok(answer.into_inner().revision)
}

#[tokio::test]
async fn the_caller_stands_in_each_change_and_request_ids_are_its_own() {
    let folder = TempDir::new().unwrap();
    let callers: [(&str, &[&str]); 2] = [("desk", &["manage", "read"]), ("page", &["manage"])];
    let bookd = Bookd::start_guarded(Access::granted(grants(folder.path(), &callers))).await;
    let (desk, page) = (
        connected(&bookd, "desk").await,
        connected(&bookd, "page").await,
    );
    let who = AccessServiceClient::new(desk.clone())
        .get_principal(pb::GetPrincipalRequest {})
        .await
        .unwrap();
    assert_eq!(who.into_inner().principal.unwrap().name, "desk");
    let first = open(&desk, "ada", "same").await.unwrap();
    assert_eq!(
        open(&desk, "ada", "same").await.unwrap(),
        first,
        "it is repeated"
    );
    let reused = open(&desk, "bob", "same").await.unwrap_err();
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");
    let other = open(&page, "bob", "same").await.unwrap();
    assert!(
        other > first,
        "the request id of another caller is another one"
    );

    let mut lists = ListServiceClient::new(desk);
    for (calendar, caller) in [("ada", "desk"), ("bob", "page")] {
        let asked = pb::ListChangesRequest {
            calendar_id: calendar.to_owned(),
            ..Default::default()
        };
        let changes = lists
            .list_changes(asked)
            .await
            .unwrap()
            .into_inner()
            .changes;
        assert!(!changes.is_empty());
        assert!(changes.iter().all(|it| it.caller == caller), "{changes:?}");
    }
    drop((lists, page));
    bookd.stop().await;
}

#[tokio::test]
async fn a_watch_ends_as_soon_as_its_reader_loses_the_right_and_another_stays() {
    let folder = TempDir::new().unwrap();
    let both: [(&str, &[&str]); 2] = [("desk", &["read", "manage"]), ("page", &["read"])];
    let access = Access::granted(grants(folder.path(), &both));
    let bookd = Bookd::start_guarded(access.clone()).await;
    let (desk, page) = (
        connected(&bookd, "desk").await,
        connected(&bookd, "page").await,
    );
    let watch = |caller: &Guarded| {
        let mut lists = ListServiceClient::new(caller.clone());
        async move {
            let opened = lists
                .watch_appointments(pb::WatchAppointmentsRequest::default())
                .await;
            let mut stream = opened.unwrap().into_inner();
            // The first mark of progress: it has caught up, and nothing more comes by itself.
            stream.message().await.unwrap().unwrap();
            stream
        }
    };
    let (mut of_desk, mut of_page) = (watch(&desk).await, watch(&page).await);

    // The same caller with fewer scopes, and with the ones that the watch wants: it goes on.
    let fewer: [(&str, &[&str]); 2] = [("desk", &["read", "manage"]), ("page", &["slots"])];
    access.replace(grants(folder.path(), &fewer));
    let ended = of_page.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended).as_str()),
        (Code::PermissionDenied, "PERMISSION_DENIED")
    );
    open(&desk, "ada", "").await.unwrap();
    let told = of_desk.message().await.unwrap().unwrap();
    assert!(matches!(
        told.message,
        Some(pb::watch_appointments_response::Message::Change(_))
    ));

    access.replace(grants(folder.path(), &fewer[1..]));
    let ended = of_desk.message().await.unwrap_err();
    assert_eq!(
        (ended.code(), reason(&ended).as_str()),
        (Code::Unauthenticated, "CREDENTIALS_INVALID")
    );
    let refused = open(&desk, "bob", "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    drop((desk, page));
    bookd.stop().await;
}

/// Writes a configuration with one grant for each caller.
fn configure(folder: &Path, callers: &[(&str, &str)]) -> PathBuf {
    let grant = |(name, scopes): &(&str, &str)| {
        let file = token_file(folder, name);
        let file = file.display();
        format!("[[grant]]\nname = \"{name}\"\ntoken_file = \"{file}\"\nscopes = [{scopes}]\n")
    };
    let file = folder.join("bookd.toml");
    std::fs::write(&file, callers.iter().map(grant).collect::<String>()).unwrap();
    file
}

fn expect_refusals_logged(errors: &Path) {
    let logged = std::fs::read_to_string(errors).unwrap();
    for line in [
        "a call was refused caller=\"page\" method=\"ListCalendars\" reason=\"scope\" times=1",
        "a call was refused caller=\"\" method=\"ListCalendars\" reason=\"no credentials\" times=1",
    ] {
        assert!(logged.contains(line), "{line}: {logged}");
    }
}

#[tokio::test]
async fn the_binary_asks_for_tokens_and_reads_them_again_at_sighup() {
    let folder = TempDir::new().unwrap();
    let home = folder.path();
    let file = configure(
        home,
        &[("desk", "\"admin\""), ("page", "\"slots\", \"book\"")],
    );
    let mut served = command_logging(&home.join("bookd.db"), "info");
    served.arg("--config").arg(&file);
    let errors = home.join("errors");
    let log = std::fs::File::create(&errors).unwrap();
    let process = Process::spawn_into(served, "with this program", Stdio::from(log));
    let server = process.address.to_string();
    let ask = |words: &[&str]| bookd(&server, home, words);
    let exit = |output: &std::process::Output| output.status.code();
    let done = Some(i32::from(Exit::Done.code()));

    let stranger = ask(&["calendars"]);
    assert_ne!(exit(&stranger), done);
    assert!(
        said(&stranger).contains("authorization: Bearer"),
        "{}",
        said(&stranger)
    );
    let desk = ask(&[
        "hours",
        "ada",
        "mon-fri",
        "09:00-17:00",
        "--token-file",
        "desk",
    ]);
    assert_eq!(exit(&desk), done, "{}", said(&desk));
    let who = ask(&["whoami", "--token-file", "page"]);
    assert!(
        said(&who).contains("page") && said(&who).contains("slots, book"),
        "{}",
        said(&who)
    );
    assert!(said(&ask(&["whoami"])).contains("nobody"));
    let denied = ask(&["calendars", "--token-file", "page"]);
    assert!(said(&denied).contains("read, manage"), "{}", said(&denied));
    expect_refusals_logged(&errors);

    // A configuration that cannot be used changes nothing, and is complained about.
    let right = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, right.replace("admin", "amdin")).unwrap();
    hangup(&process);
    let mut tries = 0;
    while !std::fs::read_to_string(&errors)
        .unwrap()
        .contains("`amdin` is no scope")
    {
        assert_eq!(exit(&ask(&["calendars", "--token-file", "desk"])), done);
        tries += 1;
        assert!(tries < 200, "nothing is said");
    }
    assert_eq!(exit(&ask(&["calendars", "--token-file", "desk"])), done);

    configure(home, &[("page", "\"read\"")]);
    hangup(&process);
    tries = 0;
    while exit(&ask(&["calendars", "--token-file", "page"])) != done {
        tries += 1;
        assert!(tries < 200, "the grants are not read again");
    }
    let gone = ask(&["calendars", "--token-file", "desk"]);
    assert!(said(&gone).contains("not valid"), "{}", said(&gone));
    assert!(process.terminate_beside_clients().await.success());
}

#[test]
fn a_configuration_is_checked_without_starting_anything() {
    let folder = TempDir::new().unwrap();
    let home = folder.path();
    configure(home, &[("desk", "\"admin\"")]);
    let check = || {
        bookd(
            "127.0.0.1:1",
            home,
            &["config", "check", "--config", "bookd.toml"],
        )
    };
    let right = check();
    assert!(right.status.success(), "{}", said(&right));
    assert!(said(&right).contains("1 of [[grant]]"), "{}", said(&right));
    std::fs::write(home.join("desk"), "short").unwrap();
    let wrong = check();
    assert_eq!(wrong.status.code(), Some(Exit::Invalid.code().into()));
    assert!(
        said(&wrong).contains("grant 1: the token file"),
        "{}",
        said(&wrong)
    );
    assert!(!said(&wrong).contains("short"));
    let printed = bookd(
        "127.0.0.1:1",
        home,
        &["config", "print", "--config", "bookd.toml", "--grace", "7"],
    );
    assert!(
        said(&printed).contains("BOOKD_GRACE=7"),
        "{}",
        said(&printed)
    );
    assert!(!home.join("bookd.db").exists(), "nothing is made");
}

#[tokio::test]
async fn who_calls_too_often_is_told_when_to_come_again_and_nobody_else_is() {
    let folder = TempDir::new().unwrap();
    let callers: [(&str, &[&str]); 2] = [("desk", &["manage"]), ("page", &["manage"])];
    let rate = Rate {
        per_second: NonZeroU32::MIN,
        burst: NonZeroU32::new(3).unwrap(),
    };
    let access =
        Access::granted(grants(folder.path(), &callers)).with_rates(Rates::new(Some(rate)));
    let bookd = Bookd::start_guarded(access).await;
    let (desk, page) = (
        connected(&bookd, "desk").await,
        connected(&bookd, "page").await,
    );
    let mut refused = None;
    for calls in 1..1_000 {
        match open(&desk, "ada", "").await {
            Ok(_) => {}
            Err(status) => {
                assert!(calls > 3, "a burst of 3 passes: {status:?}");
                refused = Some(status);
                break;
            }
        }
    }
    let refused = refused.unwrap();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "RATE_LIMITED")
    );
    let retry = refused
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert!(retry <= std::time::Duration::from_secs(1), "{retry:?}");
    open(&page, "bob", "").await.unwrap();

    // Wrong credentials are slowed down too, and right ones of the same address are let in.
    let mut guesses = 0;
    let stranger = connected(&bookd, "stranger").await;
    while open(&stranger, "ada", "").await.unwrap_err().code() == Code::Unauthenticated {
        guesses += 1;
        assert!(guesses < 1_000);
    }
    assert!(guesses >= 20, "{guesses}");
    open(&page, "bob", "").await.unwrap();
    drop((desk, page, stranger));
    bookd.stop().await;
}

#[test]
fn the_configuration_and_the_retries_that_are_shipped_are_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = "deploy/kubernetes/bookd.toml";
    let checked = bookd("127.0.0.1:1", root, &["config", "check", "--config", file]);
    assert!(checked.status.success(), "{}", said(&checked));

    let shipped = std::fs::read_to_string(root.join("deploy/grpc/service-config.json")).unwrap();
    let shipped: serde_json::Value = serde_json::from_str(&shipped).unwrap();
    let [retried, watched] = &shipped["methodConfig"].as_array().unwrap()[..] else {
        panic!("{shipped}");
    };
    let mut services: Vec<&str> = retried["name"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["service"].as_str().unwrap())
        .collect();
    services.sort_unstable();
    let mut served = bookd::api::SERVICES.to_vec();
    served.sort_unstable();
    assert_eq!(services, served);
    let codes = &retried["retryPolicy"]["retryableStatusCodes"];
    assert_eq!(codes, &serde_json::json!(["UNAVAILABLE"]));
    assert!(
        watched["retryPolicy"].is_null(),
        "a watch goes on where it ended"
    );
}
