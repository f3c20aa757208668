//! Commands of ListService, ServerInfoService and AccessService: appointments, changes, zone drift,
//! the server, and who calls.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::PagedList;
use super::options::{LimitArgs, ZoneArgs};
use crate::cli::client::CallError;
use crate::cli::lookup::Lookup;
use crate::cli::words::enumerated;

/// What there is.
#[derive(Subcommand, Clone, Debug)]
pub enum ListCommand {
    /// Show one appointment
    #[command(after_help = "Example:\n  bookd show 0190163d-8694-739b-aea5-966c26f8ad91")]
    Show {
        /// The appointment
        appointment: String,
    },
    /// List appointments of a calendar, an invitee, a series or a confirmation code; upcoming ones
    /// unless told otherwise
    #[command(
        after_help = "Examples:\n  bookd list ada\n  bookd list ada --from 2027-03-01 --to 2027-04-01 --state cancelled,no-show\n  \
                            bookd list --code 7K3M-Q9XT"
    )]
    List(Box<ListAppointmentsArgs>),
    /// List what happened to a calendar or an appointment, newest first
    #[command(
        after_help = "Examples:\n  bookd changes ada --limit 20\n  bookd changes 0190163d-8694-739b-aea5-966c26f8ad91"
    )]
    Changes {
        /// A calendar, or an appointment's id
        subject: String,
        /// How many
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// List upcoming appointments whose clock time is another since a zone's rules changed
    #[command(after_help = "Example:\n  bookd zone-drift ada")]
    ZoneDrift {
        /// Only of this calendar
        calendar: Option<String>,
        /// How many
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Say what the server is
    #[command(after_help = "Example:\n  bookd info")]
    Info,
    /// Say who the server takes you for, and what you may do
    #[command(after_help = "Example:\n  bookd whoami")]
    Whoami,
}

/// Which appointments are listed, and in which order.
#[derive(Args, Clone, Debug)]
pub struct ListAppointmentsArgs {
    /// The calendar
    calendar: Option<String>,
    /// Of this invitee
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// With this confirmation code
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Of this series
    #[arg(long, value_name = "SERIES")]
    series: Option<String>,
    /// Of this appointment type
    #[arg(long = "type", value_name = "TYPE")]
    appointment_type: Option<String>,
    /// In these states, with commas: held, pending, confirmed, cancelled, declined, expired,
    /// no-show, completed
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    state: Vec<String>,
    /// Ending after this: a date, a local time such as 2027-03-01T09:00, or an instant with Z;
    /// default now
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Starting before this; a day's name counts from where the range begins on
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Whose clocks count
    #[command(flatten)]
    read_in: ZoneArgs,
    /// In which order
    #[arg(long, value_name = "ORDER", default_value = "earliest")]
    order: Order,
    /// How many
    #[command(flatten)]
    limit: LimitArgs,
}

/// In which order appointments are listed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Order {
    /// By start
    Earliest,
    /// By start, the last one first
    Latest,
}

impl ListCommand {
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Show { .. } => "GetAppointment",
            Self::List(_) => "ListAppointments",
            Self::Changes { .. } => "ListChanges",
            Self::ZoneDrift { .. } => "ListZoneDrift",
            Self::Info => "GetServerInfo",
            Self::Whoami => "GetPrincipal",
        }
    }

    pub(super) fn pages(&self) -> Option<PagedList> {
        match self {
            Self::List(list) => Some(PagedList {
                field: "appointments",
                limit: list.limit.limit,
            }),
            Self::Changes { limit, .. } => Some(PagedList {
                field: "changes",
                limit: limit.limit,
            }),
            Self::ZoneDrift { limit, .. } => Some(PagedList {
                field: "drifts",
                limit: limit.limit,
            }),
            Self::Show { .. } | Self::Info | Self::Whoami => None,
        }
    }

    pub(super) async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        match self {
            Self::Show { appointment } => Ok(json!({ "appointment_id": appointment })),
            Self::List(list) => list.request(ask).await,
            Self::Changes { subject, .. } if uuid::Uuid::try_parse(subject).is_ok() => {
                Ok(json!({ "appointment_id": subject }))
            }
            Self::Changes { subject, .. } => Ok(json!({ "calendar_id": subject })),
            Self::ZoneDrift { calendar, .. } => Ok(json!({ "calendar_id": calendar })),
            Self::Info | Self::Whoami => Ok(json!({})),
        }
    }
}

impl ListAppointmentsArgs {
    async fn request(&self, ask: &Lookup<'_>) -> Result<Value, CallError> {
        let states: Vec<String> = self
            .state
            .iter()
            .map(|state| enumerated("APPOINTMENT_STATE", state))
            .collect();
        let dates = self.read_in.dates(ask, self.calendar.as_deref());
        let [start_time, end_time] = dates
            .range(self.from.as_deref(), self.to.as_deref())
            .await?;
        Ok(json!({
            "calendar_id": self.calendar,
            "invitee_email": self.email,
            "confirmation_code": self.code,
            "series_id": self.series,
            "appointment_type_id": self.appointment_type,
            "states": states,
            "start_time": start_time,
            "end_time": end_time,
            "order_by": match self.order {
                Order::Earliest => Value::Null,
                Order::Latest => json!("start_time desc"),
            },
        }))
    }
}
