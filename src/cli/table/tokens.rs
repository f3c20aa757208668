//! Tables of tokens. The token itself is shown by the answer that creates it, and never again.

use serde_json::Value;

use super::layout::{items, table, text};

/// The token that was created, with what people must know of it.
pub(super) fn created(answer: &Value) -> String {
    let record = &answer["record"];
    let rows = [
        ("token", text(&answer["token"])),
        ("id", text(&record["token_id"])),
        ("name", text(&record["name"])),
        ("scopes", scopes(record)),
        ("calendars", calendars(record)),
        ("expires", text(&record["expire_time"])),
    ];
    let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
    let rows = rows.map(|(what, value)| vec![what.to_owned(), value]);
    let said = if text(&answer["token"]).is_empty() {
        "The token itself is shown only once, by the call that creates it."
    } else {
        "The token is shown this once: keep it in a file that only its user can read."
    };
    format!("{}\n{said}", table(&["what", "value"], rows))
}

/// Tokens, a row for each.
pub(super) fn tokens(answer: &Value) -> String {
    let row = |token: &Value| {
        vec![
            text(&token["token_id"]),
            text(&token["name"]),
            scopes(token),
            calendars(token),
            text(&token["expire_time"]),
            text(&token["last_use_time"]),
        ]
    };
    let columns = [
        "token",
        "name",
        "scopes",
        "calendars",
        "expires",
        "last used",
    ];
    table(&columns, items(answer, "tokens").iter().map(row))
}

fn scopes(token: &Value) -> String {
    let word = |scope: &Value| {
        text(scope)
            .trim_start_matches("SCOPE_")
            .to_ascii_lowercase()
    };
    let scopes: Vec<String> = items(token, "scopes").iter().map(word).collect();
    scopes.join(", ")
}

fn calendars(token: &Value) -> String {
    match text(&token["prefix"]) {
        all if all.is_empty() => "all".to_owned(),
        prefix => prefix,
    }
}
