//! Reads of the server that a command makes before its call: the zone of a calendar, the present
//! appointment, the time.

use serde_json::{Value, json};

use super::client::{CallError, Client};
use super::words::instant;
use bookd_core::time::Instant;

/// Reads from a server what the request of a command depends on.
pub struct Lookup<'a> {
    /// The connection to the server.
    pub client: &'a Client,
}

impl Lookup<'_> {
    /// The time zone of a calendar, an IANA name.
    pub async fn zone_of(&self, calendar: &str) -> Result<String, CallError> {
        let found = self
            .client
            .call("GetCalendar", json!({ "calendar_id": calendar }))
            .await?;
        Ok(found["calendar"]["time_zone"]
            .as_str()
            .unwrap_or("UTC")
            .to_owned())
    }

    /// The present hours of a calendar, with their etag.
    pub async fn availability(&self, calendar: &str) -> Result<Value, CallError> {
        let found = self
            .client
            .call("GetAvailability", json!({ "calendar_id": calendar }))
            .await?;
        Ok(found["availability"].clone())
    }

    /// The present appointment, with its etag.
    pub async fn appointment(&self, id: &str) -> Result<Value, CallError> {
        let found = self
            .client
            .call("GetAppointment", json!({ "appointment_id": id }))
            .await?;
        Ok(found["appointment"].clone())
    }

    /// The first calendar of an appointment.
    pub async fn calendar_of(&self, appointment: &str) -> Result<String, CallError> {
        let found = self.appointment(appointment).await?;
        Ok(found["calendar_ids"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }

    /// The server's time.
    pub async fn now(&self) -> Result<Instant, CallError> {
        let info = self.client.call("GetServerInfo", json!({})).await?;
        let now = info["time"].as_str().and_then(instant);
        now.ok_or_else(|| CallError::Failed("the server does not tell its time".to_owned()))
    }
}
