//! Changes of a remote.

use rootstock_proto::{
    Error, FieldViolation, ResourceKind,
    catalog::v1::{self as wire, ChangeOperation, UpdateRemoteRequest},
    convert,
};
use rootstock_runtime::propagate::current_traceparent;

use super::{by_name, revive, with_status};
use crate::{
    Catalog,
    change::{self, Writer},
    failure::Failure,
    queries::{remotes, sync_runs},
    work::schedule,
};

/// Changes the fields that the mask names. What is so already is no change: a repeated request is
/// answered as the first was, whatever its etag.
pub(super) async fn update(catalog: &Catalog, request: UpdateRemoteRequest) -> Result<wire::Remote, Failure> {
    let asked = request.remote.unwrap_or_default();
    let paths = request.update_mask.unwrap_or_default().paths;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let before = by_name(writer.connection(), &asked.name).await?;
    let mut remote = before.remote.clone();
    apply(&asked, &paths, &mut remote)?;
    let spec = convert::remote_spec(&remote)?;
    keep_credentials_at_home(&before.remote, &remote, &paths)?;
    // A row that a newer version wrote may be one that this version would refuse.
    if convert::remote_spec(&before.remote).is_ok_and(|before| before == spec) {
        return with_status(writer.connection(), before).await;
    }
    if !asked.etag.is_empty() && asked.etag != before.remote.etag {
        return Err(Error::StaleEtag {
            kind: ResourceKind::Remote,
            name: asked.name,
        }
        .into());
    }
    remotes::update(writer.connection(), before.id, &spec).await?;
    // By the new rules an unchanged index may mean something else.
    remotes::forget_documents(writer.connection(), &[before.id]).await?;
    let traceparent = current_traceparent().unwrap_or_default();
    if !spec.disabled {
        schedule::restart_polls(writer.connection(), &[before.id], &traceparent).await?;
        revive(&mut writer, before.id, &traceparent).await?;
    } else if sync_runs::any_pending(writer.connection(), before.id).await? {
        schedule::restart_polls(writer.connection(), &[before.id], &traceparent).await?;
    } else {
        schedule::unschedule_poll(writer.connection(), before.id).await?;
    }
    let after = by_name(writer.connection(), &asked.name).await?;
    let answer = with_status(writer.connection(), after).await?;
    writer.note::<wire::Remote>(asked.name.as_str(), ChangeOperation::Updated);
    change::commit(writer).await?;
    tracing::info!(remote.name = asked.name, ?paths, "remote changed");
    Ok(answer)
}

/// Credentials that nobody can read must not be had by sending them to another server.
fn keep_credentials_at_home(
    before: &wire::Remote,
    after: &wire::Remote,
    paths: &[String],
) -> Result<(), Error> {
    let moved = server(&before.url) != server(&after.url);
    if moved && !before.auth.is_empty() && !paths.iter().any(|path| path == "auth") {
        return Err(Error::invalid(
            "remote.auth",
            "another server is to be asked: give its credentials, or none, along with the URL",
        ));
    }
    Ok(())
}

/// Scheme, host and port.
fn server(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let end = url[host..].find('/').map_or(url.len(), |slash| host + slash);
    url.get(..end)
}

/// Takes over the named fields.
fn apply(asked: &wire::Remote, paths: &[String], remote: &mut wire::Remote) -> Result<(), Error> {
    if paths.is_empty() {
        return Err(Error::invalid("update_mask", "must name at least one field"));
    }
    let mut violations = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        match path.as_str() {
            "url" => remote.url.clone_from(&asked.url),
            "protocol" => remote.protocol.clone_from(&asked.protocol),
            "mode" => remote.mode = asked.mode,
            "include" => remote.include.clone_from(&asked.include),
            "exclude" => remote.exclude.clone_from(&asked.exclude),
            "root_preference" => remote.root_preference.clone_from(&asked.root_preference),
            "keep_versions" => remote.keep_versions = asked.keep_versions,
            "update_interval" => remote.update_interval = asked.update_interval,
            "ca_pem" => remote.ca_pem.clone_from(&asked.ca_pem),
            "insecure" => remote.insecure = asked.insecure,
            "disabled" => remote.disabled = asked.disabled,
            "version_constraint" => remote.version_constraint.clone_from(&asked.version_constraint),
            "auth" => remote.auth.clone_from(&asked.auth),
            other => violations.push(FieldViolation {
                field: format!("update_mask.paths[{index}]"),
                description: format!("{other:?} is no field of a remote that can be changed"),
            }),
        }
    }
    match violations.is_empty() {
        true => Ok(()),
        false => Err(Error::Invalid(violations)),
    }
}
