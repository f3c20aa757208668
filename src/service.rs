//! The whole service: zones, store, engine, routes and transport.
//!
//! They start in this order and stop in the reverse order.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bookd_core::token::Tokens;
use bookd_transport::{Admission, Ended, Observing, ServerLimits, Stopper, Tls, Traces, Workers};
use tokio::sync::watch::Receiver;

use crate::admin_port::{AdminPort, BoundPort, Observed, SILENCE_MAX};
use crate::api::context::Api;
use crate::api::{self, HealthReporter, SERVICES, stack};
use crate::auth::Access;
use crate::clock::{Clock, SystemClock};
use crate::descriptors;
use crate::engine::{self, Engine, Stopped, TenantQuotas};
use crate::store::OpenError;
use crate::zones::Zones;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or is none of this machine.
    #[error(
        "cannot listen on {address}: {}",
        descriptors::message(error, "; choose another with --listen")
    )]
    Listen {
        /// The address to listen on.
        address: SocketAddr,
        /// The error of binding it.
        error: std::io::Error,
    },
    /// The address of the admin port is in use, or is none of this machine.
    #[error(
        "cannot listen on {address}: {}",
        descriptors::message(error, "; choose another with --admin")
    )]
    Admin {
        /// The address of the admin port.
        address: SocketAddr,
        /// The error of binding it.
        error: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The store failed after it was opened.
    #[error("{0}")]
    Store(#[from] crate::store::StoreError),
    /// The descriptors for reflection are damaged.
    #[error("{0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The threads or runtimes of the transport cannot be made.
    #[error("the server cannot start: {}", descriptors::message(.0, ""))]
    Server(std::io::Error),
}

/// What a service is started with, except its store.
pub struct Parts {
    /// The address to listen on; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// The address of the admin port; none = there is no such port.
    pub admin: Option<SocketAddr>,
    /// The time zones in use.
    pub zones: Arc<Zones>,
    /// The clock of the engine.
    pub clock: Arc<dyn Clock>,
    /// Where connections are served.
    pub workers: Workers,
    /// The settings of the engine.
    pub engine: engine::Settings,
    /// The limits of connections and calls.
    pub limits: ServerLimits,
    /// Who may call.
    pub access: Access,
    /// TLS; none for plain connections.
    pub tls: Option<Tls>,
    /// Whether strangers may read the contract by reflection.
    pub reflects: bool,
    /// Where calls are traced; none where they are not.
    pub traces: Option<Arc<Traces>>,
}

impl Parts {
    /// A service for this machine alone: a free port, the system's clock, and the defaults of the
    /// binary.
    pub fn local(zones: Arc<Zones>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            admin: None,
            zones,
            clock: Arc::new(SystemClock),
            workers: Workers::per_core(),
            engine: engine::Settings::default(),
            limits: ServerLimits::default(),
            access: Access::open(),
            tls: None,
            reflects: true,
            traces: None,
        }
    }
}

/// A running service.
pub struct Service {
    server: bookd_transport::Running,
    engine: Engine,
    writer: engine::RunningEngine,
    health: HealthReporter,
    /// The admin port. It closes last.
    admin: Option<AdminPort>,
}

impl Service {
    /// The tokens of the store as of the last commit.
    pub fn tokens(&self) -> Receiver<Tokens> {
        self.engine.tokens()
    }

    /// The quotas of tenants, to be replaced or looked at.
    pub fn quotas(&self) -> TenantQuotas {
        self.engine.quotas()
    }

    /// Starts a service on this store, without an access log.
    pub async fn start(
        parts: Parts,
        store: Box<dyn crate::store::Store>,
    ) -> Result<Self, StartError> {
        Self::start_logging(parts, store, false).await
    }

    /// Starts a service on this store, with an access log if `is_logging`.
    pub async fn start_logging(
        parts: Parts,
        store: Box<dyn crate::store::Store>,
        is_logging: bool,
    ) -> Result<Self, StartError> {
        let address = parts.listen;
        let listener =
            TcpListener::bind(address).map_err(|error| StartError::Listen { address, error })?;
        let admin = parts.admin.map(bind_admin).transpose()?;
        let clock = Arc::clone(&parts.clock);
        let (engine, writer) = Engine::start(store, parts.clock, parts.engine)?;
        let access = parts.access.clone();
        let api = Api {
            access: parts.access.with_store_tokens(engine.tokens(), clock),
            ..Api::new(engine.clone(), parts.zones)
        };
        let (routes, health) = api::routes(api, parts.reflects).await?;
        // All workers share one admission, which counts over the process.
        let admission = Arc::new(Admission::new(parts.limits.admission));
        let calls = stack::call_metrics();
        let is_counting = admin.is_some();
        let (shared_admission, shared_calls) = (Arc::clone(&admission), Arc::clone(&calls));
        let traces = parts.traces.clone();
        let service = move |_worker| {
            let (routes, delivering) = routes.on_worker();
            let observing = Observing {
                is_logging,
                counts: is_counting.then(|| shared_calls.on_worker()),
                traces: traces.clone(),
            };
            let stack = stack::around(routes, Arc::clone(&shared_admission), observing);
            (stack, delivering)
        };
        let started = bookd_transport::start_with_tls(
            listener,
            parts.limits,
            parts.workers,
            parts.tls,
            service,
        );
        let server = started.map_err(StartError::Server)?;
        let observed = Observed {
            calls,
            connections: server.metrics(),
            admission,
            workers: server.liveness(),
            engine: engine.status(),
            access,
            traces: parts.traces,
            silence_max: SILENCE_MAX,
        };
        let started = admin.map(|port| port.start(observed)).transpose();
        let admin = started.map_err(StartError::Server)?;
        Ok(Self {
            server,
            engine,
            writer,
            health,
            admin,
        })
    }

    /// The address that the service listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// The address of the admin port; none without one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(AdminPort::local_addr)
    }

    /// A handle to the engine.
    pub fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// A handle that ends the transport, from any thread; `stop` waits for it.
    pub fn stopper(&self) -> Stopper {
        self.server.stopper()
    }

    /// Waits until the writer stops by itself, which it does only when it must not continue.
    pub async fn failed(&self) {
        self.engine.closed().await;
    }

    /// Stops health first, then watches, connections and the writer, so that every call that began
    /// is answered; and the admin port last, which says meanwhile that the server drains.
    pub async fn stop(self, grace: Duration) -> (Ended, Stopped) {
        if let Some(admin) = &self.admin {
            admin.drain();
        }
        for service in SERVICES.iter().copied().chain([""]) {
            self.health
                .set_service_status(service, tonic_health::ServingStatus::NotServing)
                .await;
        }
        // A watch would never end by itself. Its last message says up to which revision it is
        // complete.
        self.engine.end_watches();
        let ended = self.server.shutdown(grace).await;
        // The clients of commands that are still in the queue are gone.
        self.engine.end();
        let stopped = self.writer.stopped().await;
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
        (ended, stopped)
    }
}

fn bind_admin(address: SocketAddr) -> Result<BoundPort, StartError> {
    BoundPort::bind(address).map_err(|error| StartError::Admin { address, error })
}
