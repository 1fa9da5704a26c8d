//! What a remote's offer does: plan it against what is known, and apply the plan, in the
//! transaction that read the state and under the fence of the worker's lease.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rootstock_model::{
    Digest, Id, ImageName, Status,
    plan::{self, ImagePlan, KnownState, KnownVersion, Plan, Rules},
    selection::Selection,
    settings::Settings,
    snapshot::Snapshot,
};
use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{self as wire, ChangeOperation},
    convert,
    sync::v1::Document,
};

use crate::{
    Catalog,
    change::{self, Writer, activation, retention},
    failure::Failure,
    plan_message,
    queries::{
        remotes::{self, RemoteRow},
        settings,
        snapshots::{self, KnownRows, NewImageRow, NewVersionRow, Relocation},
        sync_runs::{self, PlanRun, PlanTarget},
        transfers, versions,
    },
    retry,
    work::{Kind, Lease, LeaseGuard, Subject, lease::fence_kind, schedule},
};

/// What a worker submitted.
pub(crate) struct Submission {
    pub lease: Lease,
    pub documents: Vec<Document>,
    pub snapshot: Snapshot,
}

/// What became of it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub changed_versions: i64,
    pub queued_transfers: i64,
}

/// Records a submission, or, when only a plan was asked for, the plan.
pub(crate) async fn submit(catalog: &Catalog, mut submission: Submission) -> Result<Recorded, Failure> {
    submission.snapshot.fit();
    let mut writer = Writer::begin(&catalog.pool).await?;
    let guard = fence_kind(writer.connection(), submission.lease, Kind::Poll).await?;
    if let Subject::PlanRun(id) = &guard.subject {
        let run = sync_runs::plan_run(writer.connection(), id).await?;
        let run = run.ok_or_else(|| Error::not_found(ResourceKind::SyncRun, id))?;
        let outcome = plan_only(&mut writer, run, &submission.snapshot).await?;
        sync_runs::finish_plan(writer.connection(), id, outcome).await?;
        schedule::remove(writer.connection(), guard.lease.work_id).await?;
        change::commit(writer).await?;
        return Ok(Recorded::default());
    }
    let remote_id = guard.subject.remote()?;
    let remote = remote_by_id(&mut writer, remote_id).await?;
    let settings = settings::load(writer.connection()).await?;
    let runs = sync_runs::wanted(writer.connection(), remote_id, submission.lease.epoch).await?;
    let (known, outcome) =
        make_plan(&mut writer, &remote, &settings, &submission.snapshot, runs.force).await?;
    let plan = match outcome {
        Ok(plan) => plan,
        Err(refused) => {
            let failures = guard.failed_attempts.saturating_add(1);
            let delay = catalog.retry.delay(failures, Duration::ZERO, rand::random());
            let error = refused.to_string();
            tracing::warn!(remote.name = remote.remote.name, error, "index refused");
            poll_failed(&mut writer, &guard, remote_id, &error, delay).await?;
            change::commit(writer).await?;
            return Ok(Recorded::default());
        }
    };
    let message = match runs.any {
        true => plan_message::plan(writer.connection(), &plan).await?,
        false => wire::Plan::default(),
    };
    let recorded = apply_plan(&mut writer, &remote, &known, &plan).await?;
    remotes::set_left_out(writer.connection(), remote_id, &plan.left_out).await?;
    let documents = document_columns(&submission.documents)?;
    remotes::set_documents(writer.connection(), remote_id, &documents).await?;
    remotes::index_checked(writer.connection(), remote_id).await?;
    poll_succeeded(&mut writer, &guard, &remote, &settings, message).await?;
    change::commit(writer).await?;
    tracing::info!(
        remote.name = remote.remote.name,
        changed_versions = recorded.changed_versions,
        queued_transfers = recorded.queued_transfers,
        left_out = plan.left_out.len(),
        "index recorded"
    );
    Ok(recorded)
}

/// The plan that a run asks for, which nobody carries out; or why there is none.
async fn plan_only(
    writer: &mut Writer,
    run: PlanRun,
    snapshot: &Snapshot,
) -> Result<Result<wire::Plan, String>, Failure> {
    let settings = settings::load(writer.connection()).await?;
    let (remote, known) = match run.target {
        PlanTarget::Remote(id) => (remote_by_id(writer, id).await?.remote, Some(id)),
        PlanTarget::Described(remote) => {
            let known = remotes::by_name(writer.connection(), &remote.name).await?;
            (*remote, known.map(|row| row.id))
        }
    };
    let selection = selection(&remote, &settings)?;
    let state = match known {
        Some(id) => snapshots::known(writer.connection(), id, snapshot).await?.state,
        None => KnownState::default(),
    };
    let rules = Rules {
        selection: &selection,
        max_removal_percent: settings.max_removal_percent,
        force: run.force,
    };
    Ok(match plan::plan(snapshot, &state, rules) {
        Ok(plan) => Ok(plan_message::plan(writer.connection(), &plan).await?),
        Err(refused) => Err(refused.to_string()),
    })
}

/// Ends a poll that went well, and has the next one done in time.
pub(crate) async fn poll_succeeded(
    writer: &mut Writer,
    guard: &LeaseGuard,
    remote: &RemoteRow,
    settings: &Settings,
    plan: wire::Plan,
) -> Result<(), Failure> {
    remotes::record_poll(writer.connection(), remote.id, "").await?;
    let more = sync_runs::finish(writer.connection(), remote.id, guard.lease.epoch, Ok(plan)).await?;
    let delay = match more {
        true => Duration::ZERO,
        false => retry::next_poll(update_interval(&remote.remote, settings), rand::random()),
    };
    schedule::again_after(writer.connection(), guard, delay).await?;
    rest_if_disabled(writer, &remote.remote, remote.id, more).await
}

/// A remote that is left alone is polled when that is asked for, and not again after that.
async fn rest_if_disabled(
    writer: &mut Writer,
    remote: &wire::Remote,
    remote_id: i64,
    more: bool,
) -> Result<(), Failure> {
    match remote.disabled && !more {
        true => schedule::unschedule_poll(writer.connection(), remote_id).await,
        false => Ok(()),
    }
}

/// Ends a poll that failed.
pub(crate) async fn poll_failed(
    writer: &mut Writer,
    guard: &LeaseGuard,
    remote_id: i64,
    error: &str,
    delay: Duration,
) -> Result<(), Failure> {
    remotes::record_poll(writer.connection(), remote_id, error).await?;
    let failed = Err(error.to_owned());
    let more = sync_runs::finish(writer.connection(), remote_id, guard.lease.epoch, failed).await?;
    let delay = if more { Duration::ZERO } else { delay };
    schedule::fail(writer.connection(), guard, error, Some(delay)).await?;
    let remote = remote_by_id(writer, remote_id).await?.remote;
    rest_if_disabled(writer, &remote, remote_id, more).await
}

/// The remote of a row, or `NOT_FOUND` when it was removed meanwhile.
pub(crate) async fn remote_by_id(writer: &mut Writer, id: i64) -> Result<RemoteRow, Failure> {
    let rows = remotes::by_ids(writer.connection(), &[id]).await?;
    rows.into_iter()
        .next()
        .ok_or_else(|| Error::not_found(ResourceKind::Remote, id).into())
}

fn update_interval(remote: &wire::Remote, settings: &Settings) -> Duration {
    let own = remote
        .update_interval
        .and_then(|interval| Duration::try_from(interval).ok());
    own.unwrap_or(settings.update_interval)
}

/// The columns of documents.
pub(crate) fn document_columns(
    documents: &[Document],
) -> Result<Vec<(String, String, String, Digest)>, Failure> {
    let columns = documents.iter().enumerate().map(|(index, document)| {
        let sha256 = convert::digest(&format!("documents[{index}].sha256"), &document.sha256)?;
        Ok((
            document.path.clone(),
            document.etag.clone(),
            document.last_modified.clone(),
            sha256,
        ))
    });
    columns.collect()
}

/// What a remote selects, with what the settings decide for it.
fn selection(remote: &wire::Remote, settings: &Settings) -> Result<Selection, Failure> {
    let mut selection = convert::selection(remote)?;
    if selection.keep_versions == 0 {
        selection.keep_versions = settings.default_keep_versions;
    }
    Ok(selection)
}

type PlanOutcome<'a> = (KnownRows, Result<Plan<'a>, plan::TooManyRemoved>);

async fn make_plan<'a>(
    writer: &mut Writer,
    remote: &RemoteRow,
    settings: &Settings,
    snapshot: &'a Snapshot,
    force: bool,
) -> Result<PlanOutcome<'a>, Failure> {
    let selection = selection(&remote.remote, settings)?;
    let rows = snapshots::known(writer.connection(), remote.id, snapshot).await?;
    let rules = Rules {
        selection: &selection,
        max_removal_percent: settings.max_removal_percent,
        force,
    };
    let outcome = plan::plan(snapshot, &rows.state, rules);
    Ok((rows, outcome))
}

/// Applies a plan: a handful of statements, however many images it is about.
async fn apply_plan(
    writer: &mut Writer,
    remote: &RemoteRow,
    known: &KnownRows,
    plan: &Plan<'_>,
) -> Result<Recorded, Failure> {
    snapshots::adopt(writer.connection(), remote.id, &known.adoptable).await?;
    for id in &known.adoptable {
        writer.image(id, ChangeOperation::Updated);
    }
    let ids = record_images(writer, remote, known, plan).await?;
    let mut wanted: Vec<Vec<Digest>> = record_versions(writer, &ids, plan).await?;
    let added = plan.images.iter().map(|image| image.add.len()).sum::<usize>();
    let mut by_status: BTreeMap<Status, Vec<(&str, i32)>> = BTreeMap::new();
    let (mut relocations, mut removed, mut retired) = (vec![], vec![], vec![]);
    let mut unwanted = BTreeSet::new();
    for image in &plan.images {
        let Some(id) = ids.get(&image.key) else { continue };
        for (version, status) in &image.change {
            by_status.entry(*status).or_default().push((id, version.number));
            if *status == Status::Queued {
                wanted.push(files(version).collect());
            }
        }
        relocations.extend(image.relocate.iter().map(|(number, content)| Relocation {
            image_id: id,
            number: *number,
            files: content.artifacts(),
        }));
        removed.extend(image.remove.iter().map(|version| (id.as_str(), version.number)));
        retired.extend(image.retire.iter().map(|version| (id.as_str(), version.number)));
        unwanted.extend(image.remove.iter().flat_map(files));
    }
    let changed = by_status.values().map(Vec::len).sum::<usize>();
    for (status, numbers) in by_status {
        change_status(writer, &numbers, status).await?;
    }
    snapshots::relocate(writer.connection(), &relocations).await?;
    let removed = versions::by_numbers(writer.connection(), &removed).await?;
    retention::remove_versions(writer, &removed).await?;
    let retired = versions::by_numbers(writer.connection(), &retired).await?;
    retention::retire_versions(writer, &retired).await?;
    let unwanted: Vec<Digest> = unwanted.into_iter().collect();
    transfers::remove_unwanted_transfers(writer.connection(), &unwanted).await?;
    let traceparent = rootstock_runtime::propagate::current_traceparent().unwrap_or_default();
    let queued_transfers = activation::request_blobs(writer, &wanted, &traceparent).await?;
    let changed_versions = added + changed + removed.len() + retired.len();
    Ok(Recorded {
        changed_versions: i64::try_from(changed_versions).unwrap_or(i64::MAX),
        queued_transfers,
    })
}

/// Gives these versions, (image, number), another status.
async fn change_status(writer: &mut Writer, numbers: &[(&str, i32)], status: Status) -> Result<(), Failure> {
    let versions = versions::by_numbers(writer.connection(), numbers).await?;
    let ids: Vec<i64> = versions.iter().map(|version| version.id).collect();
    versions::set_status(writer.connection(), &ids, status, "").await?;
    for version in &versions {
        writer.version(version.id, ChangeOperation::Updated);
        writer.image(&version.image_id, ChangeOperation::Updated);
    }
    Ok(())
}

fn files(version: &KnownVersion) -> impl Iterator<Item = Digest> {
    version.files.iter().map(|(sha256, _)| *sha256)
}

type ImageIds = BTreeMap<(ImageName, rootstock_model::ImageType), String>;

/// Records the images that are new or described anew; answers the ids of all that the plan is about.
async fn record_images(
    writer: &mut Writer,
    remote: &RemoteRow,
    known: &KnownRows,
    plan: &Plan<'_>,
) -> Result<ImageIds, Failure> {
    let mut ids = ImageIds::new();
    let (mut created, mut updated) = (vec![], vec![]);
    for ImagePlan { key, describe, .. } in &plan.images {
        let known_id = known.ids.get(key).cloned();
        let id = known_id.clone().unwrap_or_else(|| Id::generate().to_string());
        if let Some(description) = describe {
            let row = NewImageRow {
                id: id.clone(),
                key,
                description,
            };
            if known_id.is_some() {
                updated.push(row)
            } else {
                created.push(row)
            }
        }
        ids.insert(key.clone(), id);
    }
    snapshots::insert_images(writer.connection(), remote.id, &created).await?;
    snapshots::describe_images(writer.connection(), &updated).await?;
    created
        .iter()
        .for_each(|row| writer.image(&row.id, ChangeOperation::Created));
    updated
        .iter()
        .for_each(|row| writer.image(&row.id, ChangeOperation::Updated));
    Ok(ids)
}

/// Records the new versions; answers the files of those whose bytes are wanted.
async fn record_versions(
    writer: &mut Writer,
    ids: &ImageIds,
    plan: &Plan<'_>,
) -> Result<Vec<Vec<Digest>>, Failure> {
    let mut rows = Vec::new();
    for image in plan.images.iter().filter(|image| !image.add.is_empty()) {
        let Some(id) = ids.get(&image.key) else { continue };
        rows.extend(image.add.iter().map(|new| NewVersionRow { image_id: id, new }));
        writer.image(id, ChangeOperation::Updated);
    }
    for version_id in snapshots::insert_versions(writer.connection(), &rows).await? {
        writer.version(version_id, ChangeOperation::Created);
    }
    let wanted = rows.iter().filter(|row| row.new.status == Status::Queued);
    Ok(wanted
        .map(|row| {
            row.new
                .content
                .artifacts()
                .into_iter()
                .map(|file| file.sha256)
                .collect()
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_goes_by_its_own_rules_where_it_has_any_and_by_the_settings_else() {
        let settings = Settings {
            update_interval: Duration::from_secs(300),
            default_keep_versions: 7,
            ..Settings::default()
        };
        let plain = wire::Remote {
            name: "images".to_owned(),
            url: "https://images.test".to_owned(),
            ..wire::Remote::default()
        };
        assert_eq!(update_interval(&plain, &settings), Duration::from_secs(300));
        assert_eq!(selection(&plain, &settings).unwrap().keep_versions, 7);
        let own = wire::Remote {
            update_interval: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            keep_versions: 2,
            ..plain
        };
        assert_eq!(update_interval(&own, &settings), Duration::from_secs(5));
        assert_eq!(selection(&own, &settings).unwrap().keep_versions, 2);
    }

    #[test]
    fn a_document_without_a_digest_is_refused_by_its_field() {
        let document = |sha256: &[u8]| Document {
            path: "streams/v1/images.json".to_owned(),
            sha256: sha256.to_vec().into(),
            ..Document::default()
        };
        assert_eq!(document_columns(&[document(&[7; 32])]).unwrap().len(), 1);
        match document_columns(&[document(&[7; 32]), document(&[7; 5])]) {
            Err(Failure::Refused(Error::Invalid(violations))) => {
                assert_eq!(violations[0].field, "documents[1].sha256");
            }
            other => panic!("{other:?}"),
        }
    }
}
