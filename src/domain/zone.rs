//! Placeholder until the zone branch is merged.
use super::time::*;
/// Zone.
#[derive(Clone, PartialEq, Debug)]
pub struct Zone;
/// Local.
pub enum LocalInstants {
    /// None
    None {
        /// b
        before: Instant,
        /// a
        after: Instant,
    },
    /// one
    One(Instant),
    /// two
    Two(Instant, Instant),
}
impl Zone {
    /// wall
    pub fn wall(&self, t: Instant) -> Wall {
        Wall::from_seconds(t.seconds())
    }
    /// instants
    pub fn instants(&self, w: Wall) -> LocalInstants {
        LocalInstants::One(Instant::from_seconds(w.seconds()))
    }
}
