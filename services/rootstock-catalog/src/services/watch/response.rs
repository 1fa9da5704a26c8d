//! `WatchResponse` with changes that are encoded already.
//!
//! Thousands of watchers are sent the same changes. So the server is not the generated one: it
//! answers with bytes that the feed shares among all watchers.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use rootstock_proto::{
    catalog::v1::{WatchRequest, watch_service_server::SERVICE_NAME},
    codec::Codec as RequestCodec,
};
use tonic::{
    Request, Response, Status,
    codec::{Codec, EncodeBuf, Encoder},
    codegen::{Body, BoxFuture, Service, StdError, http},
    server::{Grpc, NamedService, ServerStreamingService},
};

use super::{WatchStream, Watches};

/// The path of the service's one method.
const METHOD: &str = "/rootstock.catalog.v1.WatchService/Watch";

/// A `WatchResponse`.
#[derive(Debug, Default)]
pub(crate) struct EncodedResponse {
    /// Field 1, each an encoded `Change`.
    pub changes: Vec<Bytes>,
    /// Field 2.
    pub revision: i64,
}

impl EncodedResponse {
    fn encode(&self, buffer: &mut impl bytes::BufMut) {
        for change in &self.changes {
            encode_key(1, WireType::LengthDelimited, buffer);
            encode_varint(change.len() as u64, buffer);
            buffer.put_slice(change);
        }
        if self.revision != 0 {
            encode_key(2, WireType::Varint, buffer);
            encode_varint(self.revision.cast_unsigned(), buffer);
        }
    }
}

/// `WatchService` on the catalog's listener.
#[derive(Clone)]
pub(crate) struct WatchServer(Arc<Watches>);

impl WatchServer {
    pub(crate) fn new(watches: Watches) -> Self {
        Self(Arc::new(watches))
    }
}

impl NamedService for WatchServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for WatchServer
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                let no_method = format!("{SERVICE_NAME} has no other method than Watch");
                return Ok(Status::unimplemented(no_method).into_http());
            }
            Ok(Grpc::new(WatchCodec).server_streaming(method, request).await)
        })
    }
}

impl ServerStreamingService<WatchRequest> for WatchServer {
    type Response = EncodedResponse;
    type ResponseStream = WatchStream;
    type Future = BoxFuture<Response<WatchStream>, Status>;

    fn call(&mut self, request: Request<WatchRequest>) -> Self::Future {
        let watches = Arc::clone(&self.0);
        Box::pin(async move { watches.watch(request.into_inner()).await.map(Response::new) })
    }
}

struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = EncodedResponse;
    type Decode = WatchRequest;
    type Encoder = ResponseEncoder;
    type Decoder = <RequestCodec<WatchRequest, WatchRequest> as Codec>::Decoder;

    fn encoder(&mut self) -> ResponseEncoder {
        ResponseEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        RequestCodec::<WatchRequest, WatchRequest>::default().decoder()
    }
}

struct ResponseEncoder;

impl Encoder for ResponseEncoder {
    type Item = EncodedResponse;
    type Error = Status;

    fn encode(&mut self, item: EncodedResponse, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use rootstock_proto::catalog::v1::{Change, Setting, WatchResponse};

    use super::*;

    #[test]
    fn it_is_encoded_as_the_contract_has_it() {
        let change = |revision| Change {
            revision,
            resource: Some(Setting::default().into()),
            ..Change::default()
        };
        for (changes, revision) in [
            (vec![change(7), change(8)], 8),
            (vec![change(7)], 0),
            (vec![], 9),
            (vec![], 0),
        ] {
            let encoded = EncodedResponse {
                changes: changes
                    .iter()
                    .map(|change| change.encode_to_vec().into())
                    .collect(),
                revision,
            };
            let mut buffer = vec![];
            encoded.encode(&mut buffer);
            let expected = WatchResponse { changes, revision };
            assert_eq!(WatchResponse::decode(&buffer[..]).unwrap(), expected);
        }
    }
}
