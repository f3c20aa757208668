//! `bookd watch` and `bookd watch-slots`: a line for each thing that happens, or one JSON object a line, until Ctrl-C.

use std::io::Write;

use clap::Subcommand;
use serde_json::{Value, json};

use super::ask::Ask;
use super::client::{CallError, Client};
use super::commands::{What, asked, first, on};

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
        what: What,
        /// End after so many messages
        #[arg(long, value_name = "NUMBER")]
        count: Option<usize>,
    },
}

impl WatchCommand {
    /// After how many messages it has seen enough.
    pub fn count(&self) -> usize {
        let (Self::Watch { count, .. } | Self::WatchSlots { count, .. }) = self;
        count.unwrap_or(usize::MAX)
    }

    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Watch { .. } => "WatchAppointments",
            Self::WatchSlots { .. } => "WatchSlots",
        }
    }

    pub(super) async fn request(&self, ask: &Ask<'_>) -> Result<Value, CallError> {
        match self {
            Self::Watch { calendar, prefix, from, .. } => {
                Ok(json!({ "calendar_id": calendar, "id_prefix": prefix, "start_revision": from }))
            }
            Self::WatchSlots { calendars, date, what, .. } => {
                let mut request = asked(on(json!({}), calendars, &what.taking_part)?, what);
                request["date"] = json!(what.read_in.dates(ask, Some(calendars)).date(date).await?);
                if what.read_in.zone.is_none() {
                    // Without a zone the server shows instants alone; the calendar's own is asked for by its name.
                    request["time_zone"] = json!(ask.zone_of(first(calendars)).await?);
                }
                Ok(request)
            }
        }
    }
}

/// Prints what a stream says until it ends, which it does only with an error, or until nobody reads it any more.
pub async fn follow(client: &Client, command: &WatchCommand, request: Value, is_json: bool) -> Result<(), CallError> {
    let mut stream = client.stream(command.method(), request).await?;
    for _ in 0..command.count() {
        let Some(message) = stream.next().await? else { break };
        let lines = if is_json { vec![message.to_string()] } else { told(&message) };
        for line in lines {
            if writeln!(std::io::stdout(), "{line}").is_err() {
                // A closed pipe is the reader's way to say that it has seen enough.
                return Ok(());
            }
        }
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A message as people read it; marks of progress are for programs.
fn told(message: &Value) -> Vec<String> {
    let change = &message["change"];
    let events = items(&change["events"]).iter().map(|event| happened(change, event));
    let slots = [("+", "added"), ("-", "removed")]
        .into_iter()
        .flat_map(|(sign, field)| items(&message[field]).iter().map(move |slot| format!("{sign} {}", offered(slot))));
    events.chain(slots).collect()
}

/// `7  2027-01-04T08:00:00Z  booked  ada  2027-01-05T09:00  default  confirmed  Grace Hopper  <id>`
fn happened(change: &Value, event: &Value) -> String {
    let kind = text(&event["kind"]).trim_start_matches("CHANGE_KIND_").replace('_', " ").to_lowercase();
    let calendars: Vec<&str> = items(&event["calendar_ids"]).iter().map(text).collect();
    let appointment = &event["appointment"];
    let state = text(&appointment["state"]).trim_start_matches("APPOINTMENT_STATE_").to_lowercase();
    let words = [
        change["revision"].to_string(),
        text(&change["commit_time"]).to_owned(),
        kind,
        calendars.join(","),
        text(&event["detail"]).to_owned(),
        text(&appointment["local_start"]).to_owned(),
        text(&appointment["appointment_type_id"]).to_owned(),
        state,
        text(&appointment["invitee"]["name"]).to_owned(),
        text(&event["appointment_id"]).to_owned(),
    ];
    words.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("  ")
}

fn offered(slot: &Value) -> String {
    let local = text(&slot["local_start"]);
    let start = if local.is_empty() { text(&slot["start_time"]) } else { local };
    let calendars: Vec<&str> = items(&slot["calendar_ids"]).iter().map(text).collect();
    match slot["seats_remaining"].as_u64() {
        Some(seats) if seats > 1 => format!("{start}  {}  {seats} seats", calendars.join(",")),
        _ => format!("{start}  {}", calendars.join(",")),
    }
}
