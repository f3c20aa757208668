//! The configuration file: the settings of `bookd serve` by their names, who may call, and how much
//! tenants may have.
//!
//! A setting of the file becomes the default of its flag, so that flags and variables outrank it,
//! and every value is checked as that of the flag is.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::arguments::{Arguments, CliCommand};
use super::quota_table::{QuotaTable, quotas};
use crate::auth::{Grant, GrantConfig, Issuer};
use crate::config::ServeConfig;
use bookd_core::quota::Quotas;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1_024 * 1_024;
/// The tables of who may call.
const GRANT: &str = "grant";
const ISSUER: &str = "issuer";
/// The tables of how much a tenant may have.
const QUOTA: &str = "quota";
/// Flags that are no settings: what is said once, to the command at hand.
const NO_SETTINGS: [&str; 5] = ["config", "confirm_clock", "print_config", "help", "version"];

/// What a configuration file says.
#[derive(Clone, Debug, Default, PartialEq)]
struct ConfigFile {
    /// The settings with their values, as a flag would have them.
    settings: Vec<(String, String)>,
    access: GrantConfig,
    quotas: Quotas,
}

/// Parses the arguments of a command line, together with the configuration file that they or the
/// environment name.
///
/// # Errors
///
/// Those of clap, whose messages say what is wrong: of the arguments, or of the file.
pub fn parse(arguments: &[OsString]) -> Result<Arguments, clap::Error> {
    let mut parsed = Arguments::try_parse_from_all(arguments)?;
    let Some((path, config)) = serve_config(&mut parsed.command) else {
        return Ok(parsed);
    };
    let Some(file) = config.config.clone() else {
        return Ok(parsed);
    };
    let in_file = |problem: String| {
        let message = format!("{}: {problem}\n", file.display());
        clap::Error::raw(ErrorKind::InvalidValue, message)
    };
    let mut command = Arguments::command();
    let known = settings(&command, path);
    let read = read(&file).and_then(|text| ConfigFile::parse(&text, &known));
    let ConfigFile {
        settings,
        access,
        quotas,
    } = read.map_err(in_file)?;
    command = with_defaults(command, path, &settings);
    // The arguments alone were right, so that a fault is one of the file.
    let matches = command
        .try_get_matches_from(arguments)
        .map_err(|error| in_file(error.to_string()))?;
    let mut parsed = Arguments::from_arg_matches(&matches)?;
    if let Some((_, config)) = serve_config(&mut parsed.command) {
        (config.access, config.quotas) = (access, quotas);
    }
    Ok(parsed)
}

/// The configuration of the server that this process is, as its command line, environment and file
/// are now.
///
/// # Errors
///
/// As [`parse`], in one line; and a command line that serves nothing.
pub fn serve_again() -> Result<ServeConfig, String> {
    let arguments: Vec<_> = std::env::args_os().collect();
    match parse(&arguments)
        .map_err(|error| error.to_string().trim_end().to_owned())?
        .command
    {
        CliCommand::Serve(config) => Ok(config),
        _ => Err("the command serves nothing".to_owned()),
    }
}

/// The names of the subcommands that lead to the settings of a server, and the settings; none for
/// other commands.
fn serve_config(command: &mut CliCommand) -> Option<(&'static [&'static str], &mut ServeConfig)> {
    use super::config::ConfigCommand;
    match command {
        CliCommand::Serve(config) => Some((&["serve"], config)),
        CliCommand::Config(ConfigCommand::Check(config)) => Some((&["config", "check"], config)),
        CliCommand::Config(ConfigCommand::Print(config)) => Some((&["config", "print"], config)),
        _ => None,
    }
}

/// The names of the settings that the subcommand at this path has.
fn settings(command: &Command, path: &[&str]) -> Vec<String> {
    let found = path
        .iter()
        .try_fold(command, |command, name| command.find_subcommand(name));
    let flags = found.into_iter().flat_map(Command::get_arguments);
    flags
        .map(|flag| flag.get_id().as_str().to_owned())
        .filter(|id| !NO_SETTINGS.contains(&id.as_str()))
        .collect()
}

/// The command with these settings as defaults of the subcommand at this path.
fn with_defaults(command: Command, path: &[&str], settings: &[(String, String)]) -> Command {
    match path {
        [] => settings.iter().fold(command, |command, (name, value)| {
            command.mut_arg(name, |flag| flag.default_value(value.clone()))
        }),
        [first, rest @ ..] => command.mut_subcommand(*first, |subcommand| {
            with_defaults(subcommand, rest, settings)
        }),
    }
}

fn read(file: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

impl ConfigFile {
    /// Parses a file whose settings are among the known ones.
    fn parse(text: &str, known: &[String]) -> Result<Self, String> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| error.to_string())?;
        let mut file = Self::default();
        for (name, value) in table {
            if name == GRANT {
                file.access.grants = tables::<Grant>(GRANT, value)?;
            } else if name == ISSUER {
                file.access.issuers = tables::<Issuer>(ISSUER, value)?;
            } else if name == QUOTA {
                file.quotas = quotas(tables::<QuotaTable>(QUOTA, value)?)?;
            } else if known.contains(&name) {
                let value = as_flag(&value).ok_or_else(|| {
                    format!("`{name}` must be a text, a number, or true or false")
                })?;
                file.settings.push((name, value));
            } else {
                return Err(unknown(&name, known));
            }
        }
        Ok(file)
    }
}

/// The value as a flag would have it.
fn as_flag(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(is_set) => Some(is_set.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}

/// Reads a list of tables with this name.
fn tables<T: DeserializeOwned>(name: &str, value: Value) -> Result<Vec<T>, String> {
    let Value::Array(all) = value else {
        return Err(format!("`{name}` is a table of a list: write [[{name}]]"));
    };
    let read = |(number, table): (usize, Value)| {
        T::deserialize(table).map_err(|error| format!("{name} {number}: {error}"))
    };
    (1..).zip(all).map(read).collect()
}

/// The message about a setting that there is not, with the one that may be meant.
fn unknown(name: &str, known: &[String]) -> String {
    let snake = name.replace('-', "_");
    let near = known.iter().filter(|it| {
        **it == snake
            || it.starts_with(&snake)
            || snake.starts_with(it.as_str())
            || is_near(&snake, it)
    });
    let near: Vec<String> = near.map(|it| format!("`{it}`")).collect();
    if near.is_empty() {
        let known = known.join(", ");
        format!(
            "there is no setting `{name}`; there are {known}, [[{GRANT}]], [[{ISSUER}]] and [[{QUOTA}]]"
        )
    } else {
        let near = near.join(" or ");
        format!("there is no setting `{name}`; is {near} meant?")
    }
}

/// Whether one letter was left out, added or changed, or two were swapped: all else of two names
/// is the same.
fn is_near(typed: &str, name: &str) -> bool {
    let same = |mut of: (std::str::Chars<'_>, std::str::Chars<'_>)| {
        std::iter::from_fn(|| Some((of.0.next()?, of.1.next()?)))
            .take_while(|(a, b)| a == b)
            .count()
    };
    let begin = same((typed.chars(), name.chars()));
    let reversed = |text: &str| text.chars().rev().collect::<String>();
    let (typed_end, name_end) = (reversed(typed), reversed(name));
    let end = same((typed_end.chars(), name_end.chars()));
    let (short, long) = (typed.len().min(name.len()), typed.len().max(name.len()));
    long - short <= 1 && begin + end + 2 >= long
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn arguments(all: &[&str]) -> Vec<OsString> {
        std::iter::once("bookd")
            .chain(all.iter().copied())
            .map(OsString::from)
            .collect()
    }

    /// What `serve` comes to with this file and these arguments.
    fn served(file: &str, more: &[&str]) -> Result<ServeConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bookd.toml");
        std::fs::write(&path, file).unwrap();
        let first = ["serve", "--config", path.to_str().unwrap()];
        let all: Vec<&str> = first.iter().chain(more).copied().collect();
        match parse(&arguments(&all)) {
            Ok(Arguments {
                command: CliCommand::Serve(config),
                ..
            }) => Ok(config),
            Ok(_) => Err("another command".to_owned()),
            Err(error) => Err(error.to_string().replace(path.to_str().unwrap(), "FILE")),
        }
    }

    #[test]
    fn a_flag_outranks_the_file_and_the_file_the_default() {
        let file = "grace = 3\nkeep_changes = 90\nlog_calls = true\nlog = \"warn\"\n";
        let config = served(file, &["--grace", "5"]).unwrap();
        assert_eq!(config.grace.as_secs(), 5);
        assert_eq!(config.keep_changes, Some(90));
        assert!(config.log.log_calls);
        assert_eq!(config.log.log, "warn");
        assert_eq!(config.reserve, 16);
    }

    #[test]
    fn every_setting_of_serve_can_be_in_the_file_and_no_act() {
        let known = settings(&Arguments::command(), &["serve"]);
        for name in [
            "listen",
            "store",
            "zones",
            "workers",
            "log_format",
            "bootstrap_token_file",
        ] {
            assert!(known.iter().any(|it| it == name), "{name}");
        }
        for name in NO_SETTINGS {
            assert!(served(&format!("{name} = true"), &[]).is_err());
        }
        assert_eq!(known, settings(&Arguments::command(), &["config", "check"]));
    }

    #[test]
    fn grants_are_read_with_all_their_fields() {
        let config = served(
            "[[grant]]\nname = \"page\"\ntoken_file = \"page.token\"\nscopes = [\"slots\"]\n\
             [[grant]]\ncertificate = \"spiffe://acme/*\"\nscopes = [\"read\", \"book\"]\n",
            &[],
        )
        .unwrap();
        let [page, mesh] = &config.access.grants[..] else {
            unreachable!("there are two grants");
        };
        assert_eq!(page.name.as_deref(), Some("page"));
        assert_eq!(mesh.certificate.as_deref(), Some("spiffe://acme/*"));
        assert_eq!(mesh.scopes, ["read", "book"]);
        let config = served(
            "[[issuer]]\nissuer = \"https://acme\"\naudience = \"bookd\"\nalgorithms = [\"ES256\"]\n\
             jwks_file = \"keys.json\"\n",
            &[],
        )
        .unwrap();
        assert_eq!(config.access.issuers[0].algorithms, ["ES256"]);
    }

    #[test]
    fn a_fault_says_the_file_what_is_wrong_and_what_may_be_meant() {
        for (file, said) in [
            ("grcae = 3", "no setting `grcae`; is `grace` meant?"),
            ("keep-changes = 3", "is `keep_changes` meant?"),
            ("colour = 3", "there are listen, tls_cert"),
            ("grace = [3]", "`grace` must be a text"),
            ("grace = 3.5", "write whole seconds"),
            ("trace_ratio = 1.5", "a number from 0 to 1"),
            (
                "otlp_endpoint = \"https://a:4317\"",
                "write http://HOST:PORT",
            ),
            ("grace = \"long\"", "write whole seconds"),
            ("keep_changes = 0", "1..=36500"),
            ("grace = ", "line 1"),
            ("grant = 1", "write [[grant]]"),
            (
                "[[grant]]\nscope = [\"read\"]",
                "grant 1: unknown field `scope`",
            ),
            ("[[grant]]\nname = \"a\"", "grant 1: missing field `scopes`"),
            ("[[quota]]\ntenant = \"acme/\"", "quota 1: limits nothing"),
            (
                "[[quota]]\ntenant = \"acme\"\ncalendars = 1",
                "quota 1: tenant \"acme\" must be empty, or letters",
            ),
            (
                "[[quota]]\ntenant = \"acme/x/\"\ncalendars = 1",
                "with one / at the end",
            ),
            (
                "[[quota]]\ncalendars = 1\n[[quota]]\ncalendars = 2",
                "quota 2: another one has no tenant either",
            ),
            (
                "[[quota]]\ntenant = \"a/\"\ncalendars = 1\n[[quota]]\ntenant = \"a/\"\ncalendars = 2",
                "quota 2: another one is of tenant \"a/\" too",
            ),
            ("[[quota]]\ncalendars = -1", "quota 1: invalid value"),
            (
                "[[quota]]\nappointments = 1",
                "unknown field `appointments`",
            ),
        ] {
            let error = served(file, &[]).unwrap_err();
            assert!(
                error.contains("FILE: ") && error.contains(said),
                "{file}: {error}"
            );
        }
        let missing = parse(&arguments(&["serve", "--config", "/nowhere/bookd.toml"]));
        let error = missing.err().unwrap().to_string();
        assert!(
            error.contains("/nowhere/bookd.toml: cannot be read"),
            "{error}"
        );
    }
}
