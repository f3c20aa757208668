//! The server over real sockets, module by module.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    missing_docs,
    reason = "a test that cannot go on has failed"
)]

#[path = "process/accidents.rs"]
mod accidents;
#[path = "process/admin_port.rs"]
mod admin_port;
#[path = "auth/foreign.rs"]
mod auth_foreign;
#[path = "auth/guarded.rs"]
mod auth_guarded;
#[path = "auth/jwks_url.rs"]
mod auth_jwks_url;
#[path = "auth/jwt.rs"]
mod auth_jwt;
#[path = "auth/matrix.rs"]
mod auth_matrix;
#[path = "auth/own.rs"]
mod auth_own;
#[path = "auth/persons.rs"]
mod auth_persons;
#[path = "auth/tenants.rs"]
mod auth_tenants;
#[path = "auth/token_limits.rs"]
mod auth_token_limits;
#[path = "auth/tokens.rs"]
mod auth_tokens;
#[path = "../../crates/transport/src/tls/authority.rs"]
mod authority;
#[path = "process/backup.rs"]
mod backup;
#[path = "process/backup_load.rs"]
mod backup_load;
#[path = "cli/bench.rs"]
mod bench;
#[path = "transport/besieged.rs"]
mod besieged;
#[path = "transport/calls.rs"]
mod calls;
#[path = "process/check.rs"]
mod check;
#[path = "process/check_derived.rs"]
mod check_derived;
#[path = "process/check_log.rs"]
mod check_log;
#[path = "process/check_tokens.rs"]
mod check_tokens;
#[path = "process/check_upgraded.rs"]
mod check_upgraded;
#[path = "cli/tokens.rs"]
mod cli_tokens;
#[path = "process/clock.rs"]
mod clock;
#[path = "process/clock_reset.rs"]
mod clock_reset;
#[path = "api/complaints.rs"]
mod complaints;
#[path = "store/damage.rs"]
mod damage;
#[path = "cli/dates.rs"]
mod dates;
#[path = "cli/deadline.rs"]
mod deadline;
#[path = "api/deleted.rs"]
mod deleted;
#[path = "store/deleted_calendar.rs"]
mod deleted_calendar;
#[path = "store/deletion.rs"]
mod deletion;
#[path = "cli/demo.rs"]
mod demo;
#[path = "api/drift.rs"]
mod drift;
#[path = "api/email_spellings.rs"]
mod email_spellings;
#[path = "api/erasure.rs"]
mod erasure;
#[path = "store/every_question.rs"]
mod every_question;
#[path = "cli/exit_codes.rs"]
mod exit_codes;
#[path = "api/explicit_removal.rs"]
mod explicit_removal;
#[path = "store/failures.rs"]
mod failures;
#[path = "api/fast_reject.rs"]
mod fast_reject;
#[path = "process/forged_log.rs"]
mod forged_log;
#[path = "store/full_disk.rs"]
mod full_disk;
mod fuzzed;
mod harness;
#[path = "api/history.rs"]
mod history;
#[path = "api/holds.rs"]
mod holds;
#[path = "transport/hostile.rs"]
mod hostile;
#[path = "transport/hostile_connections.rs"]
mod hostile_connections;
#[path = "transport/hostile_credentials.rs"]
mod hostile_credentials;
#[path = "transport/hostile_frames.rs"]
mod hostile_frames;
#[path = "transport/hostile_issuers.rs"]
mod hostile_issuers;
#[path = "transport/hostile_many.rs"]
mod hostile_many;
#[path = "transport/hostile_memory.rs"]
mod hostile_memory;
#[path = "transport/hostile_texts.rs"]
mod hostile_texts;
#[path = "transport/http2.rs"]
mod http2;
#[path = "cli/import_slots.rs"]
mod import_slots;
mod judges;
#[path = "process/kill.rs"]
mod kill;
#[cfg(debug_assertions)]
#[path = "process/kill_points.rs"]
mod kill_points;
#[path = "api/large_changes.rs"]
mod large_changes;
#[path = "transport/large_headers.rs"]
mod large_headers;
#[path = "api/listing.rs"]
mod listing;
#[path = "store/memory.rs"]
mod memory;
#[path = "process/observed.rs"]
mod observed;
#[path = "process/offline_memory.rs"]
mod offline_memory;
#[path = "store/one_byte.rs"]
mod one_byte;
#[path = "process/operations.rs"]
mod operations;
#[path = "cli/output.rs"]
mod output;
#[path = "api/outside_open_time.rs"]
mod outside_open_time;
#[path = "transport/overload.rs"]
mod overload;
#[path = "api/parity.rs"]
mod parity;
#[path = "api/parity_booking.rs"]
mod parity_booking;
#[path = "api/parity_kept.rs"]
mod parity_kept;
#[path = "api/past_revisions.rs"]
mod past_revisions;
#[path = "cli/people.rs"]
mod people;
#[path = "api/precedence.rs"]
mod precedence;
#[path = "api/precedence_calendars.rs"]
mod precedence_calendars;
#[path = "api/precedence_requests.rs"]
mod precedence_requests;
#[path = "api/quotas.rs"]
mod quotas;
#[path = "api/race.rs"]
mod race;
#[path = "api/random.rs"]
mod random;
#[path = "api/random_calls.rs"]
mod random_calls;
#[path = "cli/readme.rs"]
mod readme;
#[path = "api/reasons.rs"]
mod reasons;
#[path = "process/refused_starts.rs"]
mod refused_starts;
#[path = "store/segments.rs"]
mod segments;
#[path = "api/series.rs"]
mod series;
#[path = "api/series_cancel.rs"]
mod series_cancel;
#[path = "api/series_reasons.rs"]
mod series_reasons;
#[path = "transport/server.rs"]
mod server;
#[path = "api/sessions.rs"]
mod sessions;
#[path = "api/several_calendars.rs"]
mod several_calendars;
#[path = "transport/shutdown.rs"]
mod shutdown;
#[path = "process/soak.rs"]
mod soak;
#[path = "process/soak_ledger.rs"]
mod soak_ledger;
#[path = "process/soak_load.rs"]
mod soak_load;
#[path = "store/sqlite.rs"]
mod sqlite;
#[path = "store/staged_deletion.rs"]
mod staged_deletion;
#[path = "store/store.rs"]
mod store;
#[path = "store/store_lists.rs"]
mod store_lists;
#[path = "store/store_log.rs"]
mod store_log;
#[path = "store/store_reads.rs"]
mod store_reads;
#[path = "store/stored.rs"]
mod stored;
#[path = "process/stuck_threads.rs"]
mod stuck_threads;
#[path = "process/tenant_deletion.rs"]
mod tenant_deletion;
#[path = "process/tenant_deletion_refusals.rs"]
mod tenant_deletion_refusals;
#[path = "process/tenant_remnants.rs"]
mod tenant_remnants;
#[path = "process/tenant_world.rs"]
mod tenant_world;
#[path = "transport/tls.rs"]
mod tls;
#[path = "process/tls_files.rs"]
mod tls_files;
#[path = "process/traces.rs"]
mod traces;
#[path = "cli/transfer.rs"]
mod transfer;
#[path = "api/types.rs"]
mod types;
#[path = "store/upgrade.rs"]
mod upgrade;
#[path = "watch/watch.rs"]
mod watch;
#[path = "watch/watch_cli.rs"]
mod watch_cli;
#[path = "watch/watch_ends.rs"]
mod watch_ends;
#[path = "watch/watch_resumed.rs"]
mod watch_resumed;
#[path = "watch/watch_slots.rs"]
mod watch_slots;
#[path = "watch/whole_changes.rs"]
mod whole_changes;
#[path = "transport/wire.rs"]
mod wire;
mod words;
#[path = "process/zone_folder.rs"]
mod zone_folder;
