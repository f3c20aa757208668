//! No call holds a whole change in memory, however many events the change has: neither a page, nor
//! a history, nor a watch.

use std::fmt::Write;
use std::path::Path;

use bookd::proto::v1 as pb;
use bookd::proto::v1::list_service_client::ListServiceClient;
use tonic::transport::Channel;

use crate::besieged::Held;
use crate::harness::connect;
use crate::kill::Process;
use crate::people::{bookd, said};

/// The calendars of one import, which is one change, and the appointments of each.
const CALENDARS: usize = 20;
const EACH: usize = 1_000;
/// The most memory, in KiB, that the calls below may add to a server. Most of it are the pages that
/// SQLite keeps for its readers. A caller that held the change whole would take some 45 MiB more
/// (2.2 KiB an event), and two callers twice that.
const KIB_MAX: u64 = 44 * 1_024;

fn import(folder: &Path) {
    let mut file = "{\"calendars\":[".to_owned();
    for calendar in 0..CALENDARS {
        let comma = if calendar > 0 { "," } else { "" };
        write!(
            file,
            "{comma}{{\"calendar_id\":\"c{calendar}\",\"time_zone\":\"UTC\",\"appointments\":["
        )
        .unwrap();
        for number in 0..EACH {
            let (comma, day, hour) = (if number > 0 { "," } else { "" }, number / 24, number % 24);
            let date = format!(
                "{}-{:02}-{:02}",
                2031 + day / 336,
                1 + day / 28 % 12,
                1 + day % 28
            );
            write!(
                file,
                "{comma}{{\"appointment_id\":\"0190{calendar:04x}-{number:04x}-7000-8000-000000000001\",\
                 \"start_time\":\"{date}T{hour:02}:00:00Z\",\"invitee\":{{\"name\":\"Invitee {number}\"}}}}"
            )
            .unwrap();
        }
        file.push_str("]}");
    }
    file.push_str("]}");
    std::fs::write(folder.join("calendars.json"), file).unwrap();
    let imported = bookd("127.0.0.1:1", folder, &["import", "calendars.json"]);
    assert!(imported.status.success(), "{}", said(&imported));
}

async fn changes(
    channel: &Channel,
    calendar_id: &str,
    appointment_id: &str,
    page_size: i32,
) -> usize {
    let (calendar_id, appointment_id) = (calendar_id.to_owned(), appointment_id.to_owned());
    let request = pb::ListChangesRequest {
        calendar_id,
        appointment_id,
        page_size,
        ..Default::default()
    };
    let answer = ListServiceClient::new(channel.clone())
        .list_changes(request)
        .await
        .unwrap()
        .into_inner();
    answer.changes.iter().map(|it| it.events.len()).sum()
}

/// The number of events of the first change that a watch of these calendars gets.
async fn watched(channel: &Channel, calendar_id: &str) -> usize {
    let request = pb::WatchAppointmentsRequest {
        start_revision: 1,
        calendar_id: calendar_id.to_owned(),
        ..Default::default()
    };
    let mut stream = ListServiceClient::new(channel.clone())
        .watch_appointments(request)
        .await
        .unwrap()
        .into_inner();
    let mut events = 0;
    while let Some(message) = stream.message().await.unwrap() {
        let Some(pb::watch_appointments_response::Message::Change(change)) = message.message else {
            continue;
        };
        events += change.events.len();
        if message.is_last {
            break;
        }
    }
    events
}

#[tokio::test]
async fn whoever_reads_a_change_of_twenty_thousand_events_takes_a_bounded_part_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    import(folder.path());
    let process = Process::start(&folder.path().join("bookd.db"));
    let channel = connect(process.address).await;
    let before = Held::of(process.id());
    Held::forget_peak(process.id());
    assert!(changes(&channel, "c7", "", 1).await > 0);
    assert!(changes(&channel, "c7", "", 1_000).await > 0);
    assert_eq!(
        changes(&channel, "", "01900007-0007-7000-8000-000000000001", 1).await,
        1
    );
    assert!(watched(&channel, "c7").await >= EACH);
    assert!(watched(&channel, "").await >= CALENDARS * EACH);
    let (one, other) = tokio::join!(watched(&channel, ""), watched(&channel, ""));
    assert_eq!(one, other);
    let more = Held::of(process.id())
        .memory_peak
        .saturating_sub(before.memory);
    assert!(more < KIB_MAX, "{} MiB more than before", more / 1_024);
    drop(channel);
    assert!(process.terminate_beside_clients().await.success());
}
