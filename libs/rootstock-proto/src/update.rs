//! What an update changes: the fields that its mask names, merged by descriptor.
//!
//! Servers and clients go by the same list of fields that can be changed ([`Updatable::FIELDS`]).

use std::marker::PhantomData;

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, Value};
use prost_types::FieldMask;

use crate::{
    Error, FieldViolation, ResourceKind,
    catalog::v1::{Alias, Application, Image, Remote, Webhook},
    descriptor::{self, DescriptorError},
};

/// A resource of the public API that an `Update…` call changes field by field.
pub trait Updatable: Message + Name + Default + Clone {
    /// What it is.
    const KIND: ResourceKind;
    /// The paths that a mask may name. Every other field is output only, or says which resource is meant.
    const FIELDS: &'static [&'static str];

    /// Sets the etag that makes an update conditional.
    fn set_etag(&mut self, etag: String);
}

macro_rules! updatable {
    ($($resource:ident: $fields:expr;)*) => {$(
        impl Updatable for $resource {
            const KIND: ResourceKind = ResourceKind::$resource;
            const FIELDS: &'static [&'static str] = &$fields;

            fn set_etag(&mut self, etag: String) {
                self.etag = etag;
            }
        }
    )*};
}

updatable! {
    Image: ["public", "auto_update", "expires_at", "properties"];
    Alias: ["image_id", "version", "description"];
    Application: ["image", "version", "version.number", "auto_update"];
    Webhook: ["url", "secret", "kinds", "name_glob", "ca_pem", "disabled"];
    Remote: [
        "url", "protocol", "mode", "include", "exclude", "root_preference", "keep_versions", "update_interval",
        "ca_pem", "insecure", "disabled", "version_constraint", "auth",
    ];
}

/// The fields of a resource that an update is about: at least one, and each can be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask<R> {
    fields: Vec<&'static str>,
    of: PhantomData<fn() -> R>,
}

impl<R: Updatable> Mask<R> {
    /// Reads the mask of a request.
    ///
    /// # Errors
    /// [`Error::Invalid`], with each path that cannot be changed and what can: the mask names nothing, something that is
    /// no field, or a field that is output only.
    pub fn read(mask: Option<FieldMask>) -> Result<Self, Error> {
        Self::of(mask.unwrap_or_default().paths)
    }

    /// The mask of these paths.
    ///
    /// # Errors
    /// As [`Mask::read`].
    pub fn of<S: AsRef<str>>(paths: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let mut fields = Vec::new();
        let mut violations = Vec::new();
        for (index, path) in paths.into_iter().enumerate() {
            let path = path.as_ref();
            match R::FIELDS.iter().find(|field| **field == path) {
                Some(field) => fields.push(*field),
                None => violations.push(FieldViolation {
                    field: format!("update_mask.paths[{index}]"),
                    description: refusal::<R>(path),
                }),
            }
        }
        match (violations.is_empty(), fields.is_empty()) {
            (false, _) => Err(Error::Invalid(violations)),
            (true, true) => {
                let problem = format!("must name at least one field; it may name {}", list::<R>());
                Err(Error::invalid("update_mask", problem))
            }
            (true, false) => Ok(Self {
                fields,
                of: PhantomData,
            }),
        }
    }

    /// Whether it names this field.
    pub fn names(&self, field: &str) -> bool {
        self.fields.contains(&field)
    }

    /// The paths that it names.
    pub fn paths(&self) -> &[&'static str] {
        &self.fields
    }

    /// The same as a message.
    pub fn to_wire(&self) -> FieldMask {
        FieldMask {
            paths: self.fields.iter().map(|field| (*field).to_owned()).collect(),
        }
    }

    /// Gives the fields that it names the values that they have in `from`; what is not set there is cleared.
    ///
    /// # Errors
    /// [`Error::Internal`]: the descriptors are not those of this message.
    pub fn merge(&self, from: &R, into: &mut R) -> Result<(), Error> {
        *into = self.merged(from, into).map_err(|_| Error::Internal)?;
        Ok(())
    }

    /// What is set of the fields that it names, and nothing else.
    ///
    /// # Errors
    /// As [`Mask::merge`].
    pub fn part(&self, of: &R) -> Result<R, Error> {
        let mut part = R::default();
        self.merge(of, &mut part)?;
        Ok(part)
    }

    fn merged(&self, from: &R, into: &R) -> Result<R, DescriptorError> {
        let from = descriptor::dynamic(from)?;
        let mut merged = descriptor::dynamic(into)?;
        for field in &self.fields {
            merge_path(&from, &mut merged, field);
        }
        merged
            .transcode_to()
            .map_err(|error| DescriptorError::new(R::full_name(), error))
    }
}

fn merge_path(from: &DynamicMessage, into: &mut DynamicMessage, path: &str) {
    let (name, below) = path
        .split_once('.')
        .map_or((path, None), |(name, below)| (name, Some(below)));
    match below {
        None if from.has_field_by_name(name) => {
            if let Some(value) = from.get_field_by_name(name) {
                into.set_field_by_name(name, value.into_owned());
            }
        }
        None => into.clear_field_by_name(name),
        // Where neither has the field, a part of it is not made of nothing.
        Some(_) if !from.has_field_by_name(name) && !into.has_field_by_name(name) => {}
        Some(below) => {
            let from = from.get_field_by_name(name);
            if let (Some(Value::Message(from)), Some(Value::Message(into))) =
                (from.as_deref(), into.get_field_by_name_mut(name))
            {
                merge_path(from, into, below);
            }
        }
    }
}

fn refusal<R: Updatable>(path: &str) -> String {
    let first = path.split('.').next().unwrap_or_default();
    let is_field =
        descriptor::of::<R>().is_ok_and(|descriptor| descriptor.get_field_by_name(first).is_some());
    let problem = match is_field {
        true => "cannot be changed",
        false => "is no field",
    };
    format!("{path:?} {problem}; what can be changed: {}", list::<R>())
}

fn list<R: Updatable>() -> String {
    R::FIELDS.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::v1::Version;

    fn violations(outcome: Result<Mask<Remote>, Error>) -> Vec<(String, String)> {
        match outcome.unwrap_err() {
            Error::Invalid(violations) => violations
                .into_iter()
                .map(|violation| (violation.field, violation.description))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_named_fields_are_changed_and_what_is_unset_is_cleared() {
        let mask = Mask::<Remote>::of(["url", "include", "update_interval"]).unwrap();
        let from = Remote {
            url: "https://new".into(),
            include: vec!["os=debian".into()],
            keep_versions: 9,
            ..Remote::default()
        };
        let mut into = Remote {
            name: "lab".into(),
            url: "https://old".into(),
            update_interval: Some(prost_types::Duration::default()),
            keep_versions: 3,
            ..Remote::default()
        };
        mask.merge(&from, &mut into).unwrap();
        let expected = Remote {
            name: "lab".into(),
            url: "https://new".into(),
            include: vec!["os=debian".into()],
            keep_versions: 3,
            ..Remote::default()
        };
        assert_eq!(into, expected);
        let part = mask.part(&expected).unwrap();
        assert_eq!((part.url.as_str(), part.keep_versions), ("https://new", 0));
    }

    #[test]
    fn a_field_of_a_field_is_changed_alone() {
        let mask = Mask::<Application>::of(["version.number"]).unwrap();
        let application = |number, serial: &str| Application {
            version: Some(Version {
                number,
                serial: serial.into(),
                ..Version::default()
            }),
            ..Application::default()
        };
        let mut into = application(1, "a");
        mask.merge(&application(2, "b"), &mut into).unwrap();
        assert_eq!(into, application(2, "a"));
    }

    #[test]
    fn what_cannot_be_changed_is_refused_with_what_can() {
        let refused = violations(Mask::of(["url", "status", "nonsense", "auth.user", "created_at"]));
        let fields: Vec<_> = refused.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(
            fields,
            [1, 2, 3, 4].map(|index| format!("update_mask.paths[{index}]"))
        );
        assert!(
            refused[0].1.starts_with("\"status\" cannot be changed; "),
            "{refused:?}"
        );
        assert!(
            refused[1].1.starts_with("\"nonsense\" is no field; "),
            "{refused:?}"
        );
        assert!(refused[1].1.contains("url, protocol, mode"), "{refused:?}");
        let nothing = violations(Mask::read(None));
        assert_eq!(nothing[0].0, "update_mask");
        assert!(nothing[0].1.contains("root_preference"), "{nothing:?}");
    }

    /// A field that is renamed in the contract, and not in the list, fails here.
    #[test]
    fn every_field_that_can_be_changed_is_one_of_the_contract() {
        fn check<R: Updatable + PartialEq + std::fmt::Debug>() {
            let descriptor = descriptor::of::<R>().unwrap();
            for field in R::FIELDS {
                let name = field.split('.').next().unwrap();
                assert!(descriptor.get_field_by_name(name).is_some(), "{field}");
            }
            let mask = Mask::<R>::of(R::FIELDS).unwrap();
            assert_eq!(Mask::read(Some(mask.to_wire())).unwrap(), mask);
            assert_eq!(mask.part(&R::default()).unwrap(), R::default());
        }
        check::<Image>();
        check::<Alias>();
        check::<Application>();
        check::<Webhook>();
        check::<Remote>();
    }
}
