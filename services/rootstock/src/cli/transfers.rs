//! Following transfers until they are done.

use std::{collections::BTreeMap, time::Duration};

use rootstock_proto::catalog::v1::{ListTransfersRequest, Transfer, TransferState};
use tokio::time::sleep;
use tonic::Status;

use super::{
    Failure,
    client::{Client, PAGE_SIZE, all_pages},
    human,
    progress::Progress,
};

/// Time between two looks: quick enough for a bar, slow enough for the server.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(400);

/// All transfers that the request asks for, whatever its page.
///
/// # Errors
/// The server's.
pub(super) async fn list(client: &Client, request: &ListTransfersRequest) -> Result<Vec<Transfer>, Status> {
    all_pages(async |page_token| {
        let request = ListTransfersRequest {
            page_size: PAGE_SIZE,
            page_token,
            ..request.clone()
        };
        let page = client.remotes().list_transfers(request).await?.into_inner();
        Ok((page.transfers, page.next_page_token))
    })
    .await
}

/// What became of the transfers that were followed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Blobs that were seen coming in. One that takes no time may not be.
    pub(super) stored_blobs: i64,
    /// Their bytes.
    pub(super) stored_bytes: i64,
    /// Those that gave up.
    pub(super) failed: Vec<Transfer>,
}

/// Waits until none of the transfers waits or runs, showing how they come along.
///
/// # Errors
/// The server's.
pub(super) async fn follow(client: &Client, request: &ListTransfersRequest) -> Result<Followed, Failure> {
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

/// What to call a transfer: what it is a file of.
pub(super) fn name(transfer: &Transfer) -> String {
    let parts = [&transfer.image, &transfer.serial, &transfer.ftype].map(String::as_str);
    let named: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if named.is_empty() {
        human::short_digest(&transfer.sha256).to_owned()
    } else {
        named.join(" ")
    }
}

/// The failure of a command whose transfers failed; `again` is what tries them again.
pub(super) fn failure(failed: &[Transfer], again: &str) -> Failure {
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

/// What changed between two looks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// Bytes came in, or it has just been taken by a worker.
    Runs(Transfer),
    /// An attempt failed; there will be another.
    Retries(Transfer),
    /// It gave up.
    Failed(Transfer),
    /// It is stored: finished ones are no longer listed.
    Stored(Transfer),
}

/// Turns looks at transfers into events.
#[derive(Debug, Default)]
struct Tracker {
    known: BTreeMap<String, Transfer>,
}

impl Tracker {
    fn look(&mut self, transfers: &[Transfer]) -> Vec<Event> {
        let now: BTreeMap<_, _> = transfers
            .iter()
            .map(|transfer| (transfer.sha256.clone(), transfer.clone()))
            .collect();
        let gone = self.known.iter().filter(|(sha256, _)| !now.contains_key(*sha256));
        let mut events: Vec<_> = gone
            // One that failed and is gone was taken off by somebody else's doing.
            .filter(|(_, transfer)| transfer.state() != TransferState::Failed)
            .map(|(_, transfer)| Event::Stored(transfer.clone()))
            .collect();
        for (sha256, transfer) in &now {
            let before = self.known.get(sha256);
            if before == Some(transfer) {
                continue;
            }
            let failed_before = before.map_or(0, |before| before.failed_attempts);
            match transfer.state() {
                TransferState::Failed => events.push(Event::Failed(transfer.clone())),
                _ if transfer.failed_attempts > failed_before => {
                    events.push(Event::Retries(transfer.clone()))
                }
                TransferState::Running => events.push(Event::Runs(transfer.clone())),
                TransferState::Queued | TransferState::Unspecified => {}
            }
        }
        self.known = now;
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(sha256: &str, state: TransferState, done_bytes: i64, failed_attempts: i32) -> Transfer {
        Transfer {
            sha256: sha256.into(),
            size_bytes: 100,
            state: state.into(),
            done_bytes,
            failed_attempts,
            ..Transfer::default()
        }
    }

    #[test]
    fn events_are_what_changed() {
        use TransferState::{Failed, Queued, Running};
        let mut tracker = Tracker::default();
        let queued = [transfer("a", Queued, 0, 0), transfer("b", Queued, 0, 0)];
        assert_eq!(tracker.look(&queued), []);
        let running = [transfer("a", Running, 10, 0), transfer("b", Queued, 0, 1)];
        assert_eq!(
            tracker.look(&running),
            [
                Event::Runs(running[0].clone()),
                Event::Retries(running[1].clone())
            ]
        );
        assert_eq!(tracker.look(&running), [], "nothing new");
        let failed = [transfer("b", Failed, 0, 2)];
        assert_eq!(
            tracker.look(&failed),
            [
                Event::Stored(running[0].clone()),
                Event::Failed(failed[0].clone())
            ]
        );
        assert_eq!(tracker.look(&[]), [], "what failed was not stored");
    }

    #[test]
    fn a_failure_says_which_and_why() {
        let mut lost = transfer("0123456789abcdef", TransferState::Failed, 0, 3);
        lost.last_error = "404 Not Found".into();
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
