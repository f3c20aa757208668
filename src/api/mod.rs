//! The gRPC API: handlers that parse a request, call the engine and render the answer.
//!
//! Every handler reads all fields before it asks the engine, and `convert/status` alone decides
//! what an error looks like.

pub mod context;
pub mod convert;
mod encoded;
mod no_answer;
mod own;
mod routes;
pub mod services;
pub mod stack;
mod stream;

use crate::proto::FILE_DESCRIPTOR_SET;

use context::Api;

pub use routes::Routes;
pub use services::SERVICES;

/// `ErrorInfo.domain` of every error.
pub use convert::status::ERROR_DOMAIN;
/// Sets the health of each service of `SERVICES`, and of all of them by the empty name.
pub use tonic_health::server::HealthReporter;

/// All services with health, and with reflection unless the operator switches it off; and the
/// reporter of their health.
///
/// # Errors
///
/// The descriptors for reflection are damaged.
pub async fn routes(
    api: Api,
    reflects: bool,
) -> Result<(Routes, HealthReporter), tonic_reflection::server::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health
            .set_service_status(service, tonic_health::ServingStatus::Serving)
            .await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut standard = tonic::service::Routes::builder();
    standard.add_service(health_service);
    if reflects {
        standard
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
    }
    Ok((Routes::new(api, standard.routes()), health))
}

/// The services of the contract, without health and reflection.
pub fn services(api: Api) -> Routes {
    Routes::new(api, tonic::service::Routes::default())
}
