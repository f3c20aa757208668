//! Commands of BookingService about holds, and about requests that wait for approval.

use clap::Subcommand;
use serde_json::{Value, json};

use super::options::{InviteeArgs, NewAppointmentArgs, SafetyArgs};
use super::requests::{merged_invitee, with_calendars, with_new_appointment, with_safety};
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;
use crate::cli::words::length;

/// Holds and requests.
#[derive(Subcommand, Clone, Debug)]
pub enum HoldCommand {
    /// Hold a time for some minutes; `confirm` makes it an appointment
    #[command(after_help = "Example:\n  bookd hold ada tomorrow 10:00 --ttl 10m")]
    Hold {
        /// The calendar, or several with commas and --all or --any
        calendars: String,
        /// YYYY-MM-DD, today, tomorrow, or a day such as monday
        date: String,
        /// HH:MM
        time: String,
        /// How long, such as 10m
        #[arg(long, value_name = "LENGTH", default_value = "5m", value_parser = length)]
        ttl: String,
        /// The new appointment's id, a UUID; default one that the server makes
        #[arg(long, value_name = "UUID")]
        id: Option<String>,
        /// What is to be held
        #[command(flatten)]
        new: NewAppointmentArgs,
    },
    /// Make a hold last longer, from now on
    #[command(
        after_help = "Example:\n  bookd extend 0190163d-8694-739b-aea5-966c26f8ad91 --ttl 10m"
    )]
    Extend {
        /// The hold
        appointment: String,
        /// How long from now on, such as 10m
        #[arg(long, value_name = "LENGTH", default_value = "5m", value_parser = length)]
        ttl: String,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Let a hold go
    #[command(after_help = "Example:\n  bookd release 0190163d-8694-739b-aea5-966c26f8ad91")]
    Release {
        /// The hold
        appointment: String,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Turn a hold into an appointment
    #[command(
        after_help = "Example:\n  bookd confirm 0190163d-8694-739b-aea5-966c26f8ad91 --name Grace"
    )]
    Confirm {
        /// The hold
        appointment: String,
        /// Who books; what is not said stays as the hold has it
        #[command(flatten)]
        who: InviteeArgs,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Approve a request
    #[command(after_help = "Example:\n  bookd approve 0190163d-8694-739b-aea5-966c26f8ad91")]
    Approve {
        /// The request
        appointment: String,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
    /// Decline a request
    #[command(
        after_help = "Example:\n  bookd decline 0190163d-8694-739b-aea5-966c26f8ad91 --reason \"not this week\""
    )]
    Decline {
        /// The request
        appointment: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
}

impl HoldCommand {
    /// The zone that `--zone` names for the time of the appointment.
    pub(super) fn zone(&self) -> Option<&str> {
        let Self::Hold { new, .. } = self else {
            return None;
        };
        new.zone()
    }

    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "HoldAppointment",
            Self::Extend { .. } => "ExtendHold",
            Self::Release { .. } => "ReleaseHold",
            Self::Confirm { .. } => "ConfirmAppointment",
            Self::Approve { .. } => "ApproveAppointment",
            Self::Decline { .. } => "DeclineAppointment",
        }
    }

    pub(super) async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Hold {
                calendars,
                date,
                time,
                ttl,
                id,
                new,
            } => {
                let request = json!({ "ttl": ttl, "appointment_id": id });
                let mut request = with_calendars(request, calendars, &new.what.taking_part)?;
                request["local_start"] = json!(
                    new.what
                        .read_in
                        .dates(ask, Some(calendars))
                        .local_start(date, time)
                        .await?
                );
                Ok(with_new_appointment(request, new))
            }
            Self::Extend {
                appointment,
                ttl,
                safety,
            } => Ok(with_safety(
                json!({ "appointment_id": appointment, "ttl": ttl }),
                safety,
            )),
            Self::Release {
                appointment,
                safety,
            }
            | Self::Approve {
                appointment,
                safety,
            } => Ok(with_safety(
                json!({ "appointment_id": appointment }),
                safety,
            )),
            Self::Confirm {
                appointment,
                who,
                safety,
            } => {
                let invitee = merged_invitee(ask, appointment, who).await?;
                Ok(with_safety(
                    json!({ "appointment_id": appointment, "invitee": invitee }),
                    safety,
                ))
            }
            Self::Decline {
                appointment,
                reason,
                safety,
            } => Ok(with_safety(
                json!({ "appointment_id": appointment, "reason": reason }),
                safety,
            )),
        }
    }
}
