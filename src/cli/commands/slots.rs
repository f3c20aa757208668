//! Commands of SlotsService: free slots, the reasons against a time, free and busy time.

use clap::Subcommand;
use serde_json::{Value, json};

use super::PagedList;
use super::options::{BookingArgs, LimitArgs, ZoneArgs, first_calendar};
use super::requests::{with_booking, with_calendars};
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;

/// What is free.
#[derive(Subcommand, Clone, Debug)]
pub enum SlotsCommand {
    /// List free slots
    #[command(
        after_help = "Examples:\n  bookd slots ada tomorrow --type consultation\n  \
                            bookd slots dr-lee,room-1 monday --all\n  bookd slots ada today --to saturday --limit 3"
    )]
    Slots {
        /// The calendar, or several with commas and --all or --any
        calendars: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// Up to here instead of the one date: a last date or a day's name, counted from the first
        /// date on, which is included; a local time or an instant with Z, which is not
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// As if this appointment were not there: for moving it
        #[arg(long, value_name = "APPOINTMENT")]
        moving: Option<String>,
        /// What is to be booked
        #[command(flatten)]
        what: BookingArgs,
        /// How many
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Say why a time can or cannot be booked
    #[command(after_help = "Example:\n  bookd explain ada tomorrow 12:15")]
    Explain {
        /// The calendar, or several with commas and --all or --any
        calendars: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// HH:MM
        time: String,
        /// As if this appointment were not there: for moving it
        #[arg(long, value_name = "APPOINTMENT")]
        moving: Option<String>,
        /// What is to be booked
        #[command(flatten)]
        what: BookingArgs,
    },
    /// Show open and taken time, without who takes it
    #[command(after_help = "Example:\n  bookd free-busy ada,bea --from today --to saturday")]
    FreeBusy {
        /// The calendar, or several with commas
        calendars: String,
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
    },
}

impl SlotsCommand {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Slots { .. } => "ListSlots",
            Self::Explain { .. } => "ExplainSlot",
            Self::FreeBusy { .. } => "QueryFreeBusy",
        }
    }

    pub(super) fn pages(&self) -> Option<PagedList> {
        match self {
            Self::Slots { limit, .. } => Some(PagedList {
                field: "slots",
                limit: limit.limit,
            }),
            Self::Explain { .. } | Self::FreeBusy { .. } => None,
        }
    }

    pub(super) async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Slots {
                calendars,
                date,
                to,
                moving,
                what,
                ..
            } => {
                let dates = what.read_in.dates(ask, Some(calendars));
                let request = with_calendars(
                    json!({ "ignore_appointment_id": moving }),
                    calendars,
                    &what.taking_part,
                )?;
                let mut request = with_booking(request, what);
                match to {
                    None => request["date"] = json!(dates.date(date).await?),
                    Some(to) => {
                        [request["start_time"], request["end_time"]] = dates.days(date, to).await?
                    }
                }
                if what.read_in.zone.is_none() {
                    // Without a zone the server answers no local times, so the request names the
                    // calendar's.
                    request["time_zone"] = json!(ask.zone_of(first_calendar(calendars)).await?);
                }
                Ok(request)
            }
            Self::Explain {
                calendars,
                date,
                time,
                moving,
                what,
            } => {
                let request = with_calendars(
                    json!({ "ignore_appointment_id": moving }),
                    calendars,
                    &what.taking_part,
                )?;
                let mut request = with_booking(request, what);
                request["local_start"] = json!(
                    what.read_in
                        .dates(ask, Some(calendars))
                        .local_start(date, time)
                        .await?
                );
                Ok(request)
            }
            Self::FreeBusy {
                calendars,
                from,
                to,
                read_in,
            } => {
                let ids: Vec<&str> = calendars.split(',').map(str::trim).collect();
                let [from, to] = read_in
                    .dates(ask, Some(calendars))
                    .range(Some(from), Some(to))
                    .await?;
                Ok(json!({ "calendar_ids": ids, "start_time": from, "end_time": to }))
            }
        }
    }
}
