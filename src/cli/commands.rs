//! The client commands: words → a method and its request, and how its answer looks as a table.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::watch::WatchArgs;

/// Options of every client command.
#[derive(Args, Clone, Debug)]
pub struct ClientOptions {
    /// The server to talk to, HOST:PORT
    #[arg(long, global = true, env = "BOOKD_SERVER", default_value = "127.0.0.1:50051", value_name = "ADDRESS")]
    pub server: String,
    /// Print the answer as JSON, for pipes
    #[arg(long, global = true)]
    pub json: bool,
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
    /// A note
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

/// What is to be booked.
#[derive(Args, Clone, Debug)]
pub struct What {
    /// The appointment type
    #[arg(long = "type", value_name = "TYPE")]
    pub appointment_type: Option<String>,
    /// Minutes, where the type leaves a choice
    #[arg(long, value_name = "MINUTES")]
    pub duration: Option<u32>,
    /// The zone of local times; default the calendar's
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
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

/// What a client can ask.
#[derive(Subcommand, Clone, Debug)]
pub enum ClientCommand {
    /// Set the weekly hours of a calendar, and make it if there is none: bookd hours ada mon-fri 09:00-17:00
    Hours {
        /// The calendar
        calendar: String,
        /// Days and hours in turn, such as `mon-fri 09:00-17:00 sat 10:00-13:00`; `daily` = every day, none = show
        hours: Vec<String>,
        /// The calendar's time zone, such as Europe/Paris
        #[arg(long, value_name = "ZONE")]
        zone: Option<String>,
        /// Safety
        #[command(flatten)]
        safety: Safety,
    },
    /// List free slots: bookd slots ada tomorrow
    Slots {
        /// The calendar
        calendar: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// What is to be booked
        #[command(flatten)]
        what: What,
    },
    /// Say why a time can or cannot be booked: bookd explain ada tomorrow 12:15
    Explain {
        /// The calendar
        calendar: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// HH:MM
        time: String,
        /// What is to be booked
        #[command(flatten)]
        what: What,
    },
    /// Book a time: bookd book ada tomorrow 10:00 --name "Grace Hopper"
    Book {
        /// The calendar
        calendar: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// HH:MM
        time: String,
        /// What is to be booked
        #[command(flatten)]
        what: What,
        /// Who books
        #[command(flatten)]
        who: Who,
        /// Safety
        #[command(flatten)]
        safety: Safety,
    },
    /// Hold a time for some minutes; `confirm` makes it an appointment
    Hold {
        /// The calendar
        calendar: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// HH:MM
        time: String,
        /// How long, in minutes
        #[arg(long, value_name = "MINUTES", default_value_t = 5)]
        ttl: u32,
        /// What is to be held
        #[command(flatten)]
        what: What,
        /// Safety
        #[command(flatten)]
        safety: Safety,
    },
    /// Turn a hold into an appointment
    Confirm {
        /// The hold
        appointment: String,
        /// Who books
        #[command(flatten)]
        who: Who,
        /// Safety
        #[command(flatten)]
        safety: Safety,
    },
    /// Move an appointment
    Move {
        /// The appointment
        appointment: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// HH:MM
        time: String,
        /// Safety
        #[command(flatten)]
        safety: Safety,
    },
    /// Call an appointment off
    Cancel {
        /// The appointment
        appointment: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Safety
        #[command(flatten)]
        safety: Safety,
    },
    /// Show one appointment
    Show {
        /// The appointment
        appointment: String,
    },
    /// List upcoming appointments of a calendar, an invitee, or a confirmation code
    List {
        /// The calendar
        calendar: Option<String>,
        /// Of this invitee
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// With this confirmation code
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
    },
    /// List what happened to a calendar or an appointment
    Changes {
        /// A calendar, or an appointment's id
        subject: String,
    },
    /// List calendars
    Calendars {
        /// Only those whose id begins so
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show what happens, line by line: bookd watch ada --from 1
    Watch(WatchArgs),
    /// Show which slots are offered, and what is added and removed: bookd watch-slots ada tomorrow
    WatchSlots {
        /// The calendar
        calendar: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// What is to be booked
        #[command(flatten)]
        what: What,
    },
    /// Say what the server is
    Info,
    /// Call any method with JSON: bookd call GetCalendar '{"calendar_id":"ada"}'
    Call {
        /// The method, such as BookAppointment
        method: String,
        /// The request; `-` reads standard input
        #[arg(default_value = "{}")]
        request: String,
    },
}

/// A call that a command comes to.
pub struct Planned {
    /// The method.
    pub method: String,
    /// Its request.
    pub request: Value,
}

/// Looks up what words such as `tomorrow` mean on a calendar, or where an appointment is.
pub enum Words<'a> {
    /// A date on a calendar.
    Date {
        /// Which calendar.
        calendar: &'a str,
        /// The word.
        date: &'a str,
    },
    /// A date on the calendar of an appointment.
    DateOf {
        /// Which appointment.
        appointment: &'a str,
        /// The word.
        date: &'a str,
    },
}

impl ClientCommand {
    /// The words of it that only the server can tell the meaning of.
    pub fn words(&self) -> Option<Words<'_>> {
        match self {
            Self::Slots { calendar, date, .. }
            | Self::WatchSlots { calendar, date, .. }
            | Self::Explain { calendar, date, .. }
            | Self::Book { calendar, date, .. }
            | Self::Hold { calendar, date, .. } => Some(Words::Date { calendar, date }),
            Self::Move { appointment, date, .. } => Some(Words::DateOf { appointment, date }),
            _ => None,
        }
    }

    /// The call; `date` is what its date word means.
    pub fn plan(&self, date: &str) -> Result<Planned, String> {
        let planned = |method: &str, request: Value| Ok(Planned { method: method.to_owned(), request });
        match self {
            Self::Hours { calendar, hours, zone, safety } if hours.is_empty() && zone.is_none() => {
                let _ = safety;
                planned("GetAvailability", json!({ "calendar_id": calendar }))
            }
            Self::Hours { calendar, hours, zone, safety } => {
                let request = json!({ "calendar_id": calendar, "rules": rules(hours)?, "time_zone": zone });
                planned("SetAvailability", safe(request, safety))
            }
            Self::Slots { calendar, what, .. } => {
                let mut request = asked(json!({ "calendar_id": calendar, "date": date, "page_size": 1_000 }), what);
                // Without a zone the server shows instants alone; the calendar's own is asked for by its name.
                request["time_zone"] = json!(what.zone);
                planned("ListSlots", request)
            }
            Self::Explain { calendar, time, what, .. } => planned(
                "ExplainSlot",
                asked(json!({ "calendar_id": calendar, "local_start": local(date, time) }), what),
            ),
            Self::Book { calendar, time, what, who, safety, .. } => {
                let request = asked(json!({ "calendar_id": calendar, "local_start": local(date, time) }), what);
                planned("BookAppointment", safe(with(request, who), safety))
            }
            Self::Hold { calendar, time, ttl, what, safety, .. } => {
                let request =
                    json!({ "calendar_id": calendar, "local_start": local(date, time), "ttl": seconds(*ttl) });
                planned("HoldAppointment", safe(asked(request, what), safety))
            }
            Self::Confirm { appointment, who, safety } => {
                let mut request = with(json!({ "appointment_id": appointment }), who);
                if let Some(request) = request.as_object_mut() {
                    request.remove("note");
                }
                planned("ConfirmAppointment", safe(request, safety))
            }
            Self::Move { appointment, time, safety, .. } => {
                let request = json!({ "appointment_id": appointment, "local_start": local(date, time) });
                planned("RescheduleAppointment", safe(request, safety))
            }
            Self::Cancel { appointment, reason, safety } => {
                planned("CancelAppointment", safe(json!({ "appointment_id": appointment, "reason": reason }), safety))
            }
            Self::Show { appointment } => planned("GetAppointment", json!({ "appointment_id": appointment })),
            Self::List { calendar, email, code } => {
                let request = json!({ "calendar_id": calendar, "invitee_email": email, "confirmation_code": code });
                planned("ListAppointments", request)
            }
            Self::Changes { subject } if uuid::Uuid::try_parse(subject).is_ok() => {
                planned("ListChanges", json!({ "appointment_id": subject }))
            }
            Self::Changes { subject } => planned("ListChanges", json!({ "calendar_id": subject })),
            Self::Calendars { prefix } => planned("ListCalendars", json!({ "id_prefix": prefix })),
            Self::Watch(arguments) => planned("WatchAppointments", arguments.request()),
            Self::WatchSlots { calendar, what, .. } => {
                planned("WatchSlots", asked(json!({ "calendar_id": calendar, "date": date }), what))
            }
            Self::Info => planned("GetServerInfo", json!({})),
            Self::Call { method, request } => {
                let request =
                    serde_json::from_str(request).map_err(|error| format!("the request is no JSON: {error}"))?;
                planned(method, request)
            }
        }
    }
}

fn local(date: &str, time: &str) -> String {
    format!("{date}T{time}")
}

fn seconds(minutes: u32) -> String {
    format!("{}s", u64::from(minutes) * 60)
}

fn asked(mut request: Value, what: &What) -> Value {
    request["appointment_type_id"] = json!(what.appointment_type);
    request["duration"] = json!(what.duration.map(seconds));
    request["time_zone"] = json!(what.zone);
    request
}

fn with(mut request: Value, who: &Who) -> Value {
    if who.name.is_some() || who.email.is_some() || who.phone.is_some() {
        request["invitee"] = json!({ "name": who.name, "email": who.email, "phone": who.phone });
    }
    request["note"] = json!(who.note);
    request
}

fn safe(mut request: Value, safety: &Safety) -> Value {
    request["request_id"] = json!(safety.request_id);
    request["validate_only"] = json!(safety.dry_run);
    request
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY_NAMES: [&str; 7] = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];

/// The number of a day by its first three letters, 0 = Monday.
pub fn weekday(word: &str) -> Option<usize> {
    let word = word.to_ascii_lowercase();
    let is_day = |(day, name): &(&&str, &&str)| **day == word || name.to_ascii_lowercase() == word;
    DAYS.iter().zip(&DAY_NAMES).position(|pair| is_day(&pair))
}

/// `mon-fri 09:00-12:00 13:00-17:00 sat 10:00-13:00` as rules.
fn rules(words: &[String]) -> Result<Value, String> {
    let mut days: Option<Vec<String>> = None;
    let mut rules = Vec::new();
    for word in words.iter().flat_map(|it| it.split_whitespace()) {
        if word.contains(':') {
            let (start, end) = word.split_once('-').ok_or_else(|| format!("{word}: write HH:MM-HH:MM"))?;
            let days =
                days.clone().ok_or_else(|| format!("{word}: say first on which days, such as mon-fri or daily"))?;
            rules.push(json!({ "days_of_week": days, "start_time": start, "end_time": end }));
        } else {
            days = Some(days_of(word)?);
        }
    }
    Ok(Value::Array(rules))
}

fn days_of(word: &str) -> Result<Vec<String>, String> {
    if word.eq_ignore_ascii_case("daily") {
        return Ok(Vec::new());
    }
    let mut named = Vec::new();
    for part in word.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let unknown = || format!("{word}: write days as mon-fri, sat,sun or daily");
        let (first, last) = (weekday(first).ok_or_else(unknown)?, weekday(last).ok_or_else(unknown)?);
        let length = (last + 7 - first) % 7;
        named.extend((0..=length).map(|ahead| format!("DAY_OF_WEEK_{}", DAY_NAMES[(first + ahead) % 7])));
    }
    Ok(named)
}

/// Without what was left out: a request says only what somebody said.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
