-- What an appointment takes of each calendar has times, a need and units of its own; they lie in `places`, where what is
-- left out is what every place had until now. `session` is the key of the session's first seat, null = its own.
alter table appointments add column session integer;
-- When its series said that an occurrence begins, whatever moved it since.
alter table appointments add column original_start integer;
-- Personal, as the invitee is.
alter table appointments add column location text;
-- By which a customer is found: a client's own id, and the address in its folded form. Which release of Unicode folded
-- it is in `meta`; where that is missing or another, all are folded anew when the file is opened.
alter table appointments add column customer_id text;
alter table appointments add column email_key text;

drop index appointments_by_email;
create index appointments_by_email_key on appointments (email_key, start) where email_key is not null;
create index appointments_by_customer on appointments (customer_id, start) where customer_id is not null;

-- How far the longest claim of a calendar reaches beyond its start, its buffer included, in minutes: loading looks back so
-- far. Nothing was longer than seven days and as much again until now.
alter table versions add column reach integer not null default 20160;

-- Who sends changes: a row each, and its number in every change. Without authentication there is none.
create table principals (
    number integer primary key,
    name text not null unique
) strict;

alter table changes add column caller integer;
-- What the change replaced of profiles, types and overrides.
alter table changes add column replaced blob;

-- A deleted type keeps its body from now on.
alter table types add column delete_time integer;

-- A deleted calendar is found by its id, too.
create index calendars_deleted on calendars (id, key) where delete_time is not null;
