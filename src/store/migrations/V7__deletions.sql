-- A change may have segments that were written before it was made: they lie under a number below 0, which its row names.
alter table changes add column segments integer;

drop trigger segments_go_with_their_change;
create trigger segments_go_with_their_change after delete on changes when old.events is not null begin
    delete from change_segments where revision = coalesce(old.segments, old.revision);
end;

-- Deletions of calendars with thousands of appointments, until every row says what is shown. `number` is that of their
-- segments.
create table deletions (
    number integer primary key,
    calendar integer not null,
    -- What ends after it is cancelled.
    began integer not null,
    -- Of the change, once it is made.
    revision integer,
    time integer,
    -- The claims up to here have been looked at.
    last_start integer not null,
    last_id blob not null
) strict;
