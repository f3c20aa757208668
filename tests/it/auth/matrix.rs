//! Every method of the contract, called with every credential and every scope: the exact codes.
//!
//! The methods and the scopes that they want are read from the descriptors, so that no new method is
//! left out. The descriptors themselves are held against a table written by hand.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bookd::api::Routes;
use bookd::api::context::Api;
use bookd::auth::{Access, Grant, GrantConfig, Grants, MethodScopes, Scopes};
use bookd::clock::ManualClock;
use bookd::engine::{Engine, Settings};
use bookd::layout::Layout;
use bookd::proto::FILE_DESCRIPTOR_SET;
use bookd::proto::v1 as pb;
use bookd::store::memory::Memory;
use bookd::zones::Zones;
use bookd_kit::fuzzed::framed;
use bookd_transport::{CertificateName, Peer};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use prost::Message;
use prost_reflect::DescriptorPool;
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::harness::{instant, reason};

const SCOPES: [&str; 6] = ["slots", "read", "book", "staff", "manage", "admin"];

/// Which scopes let a caller call which method, as security says it and not as the code does.
const WANTED: [(&[&str], &[&str]); 8] = [
    (
        &[
            "AccessService/GetPrincipal",
            "ServerInfoService/GetServerInfo",
        ],
        &[],
    ),
    (
        &[
            "SlotsService/ListSlots",
            "SlotsService/ExplainSlot",
            "SlotsService/QueryFreeBusy",
            "SlotsService/WatchSlots",
        ],
        &["slots", "admin"],
    ),
    (
        &[
            "ListService/GetAppointment",
            "ListService/ListAppointments",
            "ListService/ListChanges",
            "ListService/ListZoneDrift",
            "ListService/WatchAppointments",
        ],
        &["read", "admin"],
    ),
    (
        &[
            "CalendarService/GetCalendar",
            "CalendarService/ListCalendars",
            "CalendarService/GetAppointmentType",
            "CalendarService/ListAppointmentTypes",
            "AvailabilityService/GetAvailability",
            "AvailabilityService/ListBusy",
        ],
        &["read", "manage", "admin"],
    ),
    (
        &[
            "BookingService/BookAppointment",
            "BookingService/HoldAppointment",
            "BookingService/ExtendHold",
            "BookingService/ReleaseHold",
            "BookingService/ConfirmAppointment",
            "BookingService/RescheduleAppointment",
            "BookingService/CancelAppointment",
            "BookingService/UpdateAppointment",
            "BookingService/BookSeries",
            "BookingService/CancelSeries",
            "BookingService/BatchBook",
        ],
        &["book", "admin"],
    ),
    (
        &[
            "BookingService/ApproveAppointment",
            "BookingService/DeclineAppointment",
            "BookingService/MarkNoShow",
            "BookingService/CompleteAppointment",
        ],
        &["staff", "admin"],
    ),
    (
        &[
            "CalendarService/CreateCalendar",
            "CalendarService/UpdateCalendar",
            "CalendarService/DeleteCalendar",
            "CalendarService/PutAppointmentType",
            "CalendarService/DeleteAppointmentType",
            "AvailabilityService/SetAvailability",
            "AvailabilityService/PutOverrides",
            "AvailabilityService/DeleteOverrides",
            "AvailabilityService/PutBusy",
        ],
        &["manage", "admin"],
    ),
    (
        &[
            "BookingService/RedactInvitee",
            "AccessService/CreateToken",
            "AccessService/ListTokens",
            "AccessService/RevokeToken",
        ],
        &["admin"],
    ),
];

/// The token of a caller with this scope.
fn token(scope: &str) -> String {
    format!("{scope}-{}", "k7".repeat(13))
}

/// The grants of one caller for each scope, whose tokens are files of this folder.
fn grants(folder: &Path) -> Grants {
    Grants::load(&config(folder), None).unwrap()
}

fn config(folder: &Path) -> GrantConfig {
    let grant = |scope: &&str| {
        let file = folder.join(scope);
        std::fs::write(&file, token(scope)).unwrap();
        Grant {
            name: Some(format!("the {scope} one")),
            token_file: Some(file),
            scopes: vec![(*scope).to_owned()],
            ..Grant::default()
        }
    };
    GrantConfig {
        grants: SCOPES.iter().map(grant).collect(),
        ..GrantConfig::default()
    }
}

/// The services on an empty store in memory, behind these grants.
pub fn guarded(access: Access) -> (Engine, Routes) {
    let clock = Arc::new(ManualClock::new(instant("2027-01-04T08:00:00Z")));
    let settings = Settings {
        layout: Layout::Inline,
        is_clock_confirmed: true,
        ..Settings::default()
    };
    let (engine, _running) = Engine::start(Box::new(Memory::new(7)), clock, settings).unwrap();
    let api = Api {
        access,
        ..Api::new(engine.clone(), Arc::new(Zones::bundled()))
    };
    (engine, bookd::api::services(api))
}

/// Calls a method with these headers from an address of its own, so that no count of another call
/// matters, and answers its status and the first message.
pub async fn call(
    routes: &Routes,
    path: &str,
    authorization: &[&str],
    message: &[u8],
) -> (Code, Option<Status>, Bytes) {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let address = Ipv4Addr::from_bits(CALLS.fetch_add(1, Ordering::Relaxed));
    let peer = Peer {
        address: Some((address, 1).into()),
        certificate: None,
    };
    call_from(peer, routes, path, authorization, message).await
}

/// The same over a connection of this peer.
async fn call_from(
    peer: Peer,
    routes: &Routes,
    path: &str,
    authorization: &[&str],
    message: &[u8],
) -> (Code, Option<Status>, Bytes) {
    let body = framed(message);
    let mut request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for value in authorization {
        request = request.header("authorization", *value);
    }
    let request = request
        .extension(peer)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let answer = routes.clone().oneshot(request).await.unwrap();
    let (parts, mut body) = answer.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers) {
        return (status.code(), Some(status), Bytes::new());
    }
    let frame = body.frame().await.unwrap().unwrap();
    match frame.into_data() {
        Ok(data) => (Code::Ok, None, data.slice(5..)),
        Err(frame) => {
            let status = Status::from_header_map(&frame.into_trailers().unwrap()).unwrap();
            (status.code(), Some(status), Bytes::new())
        }
    }
}

pub fn methods() -> Vec<String> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let ours = pool
        .services()
        .filter(|service| service.package_name() == "bookd.v1");
    ours.flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
        .collect()
}

#[test]
fn the_contract_wants_of_each_method_what_security_says() {
    let mut said = BTreeMap::new();
    for (methods, scopes) in WANTED {
        for method in methods {
            said.insert(format!("/bookd.v1.{method}"), scopes);
        }
    }
    let all = methods();
    assert_eq!(all.len(), said.len());
    for path in all {
        let wanted = MethodScopes::of(&path).unwrap();
        for scope in SCOPES {
            let is_let_in = said[&path].is_empty() || said[&path].contains(&scope);
            let scopes: Scopes = scope.parse().unwrap();
            assert_eq!(wanted.is_met_by(scopes), is_let_in, "{path} with {scope}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_method_answers_every_credential_with_the_right_code() {
    let folder = tempfile::tempdir().unwrap();
    let (_engine, routes) = guarded(Access::granted(grants(folder.path())));
    let mut calls = 0;
    for path in methods() {
        let wanted = MethodScopes::of(&path).unwrap();
        let bearer = format!("Bearer {}", token("admin"));
        let twice = [bearer.as_str(), bearer.as_str()];
        let unknown = format!("Bearer {}x", token("admin"));
        let basic = format!("Basic {}", token("admin"));
        for (authorization, is_known) in [
            (&[][..], wanted.is_open()),
            (&["Bearer nobody"][..], false),
            (&["Bearer "][..], false),
            (&[unknown.as_str()][..], false),
            (&[basic.as_str()][..], false),
            (&twice[..], false),
        ] {
            let (code, status, _) = call(&routes, &path, authorization, &[]).await;
            let is_refused = code == Code::Unauthenticated;
            assert_eq!(
                is_refused, !is_known,
                "{path} {authorization:?}: {status:?}"
            );
            if let Some(status) = status.filter(|_| is_refused) {
                assert_eq!(reason(&status), "CREDENTIALS_INVALID");
                assert!(!status.message().contains("nobody"), "{status:?}");
            }
            calls += 1;
        }
        for scope in SCOPES {
            let bearer = format!("Bearer {}", token(scope));
            let (code, status, _) = call(&routes, &path, &[bearer.as_str()], &[]).await;
            let is_let_in = wanted.is_met_by(scope.parse().unwrap());
            assert_ne!(code, Code::Unauthenticated, "{path} with {scope}");
            assert_eq!(
                code == Code::PermissionDenied,
                !is_let_in,
                "{path} with {scope}: {status:?}"
            );
            if let Some(status) = status.filter(|_| !is_let_in) {
                assert_eq!(reason(&status), "PERMISSION_DENIED");
            }
            calls += 1;
        }
    }
    assert!(calls > 500, "{calls}");
}

/// A booking of a hold that there is not, by which only the message is looked at.
fn ignoring_rules() -> Vec<(&'static str, Vec<u8>)> {
    let ignore_rules = vec![pb::IgnorableRule::Notice.into()];
    let start_time = Some(crate::harness::timestamp("2027-01-05T09:00:00Z"));
    let invitee = Some(pb::Invitee {
        name: "Grace".to_owned(),
        ..Default::default()
    });
    let booking = pb::BookAppointmentRequest {
        calendar_id: "ada".to_owned(),
        start_time,
        invitee: invitee.clone(),
        ignore_rules: ignore_rules.clone(),
        ..Default::default()
    };
    let holding = pb::HoldAppointmentRequest {
        calendar_id: "ada".to_owned(),
        start_time,
        ignore_rules: ignore_rules.clone(),
        ..Default::default()
    };
    let moving = pb::RescheduleAppointmentRequest {
        appointment_id: "0190163d-8694-739b-aea5-966c26f8ad91".to_owned(),
        start_time,
        ignore_rules: ignore_rules.clone(),
        ..Default::default()
    };
    let series = pb::BookSeriesRequest {
        calendar_id: "ada".to_owned(),
        local_start: "2027-01-05T09:00".to_owned(),
        invitee,
        frequency: pb::Frequency::Weekly.into(),
        count: Some(3),
        ignore_rules,
        ..Default::default()
    };
    let batch = pb::BatchBookRequest {
        requests: vec![booking.clone()],
        ..Default::default()
    };
    vec![
        ("BookAppointment", booking.encode_to_vec()),
        ("HoldAppointment", holding.encode_to_vec()),
        ("RescheduleAppointment", moving.encode_to_vec()),
        ("BookSeries", series.encode_to_vec()),
        ("BatchBook", batch.encode_to_vec()),
    ]
}

#[tokio::test(start_paused = true)]
async fn only_staff_may_ignore_rules() {
    let folder = tempfile::tempdir().unwrap();
    let (_engine, routes) = guarded(Access::granted(grants(folder.path())));
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let booking = pool.get_service_by_name("bookd.v1.BookingService").unwrap();
    let with_rules = booking.methods().filter(|method| {
        let has_rules =
            |it: &prost_reflect::MessageDescriptor| it.get_field_by_name("ignore_rules").is_some();
        has_rules(&method.input())
            || method
                .input()
                .fields()
                .any(|field| field.kind().as_message().is_some_and(has_rules))
    });
    let tried = ignoring_rules();
    assert_eq!(
        with_rules.count(),
        tried.len(),
        "a method that ignores rules is not tried"
    );
    for (method, message) in tried {
        let path = format!("/bookd.v1.BookingService/{method}");
        for (scope, is_denied) in [("book", true), ("admin", false)] {
            let bearer = format!("Bearer {}", token(scope));
            let (code, status, _) = call(&routes, &path, &[bearer.as_str()], &message).await;
            assert_eq!(
                code == Code::PermissionDenied,
                is_denied,
                "{method}: {status:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_told_who_it_is_and_a_stranger_only_what_the_server_can_do() {
    let folder = tempfile::tempdir().unwrap();
    let (_engine, routes) = guarded(Access::granted(grants(folder.path())));
    const WHO: &str = "/bookd.v1.AccessService/GetPrincipal";
    const WHAT: &str = "/bookd.v1.ServerInfoService/GetServerInfo";
    let bearer = format!("Bearer {}", token("book"));
    let (_, _, answer) = call(&routes, WHO, &[bearer.as_str()], &[]).await;
    let principal = pb::GetPrincipalResponse::decode(answer)
        .unwrap()
        .principal
        .unwrap();
    assert_eq!(principal.name, "the book one");
    assert_eq!(principal.scopes, [i32::from(pb::Scope::Book)]);
    assert_eq!(principal.credential(), pb::CredentialKind::Token);

    let (_, _, answer) = call(&routes, WHO, &[], &[]).await;
    let nobody = pb::GetPrincipalResponse::decode(answer)
        .unwrap()
        .principal
        .unwrap();
    assert_eq!(nobody, pb::Principal::default());

    let (_, _, answer) = call(&routes, WHAT, &[], &[]).await;
    let info = pb::GetServerInfoResponse::decode(answer).unwrap();
    assert!(!info.limits.is_empty() && info.time.is_none() && info.revision == 0);
    let (_, _, answer) = call(&routes, WHAT, &[bearer.as_str()], &[]).await;
    assert!(
        pb::GetServerInfoResponse::decode(answer)
            .unwrap()
            .time
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_who_its_grant_says_and_a_token_beside_it_decides_alone() {
    const WHO: &str = "/bookd.v1.AccessService/GetPrincipal";
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.grants.push(Grant {
        certificate: Some("spiffe://acme/front/*".to_owned()),
        scopes: vec!["read".to_owned()],
        ..Grant::default()
    });
    let (_engine, routes) = guarded(Access::granted(Grants::load(&config, None).unwrap()));
    let peer = |name: &str| Peer {
        address: None,
        certificate: Some(Arc::new(CertificateName::Spiffe(name.to_owned()))),
    };
    let desk = || peer("spiffe://acme/front/desk");
    let (_, _, answer) = call_from(desk(), &routes, WHO, &[], &[]).await;
    let known = pb::GetPrincipalResponse::decode(answer).unwrap();
    let known = known.principal.unwrap();
    assert_eq!(known.name, "spiffe://acme/front/desk");
    assert_eq!(known.credential(), pb::CredentialKind::Certificate);
    assert_eq!(known.scopes, [i32::from(pb::Scope::Read)]);

    let list = "/bookd.v1.CalendarService/ListCalendars";
    let code = |peer, authorization: Option<String>| {
        let routes = &routes;
        async move {
            let headers: Vec<&str> = authorization.iter().map(String::as_str).collect();
            call_from(peer, routes, list, &headers, &[]).await.0
        }
    };
    assert_eq!(code(desk(), None).await, Code::Ok);
    assert_eq!(
        code(peer("spiffe://acme/back"), None).await,
        Code::PermissionDenied
    );
    let with_less = format!("Bearer {}", token("slots"));
    assert_eq!(code(desk(), Some(with_less)).await, Code::PermissionDenied);
    let wrong = "Bearer nobody".to_owned();
    assert_eq!(code(desk(), Some(wrong)).await, Code::Unauthenticated);

    // Without grants the certificate names the caller, who may do everything.
    let (_engine, open) = guarded(Access::open());
    let (_, _, answer) = call_from(desk(), &open, WHO, &[], &[]).await;
    let named = pb::GetPrincipalResponse::decode(answer).unwrap();
    assert_eq!(named.principal.unwrap().name, "spiffe://acme/front/desk");
}
