//! Changing what others may be changing too: what all `update` commands have in common.
//!
//! A change is made to what was just read, and the server refuses it when that is stale. Somebody else's change of
//! other fields is no reason to bother the user: it is read and made again. One of the same fields is: the user may
//! not want any more what was asked for.

use prost_types::FieldMask;
use rootstock_proto::{
    Error,
    update::{Mask, Updatable},
};
use tonic::{Response, Status};

use crate::{client::Client, failure::Failure};

/// Attempts, for a resource that others change all the time.
const ATTEMPTS: usize = 5;

/// What a command changes of a resource.
pub(crate) trait Edit<R: Updatable> {
    /// What of a resource others must not have changed meanwhile.
    type Concern: PartialEq;

    /// Makes the change; which fields it is about.
    ///
    /// # Errors
    /// It cannot be made.
    fn apply(&self, resource: &mut R) -> Result<Mask<R>, Failure>;

    /// What of this resource the change is about.
    ///
    /// # Errors
    /// As [`Edit::apply`].
    fn concern(&self, resource: &R) -> Result<Self::Concern, Failure>;
}

/// New values of some fields, whatever they were.
#[derive(Debug, Clone)]
pub(crate) struct NewValues<R> {
    /// Holds the new values.
    pub(crate) to: R,
    /// Names the fields that have them.
    pub(crate) mask: Mask<R>,
}

impl<R: Updatable> NewValues<R> {
    /// The values that `to` has in the fields at these paths.
    ///
    /// # Errors
    /// There is no path, or one of a field that cannot be changed.
    pub(crate) fn new<S: AsRef<str>>(to: R, paths: impl IntoIterator<Item = S>) -> Result<Self, Failure> {
        let mask = mask(paths)?;
        Ok(Self { to, mask })
    }
}

impl<R: Updatable + PartialEq> Edit<R> for NewValues<R> {
    type Concern = R;

    fn apply(&self, resource: &mut R) -> Result<Mask<R>, Failure> {
        self.mask.merge(&self.to, resource).map_err(failed)?;
        Ok(self.mask.clone())
    }

    fn concern(&self, resource: &R) -> Result<R, Failure> {
        self.mask.part(resource).map_err(failed)
    }
}

/// The mask of these paths.
///
/// # Errors
/// There is none, or one of a field that cannot be changed.
pub(crate) fn mask<R: Updatable, S: AsRef<str>>(
    paths: impl IntoIterator<Item = S>,
) -> Result<Mask<R>, Failure> {
    Mask::of(paths).map_err(failed)
}

fn failed(error: Error) -> Failure {
    Failure::failed(error.to_string())
}

/// Reads, changes, and reads again when somebody else was quicker. With an `etag`, the change is made once, and only if
/// the resource still has that etag.
///
/// `read` gives the resource with its etag; `send` asks the server for the change.
///
/// # Errors
/// The server's; what is to be changed was changed meanwhile.
pub(crate) async fn run<R: Updatable, U>(
    client: &Client,
    etag: Option<String>,
    edit: &impl Edit<R>,
    mut read: impl AsyncFnMut() -> Result<R, Failure>,
    mut send: impl AsyncFnMut(Option<R>, Option<FieldMask>) -> Result<Response<U>, Status>,
) -> Result<U, Failure> {
    let mut now = read().await?;
    let attempts = if etag.is_some() { 1 } else { ATTEMPTS };
    if let Some(etag) = etag {
        now.set_etag(etag);
    }
    let before = edit.concern(&now)?;
    let mut attempt = 1;
    loop {
        let mask = edit.apply(&mut now)?.to_wire();
        let status = match send(Some(now), Some(mask)).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        let is_stale = matches!(Error::from_status(&status), Some(Error::StaleEtag { .. }));
        if !is_stale || attempt == attempts {
            return Err(client.failure(&status));
        }
        now = read().await?;
        if edit.concern(&now)? != before {
            return Err(client.failure(&status));
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use clap::Parser as _;
    use rootstock_proto::{ResourceKind, catalog::v1::Alias};

    use super::*;
    use crate::client::ClientArgs;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        client: ClientArgs,
    }

    fn stale() -> Status {
        Error::StaleEtag {
            kind: ResourceKind::Alias,
            name: "x".into(),
        }
        .into()
    }

    /// Changes the description of an alias, while somebody else changes what `other` says, `times` times; how it ended
    /// and how often it was tried.
    async fn change(
        etag: Option<&str>,
        times: usize,
        other: impl Fn(&mut Alias),
    ) -> (Result<Alias, Failure>, usize) {
        let client = Client::new(&Flags::parse_from(["test"]).client).unwrap();
        let to = Alias {
            description: "new".into(),
            ..Alias::default()
        };
        let edit = NewValues::new(to, ["description"]).unwrap();
        let there = RefCell::new(Alias {
            etag: "1".into(),
            ..Alias::default()
        });
        let writes = Cell::new(0);
        let outcome = run(
            &client,
            etag.map(str::to_owned),
            &edit,
            async || Ok(there.borrow().clone()),
            async |alias, mask| {
                writes.set(writes.get() + 1);
                assert_eq!(mask.unwrap().paths, ["description"]);
                if writes.get() > times {
                    return Ok(Response::new(alias.unwrap()));
                }
                other(&mut there.borrow_mut());
                Err(stale())
            },
        );
        (outcome.await, writes.get())
    }

    #[tokio::test]
    async fn changes_of_something_else_are_taken_in() {
        let (outcome, writes) = change(None, 0, |_| {}).await;
        assert_eq!((outcome.unwrap().description.as_str(), writes), ("new", 1));
        let (outcome, writes) = change(None, 2, |there| there.image_id += "x").await;
        let alias = outcome.unwrap();
        assert_eq!((alias.image_id.as_str(), writes), ("xx", 3));
        assert_eq!(alias.description, "new");
    }

    #[tokio::test]
    async fn changes_of_the_same_are_told() {
        let (outcome, writes) = change(None, 1, |there| there.description += "x").await;
        assert_eq!(writes, 1);
        assert!(outcome.unwrap_err().to_string().contains("changed meanwhile"));
    }

    #[tokio::test]
    async fn it_does_not_go_on_for_ever() {
        let (outcome, writes) = change(None, usize::MAX, |there| there.image_id += "x").await;
        assert!(outcome.is_err());
        assert_eq!(writes, ATTEMPTS);
    }

    #[tokio::test]
    async fn an_etag_of_the_users_is_sent_once() {
        let (outcome, writes) = change(Some("7"), 0, |_| {}).await;
        assert_eq!((outcome.unwrap().etag.as_str(), writes), ("7", 1));
        let (outcome, writes) = change(Some("7"), 1, |_| {}).await;
        assert!(outcome.is_err());
        assert_eq!(writes, 1);
    }
}
