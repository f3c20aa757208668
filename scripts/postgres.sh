#!/usr/bin/env bash
# Compares durable bookings with PostgreSQL and its usual solution: an exclusion constraint, one prepared INSERT for each
# booking, fsync on, 64 clients. Both run on the same disk, one after the other, and only the ratio counts.
#
#   scripts/postgres.sh [--rounds 3] [--seconds 10] [--clients 64] [--folder /tmp]
#
# Starts a PostgreSQL of its own on a socket in a folder that it removes, and ends everything that it started.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=3 seconds=10 clients=64 folder="${TMPDIR:-/tmp}" owners=1000
while [ $# -gt 0 ]; do
    case "$1" in
        --rounds) rounds=$2 ;;
        --seconds) seconds=$2 ;;
        --clients) clients=$2 ;;
        --folder) folder=$2 ;;
        *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift 2
done

binaries="${PG_BIN:-}"
for candidate in /usr/lib/postgresql/15/bin /usr/lib/postgresql/*/bin "$(dirname "$(command -v postgres || echo /none/none)")"; do
    [ -n "$binaries" ] || { [ -x "$candidate/postgres" ] && [ -x "$candidate/pgbench" ] && binaries=$candidate; } || true
done
if [ -z "$binaries" ]; then
    echo "there is no PostgreSQL here: apt-get install postgresql-15 brings it; or say where with PG_BIN=/…/bin" >&2
    exit 1
fi
. scripts/common.sh
begin postgres "$folder"
# On TERM, PostgreSQL waits for its clients; on INT it does not.
signal=INT

# PostgreSQL refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid nobody --regid nogroup --clear-groups)
    chown nobody:nogroup "$work"
fi
chmod 755 "$work"
"${as[@]}" "$binaries/initdb" --pgdata "$work/data" --username bookd --auth trust --no-locale --encoding UTF8 >"$work/initdb.log"
"${as[@]}" "$binaries/postgres" -D "$work/data" -k "$work" -c listen_addresses= -c fsync=on -c synchronous_commit=on \
    -c shared_buffers=256MB -c max_wal_size=4GB -c max_connections=200 >"$work/postgres.log" 2>&1 &
server=$!
sql() { "$binaries/psql" --host "$work" --username bookd --dbname postgres --quiet --no-align --tuples-only --command "$1"; }
for _ in $(seq 100); do
    "$binaries/pg_isready" --host "$work" --quiet && break
    kill -0 "$server" 2>/dev/null || { cat "$work/postgres.log" >&2; exit 1; }
    sleep 0.1
done
sql "create extension btree_gist"
sql "create table appointments (
    id uuid primary key default gen_random_uuid(), owner bigint not null, during tstzrange not null, invitee text not null,
    exclude using gist (owner with =, during with &&))"

# Each client books hours that no other client books, so none is refused, as in `bookd bench`.
cat >"$work/book.sql" <<'SQL'
\set turn :turn + 1
\set number :turn * :clients + :client_id
\set owner :number % :owners
\set start :first + (:number / :owners) * 3600
insert into appointments (owner, during, invitee) values (:owner, tstzrange(to_timestamp(:start), to_timestamp(:start + 3600)), 'Grace Hopper');
SQL

# Prints the bookings per second of PostgreSQL, spread over $1 owners.
postgres() {
    sql "truncate appointments"
    sql "checkpoint"
    "$binaries/pgbench" --host "$work" --username bookd --no-vacuum --protocol prepared --client "$clients" --jobs 2 \
        --time "$seconds" --file "$work/book.sql" --define turn=0 --define clients="$clients" --define owners="$1" \
        --define first=1800000000 postgres >"$work/pgbench.out" 2>"$work/pgbench.err" || { cat "$work/pgbench.err" >&2; exit 1; }
    local failed
    failed=$(awk '/number of failed transactions/ { print $5 }' "$work/pgbench.out")
    [ "${failed:-0}" = 0 ] || { echo "PostgreSQL refused $failed bookings" >&2; exit 1; }
    awk '/^tps = / { printf "%.0f\n", $3 }' "$work/pgbench.out"
}

# Prints the bookings per second of bookd, spread over $1 calendars.
bench() {
    "$bookd" bench --only book --in-flight "$clients" --connections 4 --seconds "$seconds" --calendars "$1" \
        --folder "$work" --json >"$work/bench.json"
    awk -F'[:,]' '/"failed"/ && $2 + 0 > 0 { exit 1 }' "$work/bench.json" || { echo "bookd refused bookings" >&2; exit 1; }
    awk -F'[:,]' '/"fsyncs_per_second"/ { printf "%.0f\n", $2 }' "$work/bench.json" >>"$work/fsync"
    awk -F'[:,]' '/"calls_per_second"/ { printf "%.0f\n", $2 }' "$work/bench.json"
}

# Prints the median, the least and the most of a file of numbers.
spread() { sort -n "$1" | awk '{ it[NR] = $1 } END { printf "%d %d %d", it[int((NR + 1) / 2)], it[1], it[NR] }'; }

echo "$("$binaries/postgres" --version), $("$bookd" --version); $clients clients, $rounds rounds of $seconds s each, load $(cut -d' ' -f1-2 /proc/loadavg)"
for round in $(seq "$rounds"); do
    postgres "$owners" >>"$work/postgres.spread"
    bench "$owners" >>"$work/bookd.spread"
    postgres 1 >>"$work/postgres.hot"
    bench 1 >>"$work/bookd.hot"
    echo "round $round: load $(cut -d' ' -f1-2 /proc/loadavg), fsync $(tail -1 "$work/fsync")/s" >&2
done

printf '%-22s %12s %20s %12s %20s %8s\n' "BOOKINGS/S" "postgresql" "least – most" "bookd" "least – most" "ratio"
for kind in spread hot; do
    read -r theirs theirs_least theirs_most <<<"$(spread "$work/postgres.$kind")"
    read -r ours ours_least ours_most <<<"$(spread "$work/bookd.$kind")"
    name="one hot calendar"
    [ $kind = hot ] || name="$owners calendars"
    printf '%-22s %12s %20s %12s %20s %8s\n' "$name" "$theirs" "$theirs_least – $theirs_most" "$ours" "$ours_least – $ours_most" \
        "$(awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "%.1f", a / b }')"
done
read -r fsync fsync_least fsync_most <<<"$(spread "$work/fsync")"
echo "fsync $fsync/s ($fsync_least – $fsync_most), load $(cut -d' ' -f1-2 /proc/loadavg)"
