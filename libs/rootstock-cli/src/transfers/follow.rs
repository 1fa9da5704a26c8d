//! Following transfers until they are done.

use std::time::Duration;

use rootstock_proto::catalog::v1::{ListTransfersRequest, Transfer, TransferState};
use tokio::time::sleep;

use super::{
    events::{Event, Tracker},
    list::list,
    progress::Progress,
};
use crate::{client::Client, failure::Failure};

/// Time between two looks: quick enough for a bar, slow enough for the server.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(400);

/// What became of the transfers that were followed.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    /// Blobs that were seen coming in. One that takes no time may not be.
    pub(crate) stored_blobs: i64,
    /// Their bytes.
    pub(crate) stored_bytes: i64,
    /// Those that gave up.
    pub(crate) failed: Vec<Transfer>,
}

/// Waits until none of the transfers waits or runs, showing how they come along.
///
/// # Errors
/// The server's.
pub(crate) async fn follow(client: &Client, request: &ListTransfersRequest) -> Result<Followed, Failure> {
    let mut followed = Followed::default();
    let mut progress = Progress::new();
    let mut tracker = Tracker::default();
    loop {
        let transfers = client.patiently(|| list(client, request)).await?;
        for event in tracker.look(&transfers) {
            if let Event::Stored(transfer) = &event {
                followed.stored_blobs += 1;
                followed.stored_bytes += transfer.size_bytes;
            }
            progress.show(event);
        }
        let (failed, open): (Vec<_>, Vec<_>) = transfers
            .into_iter()
            .partition(|transfer| transfer.state() == TransferState::Failed);
        if open.is_empty() {
            followed.failed = failed;
            return Ok(followed);
        }
        sleep(LOOK_AGAIN).await;
    }
}
