//! The client commands: words → a method and its request. One file for each service.

mod availability;
mod booking;
mod calendars;
mod holds;
mod lists;
mod options;
mod requests;
mod series;
mod slots;
mod types;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{CallError, Server};
use super::lookup::Lookup;
use super::table;
use super::words::patience;

pub use availability::AvailabilityCommand;
pub use booking::BookingCommand;
pub use calendars::CalendarCommand;
pub use holds::HoldCommand;
pub use lists::ListCommand;
pub use slots::SlotsCommand;
pub use watch::WatchCommand;

use requests::{json_of, read};

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
            Self::Booking(_) | Self::Holds(_) | Self::Watches(_) | Self::Call { .. } => None,
        }
    }
}
