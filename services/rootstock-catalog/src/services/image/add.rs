//! `AddImage`: an image of one's own, of a product that a remote offers.

use std::collections::BTreeMap;

use rootstock_model::{AliasName, Id, ImageName, ImageType, plan, release};
use rootstock_proto::{
    Error, Refusal, ResourceKind,
    catalog::v1::{self as wire, AddImageRequest, ChangeOperation},
};
use rootstock_runtime::propagate::current_traceparent;

use super::subject;
use crate::{
    Catalog,
    change::{self, Writer, activation},
    failure::Failure,
    queries::{
        added::{self, NewImage, Origin},
        aliases, images, remotes, versions,
        versions::VersionRow,
    },
    request::{self, ambiguous, image_type},
    work::{Kind, Subject, schedule},
};

/// Serials that an unknown release is answered with.
const NEAREST: usize = 5;

/// What is wanted, checked before anything is looked for or fetched.
struct Wanted {
    name: ImageName,
    aliases: Vec<AliasName>,
    properties: BTreeMap<String, String>,
    auto_update: bool,
    public: bool,
}

/// Adds an image; answers it.
pub(super) async fn image(catalog: &Catalog, request: AddImageRequest) -> Result<wire::Image, Failure> {
    let wanted = check(&request)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    let origin = find_origin(&mut writer, &request).await?;
    let same_name = added::by_name(writer.connection(), wanted.name.as_str(), &origin.image_type).await?;
    if let Some(there) = same_name {
        let is_origin = there.id == origin.id && is_plain(&request);
        let is_same = there.origin_id.as_deref() == Some(&origin.id) && there.release == request.release;
        return match is_origin || is_same {
            // The same again is a retry; the answer is what is there.
            true => subject::commit(catalog, writer, &there.id).await,
            false => Err(Error::AlreadyExists {
                kind: ResourceKind::Image,
                name: wanted.name.to_string(),
            }
            .into()),
        };
    }
    if origin.ignored {
        if !take_up_again(&mut writer, &origin).await? {
            // The mark is lifted and the poll asked for, so that the same call succeeds soon.
            change::commit(writer).await?;
            let message = format!(
                "product {:?} is taken up again; its versions are known once its remote was polled: try again then",
                origin.name
            );
            return Err(Error::Unavailable(message).into());
        }
        if wanted.name.as_str() == origin.name && is_plain(&request) {
            return subject::commit(catalog, writer, &origin.id).await;
        }
        if wanted.name.as_str() == origin.name {
            let problem = "is the product's own; name the image otherwise, or add it without a release, properties \
                           and aliases";
            return Err(Error::invalid("name", problem).into());
        }
    }
    let taken = versions_to_take(&mut writer, &origin, &request.release).await?;
    let id = Id::generate().to_string();
    let new = NewImage {
        id: &id,
        name: wanted.name.as_str(),
        public: wanted.public,
        auto_update: wanted.auto_update,
        release: &request.release,
        properties: &wanted.properties,
        wants_default: request.default,
    };
    added::insert(writer.connection(), &origin.id, &new).await?;
    request::check_merged_properties(writer.connection(), &id).await?;
    writer.image(&id, ChangeOperation::Created);
    point_aliases(&mut writer, &wanted, &origin, &id).await?;
    take(&mut writer, &id, &taken).await?;
    tracing::info!(
        image.id = id,
        image.name = wanted.name.as_str(),
        image.origin = origin.name,
        image.release = request.release,
        "image added"
    );
    subject::commit(catalog, writer, &id).await
}

fn check(request: &AddImageRequest) -> Result<Wanted, Error> {
    if request.name.is_empty() {
        return Err(Error::invalid("name", "is required"));
    }
    let name = request
        .name
        .parse()
        .map_err(|error| Error::invalid("name", error))?;
    if request.source.is_empty() {
        return Err(Error::invalid(
            "source",
            "is required: a product's name, or an alias that a remote gives",
        ));
    }
    request::check_alias_count(request.aliases.len())?;
    let mut aliases: Vec<AliasName> = vec![];
    for (index, alias) in request.aliases.iter().enumerate() {
        let parsed = alias
            .parse()
            .map_err(|error| Error::invalid(format!("aliases[{index}]"), error))?;
        aliases.push(parsed);
    }
    let properties = request.properties.clone().into_iter().collect();
    request::check_properties("properties", &properties)?;
    let follows = request.release.is_empty();
    if !follows && request.auto_update == Some(true) {
        let problem = "cannot be on with a release: an image that is pinned to one stays at it";
        return Err(Error::invalid("auto_update", problem));
    }
    Ok(Wanted {
        name,
        aliases,
        properties,
        auto_update: request.auto_update.unwrap_or(follows),
        public: request.public.unwrap_or(true),
    })
}

/// Whether nothing is asked for but the product as it is.
fn is_plain(request: &AddImageRequest) -> bool {
    request.release.is_empty()
        && request.properties.is_empty()
        && request.aliases.is_empty()
        && request.auto_update != Some(false)
        && request.public != Some(false)
}

/// The synced image that is meant: by its product, else by an alias that its remote gives it.
async fn find_origin(writer: &mut Writer, request: &AddImageRequest) -> Result<Origin, Failure> {
    if !request.remote.is_empty()
        && remotes::by_name(writer.connection(), &request.remote)
            .await?
            .is_none()
    {
        return Err(Error::not_found(ResourceKind::Remote, &request.remote).into());
    }
    let wanted_type = image_type(request.r#type()).map(ImageType::as_str);
    let mut found =
        added::origins(writer.connection(), &request.source, &request.remote, wanted_type).await?;
    // Clients try a container before a virtual machine of the same name.
    if found
        .iter()
        .any(|origin| origin.image_type == ImageType::Container.as_str())
    {
        found.retain(|origin| origin.image_type == ImageType::Container.as_str());
    }
    match found.len() {
        0 => Err(Error::not_found(ResourceKind::Product, &request.source).into()),
        1 => Ok(found.swap_remove(0)),
        _ => {
            let ids: Vec<String> = found.into_iter().map(|origin| origin.id).collect();
            let candidates = images::by_ids(writer.connection(), &ids).await?;
            Err(ambiguous(&request.source, candidates.iter()).into())
        }
    }
}

/// Lifts the mark from a product that was deleted: what was deleted with its image can be had again,
/// and its remote is polled at once. False when nothing is known of its versions until then: the grace
/// is over since they were deleted.
async fn take_up_again(writer: &mut Writer, origin: &Origin) -> Result<bool, Failure> {
    let revived = added::revive(writer.connection(), &origin.id).await?;
    let is_known = !revived.is_empty();
    for version in revived {
        writer.version(version, ChangeOperation::Updated);
    }
    writer.image(&origin.id, ChangeOperation::Updated);
    remotes::forget_documents(writer.connection(), &[origin.remote_id]).await?;
    let traceparent = current_traceparent().unwrap_or_default();
    let poll = Subject::Remote(origin.remote_id);
    schedule::wake(writer.connection(), Kind::Poll, &poll, &traceparent).await?;
    Ok(is_known)
}

/// The versions to begin with, oldest first: the one that a release names; else the newest, and while
/// that is not stored the newest that is too, so that the image can be used at once.
async fn versions_to_take(
    writer: &mut Writer,
    origin: &Origin,
    wanted: &str,
) -> Result<Vec<VersionRow>, Failure> {
    let mut rows = versions::of_image(writer.connection(), &origin.id).await?;
    rows.retain(|row| row.version.status() != wire::Status::Error && !row.version.hidden);
    rows.sort_by(|a, b| plan::order(place(a), place(b)));
    let taken = if wanted.is_empty() {
        let newest_active = rows
            .iter()
            .rposition(|row| row.version.status() == wire::Status::Active)
            .map(|position| rows[position].id);
        let newest = rows.last().map(|row| row.id);
        rows.retain(|row| Some(row.id) == newest || Some(row.id) == newest_active);
        rows
    } else {
        let chosen = release::choose(rows.iter().map(place), wanted);
        let Some(number) = chosen else {
            let serials = rows.iter().map(|row| row.version.serial.as_str());
            let nearest = release::nearest(serials, wanted, NEAREST);
            return Err(Error::UnknownRelease {
                product: origin.name.clone(),
                release: wanted.to_owned(),
                nearest: nearest.into_iter().map(str::to_owned).collect(),
            }
            .into());
        };
        rows.retain(|row| row.version.number == number);
        rows
    };
    if taken.is_empty() {
        let message = format!(
            "{:?} has no version that can be had: see `rootstock image show`",
            origin.name
        );
        return Err(Error::refused(Refusal::NotFetchable, message).into());
    }
    Ok(taken)
}

fn place(row: &VersionRow) -> (i32, &str) {
    (row.version.number, row.version.serial.as_str())
}

async fn point_aliases(
    writer: &mut Writer,
    wanted: &Wanted,
    origin: &Origin,
    image_id: &str,
) -> Result<(), Failure> {
    let image_type: ImageType = crate::queries::image_type(&origin.image_type)?;
    for alias in &wanted.aliases {
        let name = alias.as_str();
        let architecture = Some(origin.architecture.as_str());
        if !aliases::by_name(writer.connection(), name, Some(image_type), architecture)
            .await?
            .is_empty()
        {
            return Err(Error::AlreadyExists {
                kind: ResourceKind::Alias,
                name: name.to_owned(),
            }
            .into());
        }
        let key = aliases::Key {
            name,
            image_type,
            architecture: &origin.architecture,
        };
        let target = aliases::Target {
            image_id,
            version: None,
            description: "",
        };
        aliases::put(writer.connection(), key, target).await?;
        writer.note::<wire::Alias>(key, ChangeOperation::Created);
    }
    Ok(())
}

/// Lets an added image take these versions of its origin: what is stored turns active in the same
/// transaction, the rest is fetched.
pub(crate) async fn take(writer: &mut Writer, image_id: &str, rows: &[VersionRow]) -> Result<(), Failure> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    for version in added::copy_versions(writer.connection(), image_id, &ids).await? {
        writer.version(version, ChangeOperation::Created);
    }
    writer.image(image_id, ChangeOperation::Updated);
    let files: Result<Vec<Vec<_>>, _> = rows
        .iter()
        .map(|row| {
            row.version
                .artifacts
                .iter()
                .map(|artifact| artifact.sha256.parse())
                .collect()
        })
        .collect();
    let files = files.map_err(|_| Failure::Corrupt(format!("artifacts of the origin of {image_id}")))?;
    let traceparent = current_traceparent().unwrap_or_default();
    activation::request_blobs(writer, &files, &traceparent).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> AddImageRequest {
        AddImageRequest {
            name: "base".to_owned(),
            source: "debian/12".to_owned(),
            ..AddImageRequest::default()
        }
    }

    #[test]
    fn an_added_image_follows_unless_it_has_a_release_and_is_public_unless_told_otherwise() {
        for (release, auto_update, public, expected) in [
            ("", None, None, (true, true)),
            ("", Some(false), Some(false), (false, false)),
            ("2026", None, None, (false, true)),
            ("2026", Some(false), Some(true), (false, true)),
        ] {
            let request = AddImageRequest {
                release: release.to_owned(),
                auto_update,
                public,
                ..request()
            };
            let wanted = check(&request).unwrap();
            assert_eq!((wanted.auto_update, wanted.public), expected, "{request:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_field() {
        let cases = [
            (
                "name",
                AddImageRequest {
                    name: String::new(),
                    ..request()
                },
            ),
            (
                "name",
                AddImageRequest {
                    name: "a b".to_owned(),
                    ..request()
                },
            ),
            (
                "source",
                AddImageRequest {
                    source: String::new(),
                    ..request()
                },
            ),
            (
                "aliases[1]",
                AddImageRequest {
                    aliases: vec!["fine".to_owned(), "a,b".to_owned()],
                    ..request()
                },
            ),
            (
                "properties",
                AddImageRequest {
                    properties: [("a b".to_owned(), String::new())].into(),
                    ..request()
                },
            ),
            (
                "auto_update",
                AddImageRequest {
                    release: "2026".to_owned(),
                    auto_update: Some(true),
                    ..request()
                },
            ),
        ];
        for (field, request) in cases {
            let Err(Error::Invalid(violations)) = check(&request) else {
                panic!("{request:?} was taken");
            };
            assert!(violations[0].field.starts_with(field), "{violations:?}");
        }
    }

    #[test]
    fn only_a_request_for_the_product_as_it_is_is_plain() {
        assert!(is_plain(&request()));
        assert!(is_plain(&AddImageRequest {
            auto_update: Some(true),
            public: Some(true),
            ..request()
        }));
        for other in [
            AddImageRequest {
                release: "2026".to_owned(),
                ..request()
            },
            AddImageRequest {
                properties: [("a".to_owned(), "b".to_owned())].into(),
                ..request()
            },
            AddImageRequest {
                aliases: vec!["a".to_owned()],
                ..request()
            },
            AddImageRequest {
                auto_update: Some(false),
                ..request()
            },
            AddImageRequest {
                public: Some(false),
                ..request()
            },
        ] {
            assert!(!is_plain(&other), "{other:?}");
        }
    }
}
