//! What a command asks the server before its call: which date `tomorrow` is, which instant a clock time is.

use serde_json::{Value, json};

use super::client::{CallError, Client};
use super::words::weekday;
use crate::domain::time::{HOUR, Instant, LocalDate, MINUTE, Wall};
use crate::domain::zone::LocalInstants;
use crate::zones::Zones;

/// Asks a server what words mean.
pub struct Ask<'a> {
    /// Whom to ask.
    pub client: &'a Client,
}

impl Ask<'_> {
    /// The time zone of a calendar.
    pub async fn zone_of(&self, calendar: &str) -> Result<String, CallError> {
        let found = self.client.call("GetCalendar", json!({ "calendar_id": calendar })).await?;
        Ok(found["calendar"]["time_zone"].as_str().unwrap_or("UTC").to_owned())
    }

    /// An appointment as it is.
    pub async fn appointment(&self, id: &str) -> Result<Value, CallError> {
        let found = self.client.call("GetAppointment", json!({ "appointment_id": id })).await?;
        Ok(found["appointment"].clone())
    }

    /// The first calendar of an appointment.
    pub async fn calendar_of(&self, appointment: &str) -> Result<String, CallError> {
        let found = self.appointment(appointment).await?;
        Ok(found["calendar_ids"][0].as_str().unwrap_or_default().to_owned())
    }

    /// `tomorrow` and its like, as dates of the calendar's zone at the server's time; other words as they are.
    pub async fn date(&self, calendar: &str, word: &str) -> Result<String, CallError> {
        let word = word.to_ascii_lowercase();
        if ahead(&word).is_none() && weekday(&word).is_none() {
            return Ok(word);
        }
        let zone = self.zone_of(calendar).await?;
        self.date_in(&zone, &word).await
    }

    async fn date_in(&self, zone: &str, word: &str) -> Result<String, CallError> {
        let info = self.client.call("GetServerInfo", json!({})).await?;
        let unknown =
            |what: &str| CallError::Usage(format!("{word}: the server's {what} cannot be read; write the date"));
        let now = info["time"].as_str().and_then(|it| it.parse::<jiff::Timestamp>().ok());
        let now = now.ok_or_else(|| unknown("time"))?;
        let zone = Zones::bundled().zone(zone).map_err(|_| unknown("time zone"))?;
        let today: LocalDate = zone.wall(Instant::from_seconds(now.as_second())).date();
        let to_day = |day: usize| (i32::try_from(day).unwrap_or_default() - i32::from(today.weekday()) + 6) % 7 + 1;
        Ok(today.plus(ahead(word).or_else(|| weekday(word).map(to_day)).unwrap_or_default()).to_string())
    }

    /// An instant for a request: `2027-03-01T09:00:00Z` as it is; a date, `today`, or `2027-03-01T09:00` by the clocks
    /// of the calendar, or of UTC where there is none.
    pub async fn instant(&self, calendar: Option<&str>, word: &str) -> Result<String, CallError> {
        if word.parse::<jiff::Timestamp>().is_ok() {
            return Ok(word.to_owned());
        }
        let wrong = || {
            CallError::Usage(format!(
                "{word}: write 2027-03-01, 2027-03-01T09:00, 2027-03-01T09:00:00Z, or a day's name"
            ))
        };
        // `Tuesday` has a T too.
        let (date, clock) = word.split_once('T').filter(|(date, _)| !date.is_empty()).unwrap_or((word, "00:00"));
        let name = match calendar {
            Some(calendar) => self.zone_of(calendar).await?,
            None => "UTC".to_owned(),
        };
        let is_word = ahead(&date.to_ascii_lowercase()).is_some() || weekday(date).is_some();
        let date = if is_word { self.date_in(&name, &date.to_ascii_lowercase()).await? } else { date.to_owned() };
        let date: LocalDate = date.parse().map_err(|_| wrong())?;
        let wall = date.midnight().plus(clock_seconds(clock).ok_or_else(wrong)?);
        let zone = Zones::bundled().zone(&name);
        let zone = zone.map_err(|_| CallError::Usage(format!("zone {name} is unknown here; write {word} with Z")))?;
        match zone.instants(wall) {
            LocalInstants::One(instant) | LocalInstants::Two(instant, _) => Ok(instant.to_string()),
            // The clock skips it: the first instant after the gap.
            LocalInstants::None { before, after } => Ok(before.max(after).to_string()),
        }
    }

    /// A local start for a request, from a date's word and a clock time.
    pub async fn local_start(&self, calendar: &str, date: &str, time: &str) -> Result<String, CallError> {
        Ok(format!("{}T{time}", self.date(calendar, date).await?))
    }
}

fn ahead(word: &str) -> Option<i32> {
    match word {
        "today" => Some(0),
        "tomorrow" => Some(1),
        _ => None,
    }
}

fn clock_seconds(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = hours * HOUR + minutes * MINUTE;
    ((0..24).contains(&hours) && (0..60).contains(&minutes)).then_some(Wall::from_seconds(seconds).seconds())
}
