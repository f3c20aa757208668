//! The chunked list of claims against a plain sorted one.

use bookd::domain::claims::{Claim, Claims};
use bookd::domain::interval::Interval;
use bookd::domain::time::Instant;
use proptest::prelude::*;

use crate::world::{appointment_type, claim};

fn at(slot: u64) -> Claim {
    claim(
        slot,
        &appointment_type("visit", 0, 60),
        Instant::from_seconds(1_800_000_000 + i64::try_from(slot).unwrap() * 3_600),
    )
}

proptest! {
    #[test]
    fn claims_are_what_a_sorted_list_would_be(steps in prop::collection::vec((0..2_000_u64, any::<bool>()), 1..3_000), probe in 0..2_000_u64) {
        let mut claims = Claims::default();
        let mut model: Vec<u64> = Vec::new();
        for (slot, is_insert) in steps {
            match (model.binary_search(&slot), is_insert) {
                (Err(index), true) => {
                    model.insert(index, slot);
                    claims.insert(at(slot));
                }
                (found, false) => {
                    prop_assert_eq!(claims.remove(&at(slot)), found.is_ok());
                    model.retain(|it| *it != slot);
                }
                (Ok(_), true) => {}
            }
        }
        let expected: Vec<Claim> = model.iter().map(|slot| at(*slot)).collect();
        prop_assert_eq!(claims.len(), expected.len());
        prop_assert!(claims.iter().eq(expected.iter()));
        prop_assert_eq!(&claims, &Claims::from_unordered(expected.iter().rev().copied().collect()));
        let range = Interval::new(at(probe).start().plus(60), at(probe).start().plus(60 + 7_200));
        let overlapping: Vec<Claim> = expected.iter().filter(|claim| claim.padded().overlaps(range)).copied().collect();
        prop_assert!(claims.overlapping(range).eq(overlapping.iter()));
        prop_assert!(claims.ending_after(range.start).eq(expected.iter().filter(|claim| claim.padded().end > range.start)));
    }
}
