//! Answers as text for people: a form for each method of the contract that answers resources.
//!
//! An answer without the field that its form shows, and an answer of a method without a form, is
//! shown as JSON, or as `none` if nothing is in it.

mod appointments;
mod availability;
mod calendars;
mod layout;
mod slots;
mod tokens;

use serde_json::Value;

use super::client::simple_name;
use appointments::{appointments, changes, drifts, occurrences, outside};
use availability::{busy, free_busy, hours};
use calendars::{appointment_type, calendar, calendars, types};
use layout::{items, text};
use slots::{explained, slots};
use tokens::{created, tokens};

pub(super) use layout::table;

/// The form in which the answers of some methods are shown.
struct Form {
    methods: &'static [&'static str],
    /// The field that the form shows; an answer without it is not shown in this form.
    field: &'static str,
    /// Makes the text from the answer and the zone that `--zone` names.
    show: fn(&Value, Option<&str>) -> String,
}

/// All forms.
const FORMS: [Form; 19] = [
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
        methods: &["GetPrincipal"],
        field: "principal",
        show: |answer, _| principal(&answer["principal"]),
    },
    Form {
        methods: &["CreateToken"],
        field: "record",
        show: |answer, _| created(answer),
    },
    Form {
        methods: &["ListTokens"],
        field: "tokens",
        show: |answer, _| tokens(answer),
    },
    Form {
        methods: &["DeleteCalendar", "DeleteAppointmentType", "RevokeToken"],
        field: "revision",
        show: |answer, _| format!("OK, revision {}", answer["revision"]),
    },
];

/// The form of a method, in any case and with or without the name of its service.
fn form(method: &str) -> Option<&'static Form> {
    let is_of = |form: &&Form| {
        form.methods
            .iter()
            .any(|name| name.eq_ignore_ascii_case(simple_name(method)))
    };
    FORMS.iter().find(is_of)
}

/// The text of an answer. `zone` is the zone that `--zone` names: an appointment with its time in
/// another zone names that zone.
pub(super) fn show(method: &str, zone: Option<&str>, answer: &Value) -> String {
    let shown = match form(method).filter(|form| !answer[form.field].is_null()) {
        Some(form) => (form.show)(answer, zone),
        None if is_empty_answer(answer) => "none".to_owned(),
        None => format!("{answer:#}"),
    };
    let more = match answer["next_page_token"].as_str() {
        Some(token) if !token.is_empty() => "\nthere is more; say --limit to see it",
        _ => "",
    };
    format!("{shown}{more}")
}

/// Whether an answer has no field but its revision, its time and its zone.
fn is_empty_answer(answer: &Value) -> bool {
    let is_about_read =
        |name: &String| ["revision", "read_time", "time_zone"].contains(&name.as_str());
    answer
        .as_object()
        .is_some_and(|fields| fields.keys().all(is_about_read))
}

/// Who calls, by which credential, and what they may do.
fn principal(principal: &Value) -> String {
    let name = text(&principal["name"]);
    if name.is_empty() && items(principal, "scopes").is_empty() {
        return "nobody: the server wants credentials; name the file of a token with --token-file"
            .to_owned();
    }
    let word =
        |value: &Value, prefix: &str| text(value).trim_start_matches(prefix).to_ascii_lowercase();
    let scopes: Vec<String> = items(principal, "scopes")
        .iter()
        .map(|scope| word(scope, "SCOPE_"))
        .collect();
    let on = |grant: &Value| {
        let prefix = match text(&grant["prefix"]) {
            all if all.is_empty() => "all".to_owned(),
            prefix => prefix,
        };
        let of: Vec<String> = items(grant, "scopes")
            .iter()
            .map(|scope| word(scope, "SCOPE_"))
            .collect();
        let whose = match text(&grant["customer"]) {
            everybody if everybody.is_empty() => String::new(),
            customer => format!(" of {customer} alone"),
        };
        format!("{prefix} ({}{whose})", of.join(" "))
    };
    let calendars: Vec<String> = items(principal, "grants").iter().map(on).collect();
    let rows = [
        ("name", name),
        (
            "known by",
            word(&principal["credential"], "CREDENTIAL_KIND_"),
        ),
        ("scopes", scopes.join(", ")),
        ("calendars", calendars.join(", ")),
    ];
    table(
        &["what", "value"],
        rows.into_iter()
            .map(|(what, value)| vec![what.to_owned(), value]),
    )
}

/// The release, the time zones and the features of a server.
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

    /// The methods that answer once. Streams are shown line by line, without a form.
    fn methods() -> Vec<MethodDescriptor> {
        let pool = descriptors();
        let of_services = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>());
        of_services
            .filter(|method| !method.is_server_streaming())
            .collect()
    }

    /// Whether an answer has a field that is a message of the contract.
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
