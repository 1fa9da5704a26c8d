//! Calls to the catalog: how its clients are configured, which calls are repeated, and what callers see
//! of a failure.

use std::time::Duration;

use anyhow::Context as _;
use rootstock_runtime::grpc::client::{ClientOptions, ClientStack, Idempotent, RetryOptions, connect_lazy};
use tonic::{Code, Status};

use crate::GatewayConfig;

/// The gateway's own calls that its client repeats. An import is one of them because each has a request id.
const REPEATABLE: &[&str] = &[
    "/rootstock.sync.v1.ImportService/OpenUpload",
    "/rootstock.sync.v1.ImportService/FinishUpload",
    "/rootstock.sync.v1.ImportService/DiscardUpload",
    "/rootstock.sync.v1.ImportService/RecordImport",
    "/rootstock.sync.v1.WorkService/SaveJournal",
    "/rootstock.sync.v1.WorkService/Release",
];

/// Shorter than the edge's own limit of 30 s, so that a caller gets the gateway's answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(25);

/// The client for calls that are forwarded: repeating them is the caller's decision.
///
/// # Errors
/// `catalog_url` or `catalog_ca_file` cannot be used.
pub(crate) fn client_for_proxy(config: &GatewayConfig) -> anyhow::Result<ClientStack> {
    client(config, RetryOptions::default())
}

/// The client for the gateway's own calls about uploads and imports.
///
/// # Errors
/// As [`client_for_proxy`].
pub(crate) fn client_for_content(config: &GatewayConfig) -> anyhow::Result<ClientStack> {
    let retry = RetryOptions {
        idempotent: Idempotent::Only(REPEATABLE),
        ..RetryOptions::default()
    };
    client(config, retry)
}

fn client(config: &GatewayConfig, retry: RetryOptions) -> anyhow::Result<ClientStack> {
    let ca_pem = match &config.catalog_ca_file {
        Some(path) => Some(
            std::fs::read(path).with_context(|| format!("cannot read catalog_ca_file {}", path.display()))?,
        ),
        None => None,
    };
    let options = ClientOptions {
        ca_pem,
        attempt_timeout: ATTEMPT_TIMEOUT,
        max_in_flight: 1024,
        retry,
        ..ClientOptions::default()
    };
    connect_lazy(&config.catalog_url, options).context("catalog_url cannot be used")
}

/// Maps a call that did not reach the catalog to the status that the caller sees. The client's own text
/// is logged instead of sent, because it names internal addresses.
pub(crate) fn sanitize(status: &Status) -> Status {
    tracing::warn!(
        reason = status.message(),
        "a call could not be passed to the catalog"
    );
    match status.code() {
        Code::DeadlineExceeded => Status::deadline_exceeded("the catalog did not answer in time"),
        _ => Status::unavailable(
            "the catalog cannot be reached at the moment; images are still served, try again later",
        ),
    }
}

#[cfg(test)]
mod tests {
    use rootstock_runtime::grpc::Methods;

    use super::*;

    #[test]
    fn what_the_stack_repeats_is_there_and_is_unary() {
        let methods = Methods::of([rootstock_proto::ALL_DESCRIPTORS]).unwrap();
        for path in REPEATABLE {
            assert!(methods.is_unary(path), "{path}");
        }
    }
}
