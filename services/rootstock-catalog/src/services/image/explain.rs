//! `ExplainImage`: what is known of an image, gathered; the model says what it means.

use rootstock_model::{
    Status, duration,
    explain::{self, Transfers, VersionFacts},
    limits::MAX_MESSAGE_BYTES,
    plan,
    settings::Settings,
};
use rootstock_proto::{
    catalog::v1::{
        self as wire, ExplainImageRequest, ExplainImageResponse, TransferState, VersionExplanation,
    },
    convert,
};
use time::format_description::well_known::Rfc3339;

use crate::{
    Catalog,
    failure::Failure,
    page::{self, Page, PageStart},
    queries::{
        aliases,
        remotes::{self, RemoteRow},
        settings, transfers,
        versions::{self, VersionRow},
    },
    request::{find_image, image_type},
    services::remote,
    work::{Kind, schedule},
};

/// Pins and transfers of one image that are told at most.
const MAX_ROWS: i32 = 1000;
/// Bytes of each of the lists in the answer: together they are one message.
const MAX_PART_BYTES: usize = MAX_MESSAGE_BYTES / 4;

pub(super) async fn explain(
    catalog: &Catalog,
    request: ExplainImageRequest,
) -> Result<ExplainImageResponse, Failure> {
    let wanted = image_type(request.r#type());
    let mut connection = catalog.pool.acquire().await?;
    let image = find_image(&mut connection, &request.image, wanted).await?;
    let settings = settings::load(&mut connection).await?;
    let mut rows = versions::all_of_image(&mut connection, &image.id).await?;
    rows.sort_by(|a, b| {
        plan::order(
            (b.version.number, &b.version.serial),
            (a.version.number, &a.version.serial),
        )
    });
    let ignored = versions::ignored_of_image(&mut connection, &image.id).await?;
    let mut transfers = Page::begin(MAX_ROWS, PageStart::default())?;
    while let Some(rows) = transfers.wants() {
        let after = transfers.after().part(0);
        let found = transfers::list(&mut connection, None, Some(&image.id), after, rows).await?;
        let found = found.into_iter().map(remote::transfer).collect();
        transfers.add(found, |transfer: &wire::Transfer| {
            PageStart::of(&[&transfer.sha256])
        });
    }
    let (mut transfers, _) = transfers.end();
    page::cut(&mut transfers, MAX_PART_BYTES);
    let aliases = aliases::pinned_of_image(&mut connection, &image.id, MAX_ROWS.into()).await?;
    let source = image.source.clone().unwrap_or_default();
    let remote = match source.remote.as_str() {
        "" => None,
        name => remotes::by_name(&mut connection, name).await?,
    };
    let (mut remote_status, mut left_out) = (None, vec![]);
    if let Some(remote) = &remote {
        remote_status = Some(remotes::status(&mut connection, remote.id).await?);
        left_out = remotes::left_out_of_product(&mut connection, remote.id, &source.product).await?;
        page::cut(&mut left_out, MAX_PART_BYTES);
    }
    let next_check_at = match follows_by_checks(&image, remote.as_ref()) {
        true => schedule::next_due_at(&mut connection, Kind::AutoUpdate).await?,
        false => None,
    };
    drop(connection);

    let facts: Vec<_> = rows.iter().map(|row| facts(row, &ignored, &transfers)).collect();
    let current = image.current_version.and_then(|number| {
        let version = facts.iter().find(|version| version.number == number)?;
        Some((version.number, version.serial))
    });
    let summary = explain::summary(
        &image.name,
        &facts,
        current,
        image.hold.as_ref().map(|hold| hold.reason.as_str()),
        remote_status
            .as_ref()
            .map_or("", |status| status.last_error.as_str()),
    );
    let explained = |(row, facts): (&VersionRow, &VersionFacts<'_>)| {
        let reason = explain::version_reason(facts, current);
        VersionExplanation {
            version: Some(wire::Version {
                artifacts: vec![],
                ..row.version.clone()
            }),
            reason: reason.as_str().to_owned(),
            message: explain::version_message(&image.name, facts, reason),
        }
    };
    let mut versions: Vec<_> = rows.iter().zip(&facts).map(explained).collect();
    page::cut(&mut versions, MAX_MESSAGE_BYTES);
    Ok(ExplainImageResponse {
        summary,
        rules: rules(&image, remote.as_ref(), &settings, &aliases),
        versions,
        image: Some(image),
        remote_status,
        left_out,
        transfers,
        next_check_at: next_check_at.map(convert::timestamp),
    })
}

/// Whether newer versions come by the check of `images.auto_update_interval`.
fn follows_by_checks(image: &wire::Image, remote: Option<&RemoteRow>) -> bool {
    let source = image.source.clone().unwrap_or_default();
    let added = !source.image_id.is_empty() && source.release.is_empty();
    let on_demand = remote.is_some_and(|remote| remote.remote.mode() == wire::RemoteMode::OnDemand);
    image.auto_update && (added || image.cached && on_demand)
}

fn facts<'a>(row: &'a VersionRow, ignored: &[i32], transfers: &'a [wire::Transfer]) -> VersionFacts<'a> {
    let version = &row.version;
    let own = |transfer: &&wire::Transfer| {
        version
            .artifacts
            .iter()
            .any(|artifact| artifact.sha256 == transfer.sha256)
    };
    let own = || transfers.iter().filter(own);
    let has = |state: TransferState| own().any(|transfer| transfer.state() == state);
    let error = match version.error_message.as_str() {
        "" => own()
            .map(|transfer| transfer.last_error.as_str())
            .find(|error| !error.is_empty())
            .unwrap_or_default(),
        error => error,
    };
    VersionFacts {
        number: version.number,
        serial: &version.serial,
        status: Status::from(version.status()),
        hidden: version.hidden,
        deleted_by_user: ignored.contains(&version.number),
        delisted: version.delisted_at.is_some(),
        error,
        transfers: if has(TransferState::Failed) {
            Transfers::GaveUp
        } else if has(TransferState::Running) {
            Transfers::Running
        } else {
            Transfers::Waiting
        },
    }
}

/// What decides about the image's versions, each in a sentence.
fn rules(
    image: &wire::Image,
    remote: Option<&RemoteRow>,
    settings: &Settings,
    aliases: &[wire::Alias],
) -> Vec<String> {
    let mut rules = vec![];
    if let Some(hold) = &image.hold {
        let until = hold.until.as_ref().and_then(convert::moment);
        let until = until.map_or("until it is released".to_owned(), |until| {
            let until = until.replace_nanosecond(0).unwrap_or(until);
            // A moment of the calendar can always be written.
            format!("until {}", until.format(&Rfc3339).unwrap_or_default())
        });
        rules.push(format!(
            "held at version {} {until}: {}",
            hold.version, hold.reason
        ));
    }
    let source = image.source.clone().unwrap_or_default();
    if !source.image_id.is_empty() {
        let (product, remote) = (&source.product, &source.remote);
        rules.push(match (source.release.as_str(), image.auto_update) {
            ("", true) => format!(
                "follows {product} of remote {remote}: its newest version is taken, looked for every {}",
                duration::format(settings.auto_update_interval)
            ),
            ("", false) => format!(
                "was taken from {product} of remote {remote} and does not follow it: auto_update is off"
            ),
            (release, _) => format!("stays at release {release} of {product} of remote {remote}"),
        });
    }
    match remote {
        Some(row) => rules.extend(remote_rules(image, &row.remote, settings)),
        None => rules.push("comes from no remote: it keeps its versions until they are deleted".to_owned()),
    }
    for alias in aliases {
        if let Some(number) = alias.version {
            rules.push(format!("alias {} is pinned to version {number}", alias.name));
        }
    }
    if !image.used_by.is_empty() {
        let names = image.used_by.join(", ");
        rules.push(format!("applications hold its versions: {names}"));
    }
    rules
}

fn remote_rules(image: &wire::Image, remote: &wire::Remote, settings: &Settings) -> Vec<String> {
    let name = &remote.name;
    let mut rules = vec![];
    if remote.disabled {
        rules.push(format!("remote {name} is disabled and is not polled"));
    }
    rules.push(match remote.mode() {
        wire::RemoteMode::OnDemand => {
            format!("remote {name} is on-demand: versions are listed, and stored when they are asked for")
        }
        _ => format!("remote {name} is mirrored: new versions are stored as they appear"),
    });
    rules.push(match remote.keep_versions {
        0 => format!(
            "the newest {} versions are kept (images.default_keep_versions)",
            settings.default_keep_versions
        ),
        keep => format!("the newest {keep} versions are kept (keep_versions of remote {name})"),
    });
    if !remote.version_constraint.is_empty() {
        rules.push(format!(
            "only versions of {} count (version_constraint of remote {name})",
            remote.version_constraint
        ));
    }
    if image.cached {
        let follows = if image.auto_update {
            "follows the remote's newest version"
        } else {
            "stays at its version: auto_update is off"
        };
        rules.push(format!(
            "was stored because it was used, {follows}, and leaves the store after {} days without use \
             (images.remote_cache_expiry)",
            settings.remote_cache_expiry_days
        ));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_says_what_decides() {
        let settings = Settings::default();
        let image = wire::Image::default;
        let added = |release: &str, auto_update| wire::Image {
            source: Some(wire::ImageSource {
                image_id: "origin".to_owned(),
                product: "debian".to_owned(),
                remote: "images".to_owned(),
                release: release.to_owned(),
            }),
            auto_update,
            ..image()
        };
        let remote = || wire::Remote {
            name: "images".to_owned(),
            ..wire::Remote::default()
        };
        let cases = [
            (image(), None, "comes from no remote"),
            (added("", true), None, "looked for every 6h"),
            (added("", false), None, "does not follow it: auto_update is off"),
            (added("2026", false), None, "stays at release 2026 of debian"),
            (
                wire::Image {
                    hold: Some(wire::Hold {
                        version: 1,
                        reason: "broken".to_owned(),
                        ..wire::Hold::default()
                    }),
                    ..image()
                },
                None,
                "held at version 1 until it is released: broken",
            ),
            (
                wire::Image {
                    used_by: vec!["web".to_owned(), "db".to_owned()],
                    ..image()
                },
                None,
                "applications hold its versions: web, db",
            ),
            (
                image(),
                Some(wire::Remote {
                    disabled: true,
                    ..remote()
                }),
                "is disabled and is not polled",
            ),
            (
                image(),
                Some(wire::Remote {
                    mode: wire::RemoteMode::OnDemand.into(),
                    ..remote()
                }),
                "remote images is on-demand",
            ),
            (
                image(),
                Some(remote()),
                "the newest 2 versions are kept (images.default_keep_versions)",
            ),
            (
                image(),
                Some(wire::Remote {
                    keep_versions: 5,
                    ..remote()
                }),
                "the newest 5 versions are kept (keep_versions of remote images)",
            ),
            (
                image(),
                Some(wire::Remote {
                    version_constraint: ">=24".to_owned(),
                    ..remote()
                }),
                "only versions of >=24 count",
            ),
            (
                wire::Image {
                    cached: true,
                    auto_update: true,
                    ..image()
                },
                Some(remote()),
                "follows the remote's newest version, and leaves the store after 10 days",
            ),
            (
                wire::Image {
                    cached: true,
                    ..image()
                },
                Some(remote()),
                "stays at its version: auto_update is off",
            ),
        ];
        for (image, remote, expected) in &cases {
            let rules = match remote {
                Some(remote) => remote_rules(image, remote, &settings),
                None => rules(image, None, &settings, &[]),
            };
            assert!(
                rules.iter().any(|rule| rule.contains(expected)),
                "{expected}: {rules:?}"
            );
        }
    }
}
