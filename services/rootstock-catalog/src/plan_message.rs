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
