-- What was cancelled, declined or has expired lies apart: it takes no time, and lists seldom ask for it.
create table claims_by_state (
    calendar integer not null,
    is_over integer not null,
    start integer not null,
    id blob not null,
    key integer not null,
    primary key (calendar, is_over, start, id)
) strict, without rowid;

-- CANCELLED is 4, DECLINED 5, EXPIRED 6.
insert into claims_by_state (calendar, is_over, start, id, key)
select c.calendar, a.state in (4, 5, 6) as is_over, c.start, c.id, c.key
from claims c join appointments a on a.key = c.key
order by c.calendar, is_over, c.start, c.id;

drop table claims;

alter table claims_by_state rename to claims;
