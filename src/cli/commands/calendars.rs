//! Commands of CalendarService: calendars and appointment types.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{CallError, LimitArgs, Lookup, PagedList, Safety, guarded, map_over, safe};
use crate::cli::exit::Exit;
use crate::cli::table;
use crate::cli::words::{length, pair, rules};

/// Calendars and types.
#[derive(Subcommand, Clone, Debug)]
pub enum CalendarCommand {
    /// Make, show, change or delete a calendar
    #[command(
        subcommand,
        after_help = "Example:\n  bookd calendar create ada --name \"Ada Lovelace\" --zone Europe/Paris"
    )]
    Calendar(CalendarAction),
    /// List calendars
    #[command(after_help = "Example:\n  bookd calendars acme/")]
    Calendars {
        /// Only those whose id begins so
        #[arg(default_value = "")]
        prefix: String,
        /// How many
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// List, show, set or delete what can be booked of a calendar
    #[command(
        subcommand,
        after_help = "Example:\n  bookd types put ada consultation --duration 30m --buffer-after 10m"
    )]
    Types(TypeAction),
}

/// What can be done with a calendar.
#[derive(Subcommand, Clone, Debug)]
pub enum CalendarAction {
    /// Make a calendar
    #[command(
        after_help = "Example:\n  bookd calendar create ada --name \"Ada Lovelace\" --zone Europe/Paris --owner Ada"
    )]
    Create {
        /// Its id
        calendar: String,
        /// Its settings
        #[command(flatten)]
        settings: CalendarSettingArgs,
        /// Safety
        #[command(flatten)]
        safety: Safety,
    },
    /// Show a calendar
    #[command(after_help = "Example:\n  bookd calendar get ada")]
    Get {
        /// Which
        calendar: String,
    },
    /// Change what is said and leave the rest; hours have a command of their own
    ///
    /// Shows which upcoming appointments then lie outside open hours.
    #[command(after_help = "Examples:\n  bookd calendar update ada --pause\n  \
                            bookd calendar update ada --per-day 8 --clear owner\n  \
                            bookd calendar update ada --zone Europe/Lisbon --dry-run")]
    Update {
        /// Which
        calendar: String,
        /// Its settings
        #[command(flatten)]
        settings: CalendarSettingArgs,
        /// A setting to empty before: display_name, owner, limits or metadata; may be repeated
        #[arg(long, value_name = "SETTING")]
        clear: Vec<String>,
        /// Safety
        #[command(flatten)]
        safety: Safety,
    },
    /// Delete a calendar
    #[command(after_help = "Example:\n  bookd calendar delete ada --force")]
    Delete {
        /// Which
        calendar: String,
        /// Cancel what is upcoming; without it a calendar with appointments to come is kept
        #[arg(long)]
        force: bool,
        /// Safety
        #[command(flatten)]
        safety: Safety,
    },
}

/// Settings of a calendar.
#[derive(Args, Clone, Debug)]
pub struct CalendarSettingArgs {
    /// Its name for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Its time zone, such as Europe/Paris
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// The owner's e-mail address
    #[arg(long, value_name = "ADDRESS")]
    owner_email: Option<String>,
    /// Take no bookings for now
    #[arg(long, conflicts_with = "resume")]
    pause: bool,
    /// Take bookings again
    #[arg(long)]
    resume: bool,
    /// Sessions of all types together
    #[command(flatten)]
    limits: SessionLimitArgs,
    /// A key and value of your own; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
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
    fn over(&self, present: &Value) -> Value {
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

impl CalendarSettingArgs {
    /// What is said, over what there is: each setting as it is to be, null for those that nothing is said of.
    fn over(&self, present: &Value) -> Value {
        let owner = match (&self.owner, &self.owner_email) {
            (None, None) => Value::Null,
            (name, email) => {
                let present = &present["owner"];
                let one = |said: &Option<String>, field: &str| {
                    said.as_ref().map_or(present[field].clone(), |it| json!(it))
                };
                json!({ "name": one(name, "name"), "email": one(email, "email") })
            }
        };
        let is_paused = if self.pause || self.resume {
            json!(self.pause)
        } else {
            Value::Null
        };
        json!({
            "display_name": self.name,
            "owner": owner,
            "time_zone": self.zone,
            "paused": is_paused,
            "limits": self.limits.over(&present["limits"]),
            "metadata": map_over(&present["metadata"], &self.metadata),
        })
    }
}

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
        safety: Safety,
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
    safety: Safety,
}

impl TypePut {
    /// The type that what is said goes over: the one that there is, unless it is to be replaced.
    async fn present(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        if self.replace {
            return Ok(json!({}));
        }
        if self.safety.request_id.is_some() && !self.keep {
            // The second time there is a type, and the request would be another one.
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
        Ok(guarded(present, &etag, &self.safety))
    }

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
        let said = json!({
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
        Ok(overlaid(present, said))
    }
}

/// What is said over what there is.
fn overlaid(mut present: Value, said: Value) -> Value {
    if let Value::Object(said) = said {
        said.into_iter()
            .filter(|(_, value)| !value.is_null())
            .for_each(|(name, value)| present[name] = value);
    }
    present
}

impl CalendarCommand {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Calendar(CalendarAction::Create { .. }) => "CreateCalendar",
            Self::Calendar(CalendarAction::Get { .. }) => "GetCalendar",
            Self::Calendar(CalendarAction::Update { .. }) => "UpdateCalendar",
            Self::Calendar(CalendarAction::Delete { .. }) => "DeleteCalendar",
            Self::Calendars { .. } => "ListCalendars",
            Self::Types(TypeAction::Put(_)) => "PutAppointmentType",
            Self::Types(TypeAction::Get { .. }) => "GetAppointmentType",
            Self::Types(TypeAction::Delete { .. }) => "DeleteAppointmentType",
            Self::Types(TypeAction::List { .. }) => "ListAppointmentTypes",
        }
    }

    pub(super) fn shown(&self, answer: &Value) -> String {
        let done = |safety: &Safety| {
            if safety.dry_run {
                "would be deleted"
            } else {
                "is deleted"
            }
        };
        match self {
            Self::Calendar(CalendarAction::Delete {
                calendar,
                force,
                safety,
            }) => {
                let upcoming = if *force {
                    ", and what is upcoming of it cancelled"
                } else {
                    ""
                };
                format!("calendar {calendar} {}{upcoming}", done(safety))
            }
            Self::Types(TypeAction::Delete {
                calendar,
                appointment_type,
                safety,
            }) => {
                format!(
                    "type {appointment_type} of calendar {calendar} {}; what is booked of it stays",
                    done(safety)
                )
            }
            _ => table::show(self.method(), None, answer),
        }
    }

    pub(super) fn pages(&self) -> Option<PagedList> {
        match self {
            Self::Calendars { limit, .. } => Some(PagedList {
                field: "calendars",
                limit: limit.limit,
            }),
            Self::Types(TypeAction::List { limit, .. }) => Some(PagedList {
                field: "appointment_types",
                limit: limit.limit,
            }),
            _ => None,
        }
    }

    pub(super) async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Calendars { prefix, .. } => Ok(json!({ "id_prefix": prefix })),
            Self::Calendar(action) => action.request(ask).await,
            Self::Types(action) => action.request(ask).await,
        }
    }
}

impl CalendarAction {
    async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Create {
                calendar,
                settings,
                safety,
            } => {
                let made = overlaid(
                    json!({ "calendar_id": calendar }),
                    settings.over(&Value::Null),
                );
                Ok(safe(json!({ "calendar": made }), safety))
            }
            Self::Get { calendar } => Ok(json!({ "calendar_id": calendar })),
            Self::Update {
                calendar,
                settings,
                clear,
                safety,
            } => {
                let found = ask
                    .client
                    .call("GetCalendar", json!({ "calendar_id": calendar }))
                    .await?;
                let mut present = found["calendar"].clone();
                let mut mask: Vec<String> = clear.iter().map(|it| it.replace('-', "_")).collect();
                mask.iter().for_each(|name| present[name] = Value::Null);
                let said = settings.over(&present);
                let named =
                    |(name, value): (&String, &Value)| (!value.is_null()).then(|| name.clone());
                mask.extend(said.as_object().into_iter().flatten().filter_map(named));
                mask.sort();
                mask.dedup();
                if mask.is_empty() {
                    return Err(CallError::Usage(
                        "say what to change, such as --name or --pause".to_owned(),
                    ));
                }
                let changed = guarded(json!({ "calendar_id": calendar }), &present["etag"], safety);
                let changed = overlaid(changed, said);
                Ok(safe(
                    json!({ "calendar": changed, "update_mask": camel(&mask) }),
                    safety,
                ))
            }
            Self::Delete {
                calendar,
                force,
                safety,
            } => Ok(safe(
                json!({ "calendar_id": calendar, "force": force }),
                safety,
            )),
        }
    }
}

/// A field mask in its JSON form, which has its own way to write names.
pub(super) fn camel(mask: &[String]) -> String {
    let one = |name: &String| {
        let mut parts = name.split('_');
        let head = parts.next().unwrap_or_default().to_owned();
        parts.fold(head, |head, part| {
            let mut letters = part.chars();
            let initial = letters.next().map(|it| it.to_ascii_uppercase());
            head + &initial.into_iter().chain(letters).collect::<String>()
        })
    };
    mask.iter().map(one).collect::<Vec<_>>().join(",")
}

impl TypeAction {
    async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Put(put) => {
                let present = put.present(ask).await?;
                let request =
                    json!({ "calendar_id": put.calendar, "appointment_type": put.over(present)? });
                Ok(safe(request, &put.safety))
            }
            Self::Get {
                calendar,
                appointment_type,
            } => Ok(json!({ "calendar_id": calendar, "appointment_type_id": appointment_type })),
            Self::Delete {
                calendar,
                appointment_type,
                safety,
            } => Ok(safe(
                json!({ "calendar_id": calendar, "appointment_type_id": appointment_type }),
                safety,
            )),
            Self::List { calendar, .. } => Ok(json!({ "calendar_id": calendar })),
        }
    }
}
