//! Commands of BookingService about series: book one, cancel occurrences.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::options::{NewAppointmentArgs, SafetyArgs};
use super::requests::{with_calendars, with_new_appointment, with_safety};
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;

/// What can be done with a series.
#[derive(Subcommand, Clone, Debug)]
pub enum SeriesAction {
    /// Book a series in wall time, all or nothing unless --allow-partial
    #[command(
        after_help = "Example:\n  bookd series book ada monday 09:00 --every weekly --count 10 --name Grace"
    )]
    Book(Box<SeriesBook>),
    /// Call off one occurrence, it and those after it, or all that have not begun
    #[command(
        after_help = "Examples:\n  bookd series cancel --appointment 0190163d-8694-739b-aea5-966c26f8ad91 --scope following\n  \
                            bookd series cancel --series 0190163d-8694-739b-aea5-966c26f8ad91 --scope all"
    )]
    Cancel {
        /// Which series
        #[arg(long, value_name = "SERIES", required_unless_present = "appointment")]
        series: Option<String>,
        /// Which occurrence
        #[arg(long, value_name = "APPOINTMENT")]
        appointment: Option<String>,
        /// Which occurrences; always to be said
        #[arg(long, value_name = "one|following|all")]
        scope: Scope,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
}

/// A series, field by field.
#[derive(Args, Clone, Debug)]
pub struct SeriesBook {
    /// The calendar, or several with commas and --all or --any
    calendars: String,
    /// The first date: YYYY-MM-DD, today, tomorrow, or a day such as monday
    date: String,
    /// HH:MM
    time: String,
    /// How often
    #[arg(long, value_name = "FREQUENCY")]
    every: Every,
    /// Every so many days, weeks or months
    #[arg(long, value_name = "NUMBER")]
    interval: Option<u32>,
    /// How many occurrences
    #[arg(
        long,
        value_name = "NUMBER",
        required_unless_present = "until",
        conflicts_with = "until"
    )]
    count: Option<u32>,
    /// The last date; a day's name counts from the first date on
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
    /// Book the occurrences that can be, and leave the others out
    #[arg(long)]
    allow_partial: bool,
    /// What is to be booked
    #[command(flatten)]
    new: NewAppointmentArgs,
}

/// How often a series repeats.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Every {
    /// Day by day
    Daily,
    /// Week by week
    Weekly,
    /// Month by month, on the same day of the month
    Monthly,
}

/// Which occurrences of a series are called off.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Scope {
    /// The one that --appointment names
    One,
    /// That one and those after it
    Following,
    /// All that have not begun
    All,
}

impl Scope {
    fn in_request(self) -> &'static str {
        match self {
            Self::One => "SERIES_SCOPE_ONE",
            Self::Following => "SERIES_SCOPE_FOLLOWING",
            Self::All => "SERIES_SCOPE_ALL",
        }
    }
}

impl SeriesAction {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Book(_) => "BookSeries",
            Self::Cancel { .. } => "CancelSeries",
        }
    }

    /// The zone that `--zone` names for the time of the appointment.
    pub(super) fn zone(&self) -> Option<&str> {
        match self {
            Self::Book(book) => book.new.zone(),
            Self::Cancel { .. } => None,
        }
    }

    pub(super) async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Book(book) => book.request(ask).await,
            Self::Cancel {
                series,
                appointment,
                scope,
                reason,
                safety,
            } => {
                let request = json!({
                    "series_id": series,
                    "appointment_id": appointment,
                    "scope": scope.in_request(),
                    "reason": reason,
                });
                Ok(with_safety(request, safety))
            }
        }
    }
}

impl SeriesBook {
    async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        let dates = self.new.what.read_in.dates(ask, Some(&self.calendars));
        let taking_part = with_calendars(json!({}), &self.calendars, &self.new.what.taking_part)?;
        let (date, until) = match &self.until {
            Some(until) => dates
                .series(&self.date, &self.time, until)
                .await
                .map(|(first, last)| (first, Some(last)))?,
            None => (dates.date(&self.date).await?, None),
        };
        let frequency = match self.every {
            Every::Daily => "FREQUENCY_DAILY",
            Every::Weekly => "FREQUENCY_WEEKLY",
            Every::Monthly => "FREQUENCY_MONTHLY",
        };
        let mut request = taking_part;
        request["local_start"] = json!(dates.local_start(&date, &self.time).await?);
        request["frequency"] = json!(frequency);
        request["interval"] = json!(self.interval);
        request["count"] = json!(self.count);
        request["until"] = json!(until);
        request["allow_partial"] = json!(self.allow_partial);
        Ok(with_new_appointment(request, &self.new))
    }
}
