//! `bookd serve`: starts the service, prints what it serves, and stops it in order on SIGTERM or
//! Ctrl-C.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::exit::Exit;
use super::output::{complain, failed, say};
use crate::clock::SystemClock;
use crate::config::{ServeConfig, StoreUrl};
use crate::descriptors;
use crate::engine::{self, Stopped};
use crate::layout::Layout;
use crate::open_store::open_sqlite;
use crate::service::{Parts, Service};
use crate::signals::Signals;
use crate::telemetry;
use crate::zones::Zones;
use bookd_core::time::DAY;
use bookd_transport::{Ended, ServerLimits, Workers};

const MIB: u64 = 1_024 * 1_024;

/// Runs the service until a signal or until the writer must stop; answers the exit code.
pub fn run(config: &ServeConfig) -> Exit {
    if config.print_config {
        say(&config.lines().join("\n"));
        return Exit::Done;
    }
    let runtime = match descriptors::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match telemetry::start(&config.log).and_then(|()| runtime.block_on(serve(config))) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn serve(config: &ServeConfig) -> Result<Exit, String> {
    let admin = match config.admin_address() {
        Ok(admin) => admin,
        Err(why) => {
            complain(&why);
            return Ok(Exit::Usage);
        }
    };
    let zones = Arc::new(Zones::load(config.zones.as_deref()).map_err(|error| error.to_string())?);
    let StoreUrl::Sqlite(file) = &config.store;
    let mut store = match open_sqlite(file, &zones) {
        Ok(store) => store,
        Err(error) => {
            complain(&error.to_string());
            return Ok(Exit::from(&error));
        }
    };
    store.keep_reserve(u64::from(config.reserve) * MIB);
    let parts = Parts {
        listen: config.listen,
        admin,
        zones: Arc::clone(&zones),
        clock: Arc::new(SystemClock),
        workers: config
            .workers
            .map_or_else(Workers::per_core, Workers::Threads),
        engine: engine::Settings {
            layout: Layout::Threads,
            is_clock_confirmed: config.confirm_clock,
            keep_changes: config.keep_changes.map(|days| i64::from(days) * DAY),
            ..engine::Settings::default()
        },
        limits: ServerLimits::default(),
    };
    let signals = Signals::new()?;
    let started = Service::start_logging(parts, Box::new(store), config.log.log_calls).await;
    let service = started.map_err(|error| error.to_string())?;
    let address = service.local_addr();
    tracing::info!(%address, store = %config.store, zones = zones.release(), source = %zones.source(), "bookd serves");
    if let Some(admin) = service.admin_addr() {
        tracing::info!(address = %admin, "metrics and probes are served");
    }
    say(&banner(
        &address.to_string(),
        service.admin_addr(),
        config,
        &zones,
    ));
    run_until_stopped(service, signals, config.grace).await
}

/// Waits for a signal or for the writer to stop, and then stops the service in order. A second
/// signal cuts the stop short.
pub(super) async fn run_until_stopped(
    service: Service,
    mut signals: Signals,
    grace: Duration,
) -> Result<Exit, String> {
    tokio::select! {
        signal = signals.next() => tracing::info!("{signal}: stopping"),
        () = service.failed() => {}
    }
    let stopper = service.stopper();
    let stop = service.stop(grace);
    let second = async {
        signals.next().await;
        tracing::warn!("second signal: stopping now");
        stopper.abort();
        std::future::pending::<()>().await
    };
    let (ended, stopped) = tokio::select! {
        ended = stop => ended,
        () = second => return Err("the stop was cut short".to_owned()),
    };
    if ended == Ended::Cut {
        tracing::warn!("calls were still in flight when the grace was over");
    }
    match stopped {
        Stopped::Done => {
            tracing::info!("stopped; everything that was acknowledged is on disk");
            Ok(Exit::Done)
        }
        Stopped::Failed(why) => {
            complain(&why);
            Ok(Exit::WriterStopped)
        }
        Stopped::FileGone(why) => {
            complain(&why);
            Ok(Exit::FileGone)
        }
    }
}

/// The text that is printed when the service has started.
fn banner(address: &str, admin: Option<SocketAddr>, config: &ServeConfig, zones: &Zones) -> String {
    let admin = admin.map_or_else(String::new, |it| {
        format!("metrics and probes: http://{it}/metrics, /livez, /readyz\n")
    });
    format!(
        "bookd {version} serves gRPC on {address}, keeps {store}, time zones {release} ({source})\n\
         {admin}\n\
         Try it, with grpcurl:\n\
         \n\
         \x20 grpcurl -plaintext -d '{{\"calendar_id\":\"ada\",\"time_zone\":\"Europe/Paris\",\"rules\":[{{\"start_time\":\"09:00\",\"end_time\":\"17:00\"}}]}}' {address} bookd.v1.AvailabilityService/SetAvailability\n\
         \x20 grpcurl -plaintext -d '{{\"calendar_id\":\"ada\",\"date\":\"'$(date -d tomorrow +%F)'\"}}' {address} bookd.v1.SlotsService/ListSlots\n\
         \x20 grpcurl -plaintext -d '{{\"calendar_id\":\"ada\",\"local_start\":\"'$(date -d tomorrow +%F)'T09:00\",\"invitee\":{{\"name\":\"Grace\"}}}}' {address} bookd.v1.BookingService/BookAppointment\n\
         \n\
         or with this program: bookd slots ada tomorrow --server {address}",
        version = env!("CARGO_PKG_VERSION"),
        store = config.store,
        release = zones.release(),
        source = zones.source(),
    )
}
