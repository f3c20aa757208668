//! Prometheus scrapes the binary, and takes the metrics, the rules and the configuration of
//! `deploy/prometheus` without a word.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Bookd, Started, get};

/// How long Prometheus may take to start, to scrape and to judge every rule.
const PATIENCE: Duration = Duration::from_secs(60);
/// Starts of Prometheus: another program may take the free port that was found for it.
const ATTEMPTS: usize = 5;

fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/prometheus")
        .join(file)
}

/// Runs promtool with this on its standard input, and expects it to find nothing.
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("promtool of Debian's package prometheus: {error}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let said = [stdout, stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(status.success(), "{arguments:?}: {said:?}");
    assert_eq!(said[1], "", "{arguments:?}");
}

/// A Prometheus that scrapes this address each second and judges the rules.
struct Prometheus {
    _process: Started,
    _folder: TempDir,
    address: SocketAddr,
}

impl Prometheus {
    fn start(scraped: SocketAddr) -> Self {
        (0..ATTEMPTS)
            .find_map(|_| Self::try_start(scraped))
            .expect("Prometheus ends before it serves")
    }

    /// None where it ended before it served.
    fn try_start(scraped: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let configuration = std::fs::read_to_string(deployed("prometheus.yml")).unwrap();
        let configuration = configuration
            .replace("127.0.0.1:9464", &scraped.to_string())
            .replace("15s", "1s");
        assert!(configuration.contains(&scraped.to_string()));
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration).unwrap();
        std::fs::copy(deployed("alerts.yml"), folder.path().join("alerts.yml")).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = Started::new(&mut command);
        let log = process.child().stderr.take().unwrap();
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        lines.find(|line| line.contains("Server is ready to receive web requests"))?;
        // What it says from now on must be read, or it would wait for a reader.
        std::thread::Builder::new()
            .spawn(move || lines.for_each(drop))
            .unwrap();
        Some(Self {
            _process: process,
            _folder: folder,
            address,
        })
    }

    /// The answer of the API to a question.
    fn ask(&self, path: &str) -> Option<Value> {
        let answer = get(self.address, &format!("/api/v1/{path}"))?;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        Some(answer["data"].clone())
    }

    /// Asks until the answer is as wanted, and returns it.
    fn until(&self, path: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.ask(path);
            if let Some(answer) = answer.as_ref().filter(|it| is_wanted(it)) {
                return answer.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "{path}: {answer:?}");
            std::thread::yield_now();
        }
    }
}

/// The value of the only sample of an answer.
fn value(answer: &Value) -> Option<&str> {
    let result = answer["result"].as_array()?;
    assert!(result.len() <= 1, "{answer}");
    result.first()?["value"][1].as_str()
}

#[test]
fn prometheus_scrapes_the_port_and_every_rule_can_be_judged() {
    let bookd = Bookd::start();
    let prometheus = Prometheus::start(bookd.admin);
    prometheus.until("query?query=up", |it| value(it) == Some("1"));
    prometheus.until("query?query=bookd_ready", |it| value(it) == Some("1"));
    let is_judged = |answer: &Value| {
        let rules = answer["groups"][0]["rules"].as_array();
        rules.is_some_and(|it| !it.is_empty() && it.iter().all(|rule| rule["health"] != "unknown"))
    };
    let judged = prometheus.until("rules", is_judged);
    for rule in judged["groups"][0]["rules"].as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "all is well: {rule}");
    }
}

#[test]
fn promtool_finds_nothing_in_the_metrics_the_rules_and_the_configuration() {
    let bookd = Bookd::start();
    let metrics = get(bookd.admin, "/metrics").unwrap();
    promtool(&["check", "metrics"], &metrics);
    let (rules, configuration) = (deployed("alerts.yml"), deployed("prometheus.yml"));
    promtool(&["check", "rules", rules.to_str().unwrap()], "");
    promtool(&["check", "config", configuration.to_str().unwrap()], "");
}
