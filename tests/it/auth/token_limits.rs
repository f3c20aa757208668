//! Where tokens of the store end: as many as there may be, at their expiry, and when they were revoked,
//! for every method of the contract.

use std::sync::Arc;
use std::time::Duration;

use bookd::api::context::Api;
use bookd::auth::{
    Access, AuthError, CallOrigin, Grants, MethodScopes, RANDOM_BYTES, Secret, bits_of,
};
use bookd::clock::ManualClock;
use bookd::engine::{Engine, Settings};
use bookd::layout::Layout;
use bookd::proto::v1 as pb;
use bookd::proto::v1::access_service_client::AccessServiceClient;
use bookd::store::memory::Memory;
use bookd::store::{CommitBatch, Store};
use bookd::zones::Zones;
use bookd_core::change::{Cause, Change, Event};
use bookd_core::ids::{Caller, Revision};
use bookd_core::prefixes::Prefixes;
use bookd_core::time::Instant;
use bookd_core::token::{TOKENS_MAX, Token, Tokens};
use http::HeaderMap;
use prost::Message;
use tempfile::TempDir;
use tonic::Code;

use crate::auth_guarded::grants;
use crate::auth_matrix::{call, methods};
use crate::auth_tokens::{create, revoke, wanted, with_token};
use crate::harness::{Bookd, instant, reason};

/// The n-th token.
fn secret(number: usize) -> Secret {
    let mut random = [0; RANDOM_BYTES];
    // Each digit of base32 has 5 bits.
    for (at, digit) in random.iter_mut().take(4).enumerate() {
        *digit = u8::try_from((number >> (5 * at)) & 31).unwrap();
    }
    Secret::of(random)
}

/// What is kept of the n-th token.
fn kept(number: usize, expire_time: Option<Instant>) -> Token {
    Token {
        id: secret(number).id().clone(),
        hash: secret(number).hash(),
        name: Caller("root".into()),
        scopes: bits_of([pb::Scope::Admin]),
        prefixes: Prefixes::ALL,
        create_time: Instant::from_seconds(0),
        expire_time,
        creator: Caller::default(),
        revision: Revision(1),
    }
}

/// The headers of a call with the n-th token.
fn headers(number: usize) -> HeaderMap {
    let bearer = format!("Bearer {}", secret(number).into_text());
    let mut headers = HeaderMap::new();
    headers.insert("authorization", bearer.parse().unwrap());
    headers
}

#[test]
fn a_call_whose_token_is_revoked_before_its_message_comes_is_refused() {
    let both = Tokens::stored([kept(1, None), kept(2, None)], true);
    let (publishing, published) = tokio::sync::watch::channel(both);
    let access = Access::granted(Grants::default());
    let clock = ManualClock::new(instant("2027-01-04T08:00:00Z"));
    let access = access.with_store_tokens(published, Arc::new(clock));
    let wanted = MethodScopes::of("/bookd.v1.AccessService/CreateToken").unwrap();
    let admitted = |number| access.admit(&headers(number), CallOrigin::default(), wanted);
    let (revoked, other) = (admitted(1).unwrap(), admitted(2).unwrap());
    publishing.send_replace(Tokens::stored([kept(2, None)], true));
    assert!(access.still(&revoked, wanted).is_err());
    assert!(access.still(&other, wanted).is_ok());
}

#[test]
fn calls_and_publications_never_wait_for_each_other() {
    let tokens = |extra: usize| {
        let all = [1, 2, 100 + extra].map(|number| kept(number, None));
        Tokens::stored(all, true)
    };
    let (publishing, published) = tokio::sync::watch::channel(tokens(0));
    let clock = ManualClock::new(instant("2027-01-04T08:00:00Z"));
    let access = Access::granted(Grants::default());
    let access = access.with_store_tokens(published, Arc::new(clock));
    let wanted = MethodScopes::of("/bookd.v1.ListService/ListAppointments").unwrap();
    std::thread::scope(|threads| {
        for number in [1, 2, 1, 2] {
            let (access, headers) = (&access, headers(number));
            threads.spawn(move || {
                for _ in 0..5_000 {
                    let admitted = access.admit(&headers, CallOrigin::default(), wanted);
                    assert!(admitted.is_ok());
                }
            });
        }
        for extra in 0..2_000 {
            publishing.send_replace(tokens(extra));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_token_expires() {
    let start = instant("2027-01-04T08:00:00Z");
    let clock = ManualClock::new(start);
    let tokens = Tokens::stored([kept(1, Some(start.plus(60))), kept(2, None)], true);
    let (_publishing, published) = tokio::sync::watch::channel(tokens);
    let access = Access::granted(Grants::default());
    let access = access.with_store_tokens(published, Arc::new(clock.clone()));
    let path = "/bookd.v1.ListService/WatchAppointments";
    let wanted = MethodScopes::of(path).unwrap();
    let admitted = |number: usize| {
        access
            .admit(&headers(number), CallOrigin::default(), wanted)
            .unwrap()
    };
    let (expiring, other) = (admitted(1), admitted(2));
    let endless = std::future::pending::<()>;
    let move_on = async {
        tokio::time::sleep(Duration::from_secs(59)).await;
        clock.advance(60);
    };
    let begun = tokio::time::Instant::now();
    let (ended, ()) = tokio::join!(access.unless_revoked(&expiring, wanted, endless()), move_on);
    assert_eq!(ended, Err(AuthError::InvalidCredentials));
    assert_eq!(begun.elapsed().as_secs(), 60);
    let other = access.unless_revoked(&other, wanted, endless());
    let hour = Duration::from_secs(3_600);
    assert!(
        tokio::time::timeout(hour, other).await.is_err(),
        "it goes on"
    );
}

#[tokio::test]
async fn there_are_at_most_as_many_tokens_as_may_be() {
    let mut store = Memory::new(7);
    let created = |number: usize| Event::TokenCreated {
        token: Arc::new(kept(number, None)),
    };
    let change = Change {
        revision: Revision(1),
        time: Instant::from_seconds(0),
        cause: Cause::CreateToken,
        caller: Caller::default(),
        events: (0..TOKENS_MAX).map(created).collect(),
    };
    let batch = CommitBatch {
        changes: std::slice::from_ref(&change),
        requests: &[],
        expected: &[],
    };
    store.commit(&batch).unwrap();
    let bookd = Bookd::start_on(Box::new(store)).await;
    let root = with_token(&bookd, &secret(7).into_text()).await;
    let mut root = AccessServiceClient::new(root);
    let request = wanted("one more", &[pb::Scope::Read], "");
    let refused = create(&mut root, request.clone()).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_TOKENS")
    );
    revoke(&mut root, secret(8).id().as_str()).await.unwrap();
    create(&mut root, request).await.unwrap();
    drop(root);
    bookd.stop().await;
}

/// Both are refused as a token that never was; the row of the matrix for credentials that end.
#[tokio::test(start_paused = true)]
async fn a_token_that_was_revoked_or_has_expired_opens_no_method_that_is_not_open_to_all() {
    let clock = ManualClock::new(instant("2027-01-04T08:00:00Z"));
    let settings = Settings {
        layout: Layout::Inline,
        is_clock_confirmed: true,
        ..Settings::default()
    };
    let started = Engine::start(Box::new(Memory::new(7)), Arc::new(clock.clone()), settings);
    let (engine, _running) = started.unwrap();
    let folder = TempDir::new().unwrap();
    let root: [(&str, &[&str]); 1] = [("root", &["admin"])];
    let access = Access::granted(grants(folder.path(), &root));
    let api = Api {
        access: access.with_store_tokens(engine.tokens(), Arc::new(clock.clone())),
        ..Api::new(engine.clone(), Arc::new(Zones::bundled()))
    };
    let routes = bookd::api::services(api);
    let root = std::fs::read_to_string(folder.path().join("root")).unwrap();
    let root = format!("Bearer {root}");
    let creating = |ttl: Option<i64>| {
        let mut request = wanted("desk", &[pb::Scope::Admin], "");
        request.ttl = ttl.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        let (routes, root) = (&routes, &root);
        async move {
            const CREATE: &str = "/bookd.v1.AccessService/CreateToken";
            let message = request.encode_to_vec();
            let (_, _, answer) = call(routes, CREATE, &[root.as_str()], &message).await;
            pb::CreateTokenResponse::decode(answer).unwrap()
        }
    };
    let (expiring, revoked) = (creating(Some(60)).await, creating(None).await);
    let bearers = [&expiring, &revoked].map(|it| format!("Bearer {}", it.token));
    let list = "/bookd.v1.CalendarService/ListCalendars";
    for bearer in &bearers {
        let (code, ..) = call(&routes, list, &[bearer.as_str()], &[]).await;
        assert_eq!(code, Code::Ok);
    }
    let revoking = pb::RevokeTokenRequest {
        token_id: revoked.record.unwrap().token_id,
        ..Default::default()
    };
    let message = revoking.encode_to_vec();
    let path = "/bookd.v1.AccessService/RevokeToken";
    assert_eq!(
        call(&routes, path, &[root.as_str()], &message).await.0,
        Code::Ok
    );
    clock.advance(59);
    let (code, ..) = call(&routes, list, &[bearers[0].as_str()], &[]).await;
    assert_eq!(code, Code::Ok, "it is valid to its last second");
    clock.advance(1);
    for path in methods() {
        assert!(MethodScopes::of(&path).is_some());
        for bearer in &bearers {
            let (code, status, _) = call(&routes, &path, &[bearer.as_str()], &[]).await;
            assert_eq!(code, Code::Unauthenticated, "{path}");
            assert_eq!(reason(&status.unwrap()), "CREDENTIALS_INVALID");
        }
    }
}
