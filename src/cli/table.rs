//! Answers for people: a form for each method of the contract that answers more than that it was done.

use comfy_table::{Table, presets};
use serde_json::Value;

use super::client::simple_name;
use bookd_core::decide::OUTSIDE_MAX;

/// How the answers of some methods are shown.
struct Form {
    methods: &'static [&'static str],
    /// An answer without this field has nothing to show in this form.
    field: &'static str,
    /// Given the zone that was named by who asked, if one was.
    show: fn(&Value, Option<&str>) -> String,
}

/// All forms. What a method without one answers is shown as JSON.
const FORMS: [Form; 16] = [
    Form {
        methods: &["ListSlots"],
        field: "slots",
        show: |answer, _| slots(answer),
    },
    Form {
        methods: &["ListAppointments", "CancelSeries", "BatchBook"],
        field: "appointments",
        show: |answer, zone| appointments(items(answer, "appointments"), zone),
    },
    Form {
        methods: &[
            "GetAppointment",
            "BookAppointment",
            "HoldAppointment",
            "ExtendHold",
            "ReleaseHold",
            "ConfirmAppointment",
            "ApproveAppointment",
            "DeclineAppointment",
            "RescheduleAppointment",
            "CancelAppointment",
            "UpdateAppointment",
            "MarkNoShow",
            "CompleteAppointment",
        ],
        field: "appointment",
        show: |answer, zone| appointments(std::slice::from_ref(&answer["appointment"]), zone),
    },
    Form {
        methods: &[
            "GetAvailability",
            "SetAvailability",
            "PutOverrides",
            "DeleteOverrides",
        ],
        field: "availability",
        show: |answer, _| format!("{}{}", hours(&answer["availability"]), outside(answer)),
    },
    Form {
        methods: &["ListChanges"],
        field: "changes",
        show: |answer, _| changes(answer),
    },
    Form {
        methods: &["GetCalendar", "CreateCalendar", "UpdateCalendar"],
        field: "calendar",
        show: |answer, _| format!("{}{}", calendar(&answer["calendar"]), outside(answer)),
    },
    Form {
        methods: &["GetAppointmentType", "PutAppointmentType"],
        field: "appointment_type",
        show: |answer, _| {
            format!(
                "{}{}",
                appointment_type(&answer["appointment_type"]),
                outside(answer)
            )
        },
    },
    Form {
        methods: &["ListAppointmentTypes"],
        field: "appointment_types",
        show: |answer, _| types(items(answer, "appointment_types")),
    },
    Form {
        methods: &["PutBusy", "ListBusy"],
        field: "periods",
        show: |answer, _| busy(items(answer, "periods")),
    },
    Form {
        methods: &["ListZoneDrift"],
        field: "drifts",
        show: |answer, _| drifts(items(answer, "drifts")),
    },
    Form {
        methods: &["BookSeries"],
        field: "occurrences",
        show: occurrences,
    },
    Form {
        methods: &["QueryFreeBusy"],
        field: "calendars",
        show: |answer, _| free_busy(items(answer, "calendars")),
    },
    Form {
        methods: &["ListCalendars"],
        field: "calendars",
        show: |answer, _| calendars(items(answer, "calendars")),
    },
    Form {
        methods: &["ExplainSlot"],
        field: "slot",
        show: |answer, _| explained(answer),
    },
    Form {
        methods: &["GetServerInfo"],
        field: "time_zone_release",
        show: |answer, _| server_info(answer),
    },
    Form {
        methods: &["DeleteCalendar", "DeleteAppointmentType"],
        field: "revision",
        show: |answer, _| format!("OK, revision {}", answer["revision"]),
    },
];

/// The form of a method, however it is spelled.
fn form(method: &str) -> Option<&'static Form> {
    let is_of = |form: &&Form| {
        form.methods
            .iter()
            .any(|it| it.eq_ignore_ascii_case(simple_name(method)))
    };
    FORMS.iter().find(is_of)
}

/// An answer of a method as people read it, who named this zone: what has its time in another one says so.
pub(super) fn show(method: &str, zone: Option<&str>, answer: &Value) -> String {
    let shown = match form(method).filter(|form| !answer[form.field].is_null()) {
        Some(form) => (form.show)(answer, zone),
        None if is_about_nothing(answer) => "none".to_owned(),
        None => format!("{answer:#}"),
    };
    let more = match answer["next_page_token"].as_str() {
        Some(token) if !token.is_empty() => "\nthere is more; say --limit to see it",
        _ => "",
    };
    format!("{shown}{more}")
}

/// Whether an answer says only how things stand.
fn is_about_nothing(answer: &Value) -> bool {
    let is_how = |name: &String| ["revision", "read_time", "time_zone"].contains(&name.as_str());
    answer.as_object().is_some_and(|it| it.keys().all(is_how))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

pub(super) fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|name| name.to_uppercase()));
    table.add_rows(rows);
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

fn items<'a>(answer: &'a Value, field: &str) -> &'a [Value] {
    answer[field].as_array().map_or(&[], Vec::as_slice)
}

fn state(appointment: &Value) -> String {
    text(&appointment["state"])
        .trim_start_matches("APPOINTMENT_STATE_")
        .to_lowercase()
}

/// A row each; where any of them says where it takes place, with a column for that, and where their times are not all of
/// the zone that was named, or not all of one zone, with one for the zone.
fn appointments(found: &[Value], named: Option<&str>) -> String {
    let zone = |it: &Value| text(&it["time_zone"]);
    let expected = named.map_or_else(
        || found.first().map(zone).unwrap_or_default(),
        str::to_owned,
    );
    let has_zone = found.iter().any(|it| zone(it) != expected);
    let has_location = found.iter().any(|it| !text(&it["location"]).is_empty());
    let row = |it: &Value| {
        let mut cells = vec![text(&it["local_start"]).replace('T', " ")];
        cells.extend(has_zone.then(|| zone(it)));
        cells.extend([
            text(&it["calendar_ids"]),
            text(&it["appointment_type_id"]),
            state(it),
        ]);
        cells.push(text(&it["invitee"]["name"]));
        cells.extend(has_location.then(|| text(&it["location"])));
        cells.extend([text(&it["confirmation_code"]), text(&it["appointment_id"])]);
        cells
    };
    let mut titles = vec!["start"];
    titles.extend(has_zone.then_some("zone"));
    titles.extend(["calendar", "type", "state", "invitee"]);
    titles.extend(has_location.then_some("location"));
    titles.extend(["code", "id"]);
    table(&titles, found.iter().map(row))
}

/// The appointments that a change of hours left outside, as a warning below the answer; nothing where there are none.
fn outside(answer: &Value) -> String {
    let found = items(answer, "appointments_outside");
    let warning = match found.len() {
        0 => return String::new(),
        1 => "1 upcoming appointment lies outside open hours".to_owned(),
        // No answer names more.
        OUTSIDE_MAX => format!(
            "{OUTSIDE_MAX} upcoming appointments or more lie outside open hours, the earliest are"
        ),
        count => format!("{count} upcoming appointments lie outside open hours"),
    };
    format!("\n{warning}:\n{}", appointments(found, None))
}

fn slots(answer: &Value) -> String {
    let clock = |slot: &Value, local: &str, instant: &str| {
        let local = text(&slot[local]);
        if local.is_empty() {
            text(&slot[instant])
        } else {
            local.replace('T', " ")
        }
    };
    let row = |it: &Value| {
        vec![
            clock(it, "local_start", "start_time"),
            clock(it, "local_end", "end_time"),
            text(&it["seats_remaining"]),
        ]
    };
    table(
        &["start", "end", "seats"],
        items(answer, "slots").iter().map(row),
    )
}

fn hours(availability: &Value) -> String {
    let days = |rule: &Value| {
        let days = text(&rule["days_of_week"])
            .replace("DAY_OF_WEEK_", "")
            .to_lowercase();
        if days.is_empty() {
            "daily".to_owned()
        } else {
            days
        }
    };
    let rules = items(availability, "rules").iter().map(|rule| {
        let dates = format!("{} {}", text(&rule["from_date"]), text(&rule["to_date"]))
            .trim()
            .to_owned();
        vec![
            days(rule),
            text(&rule["start_time"]),
            text(&rule["end_time"]),
            dates,
        ]
    });
    let overrides = items(availability, "overrides").iter().map(|it| {
        let windows = items(it, "windows")
            .iter()
            .map(|it| format!("{}-{}", text(&it["start_time"]), text(&it["end_time"])));
        let windows: Vec<String> = windows.collect();
        let windows = if windows.is_empty() {
            "closed".to_owned()
        } else {
            windows.join(", ")
        };
        vec![text(&it["date"]), windows, String::new(), text(&it["note"])]
    });
    let head = format!(
        "{} in {}",
        text(&availability["calendar_id"]),
        text(&availability["time_zone"])
    );
    format!(
        "{head}\n{}",
        table(&["days", "from", "to", "dates"], rules.chain(overrides))
    )
}

fn explained(answer: &Value) -> String {
    let slot = text(&answer["slot"]["start_time"]);
    if answer["bookable"] == Value::Bool(true) {
        return format!("{slot} can be booked");
    }
    let row = |it: &Value| {
        let code = text(&it["code"])
            .trim_start_matches("VIOLATION_CODE_")
            .to_owned();
        vec![code, text(&it["calendar_id"]), text(&it["message"])]
    };
    let rows = table(
        &["why", "calendar", "rule"],
        items(answer, "violations").iter().map(row),
    );
    let near = |name: &str, label: &str| match &answer[name]["start_time"] {
        Value::String(start) => format!("\n{label} {start}"),
        _ => String::new(),
    };
    format!(
        "{slot} cannot be booked\n{rows}{}{}",
        near("previous_slot", "free before:"),
        near("next_slot", "free after:")
    )
}

fn changes(answer: &Value) -> String {
    let rows = items(answer, "changes").iter().flat_map(|change| {
        items(change, "events").iter().map(|event| {
            let kind = text(&event["kind"])
                .trim_start_matches("CHANGE_KIND_")
                .to_lowercase();
            let subject = text(&event["appointment_id"]);
            let start = text(&event["after"]["start_time"]);
            vec![
                text(&change["revision"]),
                text(&change["commit_time"]),
                text(&change["command"]),
                kind,
                start,
                subject,
            ]
        })
    });
    table(
        &[
            "revision",
            "time",
            "command",
            "what",
            "start",
            "appointment",
        ],
        rows,
    )
}

/// Each thing that is said of one resource, a line each; what is empty is left out.
fn sheet(it: &Value, fields: &[(&str, &str)]) -> String {
    let said = fields
        .iter()
        .map(|(label, field)| vec![(*label).to_owned(), plain(&it[*field])]);
    table(&["what", "value"], said.filter(|row| !row[1].is_empty()))
}

/// A value on one line: `per_day 8`, `2 rules`.
fn plain(value: &Value) -> String {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("{name} {}", plain(value)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("; "),
        other => text(other),
    }
}

fn calendar(it: &Value) -> String {
    sheet(
        it,
        &[
            ("calendar", "calendar_id"),
            ("name", "display_name"),
            ("zone", "time_zone"),
            ("owner", "owner"),
            ("paused", "paused"),
            ("limits", "limits"),
            ("metadata", "metadata"),
        ],
    )
}

fn appointment_type(it: &Value) -> String {
    sheet(
        it,
        &[
            ("type", "appointment_type_id"),
            ("name", "display_name"),
            ("duration", "duration"),
            ("or", "duration_options"),
            ("step", "slot_step"),
            ("buffer before", "buffer_before"),
            ("buffer after", "buffer_after"),
            ("notice", "min_notice"),
            ("horizon days", "horizon_days"),
            ("capacity", "capacity"),
            ("limits", "limits"),
            ("approval", "requires_approval"),
            ("pending blocks", "pending_blocks"),
            ("cancel notice", "cancel_notice"),
            ("move notice", "reschedule_notice"),
            ("rules", "rules"),
        ],
    )
}

fn types(found: &[Value]) -> String {
    let row = |it: &Value| {
        let approval = if it["requires_approval"] == Value::Bool(true) {
            "approval"
        } else {
            ""
        };
        vec![
            text(&it["appointment_type_id"]),
            text(&it["duration"]),
            text(&it["capacity"]),
            approval.to_owned(),
        ]
    };
    table(&["type", "duration", "seats", ""], found.iter().map(row))
}

fn busy(found: &[Value]) -> String {
    let row = |it: &Value| {
        // PutBusy answers periods alone, ListBusy with their source.
        let period = if it["period"].is_object() {
            &it["period"]
        } else {
            it
        };
        vec![
            text(&period["start_time"]),
            text(&period["end_time"]),
            text(&it["source"]),
        ]
    };
    table(&["start", "end", "source"], found.iter().map(row))
}

fn calendars(found: &[Value]) -> String {
    let row = |it: &Value| {
        vec![
            text(&it["calendar_id"]),
            text(&it["time_zone"]),
            text(&it["display_name"]),
        ]
    };
    table(&["calendar", "zone", "name"], found.iter().map(row))
}

/// What is open and what is busy, calendar by calendar; where nothing of any is either, the calendars alone.
fn free_busy(found: &[Value]) -> String {
    if found
        .iter()
        .all(|it| it["open"].is_null() && it["busy"].is_null())
    {
        return calendars(found);
    }
    let rows = found.iter().flat_map(|calendar| {
        let of = |field: &'static str| {
            items(calendar, field).iter().map(move |it| {
                let id = text(&calendar["calendar_id"]);
                vec![
                    id,
                    field.to_owned(),
                    text(&it["start_time"]),
                    text(&it["end_time"]),
                ]
            })
        };
        of("open").chain(of("busy"))
    });
    table(&["calendar", "", "start", "end"], rows)
}

fn drifts(found: &[Value]) -> String {
    let row = |it: &Value| {
        let appointment = &it["appointment"];
        let booked = text(&appointment["local_start"]).replace('T', " ");
        let now = text(&it["local_start_now"]).replace('T', " ");
        vec![
            booked,
            now,
            text(&appointment["calendar_ids"]),
            text(&appointment["appointment_id"]),
        ]
    };
    table(
        &["booked for", "clocks show now", "calendar", "id"],
        found.iter().map(row),
    )
}

fn occurrences(answer: &Value, named: Option<&str>) -> String {
    let zone = items(answer, "occurrences")
        .iter()
        .find_map(|it| it["appointment"]["time_zone"].as_str());
    let other = zone.filter(|zone| named.is_some_and(|named| named != *zone));
    let row = |it: &Value| {
        let why: Vec<String> = items(it, "violations")
            .iter()
            .map(|it| text(&it["code"]).replace("VIOLATION_CODE_", ""))
            .collect();
        let outcome = if it["appointment"].is_object() {
            state(&it["appointment"])
        } else {
            why.join(", ")
        };
        vec![
            text(&it["local_start"]).replace('T', " "),
            outcome,
            text(&it["appointment"]["appointment_id"]),
        ]
    };
    let rows = table(
        &["start", "state", "id"],
        items(answer, "occurrences").iter().map(row),
    );
    let of_zone = other.map_or_else(String::new, |zone| format!(", times of {zone}"));
    format!("series {}{of_zone}\n{rows}", text(&answer["series_id"]))
}

fn server_info(answer: &Value) -> String {
    let row = |name: &str| vec![name.replace('_', " "), text(&answer[name])];
    let names = [
        "version",
        "time_zone_release",
        "time_zone_source",
        "revision",
        "time",
        "features",
    ];
    table(&["what", "value"], names.into_iter().map(row))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};
    use serde_json::json;

    use super::*;
    use crate::proto_json::descriptors;

    /// What answers once; streams are shown line by line.
    fn methods() -> Vec<MethodDescriptor> {
        let pool = descriptors();
        let of_services = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>());
        of_services
            .filter(|method| !method.is_server_streaming())
            .collect()
    }

    /// Whether it has more than numbers, texts and times.
    fn has_resources(answer: &MessageDescriptor) -> bool {
        let is_of_contract =
            |kind| matches!(kind, Kind::Message(it) if it.full_name().starts_with("bookd."));
        answer.fields().any(|field| is_of_contract(field.kind()))
    }

    #[test]
    fn every_method_that_answers_resources_has_a_form_and_the_others_are_shown_as_json() {
        let mut without = Vec::new();
        for method in methods() {
            match form(method.name()) {
                Some(form) => {
                    let field = method.output().get_field_by_name(form.field);
                    assert!(
                        field.is_some(),
                        "{} answers no {}",
                        method.name(),
                        form.field
                    );
                }
                None => {
                    assert!(
                        !has_resources(&method.output()),
                        "{} has no form",
                        method.name()
                    );
                    without.push(method.name().to_owned());
                }
            }
        }
        assert_eq!(without, ["RedactInvitee"]);
        let redacted = json!({ "appointments_redacted": 2, "revision": 7 });
        assert_eq!(
            show("RedactInvitee", None, &redacted),
            format!("{redacted:#}")
        );
    }

    #[test]
    fn every_form_is_of_methods_of_the_contract_and_none_of_two_forms() {
        let known: BTreeSet<String> = methods().iter().map(|it| it.name().to_owned()).collect();
        let named: Vec<&str> = FORMS
            .iter()
            .flat_map(|form| form.methods)
            .copied()
            .collect();
        assert!(named.iter().all(|it| known.contains(*it)), "{named:?}");
        assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len());
    }

    #[test]
    fn an_answer_without_what_its_form_shows_says_so() {
        assert_eq!(
            show(
                "ListSlots",
                None,
                &json!({ "revision": 7, "time_zone": "Europe/Paris" })
            ),
            "none"
        );
        let is_not_the_first = json!({ "next_page_token": "x", "revision": 7 });
        let more = "\nthere is more; say --limit to see it";
        assert_eq!(
            show("ListAppointments", None, &is_not_the_first),
            format!("{is_not_the_first:#}{more}")
        );
    }

    #[test]
    fn a_method_has_its_form_however_it_is_spelled() {
        for method in [
            "DeleteCalendar",
            "deletecalendar",
            "bookd.v1.CalendarService/DeleteCalendar",
        ] {
            assert_eq!(
                show(method, None, &json!({ "revision": 7 })),
                "OK, revision 7",
                "{method}"
            );
        }
    }
}
