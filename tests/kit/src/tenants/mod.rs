//! A tenant learns nothing of another: two worlds that differ in what the other tenant does answer
//! the same calls of the first one alike.
//!
//! What is no secret is masked, and nothing else: revisions, and what is derived from them or from
//! the global count of appointments (etags, page tokens, confirmation codes). The ids that the
//! server makes come from a counter of each tenant.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bookd::api::Routes;
use bookd::api::context::Api;
use bookd::auth::{Access, Grant, GrantConfig, Grants};
use bookd::clock::ManualClock;
use bookd::engine::Engine;
use bookd::ids::Ids;
use bookd::proto::v1 as pb;
use bookd::store::Store;
use bookd_core::appointment::confirmation_code;
use bookd_core::ids::AppointmentKey;
use bookd_core::time::Instant;
use bookd_transport::{CertificateName, Peer};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use prost::Message;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use serde_json::Value as Json;
use tonic::Status;
use tower::ServiceExt;

use super::caller::Caller;
use super::calls::{Answered, Call};
use super::chance::Chance;
use super::fuzzed::{NOW, engine_on, framed, runtime, zones};
use super::readable::{dynamic, method};

mod deletion;
mod messages;

pub use deletion::{DELETED, STAYING, one_tenant_goes_on, two_tenants_live};

use messages::{Theirs, each_calendar, masked, mix};

const OURS: &str = "acme/";
const THEIRS: &str = "beta/";
/// One call of ours in so many has something of theirs in it, and one in so many asks across
/// calendars.
const MIXED: u64 = 3;
const ACROSS: u64 = 6;
/// How often the changes are compared as well, from the first one on.
const WATCHES: u64 = 6;

/// A tenant's client, with a service of its own on the engine that all share.
struct Tenant {
    prefix: &'static str,
    routes: Routes,
    caller: Caller,
    /// The confirmation codes and page tokens that it was told.
    codes: Vec<String>,
    tokens: Vec<String>,
}

/// A server with two tenants.
struct World {
    engine: Engine,
    clock: Arc<ManualClock>,
    ours: Tenant,
    theirs: Tenant,
}

fn access() -> Access {
    let grant = |prefix: &str| Grant {
        certificate: Some(format!("spiffe://{prefix}client")),
        scopes: vec!["admin".to_owned()],
        prefix: prefix.to_owned(),
        ..Grant::default()
    };
    let config = GrantConfig {
        grants: [OURS, THEIRS, ""].map(grant).to_vec(),
        ..GrantConfig::default()
    };
    Access::granted(Grants::load(&config, None).unwrap())
}

/// What a call came to.
type Came = Result<DynamicMessage, Status>;

impl Tenant {
    fn new(engine: &Engine, prefix: &'static str, first_id: u64) -> Self {
        let api = Api {
            access: access(),
            ids: Arc::new(Ids::Counted(AtomicU64::new(first_id))),
            ..Api::new(engine.clone(), zones())
        };
        Self {
            prefix,
            routes: bookd::api::services(api),
            // Both have the same request ids.
            caller: Caller::new("client", Chance(7)),
            codes: Vec::new(),
            tokens: Vec::new(),
        }
    }

    /// The message of a call, with the calendars of this tenant.
    fn message(&self, call: &Call) -> DynamicMessage {
        let bytes = call.encoded();
        let mut message = DynamicMessage::decode(method(call.name()).input(), &*bytes).unwrap();
        each_calendar(&mut message, &|id| format!("{}{id}", self.prefix));
        message
    }

    async fn frames(
        &self,
        method: &MethodDescriptor,
        message: &DynamicMessage,
    ) -> (Frames, Status) {
        let body = framed(&message.encode_to_vec());
        let name = format!("spiffe://{}client", self.prefix);
        let peer = Peer {
            address: None,
            certificate: Some(Arc::new(CertificateName::Spiffe(name))),
        };
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .extension(peer)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let (parts, body) = self
            .routes
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_parts();
        let status = Status::from_header_map(&parts.headers);
        let frames = Frames {
            body,
            come: BytesMut::new(),
        };
        (frames, status.unwrap_or_else(|| Status::ok("")))
    }

    async fn send(&self, method: &MethodDescriptor, message: &DynamicMessage) -> Came {
        let (mut frames, status) = self.frames(method, message).await;
        if status.code() != tonic::Code::Ok {
            return Err(status);
        }
        let answer = frames.next().await?;
        Ok(DynamicMessage::decode(method.output(), answer).unwrap())
    }

    /// Every change that it is shown from the first one on.
    async fn watched(&self) -> Vec<Json> {
        self.watched_from(1).await
    }

    /// Every change that it is shown from a revision on.
    async fn watched_from(&self, start_revision: i64) -> Vec<Json> {
        let method = method("WatchAppointments");
        let message = dynamic(&pb::WatchAppointmentsRequest {
            start_revision,
            ..Default::default()
        });
        let (mut frames, status) = self.frames(&method, &message).await;
        assert_eq!(status.code(), tonic::Code::Ok, "{status:?}");
        let mut shown = Vec::new();
        loop {
            let frame = frames.next().await.unwrap();
            let message = DynamicMessage::decode(method.output(), frame).unwrap();
            if message.has_field_by_name("progress") {
                return shown;
            }
            shown.push(masked(&message));
        }
    }

    /// Learns what the answer to a call says.
    fn learn(&mut self, call: &Call, answer: &DynamicMessage) {
        let mut answer = answer.clone();
        let prefix = self.prefix;
        each_calendar(&mut answer, &|id| {
            id.strip_prefix(prefix).unwrap_or(id).to_owned()
        });
        let answered = Answered::new(0, &answer);
        self.caller.learn(call, &answered);
        let shown = &answered.appointments;
        let ids = shown.iter().map(|it| it.appointment_id.clone());
        self.caller.known.extend(ids);
        self.codes
            .extend(shown.iter().map(|it| it.confirmation_code.clone()));
        self.tokens
            .extend(Some(answered.next_page_token).filter(|it| !it.is_empty()));
    }

    async fn act(&mut self, call: Call) {
        let message = self.message(&call);
        if let Ok(answer) = self.send(&method(call.name()), &message).await {
            self.learn(&call, &answer);
        }
    }
}

/// The messages of an answer.
struct Frames {
    body: tonic::body::Body,
    /// What has come of the next messages.
    come: BytesMut,
}

impl Frames {
    async fn next(&mut self) -> Result<Bytes, Status> {
        loop {
            if self.come.len() >= 5 {
                let end = 5 + usize::try_from((&self.come[1..5]).get_u32()).unwrap();
                if self.come.len() >= end {
                    return Ok(self.come.split_to(end).freeze().slice(5..));
                }
            }
            match self.body.frame().await.unwrap().unwrap().into_data() {
                Ok(data) => self.come.extend_from_slice(&data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap();
                    return Err(Status::from_header_map(&trailers).unwrap());
                }
            }
        }
    }
}

impl World {
    fn new(store: Box<dyn Store>) -> Self {
        let clock = Arc::new(ManualClock::new(Instant::from_seconds(NOW)));
        let engine = engine_on(store, Arc::clone(&clock));
        Self {
            ours: Tenant::new(&engine, OURS, 1),
            theirs: Tenant::new(&engine, THEIRS, 1 << 40),
            engine,
            clock,
        }
    }
}

/// What a call came to, without what is no secret.
fn told(came: &Came) -> Result<Json, (tonic::Code, String, Vec<u8>)> {
    came.as_ref().map(masked).map_err(|status| {
        let details = status.details().to_vec();
        (status.code(), status.message().to_owned(), details)
    })
}

/// A call that asks across calendars.
fn across(chance: &mut Chance, known: &[String]) -> Call {
    let known = |chance: &mut Chance| known.last().map_or_else(String::new, |_| chance.of(known));
    let invitee_email = chance
        .of(&[
            "grace.hopper@example.com",
            "lise.meitner@example.com",
            "nobody@example.com",
        ])
        .to_owned();
    match chance.below(8) {
        0..=2 => Call::ListAppointments(pb::ListAppointmentsRequest {
            invitee_email,
            states: (1..=8).collect(),
            start_time: Some(prost_types::Timestamp::default()),
            page_size: chance.of(&[1, 3, 50]),
            ..Default::default()
        }),
        3 => Call::ListChanges(pb::ListChangesRequest {
            appointment_id: known(chance),
            page_size: chance.of(&[1, 50]),
            ..Default::default()
        }),
        4 | 5 => Call::ListCalendars(pb::ListCalendarsRequest {
            id_prefix: chance
                .of(&[
                    "", "a", "acme/", "acme/ro", "acme", "acmeX/", "b", "beta/", "beta/ro",
                ])
                .to_owned(),
            page_size: chance.of(&[1, 2, 50]),
            ..Default::default()
        }),
        6 if chance.is(12) => Call::RedactInvitee(pb::RedactInviteeRequest {
            invitee_email,
            ..Default::default()
        }),
        6 => Call::ListZoneDrift(pb::ListZoneDriftRequest::default()),
        _ => Call::CancelSeries(pb::CancelSeriesRequest {
            appointment_id: known(chance),
            scope: pb::SeriesScope::All.into(),
            ..Default::default()
        }),
    }
}

/// Sends so many random calls of one tenant to a server that has no other tenant and to one where
/// another is busy, and asserts that the client is told the same. Returns how many calls were
/// answered without an error, and how many had something of theirs in them.
pub fn tenants_learn_nothing_of_each_other(
    stores: [Box<dyn Store>; 2],
    calls: u64,
    seed: u64,
) -> (u64, u64) {
    runtime().block_on(async {
        let [mut alone, mut shared] = stores.map(World::new);
        let mut chance = Chance(seed);
        for call in shared.theirs.caller.opening() {
            shared.theirs.act(call).await;
        }
        for world in [&mut alone, &mut shared] {
            for call in world.ours.caller.opening() {
                world.ours.act(call).await;
            }
        }
        let (mut answered, mut mixed) = (0, 0);
        for number in 1..=calls {
            let now = alone.engine.now().seconds();
            if chance.is(40) {
                let seconds = chance.of(&[1, 60, 901, 86_400]);
                for world in [&alone, &shared] {
                    world.clock.advance(seconds);
                    // What has expired is recorded now, as a timer does, and not with the next call.
                    world.engine.tick().await.unwrap();
                }
            }
            for _ in 0..chance.below(3) {
                shared.theirs.caller.chance = chance.fork();
                let call = shared.theirs.caller.any(now);
                shared.theirs.act(call).await;
            }
            let is_mixed = step(&mut alone, &mut shared, &mut chance, now, &mut answered).await;
            mixed += u64::from(is_mixed);
            if number % calls.div_ceil(WATCHES) == 0 || number == calls {
                assert_eq!(alone.ours.watched().await, shared.ours.watched().await);
            }
        }
        assert!(shared.engine.revision() > alone.engine.revision());
        (answered, mixed)
    })
}

/// One call of ours to both worlds. Returns whether it had something of theirs in it.
async fn step(
    alone: &mut World,
    shared: &mut World,
    chance: &mut Chance,
    now: i64,
    answered: &mut u64,
) -> bool {
    let seed = chance.next_number();
    let call_of = |world: &mut World| {
        let mut chance = Chance(seed);
        if chance.is(ACROSS) {
            return across(&mut chance, &world.ours.caller.known);
        }
        world.ours.caller.chance = chance;
        world.ours.caller.any(now)
    };
    let calls = [call_of(alone), call_of(shared)];
    let mut messages = [
        alone.ours.message(&calls[0]),
        shared.ours.message(&calls[1]),
    ];
    if calls[0].name() == "ListCalendars" {
        messages = [dynamic_of(&calls[0]), dynamic_of(&calls[1])];
    }
    assert_eq!(masked(&messages[0]), masked(&messages[1]));
    let is_mixed = chance.is(MIXED);
    if is_mixed {
        let pick = chance.next_number() >> 1;
        let of = |chance: &mut Chance, all: &[String], none: String| match all {
            [] => none,
            all => chance.of(&all[all.len().saturating_sub(40)..]),
        };
        // In the world without them, their things are things that there are not.
        let nothing = confirmation_code::encode(AppointmentKey(1 << 30), alone.engine.code_key());
        let theirs = Theirs {
            id: of(
                chance,
                &shared.theirs.caller.known,
                uuid::Uuid::nil().to_string(),
            ),
            code: of(chance, &shared.theirs.codes, nothing.clone()),
            token: of(chance, &shared.theirs.tokens, "00".to_owned()),
        };
        let without_them = Theirs {
            id: theirs.id.clone(),
            code: nothing,
            token: "00".to_owned(),
        };
        mix(&mut messages[0], pick, &without_them);
        mix(&mut messages[1], pick, &theirs);
    }
    let method = method(calls[0].name());
    let came = [
        alone.ours.send(&method, &messages[0]).await,
        shared.ours.send(&method, &messages[1]).await,
    ];
    assert_eq!(told(&came[0]), told(&came[1]), "{}", messages[1]);
    let [of_alone, of_shared] = &came;
    if let (Ok(of_alone), Ok(of_shared)) = (of_alone, of_shared) {
        *answered += 1;
        alone.ours.learn(&calls[0], of_alone);
        shared.ours.learn(&calls[1], of_shared);
    }
    is_mixed
}

/// The message of a call as it is.
fn dynamic_of(call: &Call) -> DynamicMessage {
    DynamicMessage::decode(method(call.name()).input(), &*call.encoded()).unwrap()
}
