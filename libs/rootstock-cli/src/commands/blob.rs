//! `rootstock blob`: what is in the store, what needs it, and what goes.

use rootstock_proto::catalog::v1::{
    Blob, BlobFilter, BlobTotals, CollectBlobsRequest, CollectBlobsResponse, ListBlobsRequest,
};

use crate::{
    client::{Client, ClientArgs},
    failure::Failure,
    human,
    output::{self, Format, Screen},
    record::Collection,
    table::{Column, Table},
    word::Word as _,
};

const EXAMPLES: &str = "\
Examples:
  rootstock blob list                 each blob, and what needs it
  rootstock blob collect --dry-run    what would go, and why nothing needs it
  rootstock blob collect              have it removed now rather than at the next round";

/// Bytes in the store, and what needs them
#[derive(Debug, clap::Args)]
#[command(visible_alias = "blobs", after_help = EXAMPLES)]
pub(crate) struct BlobArgs {
    #[command(subcommand)]
    command: BlobCommand,
}

#[derive(Debug, clap::Subcommand)]
enum BlobCommand {
    List(ListArgs),
    Collect(CollectArgs),
}

/// List blobs, with what needs them or why nothing does
#[derive(Debug, clap::Args)]
#[command(visible_alias = "ls")]
struct ListArgs {
    /// Only those that something needs
    #[arg(long, conflicts_with = "unneeded")]
    needed: bool,

    /// Only those that nothing needs
    #[arg(long)]
    unneeded: bool,
}

/// Have the blobs removed that nothing needs, at once
///
/// That happens by itself as well, round by round. Nothing that is listed, held by an application, or still within
/// images.deletion_grace goes.
#[derive(Debug, clap::Args)]
#[command(visible_aliases = ["gc", "prune"])]
struct CollectArgs {
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
}

impl BlobArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn run(self, args: &ClientArgs) -> Result<(), Failure> {
        let client = Client::new(args)?;
        match self.command {
            BlobCommand::List(of) => list(&client, args.format, of).await,
            BlobCommand::Collect(of) => collect(&client, args.format, of).await,
        }
    }
}

async fn list(client: &Client, format: Format, args: ListArgs) -> Result<(), Failure> {
    let filter = if args.needed {
        BlobFilter::Needed
    } else if args.unneeded {
        BlobFilter::Unneeded
    } else {
        BlobFilter::Unspecified
    };
    let mut totals = None;
    let request = ListBlobsRequest {
        filter: filter.into(),
        ..ListBlobsRequest::default()
    };
    let blobs = client
        .list(&request, async |request| {
            let page = client.blobs().list_blobs(request).await?;
            totals = totals.or(page.get_ref().totals);
            Ok(page)
        })
        .await?;
    output::print_list(format, &blobs, |screen| {
        format!("{}{}", table(&blobs, screen), sums(&totals.unwrap_or_default()))
    })
}

async fn collect(
    client: &Client,
    format: Format,
    CollectArgs { dry_run }: CollectArgs,
) -> Result<(), Failure> {
    let answer = client
        .call(client.blobs().collect_blobs(CollectBlobsRequest { dry_run }))
        .await?;
    output::print(
        format,
        &Collection {
            dry_run,
            answer: &answer,
        },
        |screen| collection(&answer, dry_run, screen),
    )
}

fn collection(answer: &CollectBlobsResponse, dry_run: bool, screen: Screen) -> String {
    let totals = answer.totals.unwrap_or_default();
    let going = human::count(totals.unneeded_blobs, "blob");
    let size = human::size(totals.unneeded_size_bytes);
    match (totals.unneeded_blobs, dry_run) {
        (0, _) => format!("nothing to remove; {}", sums(&totals)),
        (_, true) => format!(
            "{}{going} would go ({size}); nothing was removed\n",
            table(&answer.blobs, screen)
        ),
        (_, false) => format!("{going} ({size}) on the way out\n"),
    }
}

fn sums(totals: &BlobTotals) -> String {
    let mut text = format!(
        "{} in the store, {}",
        human::count(totals.blobs, "blob"),
        human::size(totals.size_bytes)
    );
    for (blobs, size_bytes, what) in [
        (
            totals.unneeded_blobs,
            totals.unneeded_size_bytes,
            "that nothing needs",
        ),
        (
            totals.removing_blobs,
            totals.removing_size_bytes,
            "on the way out",
        ),
    ] {
        if blobs > 0 {
            text += &format!(
                "; {} ({}) {what}",
                human::count(blobs, "blob"),
                human::size(size_bytes)
            );
        }
    }
    text + "\n"
}

fn table(blobs: &[Blob], screen: Screen) -> String {
    let mut table = Table::new(&[
        Column::always("SHA256"),
        Column::always("SIZE").right(),
        Column::always("STORED"),
        Column::gives_way("NEEDED BY"),
    ]);
    for blob in blobs {
        table.row([
            human::short_digest(&blob.sha256).to_owned(),
            human::size(blob.size_bytes),
            human::relative(blob.stored_at.as_ref(), screen.now),
            needed_by(blob, screen),
        ]);
    }
    table.render(screen.width)
}

/// The first thing that needs it, and how many more do; or why nothing does.
fn needed_by(blob: &Blob, screen: Screen) -> String {
    let Some(first) = blob.needs.first() else {
        return format!("nothing: {}", blob.reason);
    };
    let mut text = first.reason().word();
    if !first.application.is_empty() {
        text += &format!(" {}", first.application);
    }
    if !first.image_id.is_empty() {
        text += &format!(" {} of {}", first.version, first.image);
    }
    if first.until.is_some() {
        text += &format!(" (ends {})", human::relative(first.until.as_ref(), screen.now));
    }
    if blob.need_count > 1 {
        text += &format!(", and {} more", blob.need_count - 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use rootstock_proto::{
        catalog::v1::{BlobNeed, BlobNeedReason},
        convert::timestamp,
    };
    use time::macros::datetime;

    use super::*;

    fn blob(sha256: &str, needs: Vec<BlobNeed>, reason: &str) -> Blob {
        Blob {
            sha256: sha256.into(),
            size_bytes: 1 << 20,
            stored_at: Some(timestamp(datetime!(2026-11-22 10:00 UTC))),
            need_count: i64::try_from(needs.len()).unwrap(),
            needs,
            reason: reason.into(),
        }
    }

    #[test]
    fn each_blob_stands_with_what_needs_it() {
        let need = |reason: BlobNeedReason| BlobNeed {
            reason: reason.into(),
            image_id: "x".into(),
            image: "debian:12".into(),
            version: 3,
            ..BlobNeed::default()
        };
        let grace = BlobNeed {
            until: Some(timestamp(datetime!(2026-11-23 12:00 UTC))),
            ..need(BlobNeedReason::Grace)
        };
        let blobs = [
            blob(
                "0123456789abcdef",
                vec![need(BlobNeedReason::Version), need(BlobNeedReason::Version)],
                "",
            ),
            blob("1123456789abcdef", vec![grace], ""),
            blob(
                "2123456789abcdef",
                vec![],
                "its last version was deleted long ago",
            ),
        ];
        let screen = Screen {
            width: None,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        assert_eq!(
            table(&blobs, screen),
            "\
SHA256            SIZE  STORED   NEEDED BY
0123456789ab  1.00 MiB  2 h ago  version 3 of debian:12, and 1 more
1123456789ab  1.00 MiB  2 h ago  grace 3 of debian:12 (ends in 24 h)
2123456789ab  1.00 MiB  2 h ago  nothing: its last version was deleted long ago
"
        );
    }

    #[test]
    fn a_collection_says_what_goes() {
        let screen = Screen {
            width: None,
            now: datetime!(2026-11-22 12:00 UTC),
        };
        let mut answer = CollectBlobsResponse {
            totals: Some(BlobTotals {
                blobs: 2,
                size_bytes: 2 << 20,
                unneeded_blobs: 1,
                unneeded_size_bytes: 1 << 20,
                ..BlobTotals::default()
            }),
            blobs: vec![blob("2123456789abcdef", vec![], "unused")],
        };
        assert_eq!(
            collection(&answer, false, screen),
            "1 blob (1.00 MiB) on the way out\n"
        );
        assert!(
            collection(&answer, true, screen).ends_with("1 blob would go (1.00 MiB); nothing was removed\n")
        );
        assert_eq!(
            sums(&answer.totals.unwrap()),
            "2 blobs in the store, 2.00 MiB; 1 blob (1.00 MiB) that nothing needs\n"
        );
        answer.totals = Some(BlobTotals::default());
        assert_eq!(
            collection(&answer, true, screen),
            "nothing to remove; 0 blobs in the store, 0 B\n"
        );
    }
}
