-- Tokens of the store, each known by the SHA-256 of it alone. A token that is revoked has no row any more. `prefix` is
-- that of its calendars, empty for all; `creator` is a number of `principals`.
create table tokens (
    id text primary key,
    hash blob not null unique,
    name text not null,
    scopes integer not null,
    prefix text not null,
    create_time integer not null,
    expire_time integer,
    creator integer,
    revision integer not null
) strict, without rowid;
