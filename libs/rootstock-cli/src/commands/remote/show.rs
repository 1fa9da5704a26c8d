//! `rootstock remote show`.

use rootstock_proto::catalog::v1::{
    GetRemoteRequest, LeftOut, ListLeftOutRequest, ListTransfersRequest, Remote, RemoteMode, Transfer,
    TransferState,
};

use crate::{
    client::Client,
    completion,
    failure::Failure,
    human::{self, count},
    left_out,
    output::{self, Format, Lines, Screen},
    record::RemoteDetails,
    transfers,
    word::Word as _,
};

/// Show a remote: how polling goes, what failed, and what was left out and why
#[derive(Debug, clap::Args)]
#[command(visible_alias = "info")]
pub(super) struct ShowArgs {
    /// Name of the remote
    #[arg(add = completion::remotes())]
    name: String,

    /// List everything that the last poll left out
    #[arg(long)]
    left_out: bool,
}

pub(super) async fn run(client: &Client, format: Format, args: ShowArgs) -> Result<(), Failure> {
    let remote = get(client, &args.name).await?;
    let left_out = left_out_of(client, &args.name).await?;
    let failed = failed_transfers_of(client, &args.name).await?;
    let record = RemoteDetails {
        remote: &remote,
        failed: &failed,
        left_out: &left_out,
    };
    // As CSV there is room for one kind of thing: the remote, or what it left out.
    if args.left_out && matches!(format, Format::Table | Format::Csv) {
        return output::print_list(format, &left_out, |screen| {
            left_out::table(&left_out, screen.width)
        });
    }
    output::print(format, &record, |screen| {
        text(&remote, &failed, &left_out, screen)
    })
}

/// A remote, with its status.
///
/// # Errors
/// The server's.
pub(super) async fn get(client: &Client, name: &str) -> Result<Remote, Failure> {
    let request = GetRemoteRequest {
        name: name.to_owned(),
    };
    let answer = client.call(client.remotes().get_remote(request)).await?;
    Ok(answer.remote.unwrap_or_default())
}

/// How its images come in; a remote of which nothing is said is mirrored.
pub(super) fn mode(remote: &Remote) -> String {
    match remote.mode() {
        RemoteMode::Unspecified => RemoteMode::Mirror.word(),
        mode => mode.word(),
    }
}

async fn left_out_of(client: &Client, remote: &str) -> Result<Vec<LeftOut>, Failure> {
    let request = ListLeftOutRequest {
        remote: remote.to_owned(),
        ..ListLeftOutRequest::default()
    };
    client
        .list(&request, async |request| {
            client.remotes().list_left_out(request).await
        })
        .await
}

async fn failed_transfers_of(client: &Client, remote: &str) -> Result<Vec<Transfer>, Failure> {
    let request = ListTransfersRequest {
        remote: remote.to_owned(),
        ..ListTransfersRequest::default()
    };
    let mut all = transfers::list(client, &request)
        .await
        .map_err(|status| client.failure(&status))?;
    all.retain(|transfer| transfer.state() == TransferState::Failed);
    Ok(all)
}

fn text(remote: &Remote, failed: &[Transfer], left_out: &[LeftOut], screen: Screen) -> String {
    let status = remote.status.clone().unwrap_or_default();
    let mut lines = Lines::default();
    lines.add("name", &remote.name).add("url", &remote.url);
    lines.add("mode", mode(remote));
    if remote.disabled {
        lines.add(
            "disabled",
            "left alone until it is enabled, or a sync is asked for",
        );
    }
    lines
        .add("include", remote.include.join(", "))
        .add("exclude", remote.exclude.join(", "));
    lines.add("root preference", remote.root_preference.join(", "));
    lines.add(
        "keep versions",
        match remote.keep_versions {
            0 => "by the setting images.default_keep_versions".to_owned(),
            number => number.to_string(),
        },
    );
    lines.add(
        "poll every",
        match &remote.update_interval {
            None => "by the setting images.update_interval".to_owned(),
            Some(interval) => human::duration(interval),
        },
    );
    lines.add(
        "certificate",
        match (remote.insecure, remote.ca_pem.is_empty()) {
            (true, _) => "not checked",
            (false, false) => "checked, with an authority of its own besides the system's",
            (false, true) => "",
        },
    );
    lines.add("version constraint", &remote.version_constraint);
    lines.add("credentials", if remote.auth_set { "set" } else { "" });
    lines.add("added", human::minute(remote.created_at.as_ref()));
    lines.add(
        "last attempt",
        human::relative(status.last_attempt_at.as_ref(), screen.now),
    );
    lines.add(
        "last success",
        human::relative(status.last_success_at.as_ref(), screen.now),
    );
    lines.add("last error", &status.last_error);
    lines.add(
        "next poll",
        human::relative(status.next_poll_at.as_ref(), screen.now),
    );
    lines.add(
        "holds",
        format!(
            "{}, {}",
            count(status.image_count, "image"),
            count(status.active_version_count, "active version")
        ),
    );
    lines.add(
        "transfers",
        format!(
            "{} waiting or running, {} failed",
            status.pending_transfer_count, status.failed_transfer_count
        ),
    );
    lines.add("etag", &remote.etag);
    let mut text = lines.render();
    if !failed.is_empty() {
        text += "\nfailed transfers (\"rootstock remote sync\" tries them again):\n";
        for transfer in failed {
            text += &format!("  {}: {}\n", transfers::name(transfer), transfer.last_error);
        }
    }
    if left_out.is_empty() {
        text += "\nleft out by the last poll: nothing\n";
    } else {
        text += &format!(
            "\nleft out by the last poll: {} (--left-out lists all)\n",
            left_out.len()
        );
        text += &left_out::summary(left_out);
    }
    text
}

#[cfg(test)]
mod tests {
    use rootstock_proto::{catalog::v1::RemoteStatus, convert::timestamp};
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_remote_is_shown_with_all_that_goes_wrong() {
        let at = |moment| Some(timestamp(moment));
        let remote = Remote {
            name: "lab".into(),
            url: "https://images.lab.example".into(),
            include: vec!["os=debian".into(), "os=alpine".into()],
            update_interval: Some(prost_types::Duration {
                seconds: 90,
                nanos: 0,
            }),
            insecure: true,
            disabled: true,
            version_constraint: "1.30".into(),
            auth_set: true,
            etag: "7".into(),
            created_at: at(datetime!(2026-11-20 08:00 UTC)),
            status: Some(RemoteStatus {
                last_attempt_at: at(datetime!(2026-11-22 11:59 UTC)),
                last_success_at: at(datetime!(2026-11-22 10:00 UTC)),
                last_error: "connection refused".into(),
                next_poll_at: at(datetime!(2026-11-22 12:02 UTC)),
                image_count: 1,
                active_version_count: 2,
                left_out_count: 1,
                failed_transfer_count: 1,
                ..RemoteStatus::default()
            }),
            ..Remote::default()
        };
        let failed = [Transfer {
            image: "debian:12:amd64:default".into(),
            serial: "20261122".into(),
            ftype: "squashfs".into(),
            last_error: "404 Not Found".into(),
            ..Transfer::default()
        }];
        let left_out = [LeftOut {
            product: "x".into(),
            reason: "unsafe-path".into(),
            message: "leads out of the tree".into(),
            ..LeftOut::default()
        }];
        let screen = Screen {
            width: None,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        assert_eq!(
            text(&remote, &failed, &left_out, screen),
            "\
name:               lab
url:                https://images.lab.example
mode:               mirror
disabled:           left alone until it is enabled, or a sync is asked for
include:            os=debian, os=alpine
keep versions:      by the setting images.default_keep_versions
poll every:         1m30s
certificate:        not checked
version constraint: 1.30
credentials:        set
added:              2026-11-20 08:00 UTC
last attempt:       60 s ago
last success:       2 h ago
last error:         connection refused
next poll:          in 2 min
holds:              1 image, 2 active versions
transfers:          0 waiting or running, 1 failed
etag:               7

failed transfers (\"rootstock remote sync\" tries them again):
  debian:12:amd64:default 20261122 squashfs: 404 Not Found

left out by the last poll: 1 (--left-out lists all)
  unsafe-path: 1
    x: leads out of the tree
"
        );
    }
}
