//! Commands that follow a stream: the arguments of `bookd watch` and `bookd watch-slots`, and their
//! requests. `cli::watch` prints the messages.

use clap::Subcommand;
use serde_json::{Value, json};

use super::options::{BookingArgs, first_calendar};
use super::requests::{with_booking, with_calendars};
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;

/// What happens.
#[derive(Subcommand, Clone, Debug)]
pub enum WatchCommand {
    /// Show what happens, line by line, until Ctrl-C
    #[command(
        after_help = "Examples:\n  bookd watch\n  bookd watch ada --from 1\n  bookd watch --prefix acme/ --json --count 10"
    )]
    Watch {
        /// Only this calendar; default all
        calendar: Option<String>,
        /// Only calendars whose id begins so
        #[arg(long, value_name = "PREFIX", conflicts_with = "calendar")]
        prefix: Option<String>,
        /// The first revision wanted: 1 = the beginning, 0 = from now on
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        from: u64,
        /// End after so many messages, marks of progress included
        #[arg(long, value_name = "NUMBER")]
        count: Option<usize>,
    },
    /// Show which slots are offered, and then what is added and removed, until Ctrl-C
    #[command(
        after_help = "Examples:\n  bookd watch-slots ada tomorrow\n  bookd watch-slots kim,sam friday --any --type haircut"
    )]
    WatchSlots {
        /// The calendar, or several with commas and --all or --any
        calendars: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// What is to be booked
        #[command(flatten)]
        what: BookingArgs,
        /// End after so many messages
        #[arg(long, value_name = "NUMBER")]
        count: Option<usize>,
    },
}

impl WatchCommand {
    /// After how many messages the command ends.
    pub fn count(&self) -> usize {
        let (Self::Watch { count, .. } | Self::WatchSlots { count, .. }) = self;
        count.unwrap_or(usize::MAX)
    }

    /// The name of the method.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Watch { .. } => "WatchAppointments",
            Self::WatchSlots { .. } => "WatchSlots",
        }
    }

    pub(super) async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Watch {
                calendar,
                prefix,
                from,
                ..
            } => {
                Ok(json!({ "calendar_id": calendar, "id_prefix": prefix, "start_revision": from }))
            }
            Self::WatchSlots {
                calendars,
                date,
                what,
                ..
            } => {
                let mut request = with_booking(
                    with_calendars(json!({}), calendars, &what.taking_part)?,
                    what,
                );
                request["date"] = json!(what.read_in.dates(ask, Some(calendars)).date(date).await?);
                if what.read_in.zone.is_none() {
                    // Without a zone the server answers no local times, so the request names the
                    // calendar's.
                    request["time_zone"] = json!(ask.zone_of(first_calendar(calendars)).await?);
                }
                Ok(request)
            }
        }
    }
}
