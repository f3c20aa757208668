//! Commands of CalendarService about appointment types: list, show, set, delete.
//!
//! The method that sets a type replaces it whole. `put` therefore sends the present type with the
//! given settings replaced, under its etag; `--replace` starts from the defaults instead.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::PagedList;
use super::options::{LimitArgs, SafetyArgs, SessionLimitArgs};
use super::requests::{merged, with_etag, with_safety};
use crate::cli::client::CallError;
use crate::cli::exit::Exit;
use crate::cli::lookup::Lookup;
use crate::cli::words::{length, rules};

/// What can be done with a type.
#[derive(Subcommand, Clone, Debug)]
pub enum TypeAction {
    /// Make a type, or change what is said of it; what is booked stays as it is
    ///
    /// Shows which upcoming appointments of the type then lie outside open hours.
    #[command(
        after_help = "Examples:\n  bookd types put ada consultation --duration 30m --step 15m --notice 2h\n  \
                            bookd types put ada yoga --duration 1h --capacity 12 --hours \"sat 10:00-13:00\"\n  \
                            bookd types put ada consultation --approval\n  \
                            bookd types put ada consultation --replace --duration 45m"
    )]
    Put(Box<TypePut>),
    /// Show a type
    #[command(after_help = "Example:\n  bookd types get ada consultation")]
    Get {
        /// Whose
        calendar: String,
        /// Which
        appointment_type: String,
    },
    /// Delete a type; what is booked stays
    #[command(after_help = "Example:\n  bookd types delete ada consultation")]
    Delete {
        /// Whose
        calendar: String,
        /// Which
        appointment_type: String,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// List the types of a calendar
    #[command(after_help = "Example:\n  bookd types list ada")]
    List {
        /// Whose
        calendar: String,
        /// How many
        #[command(flatten)]
        limit: LimitArgs,
    },
}

/// A type, field by field.
#[derive(Args, Clone, Debug)]
pub struct TypePut {
    /// Whose
    calendar: String,
    /// Which
    appointment_type: String,
    /// Change a type that is there, and make none
    #[arg(long, conflicts_with = "replace")]
    keep: bool,
    /// Set back to its default what nothing is said of, instead of leaving it as it is
    #[arg(long)]
    replace: bool,
    /// Its name for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How long it lasts, such as 30m
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    duration: Option<String>,
    /// A further length to choose; may be repeated
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    or_duration: Vec<String>,
    /// The distance of starts; default the duration
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    step: Option<String>,
    /// Kept free before
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    buffer_before: Option<String>,
    /// Kept free after
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    buffer_after: Option<String>,
    /// How long before the start it can be booked at the latest
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    notice: Option<String>,
    /// How many days ahead can be booked; default 365
    #[arg(long, value_name = "DAYS")]
    horizon: Option<u32>,
    /// Seats of one session; default 1
    #[arg(long, value_name = "SEATS")]
    capacity: Option<u32>,
    /// A booking waits for approval
    #[arg(long)]
    approval: bool,
    /// Requests that wait for approval take no time
    #[arg(long)]
    pending_is_free: bool,
    /// How long before the start it can be cancelled at the latest
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    cancel_notice: Option<String>,
    /// How long before the start it can be moved at the latest
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    move_notice: Option<String>,
    /// Hours of its own instead of the calendar's, such as "mon-fri 09:00-12:00"; may be repeated
    #[arg(long, value_name = "HOURS")]
    hours: Vec<String>,
    /// Sessions of this type
    #[command(flatten)]
    limits: SessionLimitArgs,
    /// Safety
    #[command(flatten)]
    safety: SafetyArgs,
}

impl TypeAction {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Put(_) => "PutAppointmentType",
            Self::Get { .. } => "GetAppointmentType",
            Self::Delete { .. } => "DeleteAppointmentType",
            Self::List { .. } => "ListAppointmentTypes",
        }
    }

    pub(super) fn pages(&self) -> Option<PagedList> {
        match self {
            Self::List { limit, .. } => Some(PagedList {
                field: "appointment_types",
                limit: limit.limit,
            }),
            Self::Put(_) | Self::Get { .. } | Self::Delete { .. } => None,
        }
    }

    pub(super) async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Put(put) => {
                let present = put.present(ask).await?;
                let request =
                    json!({ "calendar_id": put.calendar, "appointment_type": put.over(present)? });
                Ok(with_safety(request, &put.safety))
            }
            Self::Get {
                calendar,
                appointment_type,
            } => Ok(json!({ "calendar_id": calendar, "appointment_type_id": appointment_type })),
            Self::Delete {
                calendar,
                appointment_type,
                safety,
            } => Ok(with_safety(
                json!({ "calendar_id": calendar, "appointment_type_id": appointment_type }),
                safety,
            )),
            Self::List { calendar, .. } => Ok(json!({ "calendar_id": calendar })),
        }
    }
}

impl TypePut {
    /// The type that the given settings change: the present one with its etag, or an empty one for
    /// `--replace` and for a new type.
    async fn present(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        if self.replace {
            return Ok(json!({}));
        }
        if self.safety.request_id.is_some() && !self.keep {
            // A repetition finds the type that the first request made, and would send another
            // request.
            let next = "say --keep for a type that is there, or --replace for one that may not be";
            return Err(CallError::Usage(format!("--request-id: {next}")));
        }
        let names =
            json!({ "calendar_id": self.calendar, "appointment_type_id": self.appointment_type });
        let mut present = match ask.client.call("GetAppointmentType", names).await {
            Ok(found) => found["appointment_type"].clone(),
            Err(error) if error.exit() == Exit::NotFound && !self.keep => json!({}),
            Err(error) => return Err(error),
        };
        let etag = present["etag"].clone();
        for name in ["etag", "create_time", "update_time", "revision"] {
            present[name] = Value::Null;
        }
        Ok(with_etag(present, &etag, &self.safety))
    }

    /// The present type with the given settings replaced.
    fn over(&self, present: Value) -> Result<Value, CallError> {
        let rules = match &self.hours[..] {
            [] => Value::Null,
            hours => rules(hours).map_err(CallError::Usage)?,
        };
        let list = |items: &[String]| {
            if items.is_empty() {
                Value::Null
            } else {
                json!(items)
            }
        };
        let given = json!({
            "appointment_type_id": self.appointment_type,
            "display_name": self.name,
            "duration": self.duration,
            "duration_options": list(&self.or_duration),
            "slot_step": self.step,
            "buffer_before": self.buffer_before,
            "buffer_after": self.buffer_after,
            "min_notice": self.notice,
            "horizon_days": self.horizon,
            "capacity": self.capacity,
            "limits": self.limits.over(&present["limits"]),
            "requires_approval": self.approval.then_some(true),
            "pending_blocks": self.pending_is_free.then_some(false),
            "cancel_notice": self.cancel_notice,
            "reschedule_notice": self.move_notice,
            "rules": rules,
        });
        Ok(merged(present, given))
    }
}
