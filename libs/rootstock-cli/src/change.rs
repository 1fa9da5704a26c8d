//! Changing what others may be changing too.
//!
//! A change is made to what was just read, and the server refuses it when that is stale. Somebody else's change of
//! other fields is no reason to bother the user: it is read and made again. One of the same fields is: the user may
//! not want any more what was asked for.

use tonic::{Response, Status};

use rootstock_proto::Error;

use crate::{Failure, client::Client};

/// Attempts, for a resource that others change all the time.
const ATTEMPTS: usize = 5;

/// Reads, changes, and reads again when somebody else was quicker.
///
/// `read` gives the resource with its etag; `edited` takes of it what is to be changed, to see whether others changed
/// the same; `write` makes the change.
///
/// # Errors
/// The server's; what is to be changed was changed meanwhile.
pub(super) async fn make<T, U, E: PartialEq>(
    client: &Client,
    mut read: impl AsyncFnMut() -> Result<T, Failure>,
    edited: impl Fn(&T) -> E,
    mut write: impl AsyncFnMut(T) -> Result<Response<U>, Status>,
) -> Result<U, Failure> {
    let mut now = read().await?;
    let before = edited(&now);
    for _ in 1..ATTEMPTS {
        let stale = match write(now).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        if !matches!(Error::from_status(&stale), Some(Error::StaleEtag { .. })) {
            return Err(client.failure(&stale));
        }
        now = read().await?;
        if edited(&now) != before {
            return Err(client.failure(&stale));
        }
    }
    client.call(write(now)).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use clap::Parser as _;
    use rootstock_proto::ResourceKind;

    use super::*;
    use crate::client::ClientArgs;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        client: ClientArgs,
    }

    fn stale() -> Status {
        Error::StaleEtag {
            kind: ResourceKind::Image,
            name: "x".into(),
        }
        .into()
    }

    /// Makes a change of the first of two fields, while somebody else changes what `other` says, `times` times.
    async fn change(times: usize, other: impl Fn(&mut (i32, i32))) -> (Result<(), Failure>, usize) {
        let client = Client::new(&Flags::parse_from(["test"]).client).unwrap();
        let there = Cell::new((0, 0));
        let writes = Cell::new(0);
        let outcome = make(
            &client,
            async || Ok(there.get()),
            |read| read.0,
            async |_| {
                writes.set(writes.get() + 1);
                if writes.get() > times {
                    return Ok(Response::new(()));
                }
                let mut now = there.get();
                other(&mut now);
                there.set(now);
                Err(stale())
            },
        );
        (outcome.await, writes.get())
    }

    #[tokio::test]
    async fn changes_of_something_else_are_taken_in() {
        assert_eq!(change(0, |_| {}).await, (Ok(()), 1));
        assert_eq!(change(2, |now| now.1 += 1).await, (Ok(()), 3));
    }

    #[tokio::test]
    async fn changes_of_the_same_are_told() {
        let (outcome, writes) = change(1, |now| now.0 += 1).await;
        assert_eq!(writes, 1);
        assert!(outcome.unwrap_err().to_string().contains("changed meanwhile"));
    }

    #[tokio::test]
    async fn it_does_not_go_on_for_ever() {
        let (outcome, writes) = change(usize::MAX, |now| now.1 += 1).await;
        assert!(outcome.is_err());
        assert_eq!(writes, ATTEMPTS);
    }
}
