//! The layout of all tables: columns without lines, a value of JSON as the text of a cell.

use comfy_table::{Table, presets};
use serde_json::Value;

pub(in crate::cli) fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
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

/// Each thing that is said of one resource, a line each; what is empty is left out.
pub(super) fn sheet(it: &Value, fields: &[(&str, &str)]) -> String {
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

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

pub(super) fn items<'a>(answer: &'a Value, field: &str) -> &'a [Value] {
    answer[field].as_array().map_or(&[], Vec::as_slice)
}
