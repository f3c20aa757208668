//! The service in the process of the test, on a free port and with a manual clock, and helpers to
//! call it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bookd::auth::Access;
use bookd::clock::ManualClock;
use bookd::engine::{Engine, Settings, Stopped};
use bookd::open_store::open_sqlite;
use bookd::proto::v1 as pb;
use bookd::proto::v1::availability_service_client::AvailabilityServiceClient;
use bookd::proto::v1::booking_service_client::BookingServiceClient;
use bookd::proto::v1::calendar_service_client::CalendarServiceClient;
use bookd::proto::v1::list_service_client::ListServiceClient;
use bookd::proto::v1::server_info_service_client::ServerInfoServiceClient;
use bookd::proto::v1::slots_service_client::SlotsServiceClient;
use bookd::service::{Parts, Service};
use bookd::store::Store;
use bookd::zones::Zones;
use bookd_core::time::Instant;
use bookd_transport::{Ended, Workers};
use prost_types::Timestamp;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

/// Monday the 4th of January 2027. The clock of a test begins on it at 08:00 UTC, if not said
/// otherwise.
pub const MONDAY: &str = "2027-01-04";

pub fn instant(text: &str) -> Instant {
    Instant::from_seconds(text.parse::<jiff::Timestamp>().unwrap().as_second())
}

pub fn timestamp(text: &str) -> Timestamp {
    Timestamp {
        seconds: instant(text).seconds(),
        nanos: 0,
    }
}

pub fn minutes(minutes: i64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: minutes * 60,
        nanos: 0,
    }
}

/// A running service with its file and clock, and clients of it.
pub struct Bookd {
    service: Service,
    folder: TempDir,
    settings: Settings,
    pub clock: ManualClock,
    pub channel: Channel,
}

pub async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

impl Bookd {
    pub async fn start() -> Self {
        Self::start_at("2027-01-04T08:00:00Z").await
    }

    /// Starts on an empty store with the clock at this instant.
    pub async fn start_at(now: &str) -> Self {
        let settings = Settings {
            is_clock_confirmed: true,
            ..Settings::default()
        };
        Self::start_with(now, settings).await
    }

    /// Starts on a copy of a file of `tests/files`, with the clock at this instant.
    pub async fn start_from(file: &str, now: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/files")
            .join(file);
        std::fs::copy(kept, folder.path().join("bookd.db")).unwrap();
        let settings = Settings {
            is_clock_confirmed: true,
            ..Settings::default()
        };
        Self::start_in(
            folder,
            ManualClock::new(instant(now)),
            settings,
            Arc::new(Zones::bundled()),
        )
        .await
    }

    /// Starts on an empty store with these settings of the engine.
    pub async fn start_with(now: &str, settings: Settings) -> Self {
        let zones = Arc::new(Zones::bundled());
        Self::start_in(
            tempfile::tempdir().unwrap(),
            ManualClock::new(instant(now)),
            settings,
            zones,
        )
        .await
    }

    /// Starts on the file in this folder, with the clock at this instant.
    pub async fn start_in_folder(folder: TempDir, now: &str, settings: Settings) -> Self {
        Self::start_in(
            folder,
            ManualClock::new(instant(now)),
            settings,
            Arc::new(Zones::bundled()),
        )
        .await
    }

    async fn start_in(
        folder: TempDir,
        clock: ManualClock,
        engine: Settings,
        zones: Arc<Zones>,
    ) -> Self {
        let store = open_sqlite(&folder.path().join("bookd.db"), &zones).unwrap();
        Self::start_with_store(Box::new(store), folder, clock, engine, zones).await
    }

    /// Starts on a store that the test has made.
    pub async fn start_on(store: Box<dyn Store>) -> Self {
        let settings = Settings {
            is_clock_confirmed: true,
            ..Settings::default()
        };
        let (folder, zones) = (tempfile::tempdir().unwrap(), Arc::new(Zones::bundled()));
        let clock = ManualClock::new(instant("2027-01-04T08:00:00Z"));
        Self::start_with_store(store, folder, clock, settings, zones).await
    }

    /// Starts on an empty store, behind these grants.
    pub async fn start_guarded(access: Access) -> Self {
        let settings = Settings {
            is_clock_confirmed: true,
            ..Settings::default()
        };
        Self::start_guarded_with(access, settings).await
    }

    pub async fn start_guarded_with(access: Access, settings: Settings) -> Self {
        let (folder, zones) = (tempfile::tempdir().unwrap(), Arc::new(Zones::bundled()));
        let clock = ManualClock::new(instant("2027-01-04T08:00:00Z"));
        let store = open_sqlite(&folder.path().join("bookd.db"), &zones).unwrap();
        Self::serve(Box::new(store), folder, clock, settings, zones, access).await
    }

    /// Starts on the file in this folder, behind these grants, with the clock at this instant.
    pub async fn start_guarded_in(
        folder: TempDir,
        now: &str,
        settings: Settings,
        access: Access,
    ) -> Self {
        let (clock, zones) = (ManualClock::new(instant(now)), Arc::new(Zones::bundled()));
        let store = open_sqlite(&folder.path().join("bookd.db"), &zones).unwrap();
        Self::serve(Box::new(store), folder, clock, settings, zones, access).await
    }

    async fn start_with_store(
        store: Box<dyn Store>,
        folder: TempDir,
        clock: ManualClock,
        engine: Settings,
        zones: Arc<Zones>,
    ) -> Self {
        Self::serve(store, folder, clock, engine, zones, Access::open()).await
    }

    async fn serve(
        store: Box<dyn Store>,
        folder: TempDir,
        clock: ManualClock,
        engine: Settings,
        zones: Arc<Zones>,
        access: Access,
    ) -> Self {
        let parts = Parts {
            access,
            clock: Arc::new(clock.clone()),
            workers: Workers::Threads(NonZeroUsize::MIN),
            engine: engine.clone(),
            ..Parts::local(zones)
        };
        let service = Service::start(parts, store).await.unwrap();
        let channel = connect(service.local_addr()).await;
        Self {
            service,
            folder,
            clock,
            channel,
            settings: engine,
        }
    }

    #[allow(dead_code, reason = "for tests that look at the file")]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("bookd.db")
    }

    /// Stops the service and starts it again on the same file.
    pub async fn restart(self) -> Self {
        self.restart_with(Zones::bundled()).await
    }

    /// Stops the service and starts it again on the same file with other time zones.
    pub async fn restart_with(self, zones: Zones) -> Self {
        let Self {
            service,
            folder,
            clock,
            channel,
            settings,
        } = self;
        drop(channel);
        assert_eq!(service.stop(Duration::from_secs(5)).await.1, Stopped::Done);
        Self::start_in(folder, clock, settings, Arc::new(zones)).await
    }

    pub async fn stop(self) {
        drop(self.stop_and_keep().await);
    }

    /// Stops the service; its file stays until the folder is dropped.
    pub async fn stop_and_keep(self) -> TempDir {
        drop(self.channel);
        assert_eq!(
            self.service.stop(Duration::from_secs(5)).await.1,
            Stopped::Done
        );
        self.folder
    }

    /// Waits until the writer stops by itself, stops the rest, and answers the cause.
    pub async fn failed(self) -> Stopped {
        self.service.failed().await;
        drop(self.channel);
        self.service.stop(Duration::from_secs(5)).await.1
    }

    /// Waits until the writer has stopped by itself.
    pub async fn writer_stopped(&self) {
        self.service.failed().await;
    }

    /// Stops the service while streams are open, and answers whether they ended in time.
    pub async fn stop_beside_streams(self) -> Ended {
        let (ended, stopped) = self.service.stop(Duration::from_secs(20)).await;
        assert_eq!(stopped, Stopped::Done);
        ended
    }

    /// The engine of the service.
    pub fn engine(&self) -> Engine {
        self.service.engine()
    }

    /// The address on which the service listens.
    pub fn address(&self) -> SocketAddr {
        self.service.local_addr()
    }

    /// The time that the clock shows, in seconds.
    pub fn clock_seconds(&self) -> i64 {
        bookd::clock::Clock::now(&self.clock).seconds()
    }

    /// Lets so many seconds pass, which the writer may not have seen yet.
    pub fn pass(&self, seconds: i64) {
        self.clock.advance(seconds);
    }

    /// Lets so many seconds pass, and waits until the writer has seen it.
    pub async fn advance(&self, seconds: i64) {
        self.clock.advance(seconds);
        self.service.engine().tick().await.unwrap();
    }

    /// Sets the clock ahead or back while no time passes, and waits until the writer has seen it.
    pub async fn jump(&self, seconds: i64) {
        self.clock.jump(seconds);
        self.service.engine().tick().await.unwrap();
    }

    /// Lets time pass until the clock shows this, and waits until the writer has seen it.
    pub async fn set_clock(&self, now: &str) {
        self.clock.set(instant(now));
        self.service.engine().tick().await.unwrap();
    }

    pub fn calendars(&self) -> CalendarServiceClient<Channel> {
        CalendarServiceClient::new(self.channel.clone())
    }

    pub fn availability(&self) -> AvailabilityServiceClient<Channel> {
        AvailabilityServiceClient::new(self.channel.clone())
    }

    pub fn slots(&self) -> SlotsServiceClient<Channel> {
        SlotsServiceClient::new(self.channel.clone())
    }

    pub fn booking(&self) -> BookingServiceClient<Channel> {
        BookingServiceClient::new(self.channel.clone())
    }

    pub fn lists(&self) -> ListServiceClient<Channel> {
        ListServiceClient::new(self.channel.clone())
    }

    pub fn info(&self) -> ServerInfoServiceClient<Channel> {
        ServerInfoServiceClient::new(self.channel.clone())
    }

    /// Opens a calendar every day between these local times.
    pub async fn open(&self, calendar: &str, start: &str, end: &str) {
        let rule = pb::AvailabilityRule {
            start_time: start.to_owned(),
            end_time: end.to_owned(),
            ..Default::default()
        };
        let request = pb::SetAvailabilityRequest {
            calendar_id: calendar.to_owned(),
            rules: vec![rule],
            ..Default::default()
        };
        self.availability().set_availability(request).await.unwrap();
    }

    pub async fn put_type(&self, calendar: &str, appointment_type: pb::AppointmentType) {
        let request = pb::PutAppointmentTypeRequest {
            calendar_id: calendar.to_owned(),
            appointment_type: Some(appointment_type),
            ..Default::default()
        };
        self.calendars()
            .put_appointment_type(request)
            .await
            .unwrap();
    }

    pub async fn book(
        &self,
        request: pb::BookAppointmentRequest,
    ) -> Result<pb::Appointment, Status> {
        let answer = self.booking().book_appointment(request).await?;
        Ok(answer.into_inner().appointment.unwrap())
    }

    /// The starts offered on a date, in the calendar's local time.
    pub async fn offered(&self, calendar: &str, date: &str) -> Result<Vec<String>, Status> {
        let request = pb::ListSlotsRequest {
            calendar_id: calendar.to_owned(),
            date: date.to_owned(),
            time_zone: "UTC".to_owned(),
            ..Default::default()
        };
        let answer = self.slots().list_slots(request).await?.into_inner();
        Ok(answer
            .slots
            .into_iter()
            .map(|slot| slot.local_start[11..].to_owned())
            .collect())
    }

    pub async fn revision(&self) -> i64 {
        self.info()
            .get_server_info(pb::GetServerInfoRequest {})
            .await
            .unwrap()
            .into_inner()
            .revision
    }
}

/// A booking on the Monday of the tests, at a UTC clock time.
pub fn at(calendar: &str, clock: &str) -> pb::BookAppointmentRequest {
    pb::BookAppointmentRequest {
        calendar_id: calendar.to_owned(),
        start_time: Some(timestamp(&format!("{MONDAY}T{clock}:00Z"))),
        invitee: Some(pb::Invitee {
            name: "Grace Hopper".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The reason of an error; asserts that its domain is `bookd`.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "bookd");
    info.reason.clone()
}

/// The fields that a BadRequest names.
pub fn invalid_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|it| it.field.clone())
        .collect()
}

/// The codes that a PreconditionFailure names.
pub fn violations(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details
        .precondition_failure()
        .unwrap()
        .violations
        .iter()
        .map(|it| it.r#type.clone())
        .collect()
}

/// Routes as `bookd_transport::start` takes them, with nothing to run beside their calls.
pub fn alone(
    routes: tonic::service::Routes,
) -> (
    bookd::api::stack::GrpcStack<tonic::service::Routes>,
    std::future::Ready<()>,
) {
    (bookd::api::stack::alone(routes), std::future::ready(()))
}
