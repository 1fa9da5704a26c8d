//! `ResolveImage` and `RecordImageUse`: one read each, whatever is asked for. Uses are noted on the
//! side ([`crate::uses`]).

use rootstock_model::{
    ImageType,
    reference::Narrowing,
    requirements::{self, HostFacts},
};
use rootstock_proto::{
    Error, Refusal, RequirementViolation, ResourceKind,
    catalog::v1::{
        self as wire, ArtifactLocation, RecordImageUseRequest, RecordImageUseResponse, ResolveImageRequest,
        ResolveImageResponse,
    },
};

use crate::{
    Catalog,
    failure::Failure,
    queries::resolve::Found,
    request::{self, find_image, image_type, meant},
};

/// Where every gateway serves a blob, below its base URL.
const BLOBS_PATH: &str = "blobs/sha256";

pub(super) async fn resolve(
    catalog: &Catalog,
    request: ResolveImageRequest,
) -> Result<ResolveImageResponse, Failure> {
    let narrowing = Narrowing {
        image_type: image_type(request.r#type()),
        architecture: request::architecture(&request.architecture)?,
    };
    let found = catalog.lookup.find(&request.image, request.version).await?;
    let Found {
        image,
        version,
        pinned,
        candidate,
    } = meant(&request.image, narrowing, request.version, found)?;
    let number = request.version.or(pinned).or(image.current_version);
    let version = usable(&image, number, version)?;
    let properties = || {
        let mut properties: Vec<_> = image.properties.iter().collect();
        properties.sort();
        properties
            .into_iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    };
    if let Some(host) = request.host {
        let facts = host_facts(host);
        let violations = requirements::violations(properties(), candidate.image_type, &facts);
        if !violations.is_empty() {
            let violations = violations.into_iter().map(|violation| RequirementViolation {
                key: violation.key,
                description: violation.description.to_owned(),
            });
            let violations = violations.collect();
            let image = image.name.clone();
            return Err(Error::RequirementsNotMet { image, violations }.into());
        }
    }
    if request.record_use {
        catalog.uses.record(&image.id);
    }
    let locations = version.artifacts.iter().map(|artifact| ArtifactLocation {
        path: format!("{BLOBS_PATH}/{}", artifact.sha256),
        artifact: Some(artifact.clone()),
    });
    Ok(ResolveImageResponse {
        artifacts: locations.collect(),
        warnings: requirements::warnings(properties()),
        image: Some(image),
        version: Some(version),
    })
}

/// The version, when an instance can be made of it.
fn usable(
    image: &wire::Image,
    number: Option<i32>,
    version: Option<wire::Version>,
) -> Result<wire::Version, Error> {
    let name = &image.name;
    let not_active = |message: String| Error::refused(Refusal::NotActive, message);
    let Some(number) = number else {
        return Err(not_active(match image.status() {
            wire::Status::Available => format!(
                "{name:?} is known and not stored here: fetch it, `rootstock image fetch {name} --wait`"
            ),
            wire::Status::Queued | wire::Status::Created | wire::Status::Initializing => {
                format!(
                    "{name:?} is still being fetched: try again, `rootstock image show {name}` tells how it stands"
                )
            }
            _ => format!("{name:?} has no version that can be used: `rootstock image show {name}` tells why"),
        }));
    };
    let Some(version) = version else {
        return Err(Error::not_found(
            ResourceKind::Version,
            format!("{name} version {number}"),
        ));
    };
    if version.hidden {
        let hold = image.hold.clone().unwrap_or_default();
        let reason = if hold.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", hold.reason)
        };
        let message = format!(
            "version {number} of {name:?} is held back: the image is held at version {}{reason}; \
             `rootstock image release {name}` ends that",
            hold.version
        );
        return Err(Error::refused(Refusal::Held, message));
    }
    match version.status() {
        wire::Status::Active => Ok(version),
        wire::Status::Available => Err(not_active(format!(
            "version {number} of {name:?} is known and not stored here: fetch it, \
             `rootstock image fetch {name} --version {number} --wait`"
        ))),
        wire::Status::Error => Err(not_active(format!(
            "version {number} of {name:?} cannot be had: {}",
            version.error_message
        ))),
        _ => Err(not_active(format!(
            "version {number} of {name:?} is still being fetched: try again, `rootstock image show {name}` tells \
             how it stands"
        ))),
    }
}

fn host_facts(host: wire::HostFacts) -> HostFacts {
    HostFacts {
        cgroup: host.cgroup,
        nesting: host.nesting,
        privileged: host.privileged,
        secureboot: host.secureboot,
        agent_disk: host.agent_disk,
        cloud_init_disk: host.cloud_init_disk,
        booted_before: host.booted_before,
    }
}

pub(super) async fn record_use(
    catalog: &Catalog,
    request: RecordImageUseRequest,
) -> Result<RecordImageUseResponse, Failure> {
    let wanted: Option<ImageType> = image_type(request.r#type());
    let mut connection = catalog.pool.acquire().await?;
    let image = find_image(&mut connection, &request.image, wanted).await?;
    catalog.uses.record(&image.id);
    Ok(RecordImageUseResponse {})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(status: wire::Status, hidden: bool) -> wire::Version {
        wire::Version {
            number: 3,
            status: status.into(),
            hidden,
            error_message: "the server is gone".to_owned(),
            ..wire::Version::default()
        }
    }

    #[test]
    fn a_version_that_cannot_be_used_says_why_and_what_to_do() {
        use wire::Status::{Active, Available, Created, Error as Failed, Initializing, Queued};
        let cases = [
            (Available, None, None, "rootstock image fetch base --wait"),
            (Queued, None, None, "is still being fetched"),
            (Created, None, None, "is still being fetched"),
            (Initializing, None, None, "is still being fetched"),
            (Failed, None, None, "has no version that can be used"),
            (Active, Some(3), None, "base version 3"),
            (
                Active,
                Some(3),
                Some(version(Active, true)),
                "held at version 1 (broken)",
            ),
            (
                Active,
                Some(3),
                Some(version(Failed, true)),
                "rootstock image release base",
            ),
            (
                Active,
                Some(3),
                Some(version(Available, false)),
                "fetch base --version 3 --wait",
            ),
            (
                Active,
                Some(3),
                Some(version(Failed, false)),
                "cannot be had: the server is gone",
            ),
            (
                Active,
                Some(3),
                Some(version(Queued, false)),
                "is still being fetched",
            ),
        ];
        for (status, number, found, expected) in cases {
            let image = wire::Image {
                name: "base".to_owned(),
                status: status.into(),
                hold: Some(wire::Hold {
                    version: 1,
                    reason: "broken".to_owned(),
                    ..wire::Hold::default()
                }),
                ..wire::Image::default()
            };
            let error = usable(&image, number, found).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let active = version(Active, false);
        assert_eq!(
            usable(&wire::Image::default(), Some(3), Some(active.clone())).unwrap(),
            active
        );
    }
}
