//! The profiles, overrides and types that a change replaced, as a column next to the log's record.

use prost::Message;

use super::calendar::{LimitsRecord, OverrideRecord, RuleRecord, TypeRecord};
use super::record::{calendar_id, damaged, date};
use crate::store::StoreError;
use bookd_core::change::Change;
use bookd_core::ids::TypeNumber;
use bookd_core::log::{Earlier, EarlierProfile, Replaced};

/// A calendar as it was before a change.
#[derive(Clone, PartialEq, Message)]
struct EarlierProfileRecord {
    #[prost(string, tag = "1")]
    time_zone: String,
    #[prost(bool, tag = "2")]
    paused: bool,
    #[prost(message, optional, tag = "3")]
    limits: Option<LimitsRecord>,
    #[prost(message, repeated, tag = "4")]
    rules: Vec<RuleRecord>,
    #[prost(message, repeated, tag = "5")]
    overrides: Vec<OverrideRecord>,
    /// The dates, in days, that had no override.
    #[prost(sint32, repeated, tag = "6")]
    without: Vec<i32>,
}

/// An earlier version of a calendar or of one of its types.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EarlierRecord {
    #[prost(string, tag = "1")]
    pub(super) calendar: String,
    #[prost(message, optional, tag = "2")]
    profile: Option<EarlierProfileRecord>,
    #[prost(string, tag = "3")]
    type_id: String,
    #[prost(uint32, tag = "4")]
    type_number: u32,
    #[prost(message, optional, tag = "5")]
    body: Option<TypeRecord>,
}

/// The earlier versions that one change replaced.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReplacedRecord {
    #[prost(message, repeated, tag = "1")]
    pub(super) earlier: Vec<EarlierRecord>,
}

impl ReplacedRecord {
    /// The record of a change; none when nothing was replaced.
    pub(crate) fn of(change: &Change) -> Option<Self> {
        let earlier: Vec<EarlierRecord> = Replaced::by(change)
            .iter()
            .map(EarlierRecord::new)
            .collect();
        (!earlier.is_empty()).then_some(Self { earlier })
    }

    pub(crate) fn read(self) -> Result<Vec<Replaced>, StoreError> {
        self.earlier.into_iter().map(EarlierRecord::read).collect()
    }
}

impl EarlierRecord {
    fn new(it: &Replaced) -> Self {
        let of = Self {
            calendar: it.calendar.as_str().to_owned(),
            ..Self::default()
        };
        match &it.earlier {
            Earlier::Profile(profile) => Self {
                profile: Some(EarlierProfileRecord::new(profile)),
                ..of
            },
            Earlier::Type(it) => Self {
                type_id: it.id.as_str().to_owned(),
                type_number: u32::from(it.number.0),
                body: Some(TypeRecord::new(it)),
                ..of
            },
        }
    }

    fn read(self) -> Result<Replaced, StoreError> {
        let earlier = match (self.profile, self.body) {
            (Some(profile), None) => Earlier::Profile(profile.read()?),
            (None, Some(body)) => {
                let number =
                    u16::try_from(self.type_number).map_err(|_| damaged("a type's number"))?;
                Earlier::Type(Box::new(body.read(&self.type_id, TypeNumber(number))?))
            }
            _ => return Err(damaged("an earlier version")),
        };
        Ok(Replaced {
            calendar: calendar_id(&self.calendar)?,
            earlier,
        })
    }
}

impl EarlierProfileRecord {
    fn new(it: &EarlierProfile) -> Self {
        let EarlierProfile {
            time_zone,
            paused,
            limits,
            rules,
            overrides,
        } = it;
        let with = overrides
            .iter()
            .filter_map(|(date, windows)| Some((date, windows.as_ref()?)));
        let without = overrides.iter().filter(|(_, windows)| windows.is_none());
        Self {
            time_zone: time_zone.clone(),
            paused: *paused,
            limits: (!limits.is_unlimited()).then(|| LimitsRecord::new(*limits)),
            rules: rules.iter().map(RuleRecord::new).collect(),
            overrides: with
                .map(|(date, windows)| OverrideRecord::new(*date, windows, ""))
                .collect(),
            without: without.map(|(date, _)| date.days()).collect(),
        }
    }

    fn read(self) -> Result<EarlierProfile, StoreError> {
        let with = self
            .overrides
            .into_iter()
            .map(|it| it.read().map(|(date, hours)| (date, Some(hours.windows))));
        let without = self.without.into_iter().map(|days| Ok((date(days)?, None)));
        Ok(EarlierProfile {
            time_zone: self.time_zone,
            paused: self.paused,
            limits: self.limits.map(|it| it.read()).unwrap_or_default(),
            rules: self
                .rules
                .iter()
                .map(RuleRecord::read)
                .collect::<Result<_, _>>()?,
            overrides: with.chain(without).collect::<Result<_, _>>()?,
        })
    }
}
