//! What the header of a database says of it: that it is bookd's, and in which schema.

/// "bkd1": what a bookd database says it is, at byte 68 of the file (SQLite file format, §1.3.8).
pub(super) const APPLICATION_ID: i32 = 0x626b_6431;
/// The schema that this binary writes; SQLite keeps it at byte 60 as `user_version`.
pub(super) const SCHEMA_VERSION: i32 = 8;
/// The same schema of a file whose pages have no checksums, because there was no room to give it some: the next start
/// tries again.
pub(super) const UNSUMMED_SCHEMA_VERSION: i32 = 7;
