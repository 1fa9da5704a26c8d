//! The request to record an import, with every field checked.

use std::collections::BTreeMap;

use rootstock_model::{AliasName, Architecture, Digest, ImageName, ImageType};
use rootstock_proto::{Error, convert, sync::v1::RecordImportRequest};
use time::OffsetDateTime;

use crate::request::{self, image_type};

const MAX_REQUEST_ID_BYTES: usize = 64;

/// A request whose every field was looked at.
pub(super) struct Import {
    pub(super) request_id: String,
    pub(super) onto: Onto,
    pub(super) image_type: Option<ImageType>,
    pub(super) architecture: Option<Architecture>,
    pub(super) files: Vec<File>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) aliases: Vec<AliasName>,
    pub(super) replace_aliases: bool,
    pub(super) public: bool,
    pub(super) default: bool,
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) created_at: Option<OffsetDateTime>,
    pub(super) validate_only: bool,
    pub(super) fingerprint: Option<Digest>,
}

/// What the content becomes.
pub(super) enum Onto {
    /// A new image of this name.
    New(ImageName),
    /// A new version of the image that goes by this.
    Image(String),
    /// A new image whose name is not known yet: only to be checked.
    Unnamed,
}

pub(super) struct File {
    pub(super) ftype: String,
    pub(super) sha256: Digest,
    pub(super) size_bytes: i64,
}

impl Import {
    pub(super) fn of(request: RecordImportRequest) -> Result<Self, Error> {
        if request.request_id.len() > MAX_REQUEST_ID_BYTES {
            let problem = format!("is longer than {MAX_REQUEST_ID_BYTES} characters");
            return Err(Error::invalid("request_id", problem));
        }
        let image_type = image_type(request.r#type());
        request::check_alias_count(request.aliases.len())?;
        let properties = request.properties.into_iter().collect();
        request::check_property_sizes("properties", &properties)?;
        let files = request.artifacts.into_iter().enumerate().map(|(index, file)| {
            let field = |name: &str| format!("artifacts[{index}].{name}");
            convert::size_bytes(&field("size_bytes"), file.size_bytes)?;
            Ok(File {
                ftype: file.ftype,
                sha256: convert::digest(&field("sha256"), &file.sha256)?,
                size_bytes: file.size_bytes,
            })
        });
        let aliases = request.aliases.iter().enumerate().map(|(index, alias)| {
            let invalid = |error| Error::invalid(format!("aliases[{index}]"), error);
            alias
                .parse()
                .map_err(|error: rootstock_model::name::InvalidName| invalid(error))
        });
        let mut aliases = aliases.collect::<Result<Vec<AliasName>, _>>()?;
        aliases.sort();
        aliases.dedup();
        let moment = |field: &str, timestamp: Option<prost_types::Timestamp>| match timestamp {
            None => Ok(None),
            Some(timestamp) => convert::moment(&timestamp)
                .map(Some)
                .ok_or_else(|| Error::invalid(field, "is no date")),
        };
        let import = Self {
            request_id: request.request_id,
            onto: Onto::of(request.name, request.image, request.validate_only)?,
            image_type,
            architecture: match request.architecture.as_str() {
                "" => None,
                name => Some(
                    name.parse()
                        .map_err(|error| Error::invalid("architecture", error))?,
                ),
            },
            files: files.collect::<Result<_, Error>>()?,
            properties,
            aliases,
            replace_aliases: request.replace_aliases,
            public: request.public,
            default: request.default,
            expires_at: moment("expires_at", request.expires_at)?,
            created_at: moment("created_at", request.created_at)?,
            validate_only: request.validate_only,
            fingerprint: match request.fingerprint.is_empty() {
                true => None,
                false => Some(convert::digest("fingerprint", &request.fingerprint)?),
            },
        };
        if !import.validate_only && !(1..=2).contains(&import.files.len()) {
            let problem = format!("has {} files; an image has one or two", import.files.len());
            return Err(Error::invalid("artifacts", problem));
        }
        Ok(import)
    }

    pub(super) fn digests(&self) -> Vec<Digest> {
        self.files.iter().map(|file| file.sha256).collect()
    }
}

impl Onto {
    fn of(name: String, image: String, validate_only: bool) -> Result<Self, Error> {
        match (name.as_str(), image.as_str()) {
            ("", "") if validate_only => Ok(Self::Unnamed),
            ("", "") => Err(Error::invalid("name", "is required, or image")),
            (name, "") => name
                .parse()
                .map(Self::New)
                .map_err(|error| Error::invalid("name", error)),
            ("", _) => Ok(Self::Image(image)),
            _ => Err(Error::invalid("image", "cannot be given along with name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use rootstock_proto::sync::v1::ImportedArtifact;

    use super::*;

    fn request() -> RecordImportRequest {
        let file = |of: u8| ImportedArtifact {
            ftype: "squashfs".to_owned(),
            sha256: vec![of; 32].into(),
            size_bytes: 1,
        };
        RecordImportRequest {
            name: "mine".to_owned(),
            artifacts: vec![file(1), file(2)],
            ..RecordImportRequest::default()
        }
    }

    #[test]
    fn an_import_that_cannot_be_is_refused_by_its_field() {
        let bad_file = |change: fn(&mut ImportedArtifact)| {
            let mut request = request();
            change(&mut request.artifacts[1]);
            request
        };
        let moment = Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        });
        let cases = [
            (
                "request_id",
                RecordImportRequest {
                    request_id: "x".repeat(65),
                    ..request()
                },
            ),
            (
                "name",
                RecordImportRequest {
                    name: String::new(),
                    ..request()
                },
            ),
            (
                "name",
                RecordImportRequest {
                    name: "a b".to_owned(),
                    ..request()
                },
            ),
            (
                "image",
                RecordImportRequest {
                    image: "other".to_owned(),
                    ..request()
                },
            ),
            (
                "architecture",
                RecordImportRequest {
                    architecture: "vax".to_owned(),
                    ..request()
                },
            ),
            (
                "artifacts",
                RecordImportRequest {
                    artifacts: vec![],
                    ..request()
                },
            ),
            (
                "artifacts[1].sha256",
                bad_file(|file| file.sha256 = vec![1; 31].into()),
            ),
            ("artifacts[1].size_bytes", bad_file(|file| file.size_bytes = -1)),
            (
                "aliases[0]",
                RecordImportRequest {
                    aliases: vec!["a,b".to_owned()],
                    ..request()
                },
            ),
            (
                "expires_at",
                RecordImportRequest {
                    expires_at: moment,
                    ..request()
                },
            ),
            (
                "created_at",
                RecordImportRequest {
                    created_at: moment,
                    ..request()
                },
            ),
            (
                "fingerprint",
                RecordImportRequest {
                    fingerprint: vec![1; 5].into(),
                    ..request()
                },
            ),
        ];
        for (field, request) in cases {
            match Import::of(request) {
                Err(Error::Invalid(violations)) => assert_eq!(violations[0].field, field),
                Err(error) => panic!("{field}: {error}"),
                Ok(_) => panic!("{field} was taken"),
            }
        }
    }

    #[test]
    fn an_import_is_of_a_new_image_or_onto_one_and_may_be_nameless_only_when_it_is_checked() {
        let onto = |name: &str, image: &str, validate_only| {
            Import::of(RecordImportRequest {
                name: name.to_owned(),
                image: image.to_owned(),
                validate_only,
                ..request()
            })
            .map(|import| import.onto)
        };
        assert!(matches!(onto("mine", "", false), Ok(Onto::New(name)) if name.as_str() == "mine"));
        assert!(matches!(onto("", "mine", false), Ok(Onto::Image(image)) if image == "mine"));
        assert!(matches!(onto("", "", true), Ok(Onto::Unnamed)));
    }

    #[test]
    fn aliases_are_each_taken_once() {
        let aliases = ["b", "a", "b"].map(str::to_owned).into();
        let import = Import::of(RecordImportRequest { aliases, ..request() })
            .ok()
            .unwrap();
        let aliases: Vec<_> = import.aliases.iter().map(AliasName::as_str).collect();
        assert_eq!(aliases, ["a", "b"]);
    }
}
