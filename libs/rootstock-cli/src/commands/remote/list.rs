//! `rootstock remote list`.

use rootstock_proto::catalog::v1::{ListRemotesRequest, Remote};

use super::show::mode;
use crate::{
    client::Client,
    failure::Failure,
    human,
    output::{self, Format, Screen},
    table::{Column, Table},
};

/// List the image servers
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls")]
pub(super) struct ListArgs {}

pub(super) async fn run(client: &Client, format: Format, ListArgs {}: ListArgs) -> Result<(), Failure> {
    let request = ListRemotesRequest::default();
    let remotes = client
        .list(&request, async |request| {
            client.remotes().list_remotes(request).await
        })
        .await?;
    let text = |screen: Screen| text(&remotes, screen);
    output::print_list(format, &remotes, text)
}

fn text(remotes: &[Remote], screen: Screen) -> String {
    let mut table = Table::new(&[
        Column::gives_way("NAME"),
        Column::gives_way("URL"),
        Column::always("MODE"),
        Column::always("IMAGES").right(),
        Column::always("LAST SUCCESS"),
        Column::always("STATE"),
        Column::when_wide("NEXT POLL"),
        Column::when_wide("LEFT OUT").right(),
    ]);
    for remote in remotes {
        let status = remote.status.clone().unwrap_or_default();
        table.row([
            remote.name.clone(),
            remote.url.clone(),
            mode(remote),
            status.image_count.to_string(),
            human::relative(status.last_success_at.as_ref(), screen.now),
            state(remote.disabled, &status).to_owned(),
            human::relative(status.next_poll_at.as_ref(), screen.now),
            status.left_out_count.to_string(),
        ]);
    }
    table.render(screen.width)
}

/// The first thing an operator wants to know.
fn state(disabled: bool, status: &rootstock_proto::catalog::v1::RemoteStatus) -> &'static str {
    if disabled {
        "disabled"
    } else if !status.last_error.is_empty() {
        "failing"
    } else if status.failed_transfer_count > 0 {
        "incomplete"
    } else if status.pending_transfer_count > 0 {
        "fetching"
    } else if status.last_success_at.is_none() {
        "new"
    } else {
        "ok"
    }
}

#[cfg(test)]
mod tests {
    use rootstock_proto::{
        catalog::v1::{RemoteMode, RemoteStatus},
        convert::timestamp,
    };
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_list_tells_how_each_remote_does() {
        let status = RemoteStatus {
            last_success_at: Some(timestamp(datetime!(2026-11-22 11:57 UTC))),
            image_count: 12,
            ..RemoteStatus::default()
        };
        let remote = |name: &str, status: RemoteStatus| Remote {
            name: name.into(),
            url: format!("https://{name}.example"),
            mode: RemoteMode::OnDemand.into(),
            status: Some(status),
            ..Remote::default()
        };
        let failing = RemoteStatus {
            last_error: "connection refused".into(),
            ..RemoteStatus::default()
        };
        let remotes = [remote("good", status), remote("bad", failing)];
        let screen = Screen {
            width: None,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        assert_eq!(
            text(&remotes, screen),
            "NAME  URL                   MODE       IMAGES  LAST SUCCESS  STATE\n\
             good  https://good.example  on-demand      12  3 min ago     ok\n\
             bad   https://bad.example   on-demand       0  never         failing\n"
        );
    }
}
