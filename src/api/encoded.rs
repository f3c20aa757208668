//! An answer whose bytes are made already: without a message for each of its parts in memory, or
//! once for many receivers.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, skip_field};

/// The bytes of a message of type `M`.
#[derive(Debug)]
pub(crate) struct Encoded<M> {
    bytes: Bytes,
    message: PhantomData<fn() -> M>,
}

impl<M: Message> Encoded<M> {
    /// The message that these bytes are.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self {
            bytes,
            message: PhantomData,
        }
    }

    /// A message that has the fields of both parts: those in `first`, which are encoded, and those
    /// of `others`. protobuf joins a message that comes in parts.
    pub(crate) fn of_parts(mut first: Vec<u8>, others: &M) -> Self {
        first.reserve(others.encoded_len());
        others.encode_raw(&mut first);
        Self::new(first.into())
    }
}

impl<M: Message> Message for Encoded<M> {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        buffer.put_slice(&self.bytes);
    }

    fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    /// Nobody reads a message of this type; what would be read is left out.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buffer, context)
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1 as pb;

    #[test]
    fn the_parts_of_an_answer_are_read_as_one_message() {
        let others = pb::ListSlotsResponse {
            revision: 7,
            time_zone: "Europe/Paris".to_owned(),
            ..Default::default()
        };
        let slots = vec![pb::Slot {
            seats_remaining: 3,
            ..Default::default()
        }];
        let first = pb::ListSlotsResponse {
            slots: slots.clone(),
            ..Default::default()
        };
        let encoded = Encoded::of_parts(first.encode_to_vec(), &others);
        let whole = pb::ListSlotsResponse { slots, ..others };
        assert_eq!(encoded.encode_to_vec(), whole.encode_to_vec());
    }
}
