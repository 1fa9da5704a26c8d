//! Lists of transfers, and what to say of those that failed.

use rootstock_proto::catalog::v1::{ListTransfersRequest, Transfer};
use tonic::Status;

use super::events::name;
use crate::{client::Client, failure::Failure, human, pages};

/// All transfers that the request asks for, whatever its page.
///
/// # Errors
/// The server's.
pub(crate) async fn list(client: &Client, request: &ListTransfersRequest) -> Result<Vec<Transfer>, Status> {
    pages::all(request, async |request| {
        client.remotes().list_transfers(request).await
    })
    .await
}

/// The failure of a command whose transfers failed; `again` is what tries them again.
pub(crate) fn failure(failed: &[Transfer], again: &str) -> Failure {
    let each: Vec<_> = failed
        .iter()
        .map(|transfer| format!("{}: {}", name(transfer), transfer.last_error))
        .collect();
    let count = i64::try_from(failed.len()).unwrap_or(i64::MAX);
    Failure::failed(format!(
        "{} could not be fetched: {}; \"{again}\" tries again",
        human::count(count, "blob"),
        each.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_which_and_why() {
        let lost = Transfer {
            sha256: "0123456789abcdef".into(),
            last_error: "404 Not Found".into(),
            ..Transfer::default()
        };
        let mut named = lost.clone();
        named.image = "alpine".into();
        named.ftype = "squashfs".into();
        assert_eq!(
            failure(&[lost, named], "rootstock remote sync lab").to_string(),
            "2 blobs could not be fetched: 0123456789ab: 404 Not Found; alpine squashfs: 404 Not Found; \
             \"rootstock remote sync lab\" tries again"
        );
    }
}
