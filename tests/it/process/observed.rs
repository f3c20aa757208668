//! The documents about the metrics and the metrics themselves: the dashboard and the alerts ask for
//! nothing that is not served, and what is served is described.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::admin_port::ask;
use crate::harness::{at, connect};
use crate::kill::{Process, command};

/// The endings that the samples of a histogram have after the name of their family.
const ENDINGS: [&str; 3] = ["_bucket", "_sum", "_count"];
/// Metrics that Prometheus makes itself.
const OF_PROMETHEUS: [&str; 1] = ["up"];

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn text(file: &str) -> String {
    std::fs::read_to_string(path(file)).unwrap()
}

/// The metrics of the binary on a new file after a booking.
async fn served() -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&folder.path().join("bookd.db"));
    command.args(["--admin", "127.0.0.1:0"]);
    let process = Process::spawn(command, "with this program");
    let admin = process.banner.split("http://").nth(1).unwrap();
    let admin = admin.split('/').next().unwrap().parse().unwrap();
    let channel = connect(process.address).await;
    let mut booking = bookd::proto::v1::booking_service_client::BookingServiceClient::new(channel);
    let refused = booking.book_appointment(at("nobody", "10:00")).await;
    refused.unwrap_err();
    let answer = ask(admin, "GET", "/metrics").await;
    drop(booking);
    assert!(process.terminate_beside_clients().await.success());
    assert_eq!(answer.status, 200);
    answer.body
}

/// The names of all samples.
fn samples(metrics: &str) -> BTreeSet<&str> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split(['{', ' ']).next())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Name, type and help of each family.
fn families(metrics: &str) -> Vec<(&str, &str, &str)> {
    let helps = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP "));
    let kind = |name: &str| {
        let begin = format!("# TYPE {name} ");
        metrics.lines().find_map(|line| line.strip_prefix(&*begin))
    };
    helps
        .map(|line| {
            let (name, help) = line.split_once(' ').unwrap();
            (
                name,
                kind(name).unwrap_or_else(|| panic!("{name} has no TYPE")),
                help,
            )
        })
        .collect()
}

/// The words of a query that are names of metrics: those with an underscore that stand before no
/// bracket and are no label.
fn asked(query: &str) -> BTreeSet<String> {
    const OF_QUERIES: [&str; 3] = ["histogram_quantile", "predict_linear", "label_values"];
    let mut bare = String::new();
    let mut depth = 0;
    // What stands in braces are labels, in quotes their values, and `by (…)` has labels too.
    for part in query.replace("by (", "{").split_inclusive(['{', '}', ')']) {
        let opened = part.strip_suffix('{');
        if depth == 0 {
            bare.push_str(opened.unwrap_or(part));
            bare.push(' ');
        }
        match part.chars().last() {
            Some('{') => depth += 1,
            Some('}' | ')') if depth > 0 => depth -= 1,
            _ => {}
        }
    }
    bare.split(|it: char| !it.is_ascii_alphanumeric() && it != '_' && it != '$')
        .filter(|word| word.contains('_') || OF_PROMETHEUS.contains(word))
        .filter(|word| !word.starts_with('$') && !OF_QUERIES.contains(word))
        .map(str::to_owned)
        .collect()
}

/// The queries of the dashboard.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/bookd.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|it| it["targets"].as_array().unwrap());
    let queries = targets.map(|it| it["expr"].as_str().unwrap().to_owned());
    queries.collect()
}

/// The queries of the alerts, each on one line.
fn alerts() -> Vec<String> {
    let alerts = text("deploy/prometheus/alerts.yml");
    let queries = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    queries.map(str::to_owned).collect()
}

#[test]
fn the_names_in_a_query_are_told_from_functions_labels_and_variables() {
    for (query, names) in [
        ("up{job=\"bookd\"} == 0", &["up"][..]),
        (
            "rate(a_total{x_y=~\"b_c|d_e\"}[$__rate_interval]) / b_c",
            &["a_total", "b_c"],
        ),
        (
            "histogram_quantile(0.99, sum by (le, rpc_method) (rate(a_bucket{x_y=\"z_z\"}[5m]))) > 1",
            &["a_bucket"],
        ),
        (
            "predict_linear(free_bytes[6h], 24 * 3600) < 0 or c_d == 1",
            &["c_d", "free_bytes"],
        ),
    ] {
        assert_eq!(
            asked(query).into_iter().collect::<Vec<_>>(),
            names,
            "{query}"
        );
    }
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_nothing_that_is_not_served() {
    let metrics = served().await;
    let samples = samples(&metrics);
    let (dashboard, alerts) = (dashboard(), alerts());
    assert!(dashboard.len() > 20 && alerts.len() > 10);
    let mut wrong = Vec::new();
    for query in dashboard.iter().chain(&alerts) {
        let names = asked(query);
        assert!(!names.is_empty(), "{query}");
        let is_served =
            |name: &String| OF_PROMETHEUS.contains(&&**name) || samples.contains(&**name);
        wrong.extend(names.into_iter().filter(|name| !is_served(name)));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn every_metric_is_described_in_the_documents_with_its_type() {
    let metrics = served().await;
    let (families, operations) = (families(&metrics), text("docs/OPERATIONS.md"));
    let names: BTreeSet<&str> = families.iter().map(|it| it.0).collect();
    assert_eq!(names.len(), families.len(), "no family is there twice");
    for (name, kind, help) in &families {
        assert!(help.ends_with('.'), "{name}: {help}");
        let row = format!("| `{name}` | {kind} |");
        assert!(
            operations.contains(&row),
            "docs/OPERATIONS.md has no row {row}"
        );
    }
    let described = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter(|(_, rest)| {
            ["counter", "gauge", "histogram"]
                .iter()
                .any(|it| rest.starts_with(it))
        })
        .map(|(name, _)| name);
    let gone: Vec<&str> = described.filter(|name| !names.contains(name)).collect();
    assert_eq!(gone, Vec::<&str>::new(), "described and not served");
    // Every sample belongs to a family, and counters say so.
    for sample in samples(&metrics) {
        let family = ENDINGS
            .iter()
            .find_map(|ending| sample.strip_suffix(ending));
        let is_known = names.contains(sample) || family.is_some_and(|it| names.contains(it));
        assert!(is_known, "{sample}");
    }
    for (name, kind, _) in families {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} {kind}");
    }
}
