#!/bin/sh
# Makes a database with some of everything in it, by the binary that is named, as a file that later versions must open,
# with what it exports beside it.
#
#   tests/files/make.sh target/release/bookd tests/files/schema-1.db
#
# Made once for each schema that was released, and never again.
set -eu
bookd=$(realpath "$1")
file=$2
folder=$(mktemp -d)
trap 'kill "$server" 2> /dev/null || true; rm -r "$folder"' EXIT
"$bookd" serve --listen 127.0.0.1:0 --store "sqlite:$folder/bookd.db" --log warn > "$folder/banner" &
server=$!
until grep -q "with this program" "$folder/banner"; do :; done
BOOKD_SERVER=$(sed -n 's/.* serves gRPC on \([^,]*\),.*/\1/p' "$folder/banner")
export BOOKD_SERVER
call() { "$bookd" call "$1" "$2" --json > "$folder/answer" || { echo "$1 $2" >&2; exit 1; }; }
# What later schemas refuse.
before_4() { case "$file" in *schema-[123].db) "$@" ;; esac; }
from_4() { case "$file" in *schema-[123].db) ;; *) "$@" ;; esac; }
day() { date -u -d "monday + $1 days" +%F; }
id() { printf '0190%04d-0000-7000-8000-000000000001' "$1"; }

always='"rules":[{"start_time":"08:00","end_time":"18:00"}]'
call SetAvailability '{"calendar_id":"clinic/lee","time_zone":"Europe/Paris",'"$always"'}'
call SetAvailability '{"calendar_id":"clinic/kim","time_zone":"America/New_York",'"$always"'}'
call CreateCalendar '{"calendar_id":"gone","calendar":{"time_zone":"UTC"}}'
call PutAppointmentType '{"calendar_id":"clinic/lee","appointment_type":{"appointment_type_id":"visit","duration":"1800s","buffer_after":"600s"}}'
call PutAppointmentType '{"calendar_id":"clinic/lee","appointment_type":{"appointment_type_id":"class","duration":"3600s","capacity":3}}'
call PutAppointmentType '{"calendar_id":"clinic/lee","appointment_type":{"appointment_type_id":"request","duration":"3600s","requires_approval":true}}'
call PutAppointmentType '{"calendar_id":"clinic/lee","appointment_type":{"appointment_type_id":"old","duration":"900s"}}'
call PutOverrides '{"calendar_id":"clinic/lee","overrides":[{"date":"'"$(day 3)"'","windows":[{"start_time":"10:00","end_time":"12:00"}],"note":"short day"}]}'
call PutBusy '{"calendar_id":"clinic/lee","source":"elsewhere","start_time":"'"$(day 0)"'T00:00:00Z","end_time":"'"$(day 7)"'T00:00:00Z","periods":[{"start_time":"'"$(day 4)"'T10:00:00Z","end_time":"'"$(day 4)"'T11:00:00Z"}]}'
at() { printf '"calendar_id":"clinic/lee","local_start":"%sT%s"' "$(day "$1")" "$2"; }
call BookAppointment '{'"$(at 1 09:00)"',"appointment_type_id":"old","invitee":{"name":"Ada","email":"ada@example.com"},"appointment_id":"'"$(id 1)"'","request_id":"first"}'
call DeleteAppointmentType '{"calendar_id":"clinic/lee","appointment_type_id":"old"}'
for seat in 2 3 4; do
  call BookAppointment '{'"$(at 1 10:00)"',"appointment_type_id":"class","invitee":{"name":"Seat '$seat'"},"appointment_id":"'"$(id $seat)"'"}'
done
call CancelAppointment '{"appointment_id":"'"$(id 4)"'","reason":"ill"}'
call BookAppointment '{'"$(at 1 14:00)"',"appointment_type_id":"visit","invitee":{"name":"Grace","phone":"+33 1 00 00 00 00","time_zone":"America/New_York"},"note":"first visit","metadata":{"room":"2"},"appointment_id":"'"$(id 5)"'"}'
call RescheduleAppointment '{"appointment_id":"'"$(id 5)"'","local_start":"'"$(day 2)"'T14:00"}'
call BookAppointment '{'"$(at 1 16:00)"',"appointment_type_id":"request","invitee":{"name":"Bob"},"appointment_id":"'"$(id 6)"'"}'
call ApproveAppointment '{"appointment_id":"'"$(id 6)"'"}'
call BookAppointment '{'"$(at 2 16:00)"',"appointment_type_id":"request","invitee":{"name":"Eve"},"appointment_id":"'"$(id 7)"'"}'
call DeclineAppointment '{"appointment_id":"'"$(id 7)"'","reason":"not my field"}'
call HoldAppointment '{'"$(at 3 10:00)"',"appointment_type_id":"visit","appointment_id":"'"$(id 8)"'"}'
call ConfirmAppointment '{"appointment_id":"'"$(id 8)"'","invitee":{"name":"Held"}}'
call HoldAppointment '{'"$(at 3 11:00)"',"appointment_type_id":"visit","appointment_id":"'"$(id 9)"'"}'
call ReleaseHold '{"appointment_id":"'"$(id 9)"'"}'
call BookSeries '{'"$(at 7 09:00)"',"appointment_type_id":"visit","invitee":{"name":"Carol","email":"carol@example.com"},"frequency":"FREQUENCY_WEEKLY","count":4}'
call BookAppointment '{"calendar_ids":["clinic/lee","clinic/kim"],"assignment":"ASSIGNMENT_ALL","start_time":"'"$(day 9)"'T15:00:00Z","invitee":{"name":"Both"},"appointment_id":"'"$(id 10)"'"}'
call BookAppointment '{"calendar_id":"clinic/kim","local_start":"'"$(day 8)"'T09:00","invitee":{"name":"Nobody","email":"redacted@example.com"},"appointment_id":"'"$(id 11)"'"}'
call RedactInvitee '{"invitee_email":"redacted@example.com"}'
call BookAppointment '{"calendar_id":"clinic/kim","local_start":"'"$(day 8)"'T11:00","invitee":{"name":"Late"},"appointment_id":"'"$(id 12)"'"}'
call DeleteCalendar '{"calendar_id":"gone"}'

# From schema 3 on: addresses in letters outside ASCII; a class in two rooms at one time, as it could be booked before
# schema 4; what moved to a calendar in another zone; an occurrence that was moved; a calendar whose id another has now.
call BookAppointment '{"calendar_id":"clinic/kim","local_start":"'"$(day 8)"'T13:00","invitee":{"name":"Jürgen","email":"jürgen@example.com"},"appointment_id":"'"$(id 13)"'"}'
for place in class/t class/r1 class/r2; do
  call SetAvailability '{"calendar_id":"'$place'","time_zone":"Europe/Paris",'"$always"'}'
  call PutAppointmentType '{"calendar_id":"'$place'","appointment_type":{"appointment_type_id":"yoga","duration":"3600s","capacity":5}}'
done
yoga() { call BookAppointment '{"calendar_ids":["class/t","class/'$1'"],"assignment":"ASSIGNMENT_ALL","local_start":"'"$(day 10)"'T10:00","appointment_type_id":"yoga","invitee":{"name":"Seat '$2'"},"appointment_id":"'"$(id $2)"'"}'; }
yoga r1 14
yoga r1 15
before_4 yoga r2 16
call BookAppointment '{'"$(at 11 09:00)"',"invitee":{"name":"Traveller"},"appointment_id":"'"$(id 17)"'"}'
call RescheduleAppointment '{"appointment_id":"'"$(id 17)"'","calendar_ids":["clinic/kim"],"start_time":"'"$(day 11)"'T15:00:00Z"}'
call BookSeries '{'"$(at 35 11:00)"',"appointment_type_id":"visit","invitee":{"name":"Dora"},"frequency":"FREQUENCY_WEEKLY","count":3}'
second=$(grep -o '"appointment_id": *"[^"]*"' "$folder/answer" | sed -n '2s/.*"\([^"]*\)"$/\1/p')
call RescheduleAppointment '{"appointment_id":"'"$second"'","local_start":"'"$(day 43)"'T15:00"}'
call CreateCalendar '{"calendar_id":"again","calendar":{"time_zone":"UTC"}}'
call SetAvailability '{"calendar_id":"again",'"$always"'}'
call BookAppointment '{"calendar_id":"again","start_time":"'"$(day 9)"'T09:00:00Z","invitee":{"name":"Before"},"appointment_id":"'"$(id 18)"'"}'
call DeleteCalendar '{"calendar_id":"again","force":true}'
call SetAvailability '{"calendar_id":"again",'"$always"'}'
call BookAppointment '{"calendar_id":"again","start_time":"'"$(day 9)"'T09:00:00Z","invitee":{"name":"After"},"appointment_id":"'"$(id 19)"'"}'

# Also from schema 3 on: of two requests for one time, which do not take it, one was approved and one declined, one was
# declined after another had the time, and one waits; and a class that wants approval, in two rooms at one time.
call SetAvailability '{"calendar_id":"desk","time_zone":"Europe/Paris",'"$always"'}'
call PutAppointmentType '{"calendar_id":"desk","appointment_type":{"appointment_type_id":"ask","duration":"3600s","requires_approval":true,"pending_blocks":false}}'
ask() { call BookAppointment '{"calendar_id":"desk","local_start":"'"$(day 11)"'T'$1'","appointment_type_id":"ask","invitee":{"name":"Asks '$2'"},"appointment_id":"'"$(id $2)"'"}'; }
ask 10:00 20
ask 10:00 21
call ApproveAppointment '{"appointment_id":"'"$(id 20)"'"}'
call DeclineAppointment '{"appointment_id":"'"$(id 21)"'"}'
ask 12:00 22
call BookAppointment '{"calendar_id":"desk","local_start":"'"$(day 11)"'T12:00","duration":"3600s","invitee":{"name":"Faster"},"appointment_id":"'"$(id 23)"'"}'
call DeclineAppointment '{"appointment_id":"'"$(id 22)"'"}'
ask 14:00 24
for place in class/t class/r1 class/r2; do
  call PutAppointmentType '{"calendar_id":"'$place'","appointment_type":{"appointment_type_id":"dance","duration":"3600s","capacity":5,"requires_approval":true}}'
done
dance() { call BookAppointment '{"calendar_ids":["class/t","class/'$1'"],"assignment":"ASSIGNMENT_ALL","local_start":"'"$(day 11)"'T10:00","appointment_type_id":"dance","invitee":{"name":"Seat '$2'"},"appointment_id":"'"$(id $2)"'"}'; }
dance r1 25
before_4 dance r2 26

# From schema 4 on: a change with more events than others, as it lay in one row before schema 5.
from_4 call BookSeries '{"calendar_id":"desk","local_start":"'"$(day 12)"'T16:00","duration":"3600s","invitee":{"name":"Every week"},"frequency":"FREQUENCY_WEEKLY","count":40}'
series=$(grep -o '"series_id": *"[^"]*"' "$folder/answer" | sed -n '1s/.*"\([^"]*\)"$/\1/p')
from_4 call CancelSeries '{"series_id":"'"$series"'","scope":"SERIES_SCOPE_ALL"}'
kill "$server"
wait "$server"
"$bookd" export "$folder/all.json" --codes --store "sqlite:$folder/bookd.db" > "$folder/answer"
cp "$folder/bookd.db" "$file"
cp "$folder/all.json" "${file%.db}.json"
