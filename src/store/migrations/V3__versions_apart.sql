-- The revision that last touched each calendar, apart from the rest of its row: every booking writes it, and of two
-- numbers hundreds lie on a page where of whole rows lie some twenty.
create table versions (
    calendar integer primary key,
    version integer not null
) strict;

insert into versions (calendar, version) select key, version from calendars order by key;

alter table calendars drop column version;
