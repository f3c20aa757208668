-- What Litestream makes in a database that it replicates. Made here, so that it changes no page but the one of its own
-- counter: it writes without the checksums that pages have from schema 6 on.
create table if not exists _litestream_seq (id integer primary key, seq integer);
create table if not exists _litestream_lock (id integer);
