-- Instants are seconds UTC, durations minutes. Ids are text where clients chose them, 16 bytes where they are UUIDs.

create table meta (
    name text primary key,
    value integer not null
) strict, without rowid;

create table calendars (
    key integer primary key,
    id text not null,
    since integer not null,
    version integer not null,
    create_time integer not null,
    update_time integer not null,
    revision integer not null,
    profile blob not null,
    delete_time integer
) strict;

create unique index calendars_by_id on calendars (id) where delete_time is null;

-- A deleted type keeps its number, and no body.
create table types (
    calendar integer not null,
    number integer not null,
    id text not null,
    body blob,
    primary key (calendar, number)
) strict, without rowid;

create table busy (
    calendar integer not null,
    source text not null,
    periods blob not null,
    primary key (calendar, source)
) strict, without rowid;

create table appointments (
    key integer primary key,
    id blob not null unique,
    type_id text not null,
    start integer not null,
    duration integer not null,
    state integer not null,
    blocks integer not null,
    expire_time integer,
    time_zone text not null,
    local_start integer not null,
    places blob not null,
    invitee_name text,
    invitee_email text collate nocase,
    invitee_phone text,
    invitee_time_zone text,
    note text,
    metadata blob,
    cancel_reason text,
    series blob,
    sequence integer not null,
    ignored_rules integer not null,
    create_time integer not null,
    update_time integer not null,
    revision integer not null
) strict;

create index appointments_by_email on appointments (invitee_email, start) where invitee_email is not null;
create index appointments_by_series on appointments (series, start) where series is not null;
-- HELD is 1, PENDING is 2: what expires by itself.
create index appointments_by_expiry on appointments (expire_time) where state in (1, 2);

-- One row for each calendar of an appointment, whatever its state: listing and loading go by it.
create table claims (
    calendar integer not null,
    start integer not null,
    id blob not null,
    key integer not null,
    primary key (calendar, start, id)
) strict, without rowid;

create table changes (
    revision integer primary key,
    time integer not null,
    record blob not null
) strict;

create table requests (
    hash blob primary key,
    fingerprint blob not null,
    revision integer not null,
    time integer not null,
    subject blob not null
) strict, without rowid;

create index requests_by_time on requests (time);
