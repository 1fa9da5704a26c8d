//! Snapshots: what a worker submits of a remote's offer.

use rootstock_model::{
    MetadataFtype, RootFtype, serial,
    snapshot::{Artifact, Content, Document, OfferedImage, OfferedVersion},
};
use time::{Date, macros::format_description};

use super::{digest, digest_bytes, size_bytes};
use crate::{Error, sync::v1 as wire};

const DATE: &[time::format_description::BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

impl From<Document> for wire::Document {
    fn from(document: Document) -> Self {
        Self {
            path: document.path,
            etag: document.etag,
            last_modified: document.last_modified,
            sha256: digest_bytes(&document.sha256),
        }
    }
}

/// A document from a message at `field`.
///
/// # Errors
/// `INVALID_ARGUMENT` when its digest is none.
pub fn document(field: &str, document: wire::Document) -> Result<Document, Error> {
    Ok(Document {
        sha256: digest(&format!("{field}.sha256"), &document.sha256)?,
        path: document.path,
        etag: document.etag,
        last_modified: document.last_modified,
    })
}

/// An offered image as a message.
pub fn offered_image_to_wire(image: &OfferedImage) -> wire::OfferedImage {
    let versions = image.versions.iter().map(|version| wire::OfferedVersion {
        serial: version.serial.clone(),
        label: version.label.clone(),
        contents: version.contents.iter().map(content_to_wire).collect(),
    });
    wire::OfferedImage {
        product: image.product.to_string(),
        r#type: image.image_type.to_string(),
        architecture: image.architecture.to_string(),
        properties: image.properties.clone().into_iter().collect(),
        aliases: image.aliases.iter().map(ToString::to_string).collect(),
        // Formatting a date with a constant description of its own parts cannot fail.
        support_eol: image
            .support_eol
            .and_then(|day| day.format(DATE).ok())
            .unwrap_or_default(),
        versions: versions.collect(),
    }
}

fn content_to_wire(content: &Content) -> wire::OfferedContent {
    let claimed = match content {
        Content::Split { fingerprint, .. } => fingerprint.as_ref(),
        Content::Unified { .. } => None,
    };
    let artifacts = content
        .artifacts()
        .into_iter()
        .map(|artifact| wire::OfferedArtifact {
            ftype: artifact.ftype.to_owned(),
            sha256: digest_bytes(&artifact.sha256),
            // The parser takes no size that does not fit.
            size_bytes: i64::try_from(artifact.size_bytes).unwrap_or(i64::MAX),
            path: artifact.path,
        });
    wire::OfferedContent {
        artifacts: artifacts.collect(),
        fingerprint: claimed.map(digest_bytes).unwrap_or_default(),
    }
}

/// An offered image from a message at `field`.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the first field that is wrong.
pub fn offered_image_from_wire(field: &str, image: wire::OfferedImage) -> Result<OfferedImage, Error> {
    let at = |name: &str| format!("{field}.{name}");
    let invalid = |name: &str, error: &dyn std::fmt::Display| Error::invalid(at(name), error);
    let mut aliases = Vec::with_capacity(image.aliases.len());
    for (index, alias) in image.aliases.iter().enumerate() {
        aliases.push(
            alias
                .parse()
                .map_err(|error| invalid(&format!("aliases[{index}]"), &error))?,
        );
    }
    let support_eol = match image.support_eol.as_str() {
        "" => None,
        day => Some(Date::parse(day, DATE).map_err(|error| invalid("support_eol", &error))?),
    };
    let mut versions = Vec::with_capacity(image.versions.len());
    for (index, version) in image.versions.into_iter().enumerate() {
        versions.push(version_from_wire(&at(&format!("versions[{index}]")), version)?);
    }
    versions.sort_by(|a, b| serial::compare(&a.serial, &b.serial));
    Ok(OfferedImage {
        product: image
            .product
            .parse()
            .map_err(|error| invalid("product", &error))?,
        image_type: image.r#type.parse().map_err(|error| invalid("type", &error))?,
        architecture: image
            .architecture
            .parse()
            .map_err(|error| invalid("architecture", &error))?,
        properties: image.properties.into_iter().collect(),
        aliases,
        support_eol,
        versions,
    })
}

fn version_from_wire(field: &str, version: wire::OfferedVersion) -> Result<OfferedVersion, Error> {
    let mut contents = Vec::with_capacity(version.contents.len());
    for (index, content) in version.contents.into_iter().enumerate() {
        contents.push(content_from_wire(&format!("{field}.contents[{index}]"), content)?);
    }
    if contents.is_empty() {
        return Err(Error::invalid(format!("{field}.contents"), "is empty"));
    }
    Ok(OfferedVersion {
        created_at: serial::moment(&version.serial),
        serial: version.serial,
        label: version.label,
        contents,
    })
}

fn content_from_wire(field: &str, content: wire::OfferedContent) -> Result<Content, Error> {
    let artifacts = format!("{field}.artifacts");
    let mut files = content.artifacts.into_iter();
    match (files.next(), files.next(), files.next()) {
        (Some(image), None, None) => Ok(Content::Unified {
            image: artifact_from_wire(&format!("{artifacts}[0]"), image)?,
        }),
        (Some(metadata), Some(root), None) => Ok(Content::Split {
            metadata: artifact_from_wire::<MetadataFtype>(&format!("{artifacts}[0]"), metadata)?,
            root: artifact_from_wire::<RootFtype>(&format!("{artifacts}[1]"), root)?,
            fingerprint: match &content.fingerprint[..] {
                [] => None,
                bytes => Some(digest(&format!("{field}.fingerprint"), bytes)?),
            },
        }),
        _ => Err(Error::invalid(
            artifacts,
            "must be metadata and root, or one unified file",
        )),
    }
}

fn artifact_from_wire<F>(field: &str, artifact: wire::OfferedArtifact) -> Result<Artifact<F>, Error>
where
    F: std::str::FromStr<Err: std::fmt::Display>,
{
    Ok(Artifact {
        ftype: artifact
            .ftype
            .parse()
            .map_err(|error| Error::invalid(format!("{field}.ftype"), error))?,
        sha256: digest(&format!("{field}.sha256"), &artifact.sha256)?,
        size_bytes: size_bytes(&format!("{field}.size_bytes"), artifact.size_bytes)?,
        path: artifact.path,
    })
}

#[cfg(test)]
mod tests {
    use rootstock_model::{Digest, ImageType};

    use super::*;

    fn image() -> OfferedImage {
        let artifact = |ftype, text: &str| Artifact {
            ftype,
            sha256: Digest::of(text.as_bytes()),
            size_bytes: 7,
            path: format!("images/{text}"),
        };
        let root = Artifact {
            ftype: RootFtype::Squashfs,
            ..artifact_of("root")
        };
        fn artifact_of(text: &str) -> Artifact<RootFtype> {
            Artifact {
                ftype: RootFtype::RootTarXz,
                sha256: Digest::of(text.as_bytes()),
                size_bytes: 9,
                path: format!("images/{text}"),
            }
        }
        OfferedImage {
            product: "debian:12:amd64:default".parse().unwrap(),
            image_type: ImageType::Container,
            architecture: "amd64".parse().unwrap(),
            properties: [("os".to_owned(), "Debian".to_owned())].into(),
            aliases: vec!["debian/12".parse().unwrap()],
            support_eol: Some(time::macros::date!(2028 - 06 - 30)),
            versions: vec![OfferedVersion {
                serial: "20261122_05:24".into(),
                label: "daily".into(),
                created_at: serial::moment("20261122_05:24"),
                contents: vec![
                    Content::Split {
                        metadata: artifact(MetadataFtype::Incus, "metadata"),
                        root,
                        fingerprint: Some(Digest::of(b"metadataroot")),
                    },
                    Content::Unified {
                        image: artifact(MetadataFtype::LxdCombined, "whole"),
                    },
                ],
            }],
        }
    }

    #[test]
    fn an_offer_survives_the_wire() {
        assert_eq!(
            offered_image_from_wire("images[0]", offered_image_to_wire(&image())),
            Ok(image())
        );
    }

    #[test]
    fn an_error_names_the_path_of_its_field() {
        let mut message = offered_image_to_wire(&image());
        message.versions[0].contents[0].artifacts[1].sha256 = bytes::Bytes::from_static(b"short");
        let error = offered_image_from_wire("images[4]", message).unwrap_err();
        assert_eq!(
            error.to_string(),
            "images[4].versions[0].contents[0].artifacts[1].sha256: is 5 bytes; a SHA-256 has 32"
        );
    }
}
