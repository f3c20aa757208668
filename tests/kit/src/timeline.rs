//! What a server can have known at a moment: between what somebody had been told and what nobody had asked for yet.

use std::collections::BTreeMap;

use super::history::{Moment, Op};
use super::log::Log;

/// See the header.
pub struct Timeline {
    /// Of the moments at which somebody was answered, in order, the newest revision told until then.
    told: Vec<(Moment, i64)>,
    /// Of the moments at which calls began that made changes, in order, the oldest revision made by one since then.
    begun: Vec<(Moment, i64)>,
    last: i64,
}

impl Timeline {
    pub fn new(ops: &[Op], log: &Log) -> Self {
        let mut told: Vec<(Moment, i64)> = ops
            .iter()
            .flat_map(Op::answers)
            .map(|(_, at, answered)| (at, answered.revision))
            .collect();
        told.sort_unstable();
        let mut newest = 0;
        for (_, revision) in &mut told {
            newest = newest.max(*revision);
            *revision = newest;
        }
        // Of calls that are one request the first may have made the change.
        let mut makers: BTreeMap<i64, Moment> = BTreeMap::new();
        for op in ops {
            for revision in op.made(log) {
                let since = makers.entry(revision).or_insert(op.invoked);
                *since = op.invoked.min(*since);
            }
        }
        let mut begun: Vec<(Moment, i64)> = makers
            .into_iter()
            .map(|(revision, since)| (since, revision))
            .collect();
        begun.sort_unstable();
        let mut oldest = i64::MAX;
        for (_, revision) in begun.iter_mut().rev() {
            oldest = oldest.min(*revision);
            *revision = oldest;
        }
        Self {
            told,
            begun,
            last: log.last(),
        }
    }

    /// The first and the last revision that what was asked after the one moment and answered at the other may show.
    pub fn between(&self, asked: Moment, answered: Moment) -> (i64, i64) {
        let told = self.told.partition_point(|(at, _)| *at < asked);
        let first = told.checked_sub(1).map_or(0, |at| self.told[at].1);
        let later = self.begun.partition_point(|(at, _)| *at <= answered);
        let last = self
            .begun
            .get(later)
            .map_or(self.last, |(_, revision)| revision - 1);
        (first, last.max(first))
    }
}
