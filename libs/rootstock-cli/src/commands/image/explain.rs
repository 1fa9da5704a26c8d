//! `rootstock image explain`.

use rootstock_proto::catalog::v1::{ExplainImageRequest, ExplainImageResponse, RemoteStatus};

use super::reference::Reference;
use crate::{
    client::Client,
    commands::transfer,
    failure::Failure,
    human, left_out,
    output::{self, Format, Lines, Screen},
    table::{Column, Table},
    word::Word as _,
};

/// Tell why an image is at the version it is at
///
/// What decides about its versions, why each version is as it is, how its remote does, what the last poll left out, and
/// what is pending or failing.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "why")]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    reference: Reference,
}

pub(super) async fn run(client: &Client, format: Format, args: ExplainArgs) -> Result<(), Failure> {
    let request = ExplainImageRequest {
        r#type: args.reference.image_type.wire().into(),
        image: args.reference.image,
    };
    let answer = client.call(client.images().explain_image(request)).await?;
    output::print(format, &answer, |screen| text(&answer, screen))
}

fn text(answer: &ExplainImageResponse, screen: Screen) -> String {
    let mut text = format!("{}\n", answer.summary);
    for rule in &answer.rules {
        text += &format!("  {rule}\n");
    }
    if !answer.versions.is_empty() {
        text.push('\n');
        text += &versions(answer, screen);
    }
    let mut lines = Lines::default();
    if let Some(status) = &answer.remote_status {
        remote(&mut lines, status, screen);
    }
    if answer.next_check_at.is_some() {
        lines.add(
            "next check",
            human::relative(answer.next_check_at.as_ref(), screen.now),
        );
    }
    let lines = lines.render();
    if !lines.is_empty() {
        text += &format!("\n{lines}");
    }
    if !answer.left_out.is_empty() {
        text += "\nleft out by the last poll:\n";
        text += &left_out::summary(&answer.left_out);
    }
    if !answer.transfers.is_empty() {
        text += "\ntransfers:\n";
        text += &transfer::table(&answer.transfers, screen);
    }
    text
}

fn versions(answer: &ExplainImageResponse, screen: Screen) -> String {
    let mut table = Table::new(&[
        Column::always("VERSION").right(),
        Column::gives_way("SERIAL"),
        Column::always("STATUS"),
        Column::always("REASON"),
        Column::gives_way("MESSAGE"),
    ]);
    for explained in &answer.versions {
        let version = explained.version.clone().unwrap_or_default();
        table.row([
            version.number.to_string(),
            version.serial.clone(),
            version.status().word(),
            explained.reason.clone(),
            explained.message.clone(),
        ]);
    }
    table.render(screen.width)
}

fn remote(lines: &mut Lines, status: &RemoteStatus, screen: Screen) {
    lines
        .add(
            "remote asked",
            human::relative(status.last_attempt_at.as_ref(), screen.now),
        )
        .add(
            "last success",
            human::relative(status.last_success_at.as_ref(), screen.now),
        )
        .add("last error", &status.last_error)
        .add(
            "asked next",
            human::relative(status.next_poll_at.as_ref(), screen.now),
        );
}

#[cfg(test)]
mod tests {
    use rootstock_proto::{
        catalog::v1::{Status, Transfer, TransferState, Version, VersionExplanation},
        convert::timestamp,
    };
    use time::macros::datetime;

    use super::*;

    #[test]
    fn an_explanation_begins_with_why() {
        let explained = |number, status: Status, reason: &str, message: &str| VersionExplanation {
            version: Some(Version {
                number,
                serial: format!("2026112{number}"),
                status: status.into(),
                ..Version::default()
            }),
            reason: reason.into(),
            message: message.into(),
        };
        let answer = ExplainImageResponse {
            summary: "version 1 is shown: it is held there".into(),
            rules: vec!["keeps 2 versions".into()],
            versions: vec![
                explained(2, Status::Queued, "fetching", "1 of 2 blobs is here"),
                explained(1, Status::Active, "current", "held since yesterday"),
            ],
            remote_status: Some(RemoteStatus {
                last_attempt_at: Some(timestamp(datetime!(2026-11-22 11:57 UTC))),
                last_success_at: Some(timestamp(datetime!(2026-11-22 11:57 UTC))),
                next_poll_at: Some(timestamp(datetime!(2026-11-22 12:02 UTC))),
                ..RemoteStatus::default()
            }),
            transfers: vec![Transfer {
                image: "alpine".into(),
                serial: "20261122".into(),
                ftype: "squashfs".into(),
                size_bytes: 4 << 20,
                done_bytes: 1 << 20,
                state: TransferState::Running.into(),
                ..Transfer::default()
            }],
            ..ExplainImageResponse::default()
        };
        let screen = Screen {
            width: None,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        assert_eq!(
            text(&answer, screen),
            "\
version 1 is shown: it is held there
  keeps 2 versions

VERSION  SERIAL    STATUS  REASON    MESSAGE
      2  20261122  queued  fetching  1 of 2 blobs is here
      1  20261121  active  current   held since yesterday

remote asked: 3 min ago
last success: 3 min ago
asked next:   in 2 min

transfers:
IMAGE   SERIAL    FILE      STATE        DONE      SIZE  ATTEMPTS  NEXT ATTEMPT  LAST ERROR
alpine  20261122  squashfs  running  1.00 MiB  4.00 MiB         0
"
        );
    }
}
