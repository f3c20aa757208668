//! Runs a client command: makes the request, calls the method, page after page, and prints the
//! answer as a table or as JSON.
//!
//! Answers go to standard output and errors to standard error; the exit code is that of `Exit`.

use serde_json::{Value, json};
use tonic::Status;
use tonic_types::{FieldViolation, StatusExt};

use super::client::{CallError, Client};
use super::commands::{ClientCommand, ClientOptions, PagedList};
use super::exit::Exit;
use super::lookup::Lookup;
use super::output::{self, say};
use super::watch;
use super::words::without_nulls;
use crate::descriptors;

/// The most items that the server puts on a page.
const PAGE_SIZE_MAX: usize = 1_000;

/// Runs the command; answers its exit code.
pub fn run(command: ClientCommand, options: &ClientOptions) -> Exit {
    match run_to_end(ask(&command, options)) {
        // The messages of a stream are printed as they come.
        Ok(None) => Exit::Done,
        Ok(Some(answer)) => {
            let text = command.shown(&answer);
            let shown = if options.json {
                Some(format!("{answer:#}"))
            } else {
                text.as_ref().ok().cloned()
            };
            if let Some(shown) = shown {
                say(shown.trim_end());
            }
            text.map_or_else(|error| complain(&error), |_| Exit::Done)
        }
        Err(error) => complain_of(&error, |field| command.typed(field)),
    }
}

/// Runs calls of a server on a runtime of their own. It does not wait for what they leave behind,
/// such as a look-up of the server's name that blocks a thread.
pub(super) fn run_to_end<T>(
    asking: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let runtime = descriptors::runtime().map_err(CallError::Failed)?;
    let done = runtime.block_on(asking);
    runtime.shutdown_background();
    done
}

/// Calls the method; answers nothing for a stream, whose messages are printed as they come.
async fn ask(command: &ClientCommand, options: &ClientOptions) -> Result<Option<Value>, CallError> {
    let client = Client::connect(&options.server()?).await?;
    let request = without_nulls(command.request(&Lookup { client: &client }).await?);
    if let ClientCommand::Watches(watched) = command {
        return watch::follow(&client, watched, request, options.json)
            .await
            .map(|()| None);
    }
    let answer = match command.pages() {
        None => client.call(command.method(), request).await,
        Some(pages) => all_pages(&client, command.method(), request, &pages).await,
    };
    answer.map(Some)
}

/// All pages up to the limit, as one answer. If it has a page token, there are more items.
async fn all_pages(
    client: &Client,
    method: &str,
    mut request: Value,
    pages: &PagedList,
) -> Result<Value, CallError> {
    let mut items: Vec<Value> = Vec::new();
    loop {
        request["page_size"] = json!((pages.limit - items.len()).clamp(1, PAGE_SIZE_MAX));
        let mut answer = client.call(method, request.clone()).await?;
        if let Some(page) = answer.get_mut(pages.field).and_then(Value::as_array_mut) {
            items.append(page);
        }
        let next = answer["next_page_token"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if next.is_empty() || items.len() >= pages.limit {
            items.truncate(pages.limit);
            if !items.is_empty() {
                answer[pages.field] = Value::Array(items);
            }
            return Ok(answer);
        }
        request["page_token"] = json!(next);
    }
}

/// Prints an error; answers the exit code.
pub(super) fn complain(error: &CallError) -> Exit {
    complain_of(error, |_| None)
}

/// Prints an error, with each field of the request under the name that `typed` knows on the command
/// line.
fn complain_of(error: &CallError, typed: impl Fn(&str) -> Option<&'static str>) -> Exit {
    let text = match error {
        CallError::Refused(status) => refusal_text(status, typed),
        other => error_text(other),
    };
    output::complain(&text);
    error.exit()
}

/// An error as text: the reason, the message, and a line for each violation.
pub(super) fn error_text(error: &CallError) -> String {
    match error {
        CallError::Usage(text)
        | CallError::Unreachable(text)
        | CallError::NoAnswer(text)
        | CallError::Nothing(text)
        | CallError::Failed(text) => text.clone(),
        CallError::Refused(status) => refusal_text(status, |_| None),
    }
}

fn refusal_text(status: &Status, typed: impl Fn(&str) -> Option<&'static str>) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map_or_else(
        || format!("{:?}", status.code()),
        |info| info.reason.clone(),
    );
    let fields = details
        .bad_request()
        .map(|it| &it.field_violations[..])
        .unwrap_or_default();
    let broken = details
        .precondition_failure()
        .map(|it| &it.violations[..])
        .unwrap_or_default();
    let field = |violation: &FieldViolation| {
        typed(&violation.field).map_or_else(|| violation.field.clone(), str::to_owned)
    };
    // The message of a single violation begins with the name of its field.
    let name = |message: String, violation: &FieldViolation| {
        message.replace(
            &format!("{}: ", violation.field),
            &format!("{}: ", field(violation)),
        )
    };
    let message = fields.iter().fold(status.message().to_owned(), name);
    let mut lines = vec![format!("{reason}: {message}")];
    lines.extend(
        fields
            .iter()
            .map(|violation| format!("  {}: {}", field(violation), violation.description)),
    );
    lines.extend(broken.iter().map(|violation| {
        format!(
            "  {} on {}: {}",
            violation.r#type, violation.subject, violation.description
        )
    }));
    lines.join("\n")
}
