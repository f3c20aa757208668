//! Tokens of the store over real sockets: what they open and until when, who may give and see which,
//! and that nothing of them is shown to readers of the log.

use bookd::auth::{Access, Grant, GrantConfig, Grants};
use bookd::proto::v1 as pb;
use bookd::proto::v1::access_service_client::AccessServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use prost_types::Duration;
use tempfile::TempDir;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Status};

use crate::auth_guarded::{Bearer, Guarded, connected, grants, open, token_file};
use crate::harness::{Bookd, connect, invalid_fields, reason};

pub type Admin = AccessServiceClient<Guarded>;

/// A server with one administrator of everything in its configuration.
async fn started(folder: &TempDir) -> (Bookd, Admin) {
    let root: [(&str, &[&str]); 1] = [("root", &["admin"])];
    let bookd = Bookd::start_guarded(Access::granted(grants(folder.path(), &root))).await;
    let root = AccessServiceClient::new(connected(&bookd, "root").await);
    (bookd, root)
}

/// A client that sends this token.
pub async fn with_token(bookd: &Bookd, token: &str) -> Guarded {
    let bearer = format!("Bearer {token}").parse().unwrap();
    InterceptedService::new(connect(bookd.address()).await, Bearer(bearer))
}

pub fn wanted(name: &str, scopes: &[pb::Scope], prefix: &str) -> pb::CreateTokenRequest {
    pb::CreateTokenRequest {
        name: name.to_owned(),
        scopes: scopes.iter().map(|it| i32::from(*it)).collect(),
        prefix: prefix.to_owned(),
        ..Default::default()
    }
}

pub async fn create(
    admin: &mut Admin,
    request: pb::CreateTokenRequest,
) -> Result<pb::CreateTokenResponse, Status> {
    admin.create_token(request).await.map(|it| it.into_inner())
}

pub async fn revoke(admin: &mut Admin, token_id: &str) -> Result<i64, Status> {
    let request = pb::RevokeTokenRequest {
        token_id: token_id.to_owned(),
        ..Default::default()
    };
    let revoked = admin.revoke_token(request).await?;
    Ok(revoked.into_inner().revision)
}

async fn listed(admin: &mut Admin) -> Vec<pb::TokenRecord> {
    let all = admin.list_tokens(pb::ListTokensRequest::default()).await;
    all.unwrap().into_inner().tokens
}

#[tokio::test]
async fn a_token_opens_what_it_says_until_it_is_revoked_and_then_its_watch_ends() {
    let folder = TempDir::new().unwrap();
    let (bookd, mut root) = started(&folder).await;
    let request = wanted("desk", &[pb::Scope::Read, pb::Scope::Manage], "acme/");
    let created = create(&mut root, request).await.unwrap();
    let record = created.record.unwrap();
    assert!(created.token.starts_with(&format!("{}_", record.token_id)));
    assert_eq!((&*record.name, &*record.creator), ("desk", "root"));
    assert!(record.last_use_time.is_none() && record.expire_time.is_none());

    let desk = with_token(&bookd, &created.token).await;
    let principal = AccessServiceClient::new(desk.clone())
        .get_principal(pb::GetPrincipalRequest {})
        .await;
    let principal = principal.unwrap().into_inner().principal.unwrap();
    assert_eq!(principal.name, "desk");
    assert_eq!(principal.credential(), pb::CredentialKind::Token);
    open(&desk, "acme/ada", "").await.unwrap();
    let denied = open(&desk, "beta/bob", "").await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let used = listed(&mut root).await.remove(0);
    let last_use = used.last_use_time.unwrap().seconds;
    assert_eq!(last_use, bookd.clock_seconds());
    let (most, last) = created.token.split_at(created.token.len() - 1);
    let wrong = format!("{most}{}", if last == "x" { 'y' } else { 'x' });
    let stranger = with_token(&bookd, &wrong).await;
    let refused = open(&stranger, "acme/ada", "").await.unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIALS_INVALID");

    let mut watch = ListServiceClient::new(desk.clone())
        .watch_appointments(pb::WatchAppointmentsRequest::default())
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().unwrap();
    // Another token changes, and the watch goes on.
    let other = create(&mut root, wanted("page", &[pb::Scope::Slots], "")).await;
    let other = other.unwrap().record.unwrap();
    revoke(&mut root, &other.token_id).await.unwrap();
    open(&desk, "acme/bob", "").await.unwrap();
    assert!(watch.message().await.unwrap().is_some());

    revoke(&mut root, &record.token_id).await.unwrap();
    let refused = open(&desk, "acme/ada", "").await.unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIALS_INVALID");
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends with a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), "CREDENTIALS_INVALID");
    let gone = revoke(&mut root, &record.token_id).await.unwrap_err();
    assert_eq!(
        (gone.code(), reason(&gone).as_str()),
        (Code::NotFound, "TOKEN_NOT_FOUND")
    );
    assert!(listed(&mut root).await.is_empty());
    drop((desk, stranger, root));
    bookd.stop().await;
}

#[tokio::test]
async fn neither_a_watch_nor_a_history_shows_tokens_and_a_watch_passes_their_revisions() {
    let folder = TempDir::new().unwrap();
    let (bookd, mut root) = started(&folder).await;
    let reader = connected(&bookd, "root").await;
    open(&reader, "ada", "").await.unwrap();
    let created = create(&mut root, wanted("desk", &[pb::Scope::Read], "")).await;
    let created = created.unwrap();
    let revoked = revoke(&mut root, &created.record.unwrap().token_id).await;
    let revoked = revoked.unwrap();
    assert_eq!(revoked, created.revision + 1, "each is a change");
    let last = open(&reader, "ada", "").await.unwrap();
    assert_eq!(last, revoked, "the hours are the same: nothing changes");

    let from_the_beginning = pb::WatchAppointmentsRequest {
        start_revision: 1,
        ..Default::default()
    };
    let mut watch = ListServiceClient::new(reader.clone())
        .watch_appointments(from_the_beginning)
        .await
        .unwrap()
        .into_inner();
    let mut shown = Vec::new();
    let progress = loop {
        match watch.message().await.unwrap().unwrap().message.unwrap() {
            pb::watch_appointments_response::Message::Change(change) => shown.push(change),
            pb::watch_appointments_response::Message::Progress(it) => break it.revision,
        }
    };
    assert_eq!(progress, revoked);
    assert!(!shown.is_empty() && shown.iter().all(|it| it.revision < created.revision));

    let changes = pb::ListChangesRequest {
        calendar_id: "ada".to_owned(),
        ..Default::default()
    };
    let changes = ListServiceClient::new(reader.clone())
        .list_changes(changes)
        .await;
    let changes = changes.unwrap().into_inner().changes;
    assert!(changes.iter().all(|it| it.revision < created.revision));
    drop((reader, watch, root));
    bookd.stop().await;
}

#[tokio::test]
async fn a_repeat_answers_the_record_and_not_the_secret_and_a_dry_run_creates_nothing() {
    let folder = TempDir::new().unwrap();
    let (bookd, mut root) = started(&folder).await;
    let mut request = wanted("desk", &[pb::Scope::Read], "");
    request.validate_only = true;
    let tried = create(&mut root, request.clone()).await.unwrap();
    assert!(tried.token.is_empty() && tried.record.unwrap().name == "desk");
    assert!(listed(&mut root).await.is_empty());

    request.validate_only = false;
    request.request_id = "once".to_owned();
    let first = create(&mut root, request.clone()).await.unwrap();
    let again = create(&mut root, request.clone()).await.unwrap();
    assert!(!first.token.is_empty() && again.token.is_empty());
    assert_eq!(
        (first.record.clone(), first.revision),
        (again.record, again.revision)
    );
    let id = first.record.unwrap().token_id;
    let revoking = pb::RevokeTokenRequest {
        token_id: id,
        request_id: "twice".to_owned(),
        validate_only: false,
    };
    let revoked = root.revoke_token(revoking.clone()).await.unwrap();
    let repeated = root.revoke_token(revoking).await.unwrap();
    assert_eq!(
        revoked.into_inner().revision,
        repeated.into_inner().revision
    );
    let gone = create(&mut root, request).await.unwrap();
    assert!(gone.token.is_empty() && gone.record.is_none());
    drop(root);
    bookd.stop().await;
}

#[tokio::test]
async fn an_administrator_of_some_calendars_gives_sees_and_revokes_no_more_than_its_own_rights() {
    let folder = TempDir::new().unwrap();
    let home = folder.path();
    let grant = |name: &str, prefix: &str| Grant {
        name: Some(name.to_owned()),
        token_file: Some(token_file(home, name)),
        scopes: vec!["admin".to_owned()],
        prefix: prefix.to_owned(),
        ..Grant::default()
    };
    let config = GrantConfig {
        grants: vec![
            grant("root", ""),
            grant("acme", "acme/"),
            // What it may read elsewhere gives it no tokens there.
            Grant {
                scopes: vec!["read".to_owned()],
                ..grant("acme", "")
            },
        ],
        ..GrantConfig::default()
    };
    let access = Access::granted(Grants::load(&config, None).unwrap());
    let bookd = Bookd::start_guarded(access).await;
    let mut root = AccessServiceClient::new(connected(&bookd, "root").await);
    let mut acme = AccessServiceClient::new(connected(&bookd, "acme").await);
    let read = [pb::Scope::Read];

    for (name, prefix) in [
        ("acme/desk", ""),
        ("acme/desk", "beta/"),
        ("acme/desk", "a/"),
        ("root", "acme/"),
        ("acmeX/desk", "acme/"),
    ] {
        let denied = create(&mut acme, wanted(name, &read, prefix))
            .await
            .unwrap_err();
        assert_eq!(
            denied.code(),
            Code::PermissionDenied,
            "{name} {prefix}: {denied:?}"
        );
    }
    let own = wanted("acme/desk", &[pb::Scope::Admin], "acme/north/");
    let own = create(&mut acme, own).await.unwrap().record.unwrap();
    let all = create(&mut root, wanted("everywhere", &read, "")).await;
    let all = all.unwrap().record.unwrap();
    let other = create(&mut root, wanted("beta", &read, "beta/")).await;
    let other = other.unwrap().record.unwrap();

    assert_eq!(listed(&mut acme).await, std::slice::from_ref(&own));
    assert_eq!(listed(&mut root).await.len(), 3);
    let unknown = revoke(&mut acme, "bookd_aaaaaaaaaa").await.unwrap_err();
    for hidden in [&all, &other] {
        let refused = revoke(&mut acme, &hidden.token_id).await.unwrap_err();
        assert_eq!(refused.code(), unknown.code());
        assert_eq!(
            refused
                .message()
                .replace(&hidden.token_id, "bookd_aaaaaaaaaa"),
            unknown.message()
        );
    }
    revoke(&mut acme, &own.token_id).await.unwrap();
    assert_eq!(listed(&mut root).await.len(), 2);
    drop((root, acme));
    bookd.stop().await;
}

#[tokio::test]
async fn what_is_no_token_is_refused_with_each_field_that_is_wrong() {
    let folder = TempDir::new().unwrap();
    let (bookd, mut root) = started(&folder).await;
    let read = [pb::Scope::Read];
    let ttl = |seconds| Duration { seconds, nanos: 0 };
    let right = wanted("desk", &read, "");
    let wrong = |change: &dyn Fn(&mut pb::CreateTokenRequest)| {
        let mut request = right.clone();
        change(&mut request);
        request
    };
    for (request, fields) in [
        (wrong(&|it| it.name.clear()), "name"),
        (wrong(&|it| it.name = "bootstrap".to_owned()), "name"),
        (wrong(&|it| it.name = "x".repeat(201)), "name"),
        (wrong(&|it| it.scopes.clear()), "scopes"),
        (wrong(&|it| it.scopes = vec![2, 0]), "scopes[1]"),
        (wrong(&|it| it.scopes = vec![99]), "scopes[0]"),
        (wrong(&|it| it.scopes = vec![2; 10_000]), "scopes"),
        (wrong(&|it| it.prefix = "acme".to_owned()), "prefix"),
        (wrong(&|it| it.ttl = Some(ttl(-1))), "ttl"),
        (wrong(&|it| it.ttl = Some(ttl(0))), "expire_time"),
        (
            wrong(&|it| it.ttl = Some(ttl(4_000 * 86_400))),
            "expire_time",
        ),
        (wrong(&|it| it.request_id = "x".repeat(65)), "request_id"),
    ] {
        let refused = create(&mut root, request).await.unwrap_err();
        assert_eq!(invalid_fields(&refused), [fields], "{refused:?}");
    }
    for id in ["", "desk", "bookd_k7x2q5m4h", "bookd_k7x2q5m4hb_secret"] {
        let refused = revoke(&mut root, id).await.unwrap_err();
        assert_eq!(invalid_fields(&refused), ["token_id"], "{id}");
    }
    drop(root);
    bookd.stop().await;
}

#[tokio::test]
async fn tokens_are_listed_page_by_page_and_each_page_token_is_its_callers_own() {
    let folder = TempDir::new().unwrap();
    let (bookd, mut root) = started(&folder).await;
    for number in 0..5 {
        let request = wanted(&format!("desk {number}"), &[pb::Scope::Admin], "");
        create(&mut root, request).await.unwrap();
    }
    let all = listed(&mut root).await;
    let mut pages = Vec::new();
    let mut request = pb::ListTokensRequest {
        page_size: 2,
        ..Default::default()
    };
    loop {
        let page = root
            .list_tokens(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert!(page.tokens.len() <= 2);
        pages.extend(page.tokens);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!((pages.len(), &pages), (5, &all));
    assert!(all.is_sorted_by_key(|it| it.token_id.clone()));
    let other = create(&mut root, wanted("other", &[pb::Scope::Admin], "")).await;
    let other = with_token(&bookd, &other.unwrap().token).await;
    let refused = AccessServiceClient::new(other.clone())
        .list_tokens(request)
        .await;
    assert_eq!(invalid_fields(&refused.unwrap_err()), ["page_token"]);
    drop((root, other));
    bookd.stop().await;
}

/// How a call without credentials is refused.
async fn stranger(bookd: &Bookd) -> Code {
    let mut calendars = bookd.calendars();
    let listed = calendars.list_calendars(pb::ListCalendarsRequest::default());
    listed.await.unwrap_err().code()
}

#[tokio::test]
async fn an_open_server_creates_no_token_and_a_store_that_had_one_is_never_open_again() {
    let bookd = Bookd::start().await;
    let mut anybody = AccessServiceClient::new(bookd.channel.clone());
    let request = wanted("desk", &[pb::Scope::Admin], "");
    let refused = anybody.create_token(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "CREDENTIALS_NOT_ASKED_FOR")
    );
    assert!(refused.message().contains("--bootstrap-token-file"));
    drop(anybody);
    bookd.stop().await;

    let folder = TempDir::new().unwrap();
    let (bookd, mut root) = started(&folder).await;
    let created = create(&mut root, wanted("desk", &[pb::Scope::Admin], "")).await;
    let created = created.unwrap();
    drop(root);
    // The next start has no grant at all.
    let bookd = bookd.restart().await;
    assert_eq!(stranger(&bookd).await, Code::Unauthenticated);
    let desk = with_token(&bookd, &created.token).await;
    open(&desk, "ada", "").await.unwrap();
    let mut admin = AccessServiceClient::new(desk.clone());
    revoke(&mut admin, &created.record.unwrap().token_id)
        .await
        .unwrap();
    drop((admin, desk));
    let bookd = bookd.restart().await;
    assert_eq!(stranger(&bookd).await, Code::Unauthenticated);
    bookd.stop().await;
}
