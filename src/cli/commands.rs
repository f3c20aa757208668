//! The client commands: words → a method and its request. One file for each service.

mod availability;
mod booking;
mod calendars;
mod holds;
mod lists;
mod slots;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{CallError, Server};
use super::dates::Dates;
use super::lookup::Lookup;
use super::table;
use super::words::{enumerated, length, pair, patience};

pub use availability::AvailabilityCommand;
pub use booking::BookingCommand;
pub use calendars::CalendarCommand;
pub use holds::HoldCommand;
pub use lists::ListCommand;
pub use slots::SlotsCommand;
pub use watch::WatchCommand;

/// How many items a list shows at most, unless asked otherwise.
const LIMIT_DEFAULT: usize = 1_000;

/// Options of every client command.
#[derive(Args, Clone, Debug)]
pub struct ClientOptions {
    /// The server to talk to, HOST:PORT [default: 127.0.0.1:50051]
    #[arg(long, global = true, env = "BOOKD_SERVER", value_name = "ADDRESS")]
    pub server: Option<String>,
    /// How long the server is waited for, such as 30s or 2m: for the connection, for each answer, for a watch to begin
    #[arg(
        long,
        global = true,
        env = "BOOKD_TIMEOUT",
        value_name = "LENGTH",
        default_value = PATIENCE_DEFAULT,
        value_parser = patience
    )]
    pub timeout: Duration,
    /// Print the answer as JSON, for pipes
    #[arg(long, global = true)]
    pub json: bool,
}

/// The arguments and flags that stand for a field of a request under another name.
const TYPED: [(&str, &str); 16] = [
    ("local_start", "DATE TIME"),
    ("time_zone", "--zone"),
    ("calendar_id", "CALENDAR"),
    ("calendar_ids", "CALENDARS"),
    ("appointment_type_id", "--type"),
    ("duration", "--duration"),
    ("invitee.name", "--name"),
    ("invitee.email", "--email"),
    ("invitee.phone", "--phone"),
    ("invitee.time_zone", "--invitee-zone"),
    ("note", "--note"),
    ("location", "--location"),
    ("ignore_rules", "--ignore-rule"),
    ("interval", "--interval"),
    ("count", "--count"),
    ("until", "--until"),
];

/// How long a server is waited for unless told otherwise: longer than any single answer takes, however busy it is.
const PATIENCE_DEFAULT: &str = "30s";

/// Where a server listens unless told otherwise.
const SERVER_DEFAULT: &str = "127.0.0.1:50051";

impl ClientOptions {
    /// The server to talk to.
    pub fn server(&self) -> Server {
        Server::new(
            self.server.as_deref().unwrap_or(SERVER_DEFAULT),
            self.timeout,
        )
    }

    /// The server to talk to, if one was named.
    pub fn named_server(&self) -> Option<Server> {
        self.server.is_some().then(|| self.server())
    }
}

/// Who books, and what else goes with it.
#[derive(Args, Clone, Debug)]
pub struct Who {
    /// The invitee's name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The invitee's e-mail address
    #[arg(long, value_name = "ADDRESS")]
    pub email: Option<String>,
    /// The invitee's telephone number
    #[arg(long, value_name = "NUMBER")]
    pub phone: Option<String>,
    /// The invitee's time zone, for showing times
    #[arg(long, value_name = "ZONE")]
    pub invitee_zone: Option<String>,
}

/// What an appointment carries.
#[derive(Args, Clone, Debug)]
pub struct CarriedArgs {
    /// A note
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// A key and value of your own; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
    /// Where it takes place: a room, a link or an address
    #[arg(long, value_name = "TEXT")]
    pub location: Option<String>,
}

impl CarriedArgs {
    /// Its texts: the field of each, what is said of it, and what clears it.
    fn texts(&self) -> [(&'static str, Option<&String>, booking::Clear); 2] {
        let Self {
            note,
            metadata: _,
            location,
        } = self;
        [
            ("note", note.as_ref(), booking::Clear::Note),
            ("location", location.as_ref(), booking::Clear::Location),
        ]
    }
}

/// What is to be booked.
#[derive(Args, Clone, Debug)]
pub struct BookingArgs {
    /// The appointment type
    #[arg(long = "type", value_name = "TYPE")]
    pub appointment_type: Option<String>,
    /// How long, such as 45m, where the type leaves a choice
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    pub duration: Option<String>,
    /// In which zone words, dates and times are read, and times are shown
    #[command(flatten)]
    pub read_in: ReadIn,
    /// Several calendars take part
    #[command(flatten)]
    pub taking_part: TakingPart,
}

/// In which zone dates and times are read.
#[derive(Args, Clone, Debug)]
pub struct ReadIn {
    /// The zone of dates, local times and words such as tomorrow; default the calendar's
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

impl ReadIn {
    /// Reads words in it; where none is named, in the zone of the first of these calendars, and else in UTC.
    pub(super) fn dates<'a>(
        &'a self,
        ask: &'a Lookup<'a>,
        calendars: Option<&'a str>,
    ) -> Dates<'a> {
        Dates::new(ask, self.zone.as_deref(), calendars.map(first))
    }
}

/// How several calendars take part.
#[derive(Args, Clone, Debug)]
pub struct TakingPart {
    /// Of several calendars, written with commas: all of them, such as a doctor and a room
    #[arg(long, conflicts_with = "any")]
    pub all: bool,
    /// Of several calendars, written with commas: one of them, whoever is free
    #[arg(long)]
    pub any: bool,
}

/// The rules that staff override.
#[derive(Args, Clone, Debug)]
pub struct Ignored {
    /// A rule to override: outside-availability, misaligned, notice, horizon or limit; may be repeated
    #[arg(long = "ignore-rule", value_name = "RULE")]
    pub rules: Vec<String>,
}

/// Safety of a mutation.
#[derive(Args, Clone, Debug)]
pub struct Safety {
    /// A word of your own: the same call with the same word happens once
    #[arg(long, value_name = "WORD")]
    pub request_id: Option<String>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What can be said of every appointment that takes a time.
#[derive(Args, Clone, Debug)]
pub struct New {
    /// What it is
    #[command(flatten)]
    pub what: BookingArgs,
    /// For whom
    #[command(flatten)]
    pub who: Who,
    /// What goes with it
    #[command(flatten)]
    pub carried: CarriedArgs,
    /// Rules that staff override
    #[command(flatten)]
    pub ignored: Ignored,
    /// Safety
    #[command(flatten)]
    pub safety: Safety,
}

impl New {
    /// The zone that was named for its time, if one was.
    fn zone(&self) -> Option<&str> {
        self.what.read_in.zone.as_deref()
    }
}

/// How much of a list is shown.
#[derive(Args, Clone, Debug)]
pub struct LimitArgs {
    /// At most so many, page after page
    #[arg(long, value_name = "NUMBER", default_value_t = LIMIT_DEFAULT)]
    pub limit: usize,
}

/// What a client can ask.
#[derive(Subcommand, Clone, Debug)]
pub enum ClientCommand {
    /// Settings and appointment types.
    #[command(flatten)]
    Calendars(CalendarCommand),
    /// Hours, overrides, busy time.
    #[command(flatten)]
    Availability(AvailabilityCommand),
    /// What is free.
    #[command(flatten)]
    Slots(SlotsCommand),
    /// Appointments.
    #[command(flatten)]
    Booking(BookingCommand),
    /// Holds and requests.
    #[command(flatten)]
    Holds(HoldCommand),
    /// What there is, and what happened.
    #[command(flatten)]
    Lists(ListCommand),
    /// What happens.
    #[command(flatten)]
    Watches(WatchCommand),
    /// Call any method with JSON
    #[command(after_help = "Example:\n  bookd call GetCalendar '{\"calendar_id\":\"ada\"}'")]
    Call {
        /// The method, such as BookAppointment
        method: String,
        /// The request; `-` reads standard input
        #[arg(default_value = "{}")]
        request: String,
    },
}

/// A list that comes in pages.
pub struct PagedList {
    /// The field with the items.
    pub field: &'static str,
    /// How many of them are wanted.
    pub limit: usize,
}

impl ClientCommand {
    /// The method that it calls.
    pub fn method(&self) -> &str {
        match self {
            Self::Calendars(it) => it.method(),
            Self::Availability(it) => it.method(),
            Self::Slots(it) => it.method(),
            Self::Booking(it) => it.method(),
            Self::Holds(it) => it.method(),
            Self::Lists(it) => it.method(),
            Self::Watches(it) => it.method(),
            Self::Call { method, .. } => method,
        }
    }

    /// Its request; nulls stand for what was left out.
    pub async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Calendars(it) => it.request(ask).await,
            Self::Availability(it) => it.request(ask).await,
            Self::Slots(it) => it.request(ask).await,
            Self::Booking(it) => it.request(ask).await,
            Self::Holds(it) => it.request(ask).await,
            Self::Lists(it) => it.request(ask).await,
            Self::Watches(it) => it.request(ask).await,
            Self::Call { request, .. } => json_of("the request", &read(request)?),
        }
    }

    /// An answer as people read it; an error where it is about nothing and should not be.
    pub fn shown(&self, answer: &Value) -> Result<String, CallError> {
        match self {
            Self::Booking(it) => it.shown(answer),
            Self::Calendars(it) => Ok(it.shown(answer)),
            Self::Holds(it) => Ok(table::show(it.method(), it.zone(), answer)),
            _ => Ok(table::show(self.method(), None, answer)),
        }
    }

    /// What a person typed for a field of the request; none where they typed the request itself.
    pub fn typed(&self, field: &str) -> Option<&'static str> {
        if matches!(
            self,
            Self::Call { .. } | Self::Booking(BookingCommand::Batch { .. })
        ) {
            return None;
        }
        TYPED
            .iter()
            .find(|(of_request, _)| *of_request == field)
            .map(|(_, typed)| *typed)
    }

    /// The list that it asks for, if it asks for one.
    pub fn pages(&self) -> Option<PagedList> {
        match self {
            Self::Calendars(it) => it.pages(),
            Self::Availability(it) => it.pages(),
            Self::Slots(it) => it.pages(),
            Self::Lists(it) => it.pages(),
            Self::Booking(_) | Self::Holds(_) | Self::Watches(_) | Self::Call { .. } => {
                None
            }
        }
    }
}

/// `-` as what standard input says, anything else as it is.
fn read(word: &str) -> Result<String, CallError> {
    if word != "-" {
        return Ok(word.to_owned());
    }
    std::io::read_to_string(std::io::stdin())
        .map_err(|error| CallError::Usage(format!("standard input: {error}")))
}

fn json_of(what: &str, text: &str) -> Result<Value, CallError> {
    serde_json::from_str(text)
        .map_err(|error| CallError::Usage(format!("{what} is no JSON: {error}")))
}

/// `calendar_id`, or `calendar_ids` of words with commas, which need to be told how they take part.
fn on(mut request: Value, calendars: &str, taking_part: &TakingPart) -> Result<Value, CallError> {
    let ids: Vec<&str> = calendars
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    match ids[..] {
        [one] if !taking_part.all && !taking_part.any => request["calendar_id"] = json!(one),
        _ if !taking_part.all && !taking_part.any => {
            return Err(CallError::Usage(format!(
                "{calendars}: add --all or --any, for these are several calendars"
            )));
        }
        _ => {
            request["assignment"] = json!(if taking_part.all {
                "ASSIGNMENT_ALL"
            } else {
                "ASSIGNMENT_ANY"
            });
            request["calendar_ids"] = json!(ids);
        }
    }
    Ok(request)
}

/// The calendar whose clocks count.
fn first(calendars: &str) -> &str {
    calendars.split(',').next().unwrap_or_default().trim()
}

fn asked(mut request: Value, what: &BookingArgs) -> Value {
    request["appointment_type_id"] = json!(what.appointment_type);
    request["duration"] = json!(what.duration);
    request["time_zone"] = json!(what.read_in.zone);
    request
}

fn with(mut request: Value, who: &Who) -> Value {
    if who.is_said() {
        request["invitee"] = json!({ "name": who.name, "email": who.email, "phone": who.phone, "time_zone": who.invitee_zone });
    }
    request
}

impl Who {
    fn is_said(&self) -> bool {
        [&self.name, &self.email, &self.phone, &self.invitee_zone]
            .into_iter()
            .any(Option::is_some)
    }

    /// What is said, over the invitee that there is.
    fn over(&self, present: &Value) -> Value {
        let mut invitee = if present.is_object() {
            present.clone()
        } else {
            json!({})
        };
        let said = [
            ("name", &self.name),
            ("email", &self.email),
            ("phone", &self.phone),
            ("time_zone", &self.invitee_zone),
        ];
        for (field, value) in said
            .into_iter()
            .filter_map(|(field, value)| Some((field, value.as_ref()?)))
        {
            invitee[field] = json!(value);
        }
        invitee
    }
}

fn carrying(mut request: Value, carried: &CarriedArgs) -> Value {
    for (field, text, _) in carried.texts() {
        request[field] = json!(text);
    }
    request["metadata"] = map(&carried.metadata);
    request
}

fn ignoring(mut request: Value, ignored: &Ignored) -> Value {
    let rules: Vec<String> = ignored
        .rules
        .iter()
        .map(|it| enumerated("IGNORABLE_RULE", it))
        .collect();
    request["ignore_rules"] = json!(rules);
    request
}

/// Everything that is said of a new appointment.
fn claiming(request: Value, new: &New) -> Value {
    let request = carrying(with(asked(request, &new.what), &new.who), &new.carried);
    safe(ignoring(request, &new.ignored), &new.safety)
}

fn map(pairs: &[(String, String)]) -> Value {
    map_over(&Value::Null, pairs)
}

/// Keys and values that are said, over those that there are; null where nothing is said.
fn map_over(present: &Value, pairs: &[(String, String)]) -> Value {
    if pairs.is_empty() {
        return Value::Null;
    }
    let said = pairs.iter().map(|(key, value)| (key.clone(), json!(value)));
    Value::Object(
        present
            .as_object()
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .chain(said)
            .collect::<Map<_, _>>(),
    )
}

/// A request that was made from what there is: it must still be so. Not beside a request id, for the same word must make
/// the same request again, and what there is has another version once the first one has happened.
fn guarded(mut request: Value, etag: &Value, safety: &Safety) -> Value {
    if safety.request_id.is_none() {
        request["etag"] = etag.clone();
    }
    request
}

/// The invitee of an appointment with what is said of them now: their fields are replaced together.
async fn invitee_over(ask: &Lookup<'_>, appointment: &str, who: &Who) -> Result<Value, CallError> {
    if !who.is_said() {
        return Ok(Value::Null);
    }
    Ok(who.over(&ask.appointment(appointment).await?["invitee"]))
}

fn safe(mut request: Value, safety: &Safety) -> Value {
    request["request_id"] = json!(safety.request_id);
    request["validate_only"] = json!(safety.dry_run);
    request
}
