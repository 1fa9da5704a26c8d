//! Remotes, what they leave out, syncs and transfers.

use rootstock_proto::catalog::v1 as wire;
use serde::Serialize;

use super::{duration, image_type, moment};
use crate::output::Record;

/// A remote.
#[derive(Debug, Serialize)]
pub(crate) struct RemoteRecord {
    name: String,
    url: String,
    protocol: String,
    mode: &'static str,
    include: Vec<String>,
    exclude: Vec<String>,
    root_preference: Vec<String>,
    keep_versions: i32,
    update_interval: Option<String>,
    ca_pem: String,
    insecure: bool,
    created_at: Option<String>,
    disabled: bool,
    version_constraint: String,
    auth_set: bool,
    etag: String,
    /// Changes do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<RemoteStatusRecord>,
}

/// How polling a remote goes.
#[derive(Debug, Serialize)]
pub(crate) struct RemoteStatusRecord {
    last_attempt_at: Option<String>,
    last_success_at: Option<String>,
    last_error: String,
    next_poll_at: Option<String>,
    image_count: i64,
    active_version_count: i64,
    left_out_count: i64,
    pending_transfer_count: i64,
    failed_transfer_count: i64,
}

/// Something left out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LeftOutRecord {
    product: String,
    serial: String,
    item: String,
    reason: String,
    message: String,
}

/// A sync that was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct SyncRunRecord {
    id: String,
    remote: String,
    plan_only: bool,
    state: &'static str,
    error: String,
    plan: Option<PlanRecord>,
    /// What was still to be had, or failed, when the command ended. Not set when it did not wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed_transfers: Option<Vec<TransferRecord>>,
}

#[derive(Debug, Serialize)]
struct PlanRecord {
    steps: Vec<PlanStepRecord>,
    fetch_bytes: i64,
    fetch_blobs: i64,
    left_out: Vec<LeftOutRecord>,
}

/// A step of a plan.
#[derive(Debug, Serialize)]
pub(crate) struct PlanStepRecord {
    action: &'static str,
    image: String,
    r#type: &'static str,
    serial: String,
    size_bytes: i64,
}

/// A transfer.
#[derive(Debug, Serialize)]
pub(crate) struct TransferRecord {
    sha256: String,
    size_bytes: i64,
    done_bytes: i64,
    state: &'static str,
    failed_attempts: i32,
    last_error: String,
    next_attempt_at: Option<String>,
    image: String,
    serial: String,
    ftype: String,
}

impl Record for RemoteRecord {
    const COLUMNS: &'static [&'static str] = &[
        "name",
        "url",
        "protocol",
        "mode",
        "disabled",
        "include",
        "exclude",
        "root_preference",
        "keep_versions",
        "update_interval",
        "version_constraint",
        "insecure",
        "auth_set",
        "created_at",
        "status.last_attempt_at",
        "status.last_success_at",
        "status.last_error",
        "status.next_poll_at",
        "status.image_count",
        "status.active_version_count",
        "status.left_out_count",
        "status.pending_transfer_count",
        "status.failed_transfer_count",
        "etag",
    ];
}

impl Record for LeftOutRecord {
    const COLUMNS: &'static [&'static str] = &["product", "serial", "item", "reason", "message"];
}

impl Record for SyncRunRecord {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "remote",
        "plan_only",
        "state",
        "error",
        "plan.fetch_blobs",
        "plan.fetch_bytes",
        "plan.steps",
        "plan.left_out",
        "failed_transfers",
    ];
}

impl Record for TransferRecord {
    const COLUMNS: &'static [&'static str] = &[
        "sha256",
        "size_bytes",
        "done_bytes",
        "state",
        "failed_attempts",
        "last_error",
        "next_attempt_at",
        "image",
        "serial",
        "ftype",
    ];
}

impl From<wire::Remote> for RemoteRecord {
    fn from(remote: wire::Remote) -> Self {
        Self {
            mode: mode(remote.mode()),
            name: remote.name,
            url: remote.url,
            protocol: remote.protocol,
            include: remote.include,
            exclude: remote.exclude,
            root_preference: remote.root_preference,
            keep_versions: remote.keep_versions,
            update_interval: remote.update_interval.as_ref().map(duration),
            ca_pem: remote.ca_pem,
            insecure: remote.insecure,
            created_at: moment(remote.created_at.as_ref()),
            disabled: remote.disabled,
            version_constraint: remote.version_constraint,
            auth_set: remote.auth_set,
            etag: remote.etag,
            status: remote.status.map(RemoteStatusRecord::from),
        }
    }
}

impl From<wire::RemoteStatus> for RemoteStatusRecord {
    fn from(status: wire::RemoteStatus) -> Self {
        Self {
            last_attempt_at: moment(status.last_attempt_at.as_ref()),
            last_success_at: moment(status.last_success_at.as_ref()),
            last_error: status.last_error,
            next_poll_at: moment(status.next_poll_at.as_ref()),
            image_count: status.image_count,
            active_version_count: status.active_version_count,
            left_out_count: status.left_out_count,
            pending_transfer_count: status.pending_transfer_count,
            failed_transfer_count: status.failed_transfer_count,
        }
    }
}

impl From<wire::LeftOut> for LeftOutRecord {
    fn from(left_out: wire::LeftOut) -> Self {
        let wire::LeftOut {
            product,
            serial,
            item,
            reason,
            message,
        } = left_out;
        Self {
            product,
            serial,
            item,
            reason,
            message,
        }
    }
}

impl From<wire::SyncRun> for SyncRunRecord {
    fn from(run: wire::SyncRun) -> Self {
        Self {
            state: run_state(run.state()),
            id: run.id,
            remote: run.remote,
            plan_only: run.plan_only,
            error: run.error,
            plan: run.plan.map(|plan| PlanRecord {
                steps: plan.steps.into_iter().map(PlanStepRecord::from).collect(),
                fetch_bytes: plan.fetch_bytes,
                fetch_blobs: plan.fetch_blobs,
                left_out: plan.left_out.into_iter().map(LeftOutRecord::from).collect(),
            }),
            failed_transfers: None,
        }
    }
}

impl From<wire::PlanStep> for PlanStepRecord {
    fn from(step: wire::PlanStep) -> Self {
        Self {
            action: action(step.action()),
            r#type: image_type(step.r#type()),
            image: step.image,
            serial: step.serial,
            size_bytes: step.size_bytes,
        }
    }
}

impl From<wire::Transfer> for TransferRecord {
    fn from(transfer: wire::Transfer) -> Self {
        Self {
            state: transfer_state(transfer.state()),
            sha256: transfer.sha256,
            size_bytes: transfer.size_bytes,
            done_bytes: transfer.done_bytes,
            failed_attempts: transfer.failed_attempts,
            last_error: transfer.last_error,
            next_attempt_at: moment(transfer.next_attempt_at.as_ref()),
            image: transfer.image,
            serial: transfer.serial,
            ftype: transfer.ftype,
        }
    }
}

/// `mirror` or `on-demand`.
pub(crate) fn mode(mode: wire::RemoteMode) -> &'static str {
    match mode {
        wire::RemoteMode::OnDemand => "on-demand",
        wire::RemoteMode::Mirror | wire::RemoteMode::Unspecified => "mirror",
    }
}

/// `fetch`, `list`, `remove` or `retire`.
pub(crate) fn action(action: wire::PlanAction) -> &'static str {
    match action {
        wire::PlanAction::Unspecified => "unknown",
        wire::PlanAction::Fetch => "fetch",
        wire::PlanAction::List => "list",
        wire::PlanAction::Remove => "remove",
        wire::PlanAction::Retire => "retire",
    }
}

/// `pending`, `succeeded` or `failed`.
pub(crate) fn run_state(state: wire::SyncRunState) -> &'static str {
    match state {
        wire::SyncRunState::Unspecified => "unknown",
        wire::SyncRunState::Pending => "pending",
        wire::SyncRunState::Succeeded => "succeeded",
        wire::SyncRunState::Failed => "failed",
    }
}

/// `queued`, `running` or `failed`.
pub(crate) fn transfer_state(state: wire::TransferState) -> &'static str {
    match state {
        wire::TransferState::Unspecified => "unknown",
        wire::TransferState::Queued => "queued",
        wire::TransferState::Running => "running",
        wire::TransferState::Failed => "failed",
    }
}
