//! Commands of AvailabilityService: hours, overrides, busy time.
//!
//! An argument that is left out closes nothing: no hours are the word `closed`, no busy time is
//! `none`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::PagedList;
use super::options::{LimitArgs, SafetyArgs, ZoneArgs};
use super::requests::{with_etag, with_safety};
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;
use crate::cli::words::{NONE, is_alone, weekly, windows};

/// When a calendar is open.
#[derive(Subcommand, Clone, Debug)]
pub enum AvailabilityCommand {
    /// Set the weekly hours of a calendar, and make it if there is none; or its zone alone; or show
    /// them
    #[command(
        after_help = "Examples:\n  bookd hours ada mon-fri 09:00-12:00 13:00-17:00 sat 10:00-13:00 --zone Europe/Paris\n  \
                            bookd hours ada --zone Europe/Rome\n  bookd hours ada closed\n  bookd hours ada"
    )]
    Hours {
        /// The calendar
        calendar: String,
        /// Days and hours in turn, such as `mon-fri 09:00-17:00 sat 10:00-13:00`; `daily` = every
        /// day, `closed` = no hours at all. Left out, the hours stay as they are
        hours: Vec<String>,
        /// The calendar's time zone, such as Europe/Paris; its hours stay what the clock shows
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Set the hours of dates, or give dates back to the weekly hours
    #[command(
        subcommand,
        after_help = "Example:\n  bookd overrides put ada tomorrow 10:00-14:00"
    )]
    Overrides(OverrideAction),
    /// Say what an external calendar takes of a calendar's time, or list it
    #[command(
        subcommand,
        after_help = "Example:\n  bookd busy list ada --from today --to 2027-12-31"
    )]
    Busy(BusyAction),
}

/// What can be done with overrides.
#[derive(Subcommand, Clone, Debug)]
pub enum OverrideAction {
    /// Set the hours of a date, or of each date up to another, or close them
    #[command(
        after_help = "Examples:\n  bookd overrides put ada tomorrow 10:00-12:00 14:00-16:00\n  \
                            bookd overrides put ada 2027-12-24 closed --to 2027-12-26 --note Christmas"
    )]
    Put {
        /// The calendar
        calendar: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// Hours, such as 10:00-12:00 14:00-16:00, or `closed`
        #[arg(required = true, value_name = "HOURS|closed")]
        hours: Vec<String>,
        /// The last date of a range; a day's name counts from the first date on
        #[arg(long, value_name = "DATE")]
        to: Option<String>,
        /// Whose today is meant; a date is the calendar's own
        #[command(flatten)]
        read_in: ZoneArgs,
        /// For people
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Give dates back to the weekly hours
    #[command(after_help = "Example:\n  bookd overrides delete ada 2027-12-24 2027-12-25")]
    Delete {
        /// The calendar
        calendar: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        #[arg(required = true)]
        dates: Vec<String>,
        /// Whose today is meant; a date is the calendar's own
        #[command(flatten)]
        read_in: ZoneArgs,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
}

/// What can be done with busy time.
#[derive(Subcommand, Clone, Debug)]
pub enum BusyAction {
    /// Replace what a source said about a range
    #[command(
        after_help = "Examples:\n  bookd busy put ada google --from 2027-03-01 --to 2027-03-08 2027-03-02T09:00/2027-03-02T10:30\n  \
                      bookd busy put ada google --from 2027-03-01 --to 2027-03-08 none"
    )]
    Put {
        /// The calendar
        calendar: String,
        /// Who says so, such as google
        source: String,
        /// All busy periods in the range, START/END each, or `none`: nothing is busy any more
        #[arg(required = true, value_name = "PERIODS|none")]
        periods: Vec<String>,
        /// Where the range begins: a date, a local time such as 2027-03-01T09:00, or an instant
        /// with Z
        #[arg(long, value_name = "TIME")]
        from: String,
        /// Where the range ends; a day's name counts from its beginning on
        #[arg(long, value_name = "TIME")]
        to: String,
        /// Whose clocks count
        #[command(flatten)]
        read_in: ZoneArgs,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// List busy periods
    #[command(
        after_help = "Example:\n  bookd busy list ada --from today --to 2027-12-31 --source google"
    )]
    List {
        /// The calendar
        calendar: String,
        /// Where the range begins: a date, a local time such as 2027-03-01T09:00, or an instant
        /// with Z
        #[arg(long, value_name = "TIME", default_value = "today")]
        from: String,
        /// Where the range ends; a day's name counts from its beginning on
        #[arg(long, value_name = "TIME")]
        to: String,
        /// Whose clocks count
        #[command(flatten)]
        read_in: ZoneArgs,
        /// Only of this source
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
        /// How many
        #[command(flatten)]
        limit: LimitArgs,
    },
}

impl AvailabilityCommand {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Hours { hours, zone, .. } if hours.is_empty() && zone.is_none() => {
                "GetAvailability"
            }
            Self::Hours { .. } => "SetAvailability",
            Self::Overrides(OverrideAction::Put { .. }) => "PutOverrides",
            Self::Overrides(OverrideAction::Delete { .. }) => "DeleteOverrides",
            Self::Busy(BusyAction::Put { .. }) => "PutBusy",
            Self::Busy(BusyAction::List { .. }) => "ListBusy",
        }
    }

    pub(super) fn pages(&self) -> Option<PagedList> {
        match self {
            Self::Busy(BusyAction::List { limit, .. }) => Some(PagedList {
                field: "periods",
                limit: limit.limit,
            }),
            Self::Hours { .. } | Self::Overrides(_) | Self::Busy(BusyAction::Put { .. }) => None,
        }
    }

    pub(super) async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Hours {
                calendar,
                hours,
                zone,
                ..
            } if hours.is_empty() && zone.is_none() => Ok(json!({ "calendar_id": calendar })),
            Self::Hours {
                calendar,
                hours,
                zone,
                safety,
            } if hours.is_empty() => {
                // The method replaces all rules, so the request repeats the present ones.
                let present = ask.availability(calendar).await?;
                let request = json!({ "calendar_id": calendar, "rules": present["rules"], "time_zone": zone });
                Ok(with_safety(
                    with_etag(request, &present["etag"], safety),
                    safety,
                ))
            }
            Self::Hours {
                calendar,
                hours,
                zone,
                safety,
            } => {
                let rules = weekly(hours).map_err(CallError::Usage)?;
                Ok(with_safety(
                    json!({ "calendar_id": calendar, "rules": rules, "time_zone": zone }),
                    safety,
                ))
            }
            Self::Overrides(action) => action.request(ask).await,
            Self::Busy(action) => action.request(ask).await,
        }
    }
}

impl OverrideAction {
    async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Put {
                calendar,
                date,
                hours,
                to,
                read_in,
                note,
                safety,
            } => {
                let windows = windows(hours).map_err(CallError::Usage)?;
                let dates = read_in.dates(ask, Some(calendar));
                let (date, to) = match to {
                    Some(to) => dates
                        .dates(date, to)
                        .await
                        .map(|(first, last)| (first, Some(last)))?,
                    None => (dates.date(date).await?, None),
                };
                let put = json!({ "date": date, "to_date": to, "windows": windows, "note": note });
                Ok(with_safety(
                    json!({ "calendar_id": calendar, "overrides": [put] }),
                    safety,
                ))
            }
            Self::Delete {
                calendar,
                dates,
                read_in,
                safety,
            } => {
                let reader = read_in.dates(ask, Some(calendar));
                let mut named = Vec::new();
                for date in dates {
                    named.push(reader.date(date).await?);
                }
                Ok(with_safety(
                    json!({ "calendar_id": calendar, "dates": named }),
                    safety,
                ))
            }
        }
    }
}

impl BusyAction {
    async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        let (Self::Put {
            calendar,
            from,
            to,
            read_in,
            ..
        }
        | Self::List {
            calendar,
            from,
            to,
            read_in,
            ..
        }) = self;
        let dates = read_in.dates(ask, Some(calendar));
        let [start, end] = dates.range(Some(from), Some(to)).await?;
        let mut request = json!({ "calendar_id": calendar, "start_time": start, "end_time": end });
        match self {
            Self::List { source, .. } => {
                request["source"] = json!(source);
                Ok(request)
            }
            Self::Put {
                source,
                periods,
                safety,
                ..
            } => {
                let mut read = Vec::new();
                let periods = if is_alone(periods, NONE) {
                    &[]
                } else {
                    &periods[..]
                };
                for word in periods {
                    let (start, end) = word.split_once('/').ok_or_else(|| {
                        CallError::Usage(format!("{word}: write START/END, or {NONE} alone"))
                    })?;
                    let [start, end] = dates.range(Some(start), Some(end)).await?;
                    read.push(json!({ "start_time": start, "end_time": end }));
                }
                request["source"] = json!(source);
                request["periods"] = json!(read);
                Ok(with_safety(request, safety))
            }
        }
    }
}
