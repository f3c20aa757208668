//! Commands of BookingService about appointments: book, move, cancel, change, several at once.
//!
//! A change of an appointment sends only the fields that are given, under the etag of the
//! appointment that it was made from.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::options::{
    AssignmentArgs, CarriedArgs, Clear, IgnoredRuleArgs, InviteeArgs, NewAppointmentArgs,
    SafetyArgs, ZoneArgs,
};
use super::requests::{
    field_mask, merged_invitee, merged_map, parse_json, read_argument, with_calendars, with_etag,
    with_ignored_rules, with_new_appointment, with_safety,
};
use super::series::SeriesAction;
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;
use crate::cli::table;
use crate::cli::words::length;

/// Appointments.
#[derive(Subcommand, Clone, Debug)]
pub enum BookingCommand {
    /// Book a time
    #[command(
        after_help = "Examples:\n  bookd book ada tomorrow 10:00 --name \"Grace Hopper\" --email grace@example.com\n  \
                            bookd book dr-lee,room-1 monday 09:00 --all --name Grace\n  \
                            bookd book --hold 0190163d-8694-739b-aea5-966c26f8ad91 --name Grace"
    )]
    Book(Box<BookAppointmentArgs>),
    /// Move an appointment: to another time, length or calendar
    #[command(
        after_help = "Examples:\n  bookd move 0190163d-8694-739b-aea5-966c26f8ad91 tomorrow 11:00\n  \
                            bookd move 0190163d-8694-739b-aea5-966c26f8ad91 --to bea"
    )]
    Move(Box<MoveAppointmentArgs>),
    /// Call an appointment off
    #[command(
        after_help = "Example:\n  bookd cancel 0190163d-8694-739b-aea5-966c26f8ad91 --reason ill"
    )]
    Cancel {
        /// The appointment
        appointment: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Change who comes, the note, the location or the metadata; what is not said stays, and so
    /// does the time
    #[command(
        after_help = "Examples:\n  bookd update 0190163d-8694-739b-aea5-966c26f8ad91 --phone \"+33 1 23 45\"\n  \
                            bookd update 0190163d-8694-739b-aea5-966c26f8ad91 --clear note --metadata room=7"
    )]
    Update {
        /// The appointment
        appointment: String,
        /// Who comes
        #[command(flatten)]
        who: InviteeArgs,
        /// What goes with it
        #[command(flatten)]
        carried: CarriedArgs,
        /// What to empty before: note, location or metadata; may be repeated
        #[arg(long, value_name = "FIELD")]
        clear: Vec<Clear>,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Say that the invitee did not come, or take that back
    #[command(after_help = "Example:\n  bookd no-show 0190163d-8694-739b-aea5-966c26f8ad91")]
    NoShow {
        /// The appointment
        appointment: String,
        /// Take it back
        #[arg(long)]
        undo: bool,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Say that the appointment took place, or take that back
    #[command(
        after_help = "Example:\n  bookd complete 0190163d-8694-739b-aea5-966c26f8ad91 --undo"
    )]
    Complete {
        /// The appointment
        appointment: String,
        /// Take it back
        #[arg(long)]
        undo: bool,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Book or cancel appointments that repeat
    #[command(
        subcommand,
        after_help = "Example:\n  bookd series book ada monday 09:00 --every weekly --count 10 --name Grace"
    )]
    Series(SeriesAction),
    /// Book several, all or none, from a JSON file
    #[command(
        after_help = "Example:\n  echo '[{\"calendar_id\":\"ada\",\"local_start\":\"2027-03-01T09:00\",\"invitee\":{\"name\":\"Grace\"}}]' > batch.json\n  \
                            bookd batch batch.json"
    )]
    Batch {
        /// A list of requests as BookAppointment takes them, or {"requests": [...]}; `-` reads
        /// standard input
        file: String,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Remove a person's data from all appointments with an address, or from one appointment; it
    /// fails where there is none
    #[command(after_help = "Example:\n  bookd redact grace@example.com --dry-run")]
    Redact {
        /// The person's e-mail address
        #[arg(
            required_unless_present = "appointment",
            conflicts_with = "appointment"
        )]
        email: Option<String>,
        /// Only of this appointment
        #[arg(long, value_name = "APPOINTMENT")]
        appointment: Option<String>,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
}

/// An appointment to book: of a time, or of a hold.
#[derive(Args, Clone, Debug)]
pub struct BookAppointmentArgs {
    /// The calendar, or several with commas and --all or --any
    #[arg(required_unless_present = "hold", requires = "date")]
    calendars: Option<String>,
    /// YYYY-MM-DD, today, tomorrow, or a day such as monday
    #[arg(requires = "time")]
    date: Option<String>,
    /// HH:MM
    time: Option<String>,
    /// The hold that becomes the appointment
    #[arg(long, value_name = "APPOINTMENT")]
    hold: Option<String>,
    /// The new appointment's id, a UUID; default one that the server makes
    #[arg(long, value_name = "UUID")]
    id: Option<String>,
    /// What is to be booked
    #[command(flatten)]
    new: NewAppointmentArgs,
}

/// Where an appointment moves to.
#[derive(Args, Clone, Debug)]
pub struct MoveAppointmentArgs {
    /// The appointment
    appointment: String,
    /// YYYY-MM-DD, today, tomorrow, or a day such as monday
    #[arg(requires = "time")]
    date: Option<String>,
    /// HH:MM
    time: Option<String>,
    /// How long from now on, such as 45m
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    duration: Option<String>,
    /// Whose clocks count
    #[command(flatten)]
    read_in: ZoneArgs,
    /// The calendar that is to take it, or several with commas and --all or --any
    #[arg(long, value_name = "CALENDARS")]
    to: Option<String>,
    /// Several calendars take part
    #[command(flatten)]
    taking_part: AssignmentArgs,
    /// Rules that staff override
    #[command(flatten)]
    ignored: IgnoredRuleArgs,
    /// Safety
    #[command(flatten)]
    safety: SafetyArgs,
}

impl BookingCommand {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Book(_) => "BookAppointment",
            Self::Move(_) => "RescheduleAppointment",
            Self::Cancel { .. } => "CancelAppointment",
            Self::Update { .. } => "UpdateAppointment",
            Self::NoShow { .. } => "MarkNoShow",
            Self::Complete { .. } => "CompleteAppointment",
            Self::Series(action) => action.method(),
            Self::Batch { .. } => "BatchBook",
            Self::Redact { .. } => "RedactInvitee",
        }
    }

    pub(super) fn shown(&self, answer: &Value) -> Result<String, CallError> {
        match self {
            Self::Redact {
                email,
                appointment,
                safety,
            } => {
                let subject = email.as_ref().or(appointment.as_ref());
                redaction_text(answer, subject.map_or("", String::as_str), safety.dry_run)
            }
            _ => Ok(table::show(self.method(), self.zone(), answer)),
        }
    }

    /// The zone that `--zone` names for the time of the appointment.
    fn zone(&self) -> Option<&str> {
        match self {
            Self::Book(book) => book.new.zone(),
            Self::Series(action) => action.zone(),
            Self::Move(moving) => moving.read_in.zone.as_deref(),
            _ => None,
        }
    }

    pub(super) async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Book(book) => book.request(ask).await,
            Self::Move(moving) => moving.request(ask).await,
            Self::Cancel {
                appointment,
                reason,
                safety,
            } => Ok(with_safety(
                json!({ "appointment_id": appointment, "reason": reason }),
                safety,
            )),
            Self::Update {
                appointment,
                who,
                carried,
                clear,
                safety,
            } => {
                let present = ask.appointment(appointment).await?;
                let request = update_request(&present, who, carried, clear)?;
                Ok(with_safety(
                    with_etag(request, &present["etag"], safety),
                    safety,
                ))
            }
            Self::NoShow {
                appointment,
                undo,
                safety,
            }
            | Self::Complete {
                appointment,
                undo,
                safety,
            } => Ok(with_safety(
                json!({ "appointment_id": appointment, "undo": undo }),
                safety,
            )),
            Self::Series(action) => action.request(ask).await,
            Self::Batch { file, safety } => Ok(with_safety(
                json!({ "requests": requests_of(file)? }),
                safety,
            )),
            Self::Redact {
                email,
                appointment,
                safety,
            } => Ok(with_safety(
                json!({ "invitee_email": email, "appointment_id": appointment }),
                safety,
            )),
        }
    }
}

impl BookAppointmentArgs {
    async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        let mut request = json!({ "hold_id": self.hold, "appointment_id": self.id });
        if let (Some(calendars), Some(date), Some(time)) = (&self.calendars, &self.date, &self.time)
        {
            request = with_calendars(request, calendars, &self.new.what.taking_part)?;
            let dates = self.new.what.read_in.dates(ask, Some(calendars));
            request["local_start"] = json!(dates.local_start(date, time).await?);
        }
        let mut request = with_new_appointment(request, &self.new);
        if let Some(hold) = &self.hold {
            request["invitee"] = merged_invitee(ask, hold, &self.new.who).await?;
        }
        Ok(request)
    }
}

impl MoveAppointmentArgs {
    async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        let mut request = json!({
            "appointment_id": self.appointment,
            "duration": self.duration,
            "time_zone": self.read_in.zone,
        });
        if let (Some(date), Some(time)) = (&self.date, &self.time) {
            let calendars = match (&self.to, &self.read_in.zone) {
                (Some(to), _) => to.clone(),
                (None, None) => ask.calendar_of(&self.appointment).await?,
                (None, Some(_)) => String::new(),
            };
            let dates = self.read_in.dates(ask, Some(&calendars));
            request["local_start"] = json!(dates.local_start(date, time).await?);
        }
        if let Some(to) = &self.to {
            request = with_calendars(request, to, &self.taking_part)?;
            // A move has no short form for one calendar.
            if let Some(one) = request
                .as_object_mut()
                .and_then(|fields| fields.remove("calendar_id"))
            {
                request["calendar_ids"] = json!([one]);
            }
        }
        Ok(with_safety(
            with_ignored_rules(request, &self.ignored),
            &self.safety,
        ))
    }
}

/// The requests of a batch: the list in a file, or on standard input where the file is `-`.
fn requests_of(file: &str) -> Result<Value, CallError> {
    let text = match file {
        "-" => read_argument("-")?,
        file => std::fs::read_to_string(file)
            .map_err(|error| CallError::Usage(format!("{file} cannot be read: {error}")))?,
    };
    let batch = parse_json(file, &text)?;
    Ok(if batch.is_array() {
        batch
    } else {
        batch["requests"].clone()
    })
}

/// How many appointments were redacted. Zero is an error, because the address may be misspelt and
/// the data still be stored.
fn redaction_text(answer: &Value, subject: &str, is_dry_run: bool) -> Result<String, CallError> {
    let count = answer["appointments_redacted"].as_u64().unwrap_or(0);
    let things = if count == 1 {
        "appointment"
    } else {
        "appointments"
    };
    let done = if is_dry_run {
        "would be redacted"
    } else {
        "redacted"
    };
    let more = if answer["more"] == Value::Bool(true) {
        "; there may be more, run it again (under another --request-id)"
    } else {
        ""
    };
    match count {
        0 => Err(CallError::Nothing(format!(
            "nothing was found for {subject}; nothing was redacted"
        ))),
        count => Ok(format!("{count} {things} {done}{more}")),
    }
}

/// The request that changes the given fields of the present appointment.
fn update_request(
    present: &Value,
    who: &InviteeArgs,
    carried: &CarriedArgs,
    clear: &[Clear],
) -> Result<Value, CallError> {
    let mut request = json!({ "appointment_id": present["appointment_id"] });
    let mut mask = Vec::new();
    if who.is_given() {
        request["invitee"] = who.over(&present["invitee"]);
        mask.push("invitee".to_owned());
    }
    for (name, text, cleared) in carried.texts() {
        if text.is_some() || clear.contains(&cleared) {
            request[name] = json!(text);
            mask.push(name.to_owned());
        }
    }
    let is_cleared = clear.contains(&Clear::Metadata);
    if !carried.metadata.is_empty() || is_cleared {
        let kept = if is_cleared {
            &Value::Null
        } else {
            &present["metadata"]
        };
        request["metadata"] = merged_map(kept, &carried.metadata);
        mask.push("metadata".to_owned());
    }
    if mask.is_empty() {
        return Err(CallError::Usage(
            "say what to change, such as --note or --phone".to_owned(),
        ));
    }
    request["update_mask"] = json!(field_mask(&mask));
    Ok(request)
}
