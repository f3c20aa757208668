//! Tests of the pure core, which build and run without the server, and checks of the source tree
//! itself.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::panic,
    clippy::print_stderr,
    clippy::type_complexity,
    missing_docs,
    unreachable_pub
)]

mod availability;
mod bounds;
mod busy;
mod cases;
mod checker;
mod claims;
mod decide;
mod deleted_types;
mod documents;
mod exhaustive;
mod import;
mod imports;
mod index;
mod intervals;
mod invariants;
mod listing;
mod local_start;
mod memory;
mod model;
mod outside;
mod pair;
mod prefixes;
mod quotas;
mod random;
mod reference;
mod rule_texts;
mod series;
mod series_decisions;
mod settings;
mod several;
mod slots;
mod steps;
mod tidy;
mod tokens;
mod transitions;
mod values;
mod world;
mod zone;
/// The reader of the tz database belongs to the server. It is compiled here once more, so that
/// these tests do not need the server.
#[allow(dead_code, reason = "no test needs all of it")]
#[path = "../../src/zones.rs"]
mod zones;
