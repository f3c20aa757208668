//! The messages in single columns of a row: the metadata of an appointment, and the subject of a
//! remembered request.

use std::collections::BTreeMap;

use prost::Message;

/// The metadata of an appointment.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetadataRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) entries: BTreeMap<String, String>,
}

/// The resources that a remembered request was about.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SubjectRecord {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) appointments: Vec<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    pub(crate) calendar: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) type_id: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(crate) token: Option<String>,
}
