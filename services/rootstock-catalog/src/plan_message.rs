//! A plan as it is shown: every step, and the bytes that are to be fetched.

use std::collections::BTreeMap;

use rootstock_model::{
    Digest, Status,
    plan::{ImagePlan, Plan},
};
use rootstock_proto::catalog::v1::{self as wire, PlanAction};
use sqlx::PgConnection;

use crate::{failure::Failure, queries::blobs};

/// The plan as a message. What is stored already costs nothing to fetch.
pub(crate) async fn plan(connection: &mut PgConnection, plan: &Plan<'_>) -> Result<wire::Plan, Failure> {
    let mut wanted: BTreeMap<Digest, u64> = BTreeMap::new();
    for new in plan.images.iter().flat_map(|image| &image.add) {
        if new.status == Status::Queued {
            wanted.extend(
                new.content
                    .artifacts()
                    .into_iter()
                    .map(|file| (file.sha256, file.size_bytes)),
            );
        }
    }
    let digests: Vec<Digest> = wanted.keys().copied().collect();
    for stored in blobs::stored(connection, &digests).await? {
        wanted.remove(&stored);
    }
    let fetch_bytes = wanted
        .values()
        .fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
    Ok(wire::Plan {
        steps: plan.images.iter().flat_map(steps).collect(),
        fetch_bytes: i64::try_from(fetch_bytes).unwrap_or(i64::MAX),
        fetch_blobs: i64::try_from(wanted.len()).unwrap_or(i64::MAX),
        left_out: plan.left_out.iter().cloned().map(Into::into).collect(),
        next_page_token: String::new(),
    })
}

fn steps<'a>(image: &'a ImagePlan<'_>) -> impl Iterator<Item = wire::PlanStep> + 'a {
    let step = |action: PlanAction, serial: String, size_bytes: u64| wire::PlanStep {
        action: action.into(),
        image: image.key.0.to_string(),
        r#type: wire::ImageType::from(image.key.1).into(),
        serial,
        size_bytes: i64::try_from(size_bytes).unwrap_or(i64::MAX),
    };
    let action = |status| {
        if status == Status::Queued {
            PlanAction::Fetch
        } else {
            PlanAction::List
        }
    };
    let added = image.add.iter().map(move |new| {
        step(
            action(new.status),
            new.offered.serial.clone(),
            new.content.size_bytes(),
        )
    });
    let changed = image
        .change
        .iter()
        .map(move |(version, status)| step(action(*status), version.serial.clone(), version.size_bytes));
    let removed = image
        .remove
        .iter()
        .map(move |version| step(PlanAction::Remove, version.serial.clone(), version.size_bytes));
    let retired = image
        .retire
        .iter()
        .chain(&image.retire_later)
        .map(move |version| step(PlanAction::Retire, version.serial.clone(), version.size_bytes));
    added.chain(changed).chain(removed).chain(retired)
}

#[cfg(test)]
mod tests {
    use rootstock_model::MetadataFtype;
    use rootstock_model::plan::{KnownVersion, NewVersion};
    use rootstock_model::{
        ImageType, RootFtype,
        snapshot::{Artifact, Content, OfferedVersion},
    };

    use super::*;

    #[test]
    fn every_step_of_a_plan_is_shown_with_what_it_costs() {
        let artifact = |of: &str, size_bytes| (Digest::of(of.as_bytes()), size_bytes);
        let (metadata, root) = (artifact("metadata", 3), artifact("root", 40));
        let content = Content::Split {
            metadata: Artifact {
                ftype: MetadataFtype::Incus,
                sha256: metadata.0,
                size_bytes: metadata.1,
                path: "metadata".to_owned(),
            },
            root: Artifact {
                ftype: RootFtype::Squashfs,
                sha256: root.0,
                size_bytes: root.1,
                path: "root".to_owned(),
            },
            fingerprint: None,
        };
        let offered = |serial: &str| OfferedVersion {
            serial: serial.to_owned(),
            label: String::new(),
            created_at: None,
            contents: vec![content.clone()],
        };
        let (first, second) = (offered("20260101"), offered("20260102"));
        let new = |offered, status| NewVersion {
            offered,
            content: &content,
            status,
        };
        let known = |serial: &str| KnownVersion {
            number: 0,
            serial: serial.to_owned(),
            status: Status::Available,
            size_bytes: 7,
            fingerprint: None,
            files: vec![],
        };
        let plan = ImagePlan {
            key: ("debian:12".parse().unwrap(), ImageType::VirtualMachine),
            describe: None,
            add: vec![new(&first, Status::Available), new(&second, Status::Queued)],
            change: vec![(known("3"), Status::Queued), (known("4"), Status::Available)],
            relocate: vec![],
            remove: vec![known("5")],
            retire: vec![known("6")],
            retire_later: vec![known("7")],
        };
        let steps: Vec<_> = steps(&plan).collect();
        let shown: Vec<_> = steps
            .iter()
            .map(|step| (step.action(), step.serial.as_str(), step.size_bytes))
            .collect();
        let expected = [
            (PlanAction::List, "20260101", 43),
            (PlanAction::Fetch, "20260102", 43),
            (PlanAction::Fetch, "3", 7),
            (PlanAction::List, "4", 7),
            (PlanAction::Remove, "5", 7),
            (PlanAction::Retire, "6", 7),
            (PlanAction::Retire, "7", 7),
        ];
        assert_eq!(shown, expected);
        assert!(
            steps
                .iter()
                .all(|step| step.image == "debian:12" && step.r#type() == wire::ImageType::VirtualMachine)
        );
    }
}
