-- A change with many events is cut into segments, so that nobody who reads a part of it must hold all of it: the first
-- lies in the row of the change, the others here. `event` says how many events of the change come before a segment; the
-- ranges say what may be in it, so that who asks for one appointment or calendar passes over the others.
create table change_segments (
    revision integer not null,
    event integer not null,
    -- 0 = of a calendar and no appointment.
    key_min integer not null,
    key_max integer not null,
    calendar_min text not null,
    calendar_max text not null,
    record blob not null,
    primary key (revision, event)
) strict, without rowid;

-- How many events there are in all segments together; null = all are in `record`.
alter table changes add column events integer;

create trigger segments_go_with_their_change after delete on changes when old.events is not null begin
    delete from change_segments where revision = old.revision;
end;
