//! What changes between two looks at a list of transfers.

use std::collections::BTreeMap;

use rootstock_proto::catalog::v1::{Transfer, TransferState};

use crate::human;

/// What to call a transfer: what it is a file of.
pub(crate) fn name(transfer: &Transfer) -> String {
    let parts = [&transfer.image, &transfer.serial, &transfer.ftype].map(String::as_str);
    let named: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if named.is_empty() {
        human::short_digest(&transfer.sha256).to_owned()
    } else {
        named.join(" ")
    }
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
pub(super) struct Tracker {
    known: BTreeMap<String, Transfer>,
}

impl Tracker {
    pub(super) fn look(&mut self, transfers: &[Transfer]) -> Vec<Event> {
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
}
