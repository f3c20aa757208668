#!/usr/bin/env bash
# Repeats the race of 64 clients for overlapping times on a server of its own with a store on disk: of times that
# overlap, at most one may be booked.
#
#   scripts/race.sh [ROUNDS]
#
# `bookd demo-race` is one such race, on a server in memory; this script shows the last table and counts the rounds.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${1:-20}
. scripts/common.sh
begin race "${TMPDIR:-/tmp}"

"$bookd" serve --listen 127.0.0.1:0 --store "sqlite:$work/bookd.db" >"$work/served" 2>"$work/log" &
server=$!
address=""
for _ in $(seq 100); do
    address=$(sed -n 's/^bookd .* serves gRPC on \([^,]*\),.*/\1/p' "$work/served")
    [ -z "$address" ] || break
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done

winners=0
for round in $(seq "$rounds"); do
    if ! "$bookd" demo-race --server "$address" >"$work/race"; then
        echo "round $round:"
        cat "$work/race"
        exit 1
    fi
    winners=$((winners + $(awk '/winners/ { print $3 }' "$work/race")))
done
cat "$work/race"
echo "$rounds rounds on $address: $((rounds * 64)) bookings asked for, $winners had, no two of them at one time"
