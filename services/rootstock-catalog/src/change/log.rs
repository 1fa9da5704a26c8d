//! The log of changes: which resources are logged, and how each of them is read.
//!
//! A resource joins with a file of its own here, which implements [`Logged`], and its line in the
//! registry below. Its kind and its name come from `Change.resource` in the contract.

mod alias;
mod application;
mod image;
mod remote;
mod setting;
mod state;
mod version;

use std::collections::BTreeMap;

use prost::Message;
use rootstock_proto::{
    Redact,
    catalog::v1::{self as wire, ChangeOperation, change::Resource},
    changes::ChangeResource,
};
use sqlx::PgConnection;

use crate::failure::Failure;

pub(crate) use state::pages;

/// A resource whose changes are logged, and whose state a watch begins with.
pub(crate) trait Logged: ChangeResource + Message + Redact + Send + Sized + 'static {
    /// Identifies one of them; pages are in its order.
    type Key: Clone + Ord + Send + Sync + 'static;

    /// The resources of these keys as they are now; without those that are gone.
    fn load(
        connection: &mut PgConnection,
        keys: &[Self::Key],
    ) -> impl Future<Output = Result<Keyed<Self>, Failure>> + Send;

    /// At most `limit` resources after this key.
    fn page(
        connection: &mut PgConnection,
        after: Option<&Self::Key>,
        limit: i64,
    ) -> impl Future<Output = Result<Keyed<Self>, Failure>> + Send;

    /// Removes what has changes of its own, or none.
    fn trim(&mut self) {}

    /// Removes what nobody needs of one that is gone.
    fn trim_deleted(&mut self) {}
}

/// Resources, each with its key.
pub(crate) type Keyed<R> = Vec<(<R as Logged>::Key, R)>;

/// A resource as everybody may see it. Secrets are blanked here, for every kind.
fn publish<R: Logged>(mut resource: R, operation: ChangeOperation) -> Resource {
    resource.redact();
    resource.trim();
    if operation == ChangeOperation::Deleted {
        resource.trim_deleted();
    }
    resource.into()
}

/// What a writer noted of one kind of resource.
pub(crate) struct NotesOf<R: Logged> {
    changed: BTreeMap<R::Key, ChangeOperation>,
    deleted: BTreeMap<R::Key, R>,
}

impl<R: Logged> Default for NotesOf<R> {
    fn default() -> Self {
        Self {
            changed: BTreeMap::new(),
            deleted: BTreeMap::new(),
        }
    }
}

impl<R: Logged> NotesOf<R> {
    /// The keys of those that changed, in order.
    pub(super) fn changed(&self) -> Vec<R::Key> {
        self.changed.keys().cloned().collect()
    }

    /// What a resource went through in one transaction is one change: created and updated is created.
    pub(super) fn change(&mut self, key: R::Key, operation: ChangeOperation) {
        self.deleted.remove(&key);
        let noted = self.changed.entry(key).or_insert(operation);
        if *noted != ChangeOperation::Created {
            *noted = operation;
        }
    }

    pub(super) fn delete(&mut self, key: R::Key, resource: R) {
        self.changed.remove(&key);
        self.deleted.insert(key, resource);
    }

    fn take_deleted(&mut self) -> Vec<Resource> {
        let deleted = std::mem::take(&mut self.deleted).into_values();
        deleted
            .map(|resource| publish(resource, ChangeOperation::Deleted))
            .collect()
    }

    async fn load_changed(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<(ChangeOperation, Resource)>, Failure> {
        if self.changed.is_empty() {
            return Ok(vec![]);
        }
        let loaded = R::load(connection, &self.changed()).await?;
        let changes = loaded.into_iter().map(|(key, resource)| {
            let operation = self.changed.get(&key).copied();
            let operation = operation.unwrap_or(ChangeOperation::Updated);
            (operation, publish(resource, operation))
        });
        Ok(changes.collect())
    }
}

/// Finds the notes of a kind.
pub(crate) trait Noted: Logged {
    fn notes(notes: &mut Notes) -> &mut NotesOf<Self>;
}

/// The registry: every kind of logged resource. What others belong to comes first.
macro_rules! registry {
    ($($field:ident: $resource:ident),+ $(,)?) => {
        /// What a writer noted.
        #[derive(Default)]
        pub(crate) struct Notes {
            $($field: NotesOf<wire::$resource>,)+
        }

        $(impl Noted for wire::$resource {
            fn notes(notes: &mut Notes) -> &mut NotesOf<Self> {
                &mut notes.$field
            }
        })+

        impl Notes {
            /// The noted changes, with their resources as they are now. What is gone comes first, and
            /// before what it belonged to; then what is there, after what it belongs to: a reader of the
            /// log knows the image of every version that it meets.
            pub(super) async fn into_changes(
                mut self,
                connection: &mut PgConnection,
            ) -> Result<Vec<(ChangeOperation, Resource)>, Failure> {
                let deleted = [$(self.$field.take_deleted()),+].into_iter().rev().flatten();
                let mut changes: Vec<_> = deleted
                    .map(|resource| (ChangeOperation::Deleted, resource))
                    .collect();
                $(changes.extend(self.$field.load_changed(connection).await?);)+
                Ok(changes)
            }
        }

        /// What reads the whole state, one kind after the other.
        fn readers() -> Vec<Box<dyn state::Reader>> {
            vec![$(Box::new(state::ReaderOf::<wire::$resource>::default())),+]
        }
    };
}

registry! {
    settings: Setting,
    remotes: Remote,
    images: Image,
    versions: VersionChange,
    aliases: Alias,
    applications: Application,
}
