//! Commands of CalendarService about calendars: list, make, show, change, delete.
//!
//! A change sends only the settings that are given, under the etag of the calendar that it was made
//! from.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::PagedList;
use super::options::{LimitArgs, SafetyArgs, SessionLimitArgs};
use super::requests::{field_mask, merged, merged_map, with_etag, with_safety};
use super::types::TypeAction;
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;
use crate::cli::table;
use crate::cli::words::pair;

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
        safety: SafetyArgs,
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
        safety: SafetyArgs,
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
        safety: SafetyArgs,
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

impl CalendarSettingArgs {
    /// The settings as the request sets them, null for each that is not given. The owner, the
    /// limits and the metadata replace the present ones whole, so these are merged with them.
    fn over(&self, present: &Value) -> Value {
        let owner = match (&self.owner, &self.owner_email) {
            (None, None) => Value::Null,
            (name, email) => {
                let present = &present["owner"];
                let one = |given: &Option<String>, field: &str| {
                    given
                        .as_ref()
                        .map_or(present[field].clone(), |text| json!(text))
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
            "metadata": merged_map(&present["metadata"], &self.metadata),
        })
    }
}

impl CalendarCommand {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Calendar(CalendarAction::Create { .. }) => "CreateCalendar",
            Self::Calendar(CalendarAction::Get { .. }) => "GetCalendar",
            Self::Calendar(CalendarAction::Update { .. }) => "UpdateCalendar",
            Self::Calendar(CalendarAction::Delete { .. }) => "DeleteCalendar",
            Self::Calendars { .. } => "ListCalendars",
            Self::Types(action) => action.method(),
        }
    }

    pub(super) fn shown(&self, answer: &Value) -> String {
        let done = |safety: &SafetyArgs| {
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
            Self::Types(action) => action.pages(),
            Self::Calendar(_) => None,
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
                let made = merged(
                    json!({ "calendar_id": calendar }),
                    settings.over(&Value::Null),
                );
                Ok(with_safety(json!({ "calendar": made }), safety))
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
                let given = settings.over(&present);
                let named =
                    |(name, value): (&String, &Value)| (!value.is_null()).then(|| name.clone());
                mask.extend(given.as_object().into_iter().flatten().filter_map(named));
                mask.sort();
                mask.dedup();
                if mask.is_empty() {
                    return Err(CallError::Usage(
                        "say what to change, such as --name or --pause".to_owned(),
                    ));
                }
                let changed =
                    with_etag(json!({ "calendar_id": calendar }), &present["etag"], safety);
                let changed = merged(changed, given);
                Ok(with_safety(
                    json!({ "calendar": changed, "update_mask": field_mask(&mask) }),
                    safety,
                ))
            }
            Self::Delete {
                calendar,
                force,
                safety,
            } => Ok(with_safety(
                json!({ "calendar_id": calendar, "force": force }),
                safety,
            )),
        }
    }
}
