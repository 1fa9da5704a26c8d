//! What a watcher wants of the changes.

use rootstock_model::NamePattern;
use rootstock_proto::{
    Error,
    catalog::v1::{Change, ChangeKind, WatchRequest, change::Resource},
};

use crate::request;

/// Kinds and names that a watcher wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// Empty: all.
    kinds: Vec<ChangeKind>,
    /// `None`: all.
    name: Option<NamePattern>,
}

impl Filter {
    /// The filter of a request.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a kind that is none, or a name that is no pattern.
    pub(crate) fn of(request: &WatchRequest) -> Result<Self, Error> {
        let mut kinds = Vec::with_capacity(request.kinds.len());
        for (index, kind) in request.kinds.iter().enumerate() {
            match ChangeKind::try_from(*kind) {
                Ok(ChangeKind::Unspecified) | Err(_) => {
                    let problem = format!("{kind} is no kind of change; leave it out for all kinds");
                    return Err(Error::invalid(format!("kinds[{index}]"), problem));
                }
                Ok(kind) => kinds.push(kind),
            }
        }
        let name = request::name_pattern("name", &request.name)?;
        Ok(Self { kinds, name })
    }

    /// Whether changes of this kind are wanted at all.
    pub(crate) fn wants_kind(&self, kind: ChangeKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// Whether this change is wanted.
    pub(crate) fn wants(&self, change: &Change) -> bool {
        change
            .resource
            .as_ref()
            .is_some_and(|resource| self.wants_resource(resource))
    }

    /// Whether changes of this resource are wanted.
    pub(crate) fn wants_resource(&self, resource: &Resource) -> bool {
        let (kind, name) = identity(resource);
        self.wants_kind(kind) && self.name.as_ref().is_none_or(|pattern| pattern.matches(name))
    }
}

/// A resource's kind, and the name that filters go by.
fn identity(resource: &Resource) -> (ChangeKind, &str) {
    match resource {
        Resource::Image(image) => (ChangeKind::Image, &image.name),
        Resource::Version(version) => (ChangeKind::Version, &version.image),
        Resource::Alias(alias) => (ChangeKind::Alias, &alias.name),
        Resource::Remote(remote) => (ChangeKind::Remote, &remote.name),
        Resource::Setting(setting) => (ChangeKind::Setting, &setting.key),
        Resource::Application(application) => (ChangeKind::Application, &application.name),
    }
}
