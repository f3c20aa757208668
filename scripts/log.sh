#!/usr/bin/env bash
# The memory that a server needs to read the change log when a change is an import of half a million appointments.
#
#   scripts/log.sh [IMPORTS]
#   LIMIT_MIB=512 scripts/log.sh [IMPORTS]
#
# Makes IMPORTS files (default 2, which is a million appointments) of 500 calendars with 1,000 appointments each, and
# imports each as one change. Prints for each call, by one caller and by 4 at a time, its time and the most memory that
# the server needs above what it had before; then the time and memory of the commands that read the whole store. With
# LIMIT_MIB the server is killed above that much memory, its share of the page cache included: it has a control group of
# its own, which needs rights of root. A call that fails, or a server that ends, fails the script.
set -euo pipefail
cd "$(dirname "$0")/.."

imports=${1:-2}
. scripts/common.sh
begin log "${TMPDIR:-/tmp}"

# Prints file number $1: one appointment an hour from the first of next month on.
file() {
    awk -v first=$((500 * $1)) -v from="$(date -u -d "$(date -u +%Y-%m-01) + 1 month" +%s)" 'BEGIN {
        printf "{\"calendars\":["
        for (c = first; c < first + 500; c++) {
            printf "%s{\"calendar_id\":\"clinic/c%04d\",\"time_zone\":\"UTC\",", (c > first ? "," : ""), c
            printf "\"rules\":[{\"start_time\":\"00:00\",\"end_time\":\"24:00\"}],\"appointments\":["
            for (a = 0; a < 1000; a++) {
                at = from + 3600 * a
                printf "%s{\"appointment_id\":\"0190%04x-%04x-7000-8000-000000000001\",", (a ? ",\n" : ""), c, a
                printf "\"calendar_ids\":[\"clinic/c%04d\"],\"appointment_type_id\":\"default\",", c
                printf "\"start_time\":\"%s\",", strftime("%Y-%m-%dT%H:%M:%SZ", at, 1)
                printf "\"end_time\":\"%s\",", strftime("%Y-%m-%dT%H:%M:%SZ", at + 3600, 1)
                printf "\"state\":\"APPOINTMENT_STATE_CONFIRMED\",\"invitee\":{\"name\":\"Invitee %d\"}}", a
            }
            printf "]}"
        }
        print "]}"
    }'
}
# Runs a command that uses the store without a server, and prints its time and memory.
offline() {
    /usr/bin/time -f "bookd $1 %e s %M KiB" -o "$work/took" "$bookd" "$@" >/dev/null
    awk '{ printf "%-44s %8.2f s %8.1f MiB\n", $1 " " $2, $3, $5 / 1024 }' "$work/took"
}

for number in $(seq 0 $((imports - 1))); do
    file "$number" >"$work/calendars.json"
    offline import "$work/calendars.json" --store "sqlite:$work/bookd.db"
done

# Puts this process into the control group $group with a limit of $1 MiB.
group=""
confine() {
    local megabytes=$1 v1=/sys/fs/cgroup/memory v2=/sys/fs/cgroup
    if [ -d "$v1" ]; then
        mkdir "$group" && echo "${megabytes}M" >"$group/memory.limit_in_bytes"
        # Where swap is counted separately, the limit includes it, so that none is used.
        [ ! -w "$group/memory.memsw.limit_in_bytes" ] || echo "${megabytes}M" >"$group/memory.memsw.limit_in_bytes"
    else
        echo +memory >"$v2/cgroup.subtree_control" && mkdir "$group" && echo "${megabytes}M" >"$group/memory.max"
        [ ! -w "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"
    fi
    echo "$BASHPID" >"$group/cgroup.procs"
}
if [ -n "${LIMIT_MIB:-}" ]; then
    group=/sys/fs/cgroup$([ ! -d /sys/fs/cgroup/memory ] || echo /memory)/bookd-$$
    trap 'finish; rmdir "$group"' EXIT
fi

{
    [ -z "$group" ] || confine "$LIMIT_MIB"
    exec "$bookd" serve --listen 127.0.0.1:0 --store "sqlite:$work/bookd.db"
} >"$work/served" 2>"$work/log" &
server=$!
BOOKD_SERVER=""
until [ -n "$BOOKD_SERVER" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
    BOOKD_SERVER=$(sed -n 's/^bookd .* serves gRPC on \([^,]*\),.*/\1/p' "$work/served")
done
export BOOKD_SERVER BOOKD_TIMEOUT=5m

# Prints a memory figure of the server in kilobytes: VmRSS, or VmHWM, the most since it was reset.
held() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$server/status"; }

# Runs a command by $1 callers at a time, and prints its time and memory; @ in its arguments is the number of the
# caller.
measure() {
    local callers=$1 what=$2 before start
    shift 2
    before=$(held VmRSS)
    echo 5 >"/proc/$server/clear_refs"
    start=$(date +%s%N)
    for caller in $(seq "$callers"); do "$bookd" "${@//@/$caller}" >/dev/null & callees+=($!); done
    for callee in "${callees[@]}"; do wait "$callee"; done
    callees=()
    awk -v ms=$((($(date +%s%N) - start) / 1000000)) -v before="$before" -v most="$(held VmHWM)" \
        -v what="$callers x $what" \
        'BEGIN { printf "%-44s %8.2f s %8.1f MiB of %.1f\n", what, ms / 1000, (most - before) / 1024, most / 1024 }'
}

callees=() appointment=019000fa-01f4-7000-8000-000000000001
slots="{\"calendar_ids\":[$(seq -s, -f '"clinic/c0%03.0f"' 200 299)],\"assignment\":\"ASSIGNMENT_ANY\",\"page_size\":1000,\
\"start_time\":\"$(date -u -d tomorrow +%FT00:00:00Z)\",\"end_time\":\"$(date -u -d 'tomorrow + 400 days' +%FT00:00:00Z)\"}"
for callers in 1 4; do
    measure "$callers" "ListChanges of a calendar, one change" \
        call ListChanges '{"calendar_id":"clinic/c0250","page_size":1}' --json
    measure "$callers" "ListChanges of a calendar, 1,000 changes" \
        call ListChanges '{"calendar_id":"clinic/c0250","page_size":1000}' --json
    measure "$callers" "ListChanges of an appointment" \
        call ListChanges "{\"appointment_id\":\"$appointment\"}" --json
    measure "$callers" "a watch of one calendar" watch clinic/c0250 --from 1 --json --count 2
    measure "$callers" "a watch of everything, to the end" watch --from 1 --json --count $((501 * imports))
    measure "$callers" "GetAppointment" call GetAppointment "{\"appointment_id\":\"$appointment\"}" --json
    measure "$callers" "ListAppointments, a page of 1,000" \
        call ListAppointments '{"calendar_id":"clinic/c0250","page_size":1000}' --json
    measure "$callers" "ListSlots of 100 calendars, 400 days" call ListSlots "$slots" --json
    measure "$callers" "DeleteCalendar of 1,000 appointments" \
        call DeleteCalendar "{\"calendar_id\":\"clinic/c0${callers}0@\",\"force\":true}" --json
done
[ -z "$group" ] || awk -v most="$(cat "$group"/memory.max_usage_in_bytes "$group"/memory.peak 2>/dev/null)" \
    'BEGIN { printf "%-44s %21.1f MiB\n", "at most, the page cache counted", most / 1048576 }'

kill -TERM "$server"
wait "$server"
server=""
offline check --store "sqlite:$work/bookd.db"
offline backup "$work/copy.db" --store "sqlite:$work/bookd.db"
offline restore "$work/copy.db" --store "sqlite:$work/restored.db"
offline export "$work/exported.json" --store "sqlite:$work/bookd.db"
