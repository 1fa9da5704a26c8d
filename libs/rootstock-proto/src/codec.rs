//! The codec of every generated client and server: Protobuf, and no secret in a public answer.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{self, EncodeBuf},
};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::redact::Redact;

/// Encodes `T` and decodes `U`.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Redact + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Encoder(ProstEncoder::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

/// Encodes messages; what is an answer of the public API loses the secrets of the resources in it,
/// whoever made it.
#[derive(Debug, Clone)]
pub struct Encoder<T>(ProstEncoder<T>);

impl<T: Message + Redact> codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, mut item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.redact_answer();
        self.0.encode(item, buffer)
    }

    fn buffer_settings(&self) -> codec::BufferSettings {
        self.0.buffer_settings()
    }
}
