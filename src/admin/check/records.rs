//! Records as bytes that sort like their fields: numbers have the highest byte first, texts end
//! with a zero byte.

use std::hash::{DefaultHasher, Hash, Hasher};

use uuid::Uuid;

use crate::store::StoreError;
use bookd_core::ids::{AppointmentId, Revision};
use bookd_core::time::Instant;

/// A hash of a value that is only compared for equality later. Two different values have the same
/// hash once in 2^64.
pub(super) fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Writes a record field by field.
#[derive(Default)]
pub(super) struct RecordWriter(Vec<u8>);

impl RecordWriter {
    /// Begins the next record.
    pub(super) fn begin(&mut self) -> &mut Self {
        self.0.clear();
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn byte(&mut self, it: u8) -> &mut Self {
        self.0.push(it);
        self
    }

    pub(super) fn number(&mut self, it: u64) -> &mut Self {
        self.0.extend_from_slice(&it.to_be_bytes());
        self
    }

    pub(super) fn revision(&mut self, it: Revision) -> &mut Self {
        self.number(it.0)
    }

    /// Adds an instant; those before 1970 sort first.
    pub(super) fn instant(&mut self, it: Instant) -> &mut Self {
        self.number(it.seconds().cast_unsigned() ^ SIGN)
    }

    pub(super) fn id(&mut self, it: AppointmentId) -> &mut Self {
        self.0.extend_from_slice(it.0.as_bytes());
        self
    }

    /// Adds the id of a calendar or type, which has no zero byte.
    pub(super) fn text(&mut self, it: &str) -> &mut Self {
        self.0.extend_from_slice(it.as_bytes());
        self.byte(0)
    }
}

/// The sign bit of an instant; it is flipped, so that negative instants sort first.
const SIGN: u64 = 1 << 63;

/// Reads a record field by field, in the order in which it was written.
pub(super) struct RecordReader<'a>(pub(super) &'a [u8]);

/// The error of a record that differs from the one that this process wrote.
fn broken() -> StoreError {
    StoreError::Io("what was sorted came back from its file as something else".to_owned())
}

impl<'a> RecordReader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (first, rest) = self.0.split_first_chunk().ok_or_else(broken)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn byte(&mut self) -> Result<u8, StoreError> {
        self.array().map(|[it]| it)
    }

    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn revision(&mut self) -> Result<Revision, StoreError> {
        self.number().map(Revision)
    }

    pub(super) fn instant(&mut self) -> Result<Instant, StoreError> {
        self.number()
            .map(|it| Instant::from_seconds((it ^ SIGN).cast_signed()))
    }

    pub(super) fn id(&mut self) -> Result<AppointmentId, StoreError> {
        self.array().map(|it| AppointmentId(Uuid::from_bytes(it)))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, StoreError> {
        let end = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(broken)?;
        let text = std::str::from_utf8(&self.0[..end]).map_err(|_| broken())?;
        self.0 = &self.0[end + 1..];
        Ok(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn written(calendar: &str, seconds: i64, number: u64) -> Vec<u8> {
        let mut it = RecordWriter::default();
        it.begin()
            .text(calendar)
            .instant(Instant::from_seconds(seconds))
            .number(number)
            .byte(3);
        it.bytes().to_owned()
    }

    #[test]
    fn records_are_ordered_as_what_they_say_and_read_as_they_were_written() {
        let (low, high) = (-5_000_000_000, 5_000_000_000);
        let all = [
            ("a", low, 9),
            ("a", -1, 0),
            ("a", 0, u64::MAX),
            ("a", high, 0),
            ("a+b", low, 0),
            ("b", low, 0),
        ];
        let records = all.map(|(calendar, seconds, number)| written(calendar, seconds, number));
        assert!(records.is_sorted());
        for (record, (calendar, seconds, number)) in records.iter().zip(all) {
            let mut it = RecordReader(record);
            assert_eq!(
                (it.text().unwrap(), it.instant().unwrap().seconds()),
                (calendar, seconds)
            );
            assert_eq!((it.number().unwrap(), it.byte().unwrap()), (number, 3));
            assert!(it.byte().is_err());
        }
    }
}
