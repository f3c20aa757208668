//! `bookd serve`: starts the service, prints what it serves, and stops it in order on SIGTERM or
//! Ctrl-C.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::exit::Exit;
use super::output::{complain, failed, say};
use super::reload::{ReadAgain, Reloadable};
use crate::auth::{Access, GrantError, Grants, Rates};
use crate::clock::SystemClock;
use crate::config::{ServeConfig, StoreUrl, TlsConfig, TraceConfig};
use crate::descriptors;
use crate::engine::{self, Stopped};
use crate::exposure;
use crate::layout::Layout;
use crate::open_store::open_sqlite;
use crate::service::{Parts, Service};
use crate::signals::{Hangups, SignalAction, Signals};
use crate::store::sqlite::Sqlite;
use crate::telemetry::{self, LogFilter};
use crate::tls;
use crate::trace_export::TraceExport;
use crate::zones::Zones;
use bookd_core::time::DAY;
use bookd_transport::{Ended, ServerLimits, Tls, Workers};

const MIB: u64 = 1_024 * 1_024;

/// Runs the service until a signal or until the writer must stop; answers the exit code.
pub fn run(config: &ServeConfig, read_again: ReadAgain) -> Exit {
    if config.print_config {
        say(&config.lines().join("\n"));
        return Exit::Done;
    }
    if let Err(refusal) = config.check_before_opening() {
        complain(&refusal);
        return Exit::Usage;
    }
    let runtime = match descriptors::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let served = telemetry::start(&config.log)
        .and_then(|log| runtime.block_on(serve(config, read_again, &log)));
    // A look-up of the name of an issuer's server may block a thread for long.
    runtime.shutdown_background();
    match served {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn serve(
    config: &ServeConfig,
    read_again: ReadAgain,
    log: &LogFilter,
) -> Result<Exit, String> {
    // From here on no signal ends the process by itself: a start may take long.
    let (signals, hangups) = (Signals::new()?, Hangups::new()?);
    let access = match access(config) {
        Ok(access) => access,
        Err(error) => {
            complain(&error.to_string());
            return Ok(Exit::Invalid);
        }
    };
    let tls = config.tls.files().map(Tls::load).transpose();
    let tls = tls.map_err(|error| error.to_string())?;
    let admin = config.admin_address()?;
    let zones = Arc::new(Zones::load(config.zones.as_deref()).map_err(|error| error.to_string())?);
    let (mut store, is_store_guarded) = match open_store(config, &zones)? {
        Ok(opened) => opened,
        Err(exit) => return Ok(exit),
    };
    let access = if is_store_guarded {
        access.guarded()
    } else {
        access
    };
    store.keep_reserve(u64::from(config.reserve) * MIB);
    let export = trace_export(config)?;
    let parts = Parts {
        admin,
        access: access.clone(),
        tls: tls.clone(),
        traces: export.as_ref().map(TraceExport::traces),
        ..parts(config, Arc::clone(&zones))
    };
    // Tokens of issuers are let in from the first call on. Where their keys cannot be had the start
    // goes on: everybody else is served.
    access.fetch_keys().await;
    let started = Service::start_logging(parts, Box::new(store), config.log.log_calls).await;
    let service = started.map_err(|error| error.to_string())?;
    announce(&service, config, &zones, is_store_guarded);
    let exporting = export.map(TraceExport::start);
    let running = Reloadable {
        config,
        access: &access,
        tokens: service.tokens(),
        quotas: service.quotas(),
        log,
    };
    let reload = || running.reload(read_again);
    let certificates = async {
        match tls {
            Some(tls) => tls::keep_current(tls, hangups, Arc::new(SystemClock)).await,
            None => std::future::pending().await,
        }
    };
    let exit = tokio::select! {
        exit = run_until_stopped(service, signals, config.grace, Some(reload)) => exit,
        never = certificates => match never {},
        never = access.keep_keys_current() => match never {},
        never = access.keep_refusals_logged() => match never {},
    };
    access.flush_refusals();
    // A stop that was cut short waits for no collector.
    if let (Some(exporting), Ok(Exit::Done)) = (exporting, &exit) {
        exporting.stop().await;
    }
    exit
}

/// Opens the store, and answers whether its tokens make callers need credentials; or the exit code of
/// what is refused, which was complained about.
fn open_store(
    config: &ServeConfig,
    zones: &Arc<Zones>,
) -> Result<Result<(Sqlite, bool), Exit>, String> {
    let StoreUrl::Sqlite(file) = &config.store;
    let store = match open_sqlite(file, zones) {
        Ok(store) => store,
        Err(error) => {
            complain(&error.to_string());
            return Ok(Err(Exit::from(&error)));
        }
    };
    let tokens = store.tokens().map_err(|error| error.to_string())?;
    // Only now it is known whether strangers would be served, or tokens be shown to the network.
    if let Err(refusal) = config.check(tokens.is_guarded()) {
        complain(&refusal);
        return Ok(Err(Exit::Usage));
    }
    Ok(Ok((store, tokens.is_guarded())))
}

/// What sends traces of calls, if there is a collector to send them to.
fn trace_export(config: &ServeConfig) -> Result<Option<TraceExport>, String> {
    let TraceConfig {
        otlp_endpoint,
        trace_ratio,
    } = &config.traces;
    let endpoint = otlp_endpoint.as_deref();
    endpoint
        .map(|it| TraceExport::new(it, *trace_ratio))
        .transpose()
}

/// Says in the log and on standard output what is served.
fn announce(service: &Service, config: &ServeConfig, zones: &Zones, is_store_guarded: bool) {
    let address = service.local_addr();
    exposure::warn(address, config.credentials(is_store_guarded));
    tracing::info!(%address, tls = tls_words(&config.tls), store = %config.store, zones = zones.release(), source = %zones.source(), "bookd serves");
    if let Some(admin) = service.admin_addr() {
        tracing::info!(address = %admin, "metrics and probes are served");
    }
    say(&banner(
        &address.to_string(),
        service.admin_addr(),
        config,
        zones,
    ));
}

/// What the settings alone tell of a service.
fn parts(config: &ServeConfig, zones: Arc<Zones>) -> Parts {
    Parts {
        listen: config.listen,
        clock: Arc::new(SystemClock),
        workers: config
            .workers
            .map_or_else(Workers::per_core, Workers::Threads),
        engine: engine::Settings {
            layout: Layout::Threads,
            is_clock_confirmed: config.confirm_clock,
            keep_changes: config.keep_changes.map(|days| i64::from(days) * DAY),
            quotas: config.quotas.clone(),
            ..engine::Settings::default()
        },
        limits: ServerLimits::default(),
        reflects: config.reflection,
        ..Parts::local(zones)
    }
}

/// Who may call, by the grants of the configuration.
fn access(config: &ServeConfig) -> Result<Access, GrantError> {
    let grants = Grants::load(&config.access, config.bootstrap_token_file.as_deref())?;
    let access = if grants.is_empty() {
        Access::open()
    } else {
        Access::granted(grants)
    };
    Ok(access.with_rates(Rates::new(config.rate())))
}

/// Whether connections are inside TLS, in a word for the log.
fn tls_words(config: &TlsConfig) -> &'static str {
    match (&config.tls_cert, &config.client_ca) {
        (None, _) => "off",
        (Some(_), None) => "on",
        (Some(_), Some(_)) => "mutual",
    }
}

/// Waits for a signal or for the writer to stop, and then stops the service in order. A second
/// signal cuts the stop short. SIGHUP calls `reload`, and without one stops the service too.
pub(super) async fn run_until_stopped(
    service: Service,
    mut signals: Signals,
    grace: Duration,
    reload: Option<impl Fn()>,
) -> Result<Exit, String> {
    loop {
        tokio::select! {
            action = signals.next() => match (action, &reload) {
                (SignalAction::Stop(signal), _) => {
                    tracing::info!("{signal}: stopping");
                    break;
                }
                (SignalAction::Reload, Some(reload)) => reload(),
                (SignalAction::Reload, None) => break,
            },
            () = service.failed() => break,
        }
    }
    let stopper = service.stopper();
    let stop = service.stop(grace);
    let second = async {
        signals.stop().await;
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
    // The files of clients are on their machines, under names of their own.
    let (with, grpcurl, bookd) = match tls_words(&config.tls) {
        "off" => ("", "-plaintext", ""),
        "on" => (" with TLS", "-cacert ca.pem", " --server-ca ca.pem"),
        _ => (
            " with TLS and client certificates",
            "-cacert ca.pem -cert client.pem -key client.key",
            " --server-ca ca.pem --client-cert client.pem --client-key client.key",
        ),
    };
    let grpcurl = if config.reflection {
        by_grpcurl(address, grpcurl)
    } else {
        "Try it".to_owned()
    };
    format!(
        "bookd {version} serves gRPC{with} on {address}, keeps {store}, time zones {release} ({source})\n\
         {admin}\n\
         {grpcurl} with this program: bookd slots ada tomorrow --server {address}{bookd}",
        version = env!("CARGO_PKG_VERSION"),
        store = config.store,
        release = zones.release(),
        source = zones.source(),
    )
}

/// Calls with grpcurl, which reads the contract by reflection.
fn by_grpcurl(address: &str, grpcurl: &str) -> String {
    format!(
        "Try it, with grpcurl:\n\
         \n\
         \x20 grpcurl {grpcurl} -d '{{\"calendar_id\":\"ada\",\"time_zone\":\"Europe/Paris\",\"rules\":[{{\"start_time\":\"09:00\",\"end_time\":\"17:00\"}}]}}' {address} bookd.v1.AvailabilityService/SetAvailability\n\
         \x20 grpcurl {grpcurl} -d '{{\"calendar_id\":\"ada\",\"date\":\"'$(date -d tomorrow +%F)'\"}}' {address} bookd.v1.SlotsService/ListSlots\n\
         \x20 grpcurl {grpcurl} -d '{{\"calendar_id\":\"ada\",\"local_start\":\"'$(date -d tomorrow +%F)'T09:00\",\"invitee\":{{\"name\":\"Grace\"}}}}' {address} bookd.v1.BookingService/BookAppointment\n\
         \n\
         or"
    )
}
