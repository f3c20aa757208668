//! Credentials that are far too long, many at a time: each call is refused, and they take bounded
//! memory.

use std::net::SocketAddr;
use std::path::Path;

use bookd::proto::v1 as pb;
use bookd::proto::v1::list_service_client::ListServiceClient;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::authority::Authority;
use crate::besieged::{Besieged, GoodClient};
use crate::hostile_memory::{MEMORY_MAX, reason};

const MIB: usize = 1_024 * 1_024;
/// As long as a header may be that the server reads whole, with some left for the other headers.
const READ_WHOLE: usize = 15_000;
const CONNECTIONS: usize = 8;
/// The calls of each connection, all at once.
const CALLS: usize = 50;

/// The header of a token of so many characters.
fn bearer(characters: usize) -> MetadataValue<Ascii> {
    format!("Bearer {}", "q".repeat(characters))
        .parse()
        .unwrap()
}

/// The header of the only token that the server knows, whose file is in the folder.
fn granted(folder: &Path) -> MetadataValue<Ascii> {
    let token = "q4".repeat(16);
    std::fs::write(folder.join("root"), &token).unwrap();
    format!("Bearer {token}").parse().unwrap()
}

async fn list(channel: Channel, token: MetadataValue<Ascii>) -> Result<(), Status> {
    let mut request = Request::new(pb::ListAppointmentsRequest::default());
    request.metadata_mut().insert("authorization", token);
    let mut client = ListServiceClient::new(channel);
    client.list_appointments(request).await.map(drop)
}

/// Sends so many tokens of this length at once, on connections of their own; answers the refusals.
async fn sent(address: SocketAddr, client: &GoodClient, characters: usize) -> Vec<Status> {
    let token = bearer(characters);
    let mut calls = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let channel = client.connect(address).await;
        for _ in 0..CALLS {
            calls.spawn(list(channel.clone(), token.clone()));
        }
    }
    let answers = calls.join_all().await.into_iter();
    answers.map(|answer| answer.unwrap_err()).collect()
}

async fn is_unharmed(folder: TempDir, words: &[&str], client: GoodClient) {
    let mut besieged = Besieged::start_with(folder, words, client.clone()).await;
    let address = besieged.address();
    // Each token is read whole, and it is no token: no call may say anything else.
    for refused in sent(address, &client, READ_WHOLE).await {
        let told = (refused.code(), reason(&refused));
        let is_refused = matches!(
            (told.0, told.1.as_str()),
            (Code::Unauthenticated, "CREDENTIALS_INVALID")
                | (Code::ResourceExhausted, "RATE_LIMITED")
        );
        assert!(is_refused, "{refused:?}");
    }
    // A header of a mebibyte is refused by HTTP/2, before anything asks who calls. What a client is
    // told of it depends on how much of it was sent.
    let (refused, booked) = tokio::join!(sent(address, &client, MIB), besieged.books(5));
    assert_eq!((refused.len(), booked.len()), (CONNECTIONS * CALLS, 5));
    besieged.books(5).await;
    besieged.ends_unharmed(MEMORY_MAX).await;
}

#[tokio::test]
async fn four_hundred_tokens_of_a_mebibyte_are_refused_and_others_are_served() {
    let folder = TempDir::new().unwrap();
    let bearer = Some(granted(folder.path()));
    let root = folder.path().join("root").display().to_string();
    let client = GoodClient {
        bearer,
        authority: None,
    };
    is_unharmed(folder, &["--bootstrap-token-file", &root], client).await;
}

#[tokio::test]
async fn four_hundred_tokens_of_a_mebibyte_inside_tls_are_refused_and_others_are_served() {
    let folder = TempDir::new().unwrap();
    let bearer = Some(granted(folder.path()));
    let authority = Authority::new("ours");
    let issued = authority.server("one");
    let files = ["root", "server.pem", "server.key"].map(|name| folder.path().join(name));
    std::fs::write(&files[1], &issued.certificate).unwrap();
    std::fs::write(&files[2], &issued.key).unwrap();
    let [root, certificate, key] = files.map(|file| file.display().to_string());
    let words = [
        "--bootstrap-token-file",
        &root,
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
    ];
    let client = GoodClient {
        bearer,
        authority: Some(authority.pem()),
    };
    is_unharmed(folder, &words, client).await;
}
