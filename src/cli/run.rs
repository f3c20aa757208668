//! Runs a client command: what its words mean, the call, page after page, the answer as a table or as JSON.

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

/// Runs the command to its end.
pub fn run(command: ClientCommand, options: &ClientOptions) -> Exit {
    match to_its_end(ask(&command, options)) {
        // What was watched is shown already.
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

/// Runs what asks a server, and waits for nothing that it leaves behind: the name of a server may still be looked up.
pub(super) fn to_its_end<T>(
    asking: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let runtime = descriptors::runtime().map_err(CallError::Failed)?;
    let done = runtime.block_on(asking);
    runtime.shutdown_background();
    done
}

/// The answer; none of a stream, which is shown as it comes.
async fn ask(command: &ClientCommand, options: &ClientOptions) -> Result<Option<Value>, CallError> {
    let client = Client::connect(&options.server()).await?;
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

/// Every page up to the limit, as one answer; a token that is left says that there is more.
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

/// Says what went wrong; answers how the command ends.
pub(super) fn complain(error: &CallError) -> Exit {
    complain_of(error, |_| None)
}

/// The same, where fields of the request have other names for those who typed it.
fn complain_of(error: &CallError, typed: impl Fn(&str) -> Option<&'static str>) -> Exit {
    let told = match error {
        CallError::Refused(status) => refused(status, typed),
        other => told(other),
    };
    output::complain(&told);
    error.exit()
}

/// An error as people read it: the reason, what it says, and each thing that is wrong.
pub(super) fn told(error: &CallError) -> String {
    match error {
        CallError::Usage(text)
        | CallError::Unreachable(text)
        | CallError::NoAnswer(text)
        | CallError::Nothing(text)
        | CallError::Failed(text) => text.clone(),
        CallError::Refused(status) => refused(status, |_| None),
    }
}

fn refused(status: &Status, typed: impl Fn(&str) -> Option<&'static str>) -> String {
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
    let field =
        |it: &FieldViolation| typed(&it.field).map_or_else(|| it.field.clone(), str::to_owned);
    // Of a single field the message tells all.
    let name = |message: String, it: &FieldViolation| {
        message.replace(&format!("{}: ", it.field), &format!("{}: ", field(it)))
    };
    let message = fields.iter().fold(status.message().to_owned(), name);
    let mut lines = vec![format!("{reason}: {message}")];
    lines.extend(
        fields
            .iter()
            .map(|it| format!("  {}: {}", field(it), it.description)),
    );
    lines.extend(
        broken
            .iter()
            .map(|it| format!("  {} on {}: {}", it.r#type, it.subject, it.description)),
    );
    lines.join("\n")
}
