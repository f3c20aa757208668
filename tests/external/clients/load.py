"""Calls of Python's grpcio under the service config that is shipped, while the server restarts.

usage: load.py ADDRESS FOLDER PROTO CONFIG
Writes and reads. For each line of standard input it prints `on` when every thread has had an answer
since. At the end of the input it stops, and prints how many calls were answered and how many failed,
with the first failures.
"""

import pathlib
import sys
import threading

import grpc

from stubs import stubs

ADDRESS, FOLDER, PROTO, CONFIG = sys.argv[1], *map(pathlib.Path, sys.argv[2:5])
THREADS = 8
FAILURES_SHOWN = 5

pb = stubs(PROTO, FOLDER)
options = [("grpc.service_config", CONFIG.read_text()), ("grpc.enable_retries", 1)]
trusted = grpc.ssl_channel_credentials((FOLDER / "ca.pem").read_bytes())
bearer = grpc.access_token_call_credentials((FOLDER / "token").read_text().strip())
credentials = grpc.composite_channel_credentials(trusted, bearer)
over, progress = threading.Event(), threading.Condition()
answered, failures = [0] * THREADS, []


def work(number):
    channel = grpc.secure_channel(ADDRESS, credentials, options)
    calendars = pb.CalendarServiceStub(channel)
    count = 0
    while not over.is_set():
        name = f"c-{number}-{count}"
        calls = [
            (calendars.CreateCalendar, pb.CreateCalendarRequest(calendar_id=name, request_id=name)),
            (calendars.GetCalendar, pb.GetCalendarRequest(calendar_id=name)),
        ]
        for call, request in calls:
            try:
                call(request)
                with progress:
                    answered[number] += 1
                    progress.notify_all()
            except grpc.RpcError as error:
                failures.append(f"{error.code()}: {error.details()}")
        count += 1


threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
for thread in threads:
    thread.start()
for _ in sys.stdin:
    with progress:
        before = list(answered)
        progress.wait_for(lambda: all(now > then for now, then in zip(answered, before)))
    print("on", flush=True)
over.set()
for thread in threads:
    thread.join()
print(f"{sum(answered)} answered, {len(failures)} failed")
for failure in failures[:FAILURES_SHOWN]:
    print(failure)
