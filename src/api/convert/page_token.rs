//! Page tokens: opaque to clients, and bound to the caller and the arguments of the first page.
//!
//! A token is no secret: a forged one must be as harmless as any other argument.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::api::convert::parse::Fields;
use crate::proto::v1 as pb;
use bookd_core::ids::Caller;

/// The longest token that is decoded, in characters.
const TOKEN_CHARACTERS_MAX: usize = 1_024;

/// The position at which a list continues.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PageToken {
    /// The fingerprint of the caller and of the request without its page fields.
    #[prost(fixed64, tag = "1")]
    pub(crate) fingerprint: u64,
    /// The start of the last item, in seconds, in lists by time.
    #[prost(sint64, tag = "2")]
    pub(crate) start: i64,
    /// The last item's id.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) id: Vec<u8>,
    /// The revision that all pages show, in lists that have one.
    #[prost(uint64, tag = "4")]
    pub(crate) revision: u64,
    /// The moment of the first page, in seconds.
    #[prost(sint64, tag = "5")]
    pub(crate) now: i64,
    /// In lists of changes, how many events of this revision come before the page. Tokens of
    /// versions before 0.2 lack it, and begin with the first event.
    #[prost(uint64, tag = "6")]
    pub(crate) event: u64,
}

impl PageToken {
    pub(crate) fn write(&self) -> String {
        self.encode_to_vec()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Decodes a token; none unless it belongs to these arguments.
    pub(crate) fn read(text: &str, fingerprint: u64) -> Option<Self> {
        if text.len() > TOKEN_CHARACTERS_MAX || !text.len().is_multiple_of(2) || !text.is_ascii() {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
        // A client may forge a token, so that its revision is checked like any other argument.
        let is_sane = |token: &Self| {
            token.fingerprint == fingerprint && i64::try_from(token.revision).is_ok()
        };
        Self::decode(bytes?.as_slice()).ok().filter(is_sane)
    }
}

/// A request whose answer comes in pages.
pub(crate) trait Paged: Message + Clone {
    fn page_size(&self) -> i32;
    fn page_token(&self) -> &str;
    /// The request without its page fields, the same for all pages of one list.
    fn arguments(&self) -> Self;
}

macro_rules! paged {
    ($($request:ident)*) => {
        $(impl Paged for pb::$request {
            fn page_size(&self) -> i32 {
                self.page_size
            }

            fn page_token(&self) -> &str {
                &self.page_token
            }

            fn arguments(&self) -> Self {
                let mut arguments = self.clone();
                arguments.page_size = 0;
                arguments.page_token.clear();
                arguments
            }
        })*
    };
}

paged! {
    ListCalendarsRequest
    ListAppointmentTypesRequest
    ListBusyRequest
    ListSlotsRequest
    ListAppointmentsRequest
    ListChangesRequest
    ListZoneDriftRequest
    ListTokensRequest
}

/// The page that a request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// The most items of the page.
    pub(crate) limit: usize,
    /// Where the page begins; none for the first page.
    pub(crate) token: Option<PageToken>,
}

impl Page {
    /// The `next_page_token` of the answer; empty when there is no next page.
    pub(crate) fn next(request: &impl Paged, caller: &Caller, token: Option<PageToken>) -> String {
        let bound = |token| PageToken {
            fingerprint: fingerprint(&request.arguments(), caller),
            ..token
        };
        token.map(|token| bound(token).write()).unwrap_or_default()
    }
}

impl Fields {
    /// The page that a request asks for.
    pub(crate) fn page(&mut self, request: &impl Paged, caller: &Caller) -> Option<Page> {
        let limit = self.page_size(request.page_size());
        let token = match request.page_token() {
            "" => Some(None),
            // The arguments are hashed only for pages after the first.
            text => PageToken::read(text, fingerprint(&request.arguments(), caller))
                .map(Some)
                .or_else(|| self.wrong_token()),
        };
        Some(Page {
            limit: limit?,
            token: token?,
        })
    }

    /// The most items of the page of a list by id, and the id after which it begins; none for the
    /// first page.
    pub(crate) fn page_after<T>(
        &mut self,
        request: &impl Paged,
        caller: &Caller,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<(usize, Option<T>)> {
        let Page { limit, token } = self.page(request, caller)?;
        let Some(token) = token else {
            return Some((limit, None));
        };
        let id = std::str::from_utf8(&token.id).ok().and_then(parse);
        id.map(|id| (limit, Some(id)))
            .or_else(|| self.wrong_token())
    }

    pub(crate) fn wrong_token<T>(&mut self) -> Option<T> {
        self.wrong(
            "page_token",
            "is not of this list with these arguments and this caller",
        )
    }
}

/// The first 16 bytes of SHA-256 over these parts, each behind its length, so that no two lists of
/// parts are the same input.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

/// The fingerprint to which tokens are bound: of the caller, and of a request without its page
/// fields.
fn fingerprint(request: &impl Message, caller: &Caller) -> u64 {
    let request = request.encode_to_vec();
    let [a, b, c, d, e, f, g, h, ..] = match caller.0.as_bytes() {
        // As before there were callers.
        [] => hash(&[&request]),
        name => hash(&[&request, name]),
    };
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
