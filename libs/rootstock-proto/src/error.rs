//! Errors as callers see them: a small closed set, and one mapping to gRPC statuses and back.
//!
//! Texts are for people: what was refused, why, what to do. What is internal goes to the log, never
//! here.

use std::{collections::HashMap, fmt};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation as WireFieldViolation, StatusExt};

/// The domain of our `ErrorInfo`s.
pub const DOMAIN: &str = "rootstock";

const REQUIREMENTS_NOT_MET: &str = "REQUIREMENTS_NOT_MET";
const UNKNOWN_RELEASE: &str = "UNKNOWN_RELEASE";

/// What a call was refused for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Fields of the request cannot be as they are.
    Invalid(Vec<FieldViolation>),
    /// What the request names is not there.
    NotFound {
        /// What kind of thing.
        kind: ResourceKind,
        /// The name that was asked for.
        name: String,
    },
    /// No version of a product has the release that was asked for, or a serial that begins with it.
    UnknownRelease {
        /// The product's name.
        product: String,
        /// The release that was asked for.
        release: String,
        /// Serials that there are, the nearest ones, newest first.
        nearest: Vec<String>,
    },
    /// What the request would make is there already, and differs.
    AlreadyExists {
        /// What kind of thing.
        kind: ResourceKind,
        /// Its name.
        name: String,
    },
    /// The request is well-formed, and the state of things does not allow it.
    Refused {
        /// The stable reason.
        reason: Refusal,
        /// What was refused, why, and what to do.
        message: String,
    },
    /// A host does not meet what an image requires of it.
    RequirementsNotMet {
        /// The image's name.
        image: String,
        /// Each key that is not met, and why.
        violations: Vec<RequirementViolation>,
    },
    /// What the request would change was changed since the caller read it.
    StaleEtag {
        /// What kind of thing.
        kind: ResourceKind,
        /// Its name.
        name: String,
    },
    /// The lease that the request bears is no longer in force: another worker has the work.
    LeaseLost,
    /// The revision asked for is not kept, or is yet to come.
    RevisionOutOfRange {
        /// The oldest revision that can be asked for.
        oldest: i64,
        /// The newest revision there is.
        newest: i64,
    },
    /// Certainly not done, and may well succeed later.
    Unavailable(String),
    /// A fault of ours; the log has the rest.
    Internal,
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, e.g. `versions[3].sha256`.
    pub field: String,
    /// What is wrong with it, and what it may be.
    pub description: String,
}

/// One `requirements.` key that a host does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequirementViolation {
    /// The key, e.g. `requirements.cgroup`.
    pub key: String,
    /// What it requires, and what the host has.
    pub description: String,
}

/// Kinds of things that have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// An image.
    Image,
    /// A version of an image.
    Version,
    /// A remote.
    Remote,
    /// A sync that was asked for.
    SyncRun,
    /// A piece of work.
    Work,
    /// A name that points to an image.
    Alias,
    /// A consumer of an image.
    Application,
    /// A setting.
    Setting,
    /// A line of images that a remote offers.
    Product,
    /// Bytes in the store.
    Blob,
    /// A receiver of changes.
    Webhook,
}

impl ResourceKind {
    const ALL: [Self; 11] = [
        Self::Image,
        Self::Version,
        Self::Remote,
        Self::SyncRun,
        Self::Work,
        Self::Alias,
        Self::Application,
        Self::Setting,
        Self::Product,
        Self::Blob,
        Self::Webhook,
    ];

    /// As texts and `ResourceInfo` spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Version => "version",
            Self::Remote => "remote",
            Self::SyncRun => "sync run",
            Self::Work => "work",
            Self::Alias => "alias",
            Self::Application => "application",
            Self::Setting => "setting",
            Self::Product => "product",
            Self::Blob => "blob",
            Self::Webhook => "webhook",
        }
    }
}

/// Why the state of things does not allow a request. Stable names for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A name or prefix fits several things.
    Ambiguous,
    /// A version cannot be fetched: no remote offers it, or it is in error.
    NotFetchable,
    /// A poll would remove too much of a remote.
    TooManyRemoved,
    /// An image or version has nothing stored that could be used.
    NotActive,
    /// What comes from a remote is not changed by hand, or only with force.
    Immutable,
    /// The default image of a type goes last.
    IsDefault,
    /// An image keeps at least one version.
    LastVersion,
    /// An image is held at a version, and the request would contradict that.
    Held,
    /// It is disabled.
    Disabled,
    /// An image has a version with just this content.
    NotChanged,
    /// There are as many of a thing as there may be.
    LimitReached,
}

impl Refusal {
    const ALL: [Self; 11] = [
        Self::Ambiguous,
        Self::NotFetchable,
        Self::TooManyRemoved,
        Self::NotActive,
        Self::Immutable,
        Self::IsDefault,
        Self::LastVersion,
        Self::Held,
        Self::Disabled,
        Self::NotChanged,
        Self::LimitReached,
    ];

    /// The `ErrorInfo.reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ambiguous => "AMBIGUOUS",
            Self::NotFetchable => "NOT_FETCHABLE",
            Self::TooManyRemoved => "TOO_MANY_REMOVED",
            Self::NotActive => "NOT_ACTIVE",
            Self::Immutable => "IMMUTABLE",
            Self::IsDefault => "IS_DEFAULT",
            Self::LastVersion => "LAST_VERSION",
            Self::Held => "HELD",
            Self::Disabled => "DISABLED",
            Self::NotChanged => "NOT_CHANGED",
            Self::LimitReached => "LIMIT_REACHED",
        }
    }
}

impl Error {
    /// One wrong field.
    pub fn invalid(field: impl Into<String>, description: impl fmt::Display) -> Self {
        Self::Invalid(vec![FieldViolation {
            field: field.into(),
            description: description.to_string(),
        }])
    }

    /// Something that is not there.
    pub fn not_found(kind: ResourceKind, name: impl fmt::Display) -> Self {
        Self::NotFound {
            kind,
            name: name.to_string(),
        }
    }

    /// Something that the state of things does not allow.
    pub fn refused(reason: Refusal, message: impl Into<String>) -> Self {
        Self::Refused {
            reason,
            message: message.into(),
        }
    }

    /// The gRPC code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotFound { .. } | Self::UnknownRelease { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::Refused { .. } | Self::RequirementsNotMet { .. } => Code::FailedPrecondition,
            Self::StaleEtag { .. } | Self::LeaseLost => Code::Aborted,
            Self::RevisionOutOfRange { .. } => Code::OutOfRange,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }

    const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID",
            Self::NotFound { .. } => "NOT_FOUND",
            Self::UnknownRelease { .. } => UNKNOWN_RELEASE,
            Self::AlreadyExists { .. } => "ALREADY_EXISTS",
            Self::Refused { reason, .. } => reason.as_str(),
            Self::RequirementsNotMet { .. } => REQUIREMENTS_NOT_MET,
            Self::StaleEtag { .. } => "STALE_ETAG",
            Self::LeaseLost => "LEASE_LOST",
            Self::RevisionOutOfRange { .. } => "REVISION_COMPACTED",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(violations) => {
                for (index, violation) in violations.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{}: {}", violation.field, violation.description)?;
                }
                Ok(())
            }
            Self::NotFound { kind, name } => write!(f, "{} {name:?} not found", kind.as_str()),
            Self::UnknownRelease {
                product,
                release,
                nearest,
            } => {
                write!(f, "release {release:?} of {product:?} not found")?;
                match nearest.is_empty() {
                    true => f.write_str("; there is none that can be had"),
                    false => write!(f, "; the nearest are {}", nearest.join(", ")),
                }
            }
            Self::AlreadyExists { kind, name } => write!(f, "{} {name:?} already exists", kind.as_str()),
            Self::Refused { message, .. } => f.write_str(message),
            Self::RequirementsNotMet { image, violations } => {
                write!(f, "this host may not start {image:?}")?;
                for (index, violation) in violations.iter().enumerate() {
                    let separator = if index == 0 { ":" } else { ";" };
                    write!(f, "{separator} {}: {}", violation.key, violation.description)?;
                }
                Ok(())
            }
            Self::StaleEtag { kind, name } => {
                let kind = kind.as_str();
                write!(
                    f,
                    "{kind} {name:?} was changed meanwhile: read it again, then change it"
                )
            }
            Self::LeaseLost => f.write_str("the lease is no longer in force: stop this work"),
            Self::RevisionOutOfRange { oldest, newest } => {
                write!(
                    f,
                    "only revisions {oldest} to {newest} can be asked for: ask for the initial state"
                )
            }
            Self::Unavailable(message) => f.write_str(message),
            Self::Internal => f.write_str("internal error; the server's log has more"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut metadata = HashMap::new();
        if let Error::RevisionOutOfRange { oldest, newest } = error {
            metadata.insert("oldest".to_owned(), oldest.to_string());
            metadata.insert("newest".to_owned(), newest.to_string());
        }
        if let Error::UnknownRelease {
            product,
            release,
            nearest,
        } = &error
        {
            metadata.insert("product".to_owned(), product.clone());
            metadata.insert("release".to_owned(), release.clone());
            // Serials hold no commas.
            metadata.insert("nearest".to_owned(), nearest.join(","));
        }
        let mut details = ErrorDetails::new();
        details.set_error_info(error.reason(), DOMAIN, metadata);
        match &error {
            Error::Invalid(violations) => {
                let violations = violations
                    .iter()
                    .map(|violation| WireFieldViolation::new(&violation.field, &violation.description))
                    .collect::<Vec<_>>();
                details.set_bad_request(violations);
            }
            Error::NotFound { kind, name }
            | Error::AlreadyExists { kind, name }
            | Error::StaleEtag { kind, name } => {
                details.set_resource_info(kind.as_str(), name, "", "");
            }
            Error::UnknownRelease { product, .. } => {
                details.set_resource_info(ResourceKind::Product.as_str(), product, "", "");
            }
            Error::Refused { reason, message } => {
                details.add_precondition_failure_violation(reason.as_str(), "", message);
            }
            Error::RequirementsNotMet { image, violations } => {
                for violation in violations {
                    details.add_precondition_failure_violation(&violation.key, image, &violation.description);
                }
            }
            Error::LeaseLost | Error::RevisionOutOfRange { .. } | Error::Unavailable(_) | Error::Internal => {
            }
        }
        Status::with_error_details(error.code(), error.to_string(), details)
    }
}

impl Error {
    /// Reads an error back from a status; `None` when the status is not one of ours (a proxy's, a
    /// transport's).
    pub fn from_status(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        let resource = || {
            let info = details.resource_info()?;
            let kind = ResourceKind::ALL
                .into_iter()
                .find(|kind| kind.as_str() == info.resource_type)?;
            Some((kind, info.resource_name.clone()))
        };
        let number = |key: &str| info.metadata.get(key)?.parse().ok();
        Some(match status.code() {
            Code::InvalidArgument => {
                let violations = details.bad_request()?.field_violations.iter();
                Self::Invalid(
                    violations
                        .map(|v| FieldViolation {
                            field: v.field.clone(),
                            description: v.description.clone(),
                        })
                        .collect(),
                )
            }
            Code::NotFound if info.reason == UNKNOWN_RELEASE => {
                let text = |key: &str| info.metadata.get(key).cloned();
                let nearest = text("nearest")?;
                Self::UnknownRelease {
                    product: text("product")?,
                    release: text("release")?,
                    nearest: nearest
                        .split(',')
                        .filter(|serial| !serial.is_empty())
                        .map(str::to_owned)
                        .collect(),
                }
            }
            Code::NotFound => resource().map(|(kind, name)| Self::NotFound { kind, name })?,
            Code::AlreadyExists => resource().map(|(kind, name)| Self::AlreadyExists { kind, name })?,
            Code::FailedPrecondition if info.reason == REQUIREMENTS_NOT_MET => {
                let violations = &details.precondition_failure()?.violations;
                Self::RequirementsNotMet {
                    image: violations.first()?.subject.clone(),
                    violations: violations
                        .iter()
                        .map(|violation| RequirementViolation {
                            key: violation.r#type.clone(),
                            description: violation.description.clone(),
                        })
                        .collect(),
                }
            }
            Code::FailedPrecondition => Self::Refused {
                reason: Refusal::ALL
                    .into_iter()
                    .find(|reason| reason.as_str() == info.reason)?,
                message: status.message().to_owned(),
            },
            Code::Aborted if info.reason == "LEASE_LOST" => Self::LeaseLost,
            Code::Aborted => resource().map(|(kind, name)| Self::StaleEtag { kind, name })?,
            Code::OutOfRange => Self::RevisionOutOfRange {
                oldest: number("oldest")?,
                newest: number("newest")?,
            },
            Code::Unavailable => Self::Unavailable(status.message().to_owned()),
            Code::Internal => Self::Internal,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_wire() {
        let errors = [
            Error::Invalid(vec![
                FieldViolation {
                    field: "remote.name".into(),
                    description: "is empty".into(),
                },
                FieldViolation {
                    field: "remote.url".into(),
                    description: "is no URL".into(),
                },
            ]),
            Error::not_found(ResourceKind::Image, "debian/12"),
            Error::UnknownRelease {
                product: "jammy:android13:arm64".into(),
                release: "1.18".into(),
                nearest: vec!["1.19.0".into(), "1.17.2".into()],
            },
            Error::AlreadyExists {
                kind: ResourceKind::Remote,
                name: "images".into(),
            },
            Error::refused(Refusal::Ambiguous, "\"a\" fits several images: x, y"),
            Error::RequirementsNotMet {
                image: "debian:bookworm".into(),
                violations: vec![
                    RequirementViolation {
                        key: "requirements.cgroup".into(),
                        description: "needs v1; the host has v2".into(),
                    },
                    RequirementViolation {
                        key: "requirements.nesting".into(),
                        description: "needs nesting, which is off".into(),
                    },
                ],
            },
            Error::StaleEtag {
                kind: ResourceKind::Application,
                name: "web".into(),
            },
            Error::LeaseLost,
            Error::RevisionOutOfRange { oldest: 7, newest: 9 },
            Error::Unavailable("the database is not reachable; try again".into()),
            Error::Internal,
        ];
        for error in errors {
            let status = Status::from(error.clone());
            assert_eq!(status.message(), error.to_string());
            assert_eq!(Error::from_status(&status), Some(error));
        }
    }

    #[test]
    fn a_foreign_status_is_none_of_ours() {
        assert_eq!(
            Error::from_status(&Status::unavailable("connection refused")),
            None
        );
    }
}
