//! Artifacts: what names a file on a remote, and where it is to be had.

use rootstock_model::{ArtifactLocation, ArtifactRef, ImagePart};

use super::{digest, digest_bytes, size_bytes};
use crate::{
    Error,
    sync::v1::{self as wire, transfer_source::Artifact},
};

impl From<ArtifactRef> for Artifact {
    fn from(artifact: ArtifactRef) -> Self {
        match artifact {
            ArtifactRef::Digest(sha256) => Self::Sha256(digest_bytes(&sha256)),
            ArtifactRef::Part { fingerprint, part } => Self::Part(wire::ImagePartRef {
                fingerprint: digest_bytes(&fingerprint),
                part: match part {
                    ImagePart::Metadata => wire::ImagePart::Metadata,
                    ImagePart::Root => wire::ImagePart::Root,
                }
                .into(),
            }),
        }
    }
}

/// Where a file is to be had, from a source at `field` of a task.
///
/// # Errors
/// `INVALID_ARGUMENT` that names the first field that is wrong.
pub fn artifact_location(field: &str, source: &wire::TransferSource) -> Result<ArtifactLocation, Error> {
    let artifact = match &source.artifact {
        Some(Artifact::Sha256(bytes)) => ArtifactRef::Digest(digest(&format!("{field}.sha256"), bytes)?),
        Some(Artifact::Part(part)) => ArtifactRef::Part {
            fingerprint: digest(&format!("{field}.part.fingerprint"), &part.fingerprint)?,
            part: match part.part() {
                wire::ImagePart::Metadata => ImagePart::Metadata,
                wire::ImagePart::Root => ImagePart::Root,
                wire::ImagePart::Unspecified => {
                    return Err(Error::invalid(
                        format!("{field}.part.part"),
                        format!("{} is no part of an image", part.part),
                    ));
                }
            },
        },
        None => return Err(Error::invalid(format!("{field}.artifact"), "is missing")),
    };
    Ok(ArtifactLocation {
        artifact,
        path: source.path.clone(),
        size_bytes: size_bytes(&format!("{field}.size_bytes"), source.size_bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use rootstock_model::Digest;

    use super::*;

    fn source(artifact: Option<Artifact>) -> wire::TransferSource {
        wire::TransferSource {
            path: "images/root".into(),
            size_bytes: 7,
            artifact,
            ..wire::TransferSource::default()
        }
    }

    #[test]
    fn both_references_read_back() {
        let digest = Digest::of(b"x");
        for artifact in [
            ArtifactRef::Digest(digest),
            ArtifactRef::Part {
                fingerprint: digest,
                part: ImagePart::Metadata,
            },
            ArtifactRef::Part {
                fingerprint: digest,
                part: ImagePart::Root,
            },
        ] {
            let expected = ArtifactLocation {
                artifact,
                path: "images/root".into(),
                size_bytes: 7,
            };
            let read = artifact_location("sources[0]", &source(Some(artifact.into())));
            assert_eq!(read.unwrap(), expected);
        }
    }

    #[test]
    fn a_reference_that_is_none_is_refused_by_its_field() {
        let part = wire::ImagePartRef {
            fingerprint: digest_bytes(&Digest::of(b"x")),
            part: 9,
        };
        for (artifact, expected) in [
            (None, "sources[0].artifact: is missing"),
            (
                Some(Artifact::Sha256(b"short"[..].into())),
                "sources[0].sha256: is 5 bytes",
            ),
            (
                Some(Artifact::Part(part)),
                "sources[0].part.part: 9 is no part of an image",
            ),
        ] {
            let error = artifact_location("sources[0]", &source(artifact)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
