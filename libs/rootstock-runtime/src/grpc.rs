//! gRPC: the stack of layers a server's requests pass, the one a client's calls pass, and what the
//! two have in common.

pub mod api;
pub mod client;
mod code;
mod deadline;
mod health;
mod methods;
mod observe;
mod panic;
pub mod server;
mod trace;

pub use api::{Api, with_health_and_reflection};
pub use code::code_name;
pub use methods::Methods;
pub use trace::RequestId;

/// The largest message a server or client of ours takes, in bytes: tonic's default, written down.
/// What does not fit is streamed in pieces. A service that wants another limit says so where it is
/// built (`XServer::max_decoding_message_size`).
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Describes the metrics of both stacks; the names are documented here.
pub(crate) fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

    describe_counter!(
        "rootstock_grpc_server_requests_total",
        "Calls answered, by method and gRPC code. Methods we do not have count as `other`."
    );
    describe_histogram!(
        "rootstock_grpc_server_request_duration_seconds",
        Unit::Seconds,
        "Time from a call's head to the end of its answer (for streams: of the stream), by method."
    );
    describe_gauge!(
        "rootstock_grpc_server_in_flight_requests",
        "Calls being answered, streams included, by method."
    );
    describe_counter!(
        "rootstock_grpc_server_shed_total",
        "Calls refused because too many were being answered."
    );
    describe_counter!(
        "rootstock_grpc_client_requests_total",
        "Calls made, by method and the gRPC code they ended with after all retries. Calls that were handed on count as `other`."
    );
    describe_histogram!(
        "rootstock_grpc_client_request_duration_seconds",
        Unit::Seconds,
        "Time of a call, retries included, to the end of its answer, by method."
    );
    describe_gauge!(
        "rootstock_grpc_client_in_flight_requests",
        "Calls waiting for the end of their answer, by method."
    );
    describe_counter!(
        "rootstock_grpc_client_retries_total",
        "Attempts after the first, by method."
    );
}
