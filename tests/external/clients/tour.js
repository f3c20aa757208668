// The tour of the README by Node's @grpc/grpc-js, over TLS and with a token.
//
// usage: node tour.js ADDRESS FOLDER PROTO
// FOLDER has ca.pem and the files token and wrong, each with a token; PROTO is the folder of the contract.

"use strict";

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, folder, proto] = process.argv.slice(2);
const text = (file) => fs.readFileSync(path.join(folder, file), "utf8").trim();
const patience = () => ({ deadline: Date.now() + 30_000 });

const files = fs.readdirSync(path.join(proto, "bookd/v1")).map((file) => `bookd/v1/${file}`);
const definition = loader.loadSync(files, { includeDirs: [proto], keepCase: true, longs: Number, enums: String });
const contract = grpc.loadPackageDefinition(definition).bookd.v1;

function credentials(token) {
  const trusted = grpc.credentials.createSsl(fs.readFileSync(path.join(folder, "ca.pem")));
  const bearer = grpc.credentials.createFromMetadataGenerator((_, done) => {
    const metadata = new grpc.Metadata();
    metadata.set("authorization", `Bearer ${text(token)}`);
    done(null, metadata);
  });
  return grpc.credentials.combineChannelCredentials(trusted, bearer);
}

const connect = (service, token = "token") => new contract[service](address, credentials(token));

function call(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, patience(), (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function refused(client, method, request, code, reason) {
  const error = await call(client, method, request).then(() => assert.fail(`${reason} was expected`), (it) => it);
  assert.strictEqual(error.code, code, error.message);
  const [details] = error.metadata.get("grpc-status-details-bin");
  assert(details.includes(reason), details.toString());
}

function nextMonday() {
  const day = new Date();
  day.setDate(day.getDate() + 7 - ((day.getDay() + 6) % 7));
  const two = (number) => String(number).padStart(2, "0");
  return `${day.getFullYear()}-${two(day.getMonth() + 1)}-${two(day.getDate())}`;
}

function watched(lists, count) {
  return new Promise((resolve, reject) => {
    const revisions = [];
    const stream = lists.WatchAppointments({ calendar_id: "ada", start_revision: 1 }, patience());
    stream.on("error", (error) => (revisions.length >= count ? resolve(revisions) : reject(error)));
    stream.on("data", (message) => {
      if (message.change) revisions.push(message.change.revision);
      if (revisions.length === count) stream.cancel();
    });
  });
}

async function tour() {
  const who = await call(connect("AccessService"), "GetPrincipal", {});
  assert.strictEqual(who.principal.name, "desk");
  const monday = nextMonday();
  const days_of_week = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY"].map((day) => `DAY_OF_WEEK_${day}`);
  const rules = [["09:00", "12:00"], ["13:00", "17:00"]].map(([start_time, end_time]) => ({ days_of_week, start_time, end_time }));
  await call(connect("AvailabilityService"), "SetAvailability", { calendar_id: "ada", time_zone: "Europe/Paris", rules });

  const slots = connect("SlotsService");
  const asked = { calendar_id: "ada", date: monday };
  assert.strictEqual((await call(slots, "ListSlots", asked)).slots.length, 7);

  const booking = connect("BookingService");
  const invitee = { name: "Grace Hopper", email: "grace@example.com" };
  const atTen = { calendar_id: "ada", local_start: `${monday}T10:00`, invitee, request_id: "a1" };
  const booked = (await call(booking, "BookAppointment", atTen)).appointment;
  const again = (await call(booking, "BookAppointment", atTen)).appointment;
  assert.strictEqual(again.appointment_id, booked.appointment_id, "the same request has one effect");
  const second = { calendar_id: "ada", local_start: `${monday}T10:00`, invitee: { name: "Bob" } };
  await refused(booking, "BookAppointment", second, grpc.status.ABORTED, "SLOT_TAKEN");
  assert.strictEqual((await call(slots, "ListSlots", asked)).slots.length, 6);

  const lists = connect("ListService");
  const listed = (await call(lists, "ListAppointments", { calendar_id: "ada" })).appointments;
  assert.deepStrictEqual(listed.map((it) => it.appointment_id), [booked.appointment_id]);
  assert.strictEqual(listed[0].invitee.name, "Grace Hopper");
  const revisions = await watched(lists, 2);
  assert(revisions[0] < revisions[1], String(revisions));

  const stranger = connect("ListService", "wrong");
  const unknown = grpc.status.UNAUTHENTICATED;
  await refused(stranger, "ListAppointments", { calendar_id: "ada" }, unknown, "CREDENTIALS_INVALID");
  console.log("the tour is done");
}

tour().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
