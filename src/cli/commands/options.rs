//! Options that several client commands share: the invitee, the calendars, the time zone, limits,
//! the request id and the dry run.
//!
//! An option has one name and one meaning in all commands.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::dates::Dates;
use crate::cli::lookup::Lookup;
use crate::cli::words::{length, pair};

/// The default of `--limit`.
const LIMIT_DEFAULT: usize = 1_000;

/// Who books, and what else goes with it.
#[derive(Args, Clone, Debug)]
pub struct InviteeArgs {
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

impl InviteeArgs {
    /// Whether any of the options is given.
    pub(super) fn is_given(&self) -> bool {
        [&self.name, &self.email, &self.phone, &self.invitee_zone]
            .into_iter()
            .any(Option::is_some)
    }

    /// The present invitee with the given fields replaced.
    pub(super) fn over(&self, present: &Value) -> Value {
        let mut invitee = if present.is_object() {
            present.clone()
        } else {
            json!({})
        };
        let options = [
            ("name", &self.name),
            ("email", &self.email),
            ("phone", &self.phone),
            ("time_zone", &self.invitee_zone),
        ];
        for (field, value) in options
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
    /// The options that are texts: the field of each, its value, and the word that clears it.
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
    pub read_in: ZoneArgs,
    /// Several calendars take part
    #[command(flatten)]
    pub taking_part: AssignmentArgs,
}

/// In which zone dates and times are read.
#[derive(Args, Clone, Debug)]
pub struct ZoneArgs {
    /// The zone of dates, local times and words such as tomorrow; default the calendar's
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
}

impl ZoneArgs {
    /// A reader of dates in the named zone; if none is named, in the zone of the first of these
    /// calendars, and without calendars in UTC.
    pub(super) fn dates<'a>(
        &'a self,
        ask: &'a Lookup<'a>,
        calendars: Option<&'a str>,
    ) -> Dates<'a> {
        Dates::new(ask, self.zone.as_deref(), calendars.map(first_calendar))
    }
}

/// How several calendars take part.
#[derive(Args, Clone, Debug)]
pub struct AssignmentArgs {
    /// Of several calendars, written with commas: all of them, such as a doctor and a room
    #[arg(long, conflicts_with = "any")]
    pub all: bool,
    /// Of several calendars, written with commas: one of them, whoever is free
    #[arg(long)]
    pub any: bool,
}

/// The rules that staff override.
#[derive(Args, Clone, Debug)]
pub struct IgnoredRuleArgs {
    /// A rule to override: outside-availability, misaligned, notice, horizon or limit; may be
    /// repeated
    #[arg(long = "ignore-rule", value_name = "RULE")]
    pub rules: Vec<String>,
}

/// Safety of a mutation.
#[derive(Args, Clone, Debug)]
pub struct SafetyArgs {
    /// A word of your own: the same call with the same word happens once
    #[arg(long, value_name = "WORD")]
    pub request_id: Option<String>,
    /// Say what would happen, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What can be said of every appointment that takes a time.
#[derive(Args, Clone, Debug)]
pub struct NewAppointmentArgs {
    /// What it is
    #[command(flatten)]
    pub what: BookingArgs,
    /// For whom
    #[command(flatten)]
    pub who: InviteeArgs,
    /// What goes with it
    #[command(flatten)]
    pub carried: CarriedArgs,
    /// Rules that staff override
    #[command(flatten)]
    pub ignored: IgnoredRuleArgs,
    /// Safety
    #[command(flatten)]
    pub safety: SafetyArgs,
}

impl NewAppointmentArgs {
    /// The zone that `--zone` names.
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
    /// The present limits with the given ones replaced; null if none is given.
    pub(super) fn over(&self, present: &Value) -> Value {
        let options = [
            ("per_day", self.per_day),
            ("per_week", self.per_week),
            ("per_month", self.per_month),
            ("per_year", self.per_year),
        ];
        if options.iter().all(|(_, value)| value.is_none()) {
            return Value::Null;
        }
        let mut limits = if present.is_object() {
            present.clone()
        } else {
            json!({})
        };
        options
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .for_each(|(name, value)| limits[name] = json!(value));
        limits
    }
}

/// The first of the calendars, in whose zone dates are read and times are shown.
pub(super) fn first_calendar(calendars: &str) -> &str {
    calendars.split(',').next().unwrap_or_default().trim()
}
