//! `bookd health`: asks a server whether it serves, by the standard service of health, for scripts
//! and probes.
//!
//! It ends with 0 or 1 alone, as probes want it; wrong usage ends with 2.

use clap::Args;
use serde_json::json;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::{CallError, refusal};
use super::commands::ClientOptions;
use super::exit::Exit;
use super::output::{complain, say};
use super::run::{error_text, run_to_end};

/// Which health is asked for.
#[derive(Args, Clone, Debug)]
#[command(after_help = Self::after_help())]
pub struct HealthOptions {
    /// One service, such as bookd.v1.BookingService; without it the whole server
    #[arg(value_name = "SERVICE", default_value = "", hide_default_value = true)]
    service: String,
}

impl HealthOptions {
    fn after_help() -> String {
        let codes = Exit::some(&[
            (Exit::Done, "it serves"),
            (Exit::Failed, "it does not, or nobody answers"),
        ]);
        format!("Example:\n  bookd health\n\n{codes}")
    }
}

/// Runs the command; answers its exit code.
pub fn run(asked: &HealthOptions, options: &ClientOptions) -> Exit {
    match run_to_end(status(asked, options)) {
        Ok(status) => {
            let is_serving = status == ServingStatus::Serving;
            let name = status.as_str_name();
            say(&if options.json {
                format!("{:#}", json!({ "status": name }))
            } else {
                name.to_owned()
            });
            if is_serving { Exit::Done } else { Exit::Failed }
        }
        Err(error) => {
            complain(&error_text(&error));
            match error {
                CallError::Usage(_) => Exit::Usage,
                _ => Exit::Failed,
            }
        }
    }
}

async fn status(
    asked: &HealthOptions,
    options: &ClientOptions,
) -> Result<ServingStatus, CallError> {
    let server = options.server()?;
    let mut client = HealthClient::new(server.connect().await?);
    let request = Request::new(HealthCheckRequest {
        service: asked.service.clone(),
    });
    let answer = server.answer("Check", true, client.check(request)).await?;
    let answer = answer.map_err(refusal)?.into_inner();
    // A status that a newer server may have is none in which it serves.
    Ok(ServingStatus::try_from(answer.status).unwrap_or(ServingStatus::Unknown))
}
