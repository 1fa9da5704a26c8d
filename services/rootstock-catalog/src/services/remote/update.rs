//! Changes of a remote.

use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{self as wire, ChangeOperation, UpdateRemoteRequest},
    convert,
    update::Mask,
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
    let mask = Mask::read(request.update_mask)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let before = by_name(writer.connection(), &asked.name).await?;
    let mut remote = before.remote.clone();
    mask.merge(&asked, &mut remote)?;
    let spec = convert::remote_spec(&remote)?;
    keep_credentials_at_home(&before.remote, &remote, &mask)?;
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
    tracing::info!(remote.name = asked.name, paths = ?mask.paths(), "remote changed");
    Ok(answer)
}

/// Credentials that nobody can read must not be had by sending them to another server.
fn keep_credentials_at_home(
    before: &wire::Remote,
    after: &wire::Remote,
    mask: &Mask<wire::Remote>,
) -> Result<(), Error> {
    let moved = server(&before.url) != server(&after.url);
    if moved && !before.auth.is_empty() && !mask.names("auth") {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_their_server() {
        let remote = |url: &str, auth: &str| wire::Remote {
            url: url.to_owned(),
            auth: auth.to_owned(),
            ..wire::Remote::default()
        };
        let url = Mask::of(["url"]).unwrap();
        let both = Mask::of(["url", "auth"]).unwrap();
        for (before, after, paths, allowed) in [
            ("https://a.test/x", "https://a.test/y", &url, true),
            ("https://a.test", "https://a.test/", &url, true),
            ("https://a.test", "https://b.test", &url, false),
            ("https://a.test", "https://a.test:8443", &url, false),
            ("https://a.test", "http://a.test", &url, false),
            ("https://a.test", "https://b.test", &both, true),
        ] {
            let kept = keep_credentials_at_home(&remote(before, "user:secret"), &remote(after, ""), paths);
            assert_eq!(kept.is_ok(), allowed, "{before} {after} {:?}", paths.paths());
            let public = keep_credentials_at_home(&remote(before, ""), &remote(after, ""), paths);
            assert!(public.is_ok(), "there are none to keep");
        }
    }
}
