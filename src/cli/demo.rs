//! `bookd demo`: a server with calendars and appointments to try commands on.
//!
//! Everything is in memory, and nothing remains when it stops.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::{CallError, Client, Server};
use super::demo_tenants::TokenFolder;
use super::exit::Exit;
use super::lookup::Lookup;
use super::output::{complain, failed, say};
use super::run::error_text;
use super::serve::run_until_stopped;
use super::words::without_nulls;
use crate::auth::Access;
use crate::config::LogConfig;
use crate::descriptors;
use crate::exposure::{self, Assurances, Credentials};
use crate::service::{Parts, Service};
use crate::signals::Signals;
use crate::store::memory::Memory;
use crate::telemetry;
use crate::zones::Zones;

/// The timeout of the calls that fill the demo server.
const FILL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a stop waits for calls in flight.
const GRACE: Duration = Duration::from_secs(2);

/// The error of tokens that a network would see.
const BEYOND_THIS_MACHINE: &str = "--tenants is for this machine alone: the demo has no TLS, and whoever reads along could \
     use the tokens; leave --listen on 127.0.0.1";

/// What `bookd demo` needs to know.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  bookd demo --listen 127.0.0.1:50051\n  bookd demo --tenants")]
pub struct DemoConfig {
    /// The address to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "BOOKD_LISTEN",
        default_value = "127.0.0.1:50051",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// Listen beyond this machine: whoever reaches the port may do everything
    #[arg(long, env = "BOOKD_INSECURE")]
    pub insecure: bool,
    /// Ask callers for tokens: two tenants that cannot see each other, and an operator; their
    /// tokens are in files that only you can read, and that are removed when it stops
    #[arg(long)]
    pub tenants: bool,
    /// A folder of compiled time zones to use instead of the newer of the system's and the bundled
    /// release
    #[arg(long, env = "BOOKD_ZONES", value_name = "FOLDER")]
    pub zones: Option<PathBuf>,
    /// Logging
    #[command(flatten)]
    pub log: LogConfig,
}

/// Runs the demo until a signal; answers the exit code.
pub fn run(config: &DemoConfig) -> Exit {
    if config.tenants && !config.listen.ip().to_canonical().is_loopback() {
        complain(BEYOND_THIS_MACHINE);
        return Exit::Usage;
    }
    let assurances = Assurances {
        insecure: config.insecure,
        ..Assurances::default()
    };
    if let Err(refusal) = exposure::allow(config.listen, Credentials::default(), assurances) {
        complain(&refusal);
        return Exit::Usage;
    }
    let runtime = match descriptors::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let quiet = LogConfig {
        log: quieter(&config.log.log),
        ..config.log.clone()
    };
    match telemetry::start(&quiet).and_then(|_log| runtime.block_on(demo(config))) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// The log filter of the demo: the default `info` becomes `warn` and the access log, which leaves
/// the banner readable.
fn quieter(filter: &str) -> String {
    if filter == "info" {
        "warn,bookd_transport::access_log=info".to_owned()
    } else {
        filter.to_owned()
    }
}

/// Starts a service with a store in memory.
pub(super) async fn in_memory(
    listen: SocketAddr,
    access: Access,
    zones: Arc<Zones>,
    is_logging: bool,
) -> Result<Service, String> {
    let (key, _) = uuid::Uuid::now_v7().as_u64_pair();
    let store = Memory::new(key);
    let parts = Parts {
        listen,
        access,
        ..Parts::local(zones)
    };
    Service::start_logging(parts, Box::new(store), is_logging)
        .await
        .map_err(|error| error.to_string())
}

async fn demo(config: &DemoConfig) -> Result<Exit, String> {
    let zones = Arc::new(Zones::load(config.zones.as_deref()).map_err(|error| error.to_string())?);
    let signals = Signals::new()?;
    let tokens = config.tenants.then(TokenFolder::new).transpose()?;
    let access = match &tokens {
        Some(tokens) => tokens.access()?,
        None => Access::open(),
    };
    let service = in_memory(config.listen, access, zones, config.log.log_calls).await?;
    let address = service.local_addr();
    exposure::warn(address, Credentials::default());
    let filled = fill_as_operator(&reachable(address), tokens.as_ref()).await;
    let filled = filled.map_err(|error| error_text(&error))?;
    say(&banner(address, &filled, tokens.as_ref()));
    run_until_stopped(service, signals, GRACE, None::<fn()>).await
}

/// Fills the server at this address, and creates the tokens of the tenants if there are any.
async fn fill_as_operator(
    address: &str,
    tokens: Option<&TokenFolder>,
) -> Result<Vec<Filled>, CallError> {
    let server = Server::new(address, FILL_TIMEOUT);
    let Some(tokens) = tokens else {
        return fill(&Client::connect(&server).await?).await;
    };
    let operator = Client::connect(&tokens.as_operator(server)?).await?;
    let filled = fill(&operator).await?;
    tokens.create_tokens(&operator).await?;
    Ok(filled)
}

/// The address at which a client on this machine reaches a server that listens on `address`.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// A calendar of the demo, with the number of its appointments.
struct Filled {
    calendar: &'static str,
    name: &'static str,
    appointments: usize,
}

/// The calendars: id, name, zone, days and hours.
const CALENDARS: [(&str, &str, &str, &[&str]); 7] = [
    (
        "clinic/dr-lee",
        "Dr Lee",
        "Europe/Paris",
        &["mon-sat", "08:00-12:00", "13:00-18:00"],
    ),
    (
        "clinic/room-1",
        "Room 1",
        "Europe/Paris",
        &["daily", "07:00-20:00"],
    ),
    (
        "salon/kim",
        "Kim",
        "America/New_York",
        &["tue-sat", "10:00-19:00"],
    ),
    (
        "salon/sam",
        "Sam",
        "America/New_York",
        &["mon-fri", "09:00-17:00"],
    ),
    (
        "studio/yoga",
        "Yoga",
        "Asia/Kolkata",
        &["daily", "07:00-08:00", "18:00-20:00"],
    ),
    ("acme/ada", "Ada", "UTC", &["daily", "09:00-17:00"]),
    ("acme/bea", "Bea", "UTC", &["daily", "09:00-17:00"]),
];

/// The appointment types, each with its calendar.
fn types() -> [(&'static str, Value); 9] {
    let visit = || json!({ "appointment_type_id": "visit", "duration": "1800s", "buffer_after": "600s", "slot_step": "600s" });
    let cut = || json!({ "appointment_type_id": "haircut", "duration": "2700s", "slot_step": "900s", "min_notice": "3600s" });
    [
        ("clinic/dr-lee", visit()),
        ("clinic/room-1", visit()),
        ("salon/kim", cut()),
        ("salon/sam", cut()),
        (
            "salon/kim",
            json!({ "appointment_type_id": "colour", "duration": "7200s", "slot_step": "1800s" }),
        ),
        (
            "studio/yoga",
            json!({ "appointment_type_id": "class", "duration": "3600s", "capacity": 12 }),
        ),
        (
            "acme/ada",
            json!({ "appointment_type_id": "intro", "duration": "1800s", "requires_approval": true }),
        ),
        (
            "acme/bea",
            json!({ "appointment_type_id": "intro", "duration": "1800s", "limits": { "per_day": 4 } }),
        ),
        (
            "acme/ada",
            json!({ "appointment_type_id": "review", "duration": "3600s", "cancel_notice": "86400s" }),
        ),
    ]
}

/// The bookings: calendars, assignment, type, the number of bookings, and the step between the free
/// slots that they take.
const BOOKED: [(&[&str], &str, &str, usize, usize); 7] = [
    (
        &["clinic/dr-lee", "clinic/room-1"],
        "ASSIGNMENT_ALL",
        "visit",
        8,
        5,
    ),
    (
        &["salon/kim", "salon/sam"],
        "ASSIGNMENT_ANY",
        "haircut",
        8,
        7,
    ),
    (&["salon/kim"], "ASSIGNMENT_ALL", "colour", 2, 9),
    // Two rows, so that several people share a class.
    (&["studio/yoga"], "ASSIGNMENT_ALL", "class", 6, 1),
    (&["studio/yoga"], "ASSIGNMENT_ALL", "class", 3, 1),
    (&["acme/ada"], "ASSIGNMENT_ALL", "intro", 3, 4),
    (&["acme/bea"], "ASSIGNMENT_ALL", "intro", 3, 3),
];

/// The invitees.
const PEOPLE: [&str; 6] = [
    "Grace Hopper",
    "Alan Turing",
    "Mary Jackson",
    "Edsger Dijkstra",
    "Barbara Liskov",
    "Donald Knuth",
];

/// Makes the calendars, types and bookings by calls of the server.
async fn fill(client: &Client) -> Result<Vec<Filled>, CallError> {
    for (id, name, zone, hours) in CALENDARS {
        let hours: Vec<String> = hours.iter().map(|it| (*it).to_owned()).collect();
        let rules = super::words::rules(&hours).map_err(CallError::Usage)?;
        let calendar = json!({ "calendar_id": id, "display_name": name, "time_zone": zone });
        client
            .call("CreateCalendar", json!({ "calendar": calendar }))
            .await?;
        client
            .call(
                "SetAvailability",
                json!({ "calendar_id": id, "rules": rules }),
            )
            .await?;
    }
    for (calendar, appointment_type) in types() {
        let request = json!({ "calendar_id": calendar, "appointment_type": appointment_type });
        client.call("PutAppointmentType", request).await?;
    }
    let next_week = date_ahead(client, 7).await?;
    let closed = json!({ "date": next_week, "note": "closed for a day" });
    client
        .call(
            "PutOverrides",
            json!({ "calendar_id": "acme/ada", "overrides": [closed] }),
        )
        .await?;
    for booked in &BOOKED {
        book(client, booked).await?;
    }
    let mut filled = Vec::new();
    for (calendar, name, ..) in CALENDARS {
        let request = json!({ "calendar_id": calendar, "page_size": 1_000 });
        let found = client.call("ListAppointments", request).await?;
        let appointments = found["appointments"].as_array().map_or(0, Vec::len);
        filled.push(Filled {
            calendar,
            name,
            appointments,
        });
    }
    Ok(filled)
}

/// The date `days` after the server's today, in UTC.
async fn date_ahead(client: &Client, days: i64) -> Result<String, CallError> {
    let then = Lookup { client }
        .now()
        .await?
        .plus(days * bookd_core::time::DAY);
    Ok(then.to_string().chars().take(10).collect())
}

/// Books every n-th free slot of the coming days, `count` of them.
async fn book(
    client: &Client,
    (calendars, assignment, kind, count, nth): &(&[&str], &str, &str, usize, usize),
) -> Result<(), CallError> {
    let asked = json!({
        "calendar_ids": calendars,
        "assignment": assignment,
        "appointment_type_id": kind,
        "start_time": format!("{}T00:00:00Z", date_ahead(client, 1).await?),
        "end_time": format!("{}T00:00:00Z", date_ahead(client, 7).await?),
        "page_size": 1_000,
    });
    let found = client.call("ListSlots", asked).await?;
    let starts: Vec<&Value> = found["slots"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| &it["start_time"])
        .collect();
    for (n, start) in starts.iter().step_by(*nth).take(*count).enumerate() {
        let name = PEOPLE[n % PEOPLE.len()];
        let email = format!("{}@example.com", name.to_lowercase().replace(' ', "."));
        let request = json!({
            "calendar_ids": calendars,
            "assignment": assignment,
            "appointment_type_id": kind,
            "start_time": start,
            "invitee": { "name": name, "email": email },
        });
        match client.call("BookAppointment", without_nulls(request)).await {
            Ok(_) => {}
            // A booking of the slot before took the time of this slot after the list was read.
            Err(error) if error.exit() == Exit::Conflict => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The text that is printed when the demo has started.
fn banner(address: SocketAddr, filled: &[Filled], tokens: Option<&TokenFolder>) -> String {
    let rows: Vec<String> = filled
        .iter()
        .map(|filled| {
            format!(
                "  {:<15} {:<8} {} upcoming appointments",
                filled.calendar, filled.name, filled.appointments
            )
        })
        .collect();
    let server = reachable(address);
    let commands = tokens.map_or_else(|| commands(&server), |tokens| tokens.commands(&server));
    format!(
        "bookd {version} demonstrates itself on {address}, in memory: nothing is kept when it stops\n\
         \n\
         {rows}\n\
         \n\
         {commands}",
        version = env!("CARGO_PKG_VERSION"),
        rows = rows.join("\n"),
    )
}

/// The part of the banner with commands for a server that asks nobody for credentials.
fn commands(server: &str) -> String {
    format!(
        "Try it, in another terminal:\n\
         \n\
         \x20 export BOOKD_SERVER={server}\n\
         \x20 bookd calendars\n\
         \x20 bookd list clinic/dr-lee\n\
         \x20 bookd slots clinic/dr-lee,clinic/room-1 monday --all --type visit\n\
         \x20 bookd book salon/kim,salon/sam friday 11:00 --any --type haircut --name Grace\n\
         \x20 bookd explain acme/ada tomorrow 03:00\n\
         \x20 bookd list acme/ada --state pending        # then: bookd approve ID\n\
         \x20 bookd demo-race\n\
         \n\
         Two tenants that cannot see each other, each with a token: bookd demo --tenants\n\
         \n\
         \x20 grpcurl -plaintext {server} list\n\
         \x20 grpcurl -plaintext -d '{{\"calendar_id\":\"studio/yoga\",\"appointment_type_id\":\"class\",\"date\":\"'$(date -d tomorrow +%F)'\"}}' {server} bookd.v1.SlotsService/ListSlots\n",
    )
}
