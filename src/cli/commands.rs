//! The client commands: a method of the contract and the request that the arguments make. One file
//! for each service.
//!
//! A command has exactly one method. It may call the server before, to read what its request
//! depends on (`Lookup`), but changes nothing except by that method.

mod availability;
mod booking;
mod calendars;
mod holds;
mod lists;
mod options;
mod requests;
mod series;
mod slots;
mod tokens;
mod types;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{CallError, Server};
use super::client_tls::ClientTlsOptions;
use super::lookup::Lookup;
use super::table;
use super::token;
use super::words::timeout;

pub use availability::AvailabilityCommand;
pub use booking::BookingCommand;
pub use calendars::CalendarCommand;
pub use holds::HoldCommand;
pub use lists::ListCommand;
pub use slots::SlotsCommand;
pub use tokens::{CreateTokenArgs, ScopeWord, TokenCommand};
pub use watch::WatchCommand;

use requests::{parse_json, read_argument};

/// Options of every client command.
#[derive(Args, Clone, Debug)]
pub struct ClientOptions {
    /// The server to talk to, HOST:PORT or https://HOST:PORT [default: 127.0.0.1:50051]
    #[arg(long, global = true, env = "BOOKD_SERVER", value_name = "ADDRESS")]
    pub server: Option<String>,
    /// How long the server is waited for, such as 30s or 2m: for the connection, for each answer,
    /// for a watch to begin
    #[arg(
        long,
        global = true,
        env = "BOOKD_TIMEOUT",
        value_name = "LENGTH",
        default_value = TIMEOUT_DEFAULT,
        value_parser = timeout
    )]
    pub timeout: Duration,
    /// A file with the token that tells the server who calls; without it the variable BOOKD_TOKEN
    #[arg(long, global = true, env = "BOOKD_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print the answer as JSON, for pipes
    #[arg(long, global = true)]
    pub json: bool,
    /// TLS
    #[command(flatten)]
    pub tls: ClientTlsOptions,
}

/// The fields of requests that have another name on the command line, each with that name: errors
/// use it.
const TYPED: [(&str, &str); 20] = [
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
    ("scopes", "--scopes"),
    ("prefix", "--prefix"),
    ("expire_time", "--expires"),
    ("token_id", "TOKEN"),
];

/// The default of `--timeout`: longer than any single answer takes, however busy the server is.
const TIMEOUT_DEFAULT: &str = "30s";

/// The default of `--server`, which is the default address of `bookd serve`.
const SERVER_DEFAULT: &str = "127.0.0.1:50051";

impl ClientOptions {
    /// The server to talk to, with the token that tells it who calls.
    ///
    /// # Errors
    ///
    /// The file of the token cannot be read, or has no token.
    pub fn server(&self) -> Result<Server, CallError> {
        let address = self.server.as_deref().unwrap_or(SERVER_DEFAULT);
        let server = Server::new(address, self.timeout).with_tls(self.tls.clone());
        match token::read(self.token_file.as_deref())? {
            Some(token) => Ok(server.with_token(token)),
            None => Ok(server),
        }
    }

    /// The server to talk to, if `--server` names one.
    ///
    /// # Errors
    ///
    /// As [`ClientOptions::server`].
    pub fn named_server(&self) -> Result<Option<Server>, CallError> {
        self.server.is_some().then(|| self.server()).transpose()
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
    /// Create, list and revoke the tokens by which callers are known
    #[command(subcommand, after_help = "Example:\n  bookd token list")]
    Token(TokenCommand),
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

/// The list that a paged method answers.
pub struct PagedList {
    /// The field of the answer with the items.
    pub field: &'static str,
    /// How many items are shown at most.
    pub limit: usize,
}

impl ClientCommand {
    /// The name of the method, as in the contract or as it was typed after `bookd call`.
    pub fn method(&self) -> &str {
        match self {
            Self::Calendars(it) => it.method(),
            Self::Availability(it) => it.method(),
            Self::Slots(it) => it.method(),
            Self::Booking(it) => it.method(),
            Self::Holds(it) => it.method(),
            Self::Lists(it) => it.method(),
            Self::Watches(it) => it.method(),
            Self::Token(it) => it.method(),
            Self::Call { method, .. } => method,
        }
    }

    /// The request; a null stands for a field that is not given.
    pub async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Calendars(it) => it.request(ask).await,
            Self::Availability(it) => it.request(ask).await,
            Self::Slots(it) => it.request(ask).await,
            Self::Booking(it) => it.request(ask).await,
            Self::Holds(it) => it.request(ask).await,
            Self::Lists(it) => it.request(ask).await,
            Self::Watches(it) => it.request(ask).await,
            Self::Token(it) => Ok(it.request()),
            Self::Call { request, .. } => parse_json("the request", &read_argument(request)?),
        }
    }

    /// An answer as text for people; an error if the command found nothing to change.
    pub fn shown(&self, answer: &Value) -> Result<String, CallError> {
        match self {
            Self::Booking(it) => it.shown(answer),
            Self::Calendars(it) => Ok(it.shown(answer)),
            Self::Holds(it) => Ok(table::show(it.method(), it.zone(), answer)),
            _ => Ok(table::show(self.method(), None, answer)),
        }
    }

    /// The argument or flag that fills a field of the request; none if the person typed the request
    /// itself.
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

    /// The list that the method answers, if it answers one in pages.
    pub fn pages(&self) -> Option<PagedList> {
        match self {
            Self::Calendars(it) => it.pages(),
            Self::Availability(it) => it.pages(),
            Self::Slots(it) => it.pages(),
            Self::Lists(it) => it.pages(),
            Self::Token(it) => it.pages(),
            Self::Booking(_) | Self::Holds(_) | Self::Watches(_) | Self::Call { .. } => None,
        }
    }
}
