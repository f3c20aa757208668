//! The layout of all tables: columns without lines, a value of JSON as the text of a cell.

use comfy_table::{Table, presets};
use serde_json::Value;

/// A table with a header and aligned columns, without lines and without trailing spaces.
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

/// One resource as a table with a row for each field, given as label and name; empty fields are
/// left out.
pub(super) fn sheet(resource: &Value, fields: &[(&str, &str)]) -> String {
    let rows = fields
        .iter()
        .map(|(label, field)| vec![(*label).to_owned(), plain(&resource[*field])]);
    table(&["what", "value"], rows.filter(|row| !row[1].is_empty()))
}

/// A value on one line: an object as `per_day 8, per_week 20`, items separated by semicolons.
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

/// A value as the text of a cell: empty for null, items separated by commas.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The items of a list in an answer; none if the field is left out.
pub(super) fn items<'a>(answer: &'a Value, field: &str) -> &'a [Value] {
    answer[field].as_array().map_or(&[], Vec::as_slice)
}
