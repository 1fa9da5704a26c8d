//! What a watcher wants of the changes.

use rootstock_model::NamePattern;
use rootstock_proto::{
    Error,
    catalog::v1::{ChangeKind, WatchRequest},
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

    /// Whether changes of the resource of this kind and name are wanted.
    pub(crate) fn wants(&self, kind: ChangeKind, name: &str) -> bool {
        self.wants_kind(kind) && self.name.as_ref().is_none_or(|pattern| pattern.matches(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(kinds: &[ChangeKind], name: &str) -> Result<Filter, Error> {
        Filter::of(&WatchRequest {
            kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
            name: name.to_owned(),
            ..WatchRequest::default()
        })
    }

    #[test]
    fn a_filter_passes_its_kinds_and_names_and_nothing_else() {
        let (image, alias) = (ChangeKind::Image, ChangeKind::Alias);
        for (name, matches) in [
            ("", true),
            ("debian/*", true),
            ("debian/12", true),
            ("debian", false),
        ] {
            for (kinds, wanted) in [(&[][..], true), (&[image, alias], true), (&[image], false)] {
                let filter = filter(kinds, name).unwrap();
                assert_eq!(filter.wants_kind(alias), wanted, "{kinds:?}");
                assert_eq!(
                    filter.wants(alias, "debian/12"),
                    wanted && matches,
                    "{kinds:?} {name}"
                );
            }
        }
    }

    #[test]
    fn kinds_and_names_that_cannot_be_are_refused_by_their_field() {
        for (kinds, name, field) in [
            (
                &[ChangeKind::Image, ChangeKind::Unspecified][..],
                String::new(),
                "kinds[1]",
            ),
            (&[], "x".repeat(10_000), "name"),
        ] {
            let error = filter(kinds, &name).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        }
        let unknown = WatchRequest {
            kinds: vec![99],
            ..WatchRequest::default()
        };
        assert!(Filter::of(&unknown).is_err());
    }
}
