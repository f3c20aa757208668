//! Options that several client commands share: the invitee, the calendars, the time zone, the
//! limits, the safety of a mutation.
//!
//! An option has one name and one meaning in all commands.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::dates::Dates;
use crate::cli::lookup::Lookup;
use crate::cli::words::{length, pair};

/// How many items a list shows at most, unless asked otherwise.
const LIMIT_DEFAULT: usize = 1_000;

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

impl Who {
    pub(super) fn is_said(&self) -> bool {
        [&self.name, &self.email, &self.phone, &self.invitee_zone]
            .into_iter()
            .any(Option::is_some)
    }

    /// What is said, over the invitee that there is.
    pub(super) fn over(&self, present: &Value) -> Value {
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
    pub(super) fn texts(&self) -> [(&'static str, Option<&String>, Clear); 2] {
        let Self {
            note,
            metadata: _,
            location,
        } = self;
        [
            ("note", note.as_ref(), Clear::Note),
            ("location", location.as_ref(), Clear::Location),
        ]
    }
}

/// What of an appointment can be emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Clear {
    /// The note
    Note,
    /// All keys and values
    Metadata,
    /// The location
    Location,
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
    pub(super) fn zone(&self) -> Option<&str> {
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

/// How many sessions may start in a period.
#[derive(Args, Clone, Debug)]
pub(super) struct SessionLimitArgs {
    /// The most sessions a day
    #[arg(long, value_name = "NUMBER")]
    per_day: Option<u32>,
    /// The most sessions from a Monday to the Sunday after it
    #[arg(long, value_name = "NUMBER")]
    per_week: Option<u32>,
    /// The most sessions a month
    #[arg(long, value_name = "NUMBER")]
    per_month: Option<u32>,
    /// The most sessions a year
    #[arg(long, value_name = "NUMBER")]
    per_year: Option<u32>,
}

impl SessionLimitArgs {
    /// What is said of them, over what there is.
    pub(super) fn over(&self, present: &Value) -> Value {
        let said = [
            ("per_day", self.per_day),
            ("per_week", self.per_week),
            ("per_month", self.per_month),
            ("per_year", self.per_year),
        ];
        if said.iter().all(|(_, value)| value.is_none()) {
            return Value::Null;
        }
        let mut limits = if present.is_object() {
            present.clone()
        } else {
            json!({})
        };
        said.into_iter()
            .filter(|(_, value)| value.is_some())
            .for_each(|(name, value)| limits[name] = json!(value));
        limits
    }
}

/// The calendar whose clocks count.
pub(super) fn first(calendars: &str) -> &str {
    calendars.split(',').next().unwrap_or_default().trim()
}
