"""The tour of the README by Python's grpcio, over TLS and with a token.

usage: tour.py ADDRESS FOLDER PROTO
FOLDER has ca.pem and the files token and wrong, each with a token; PROTO is the folder of the contract.
"""

import datetime
import pathlib
import sys

import grpc

from stubs import stubs

ADDRESS, FOLDER, PROTO = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
PATIENCE = 30


def channel(token):
    trusted = grpc.ssl_channel_credentials((FOLDER / "ca.pem").read_bytes())
    bearer = grpc.access_token_call_credentials((FOLDER / token).read_text().strip())
    return grpc.secure_channel(ADDRESS, grpc.composite_channel_credentials(trusted, bearer))


def refused(call, request, code, reason):
    try:
        call(request, timeout=PATIENCE)
    except grpc.RpcError as error:
        assert error.code() == code, error
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert reason.encode() in details, details
        return
    raise AssertionError(f"{reason} was expected")


pb = stubs(PROTO, FOLDER)
open_channel = channel("token")
service = {name: getattr(pb, f"{name}Stub")(open_channel) for name in pb.SERVICES}

who = service["AccessService"].GetPrincipal(pb.GetPrincipalRequest(), timeout=PATIENCE)
assert who.principal.name == "desk", who

today = datetime.date.today()
monday = today + datetime.timedelta(days=7 - today.weekday())
week = [f"DAY_OF_WEEK_{day}" for day in ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY"]]
rules = [
    pb.AvailabilityRule(days_of_week=week, start_time=start, end_time=end)
    for start, end in [("09:00", "12:00"), ("13:00", "17:00")]
]
service["AvailabilityService"].SetAvailability(
    pb.SetAvailabilityRequest(calendar_id="ada", time_zone="Europe/Paris", rules=rules), timeout=PATIENCE
)
asked = pb.ListSlotsRequest(calendar_id="ada", date=monday.isoformat())
slots = service["SlotsService"].ListSlots(asked, timeout=PATIENCE).slots
assert len(slots) == 7, slots

booking = service["BookingService"]
at_ten = pb.BookAppointmentRequest(
    calendar_id="ada",
    local_start=f"{monday}T10:00",
    invitee=pb.Invitee(name="Grace Hopper", email="grace@example.com"),
    request_id="a1",
)
booked = booking.BookAppointment(at_ten, timeout=PATIENCE).appointment
again = booking.BookAppointment(at_ten, timeout=PATIENCE).appointment
assert booked.appointment_id == again.appointment_id, "the same request has one effect"
second = pb.BookAppointmentRequest(calendar_id="ada", local_start=f"{monday}T10:00")
second.invitee.name = "Bob"
refused(booking.BookAppointment, second, grpc.StatusCode.ABORTED, "SLOT_TAKEN")
assert len(service["SlotsService"].ListSlots(asked, timeout=PATIENCE).slots) == 6

listed = service["ListService"].ListAppointments(
    pb.ListAppointmentsRequest(calendar_id="ada"), timeout=PATIENCE
).appointments
assert [it.appointment_id for it in listed] == [booked.appointment_id], listed
assert listed[0].invitee.name == "Grace Hopper"

watch = service["ListService"].WatchAppointments(
    pb.WatchAppointmentsRequest(calendar_id="ada", start_revision=1), timeout=PATIENCE
)
revisions = []
for message in watch:
    if message.HasField("change"):
        revisions.append(message.change.revision)
    if len(revisions) == 2:
        watch.cancel()
        break
assert revisions == sorted(set(revisions)) and len(revisions) == 2, revisions

stranger = pb.ListServiceStub(channel("wrong"))
refused(
    stranger.ListAppointments,
    pb.ListAppointmentsRequest(calendar_id="ada"),
    grpc.StatusCode.UNAUTHENTICATED,
    "CREDENTIALS_INVALID",
)
print("the tour is done")
