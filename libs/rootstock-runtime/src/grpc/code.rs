//! gRPC codes: their names, and where a response carries them.

use std::error::Error;

use axum::body::Body;
use http::{HeaderMap, Response, StatusCode, header};
use tonic::{Code, Status};

/// The code's name in the gRPC specification, as in metrics and logs: `NOT_FOUND`.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Whether the code says that the serving side is at fault. Traces mark such calls as failed; the
/// rest is the caller's business.
pub(crate) fn is_servers_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The code in trailers, or in the headers of a response that is nothing but its status.
pub(crate) fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(Status::GRPC_STATUS)
        .map(|value| Code::from_bytes(value.as_bytes()))
}

/// The code that the head of a response settles; `None` when it comes in the trailers.
///
/// A head that is not of gRPC is a proxy's; its HTTP status is read as the gRPC specification says.
pub(crate) fn code_of_head<B>(response: &Response<B>) -> Option<Code> {
    if let Some(code) = code_in(response.headers()) {
        return Some(code);
    }
    match response.status() {
        StatusCode::OK => None,
        StatusCode::BAD_REQUEST => Some(Code::Internal),
        StatusCode::UNAUTHORIZED => Some(Code::Unauthenticated),
        StatusCode::FORBIDDEN => Some(Code::PermissionDenied),
        StatusCode::NOT_FOUND => Some(Code::Unimplemented),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Some(Code::Unavailable),
        _ => Some(Code::Unknown),
    }
}

/// The code of an error that ended a body in the middle.
pub(crate) fn code_of_error(error: &(dyn Error + 'static)) -> Code {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(status) = cause.downcast_ref::<Status>() {
            return status.code();
        }
        next = cause.source();
    }
    Code::Unknown
}

/// Whether these are the headers of a gRPC request.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"))
}

/// A layer's own answer: as gRPC to a gRPC request, else as plain HTTP, because a stack may also
/// serve other things than gRPC.
pub(crate) fn refuse(to_grpc: bool, status: Status) -> Response<Body> {
    if to_grpc {
        return status.into_http();
    }
    let http = match status.code() {
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut response = Response::new(Body::from(format!("{}\n", status.message())));
    *response.status_mut() = http;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, grpc_status: Option<&str>) -> Response<()> {
        let mut builder = Response::builder().status(status);
        if let Some(code) = grpc_status {
            builder = builder.header("grpc-status", code);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn a_head_may_settle_the_code() {
        for (response, expected) in [
            (head(200, None), None),
            (head(200, Some("0")), Some(Code::Ok)),
            (head(200, Some("14")), Some(Code::Unavailable)),
            (head(200, Some("x")), Some(Code::Unknown)),
            (head(502, None), Some(Code::Unavailable)),
            (head(403, None), Some(Code::PermissionDenied)),
            (head(418, None), Some(Code::Unknown)),
        ] {
            assert_eq!(code_of_head(&response), expected, "{response:?}");
        }
    }

    #[test]
    fn the_code_is_found_below_wrappers() {
        let error = axum::Error::new(Status::data_loss("gone"));
        assert_eq!(code_of_error(&error), Code::DataLoss);
        assert_eq!(code_of_error(&std::io::Error::other("cut")), Code::Unknown);
    }

    #[test]
    fn refusals_speak_the_callers_protocol() {
        let grpc = refuse(true, Status::unavailable("busy"));
        assert_eq!(
            (grpc.status(), code_in(grpc.headers())),
            (StatusCode::OK, Some(Code::Unavailable))
        );
        let http = refuse(false, Status::unavailable("busy"));
        assert_eq!(
            (http.status(), code_in(http.headers())),
            (StatusCode::SERVICE_UNAVAILABLE, None)
        );
    }
}
