//! Recording an import: one transaction, in which an image (or a version) is there with all its names, or
//! not at all.

use std::collections::BTreeMap;

use rootstock_model::{
    AliasName, Architecture, Digest, Id, ImageName, ImageType,
    limits::{MAX_MESSAGE_BYTES, MAX_VERSIONS},
    serial,
};
use rootstock_proto::{
    Error, Refusal, ResourceKind,
    catalog::v1::{self as catalog_wire, Alias, ChangeOperation},
    convert,
    sync::v1::{RecordImportRequest, RecordImportResponse},
};
use time::OffsetDateTime;

use crate::{
    Catalog,
    change::{self, Writer, activation},
    failure::Failure,
    page,
    queries::{
        aliases::{self, Key, Target},
        blobs, images,
        imports::{self, NewFile, NewImage, NewVersion},
        versions,
    },
    request::{self, find_image, image_type},
};

const MAX_REQUEST_ID_BYTES: usize = 64;

/// A request whose every field was looked at.
struct Import {
    request_id: String,
    onto: Onto,
    image_type: Option<ImageType>,
    architecture: Option<Architecture>,
    files: Vec<File>,
    properties: BTreeMap<String, String>,
    aliases: Vec<AliasName>,
    replace_aliases: bool,
    public: bool,
    default: bool,
    expires_at: Option<OffsetDateTime>,
    created_at: Option<OffsetDateTime>,
    validate_only: bool,
    fingerprint: Option<Digest>,
}

/// What the content becomes.
enum Onto {
    /// A new image of this name.
    New(ImageName),
    /// A new version of the image that goes by this.
    Image(String),
    /// A new image whose name is not known yet: only to be checked.
    Unnamed,
}

struct File {
    ftype: String,
    sha256: Digest,
    size_bytes: i64,
}

impl Import {
    fn of(request: RecordImportRequest) -> Result<Self, Error> {
        if request.request_id.len() > MAX_REQUEST_ID_BYTES {
            let problem = format!("is longer than {MAX_REQUEST_ID_BYTES} characters");
            return Err(Error::invalid("request_id", problem));
        }
        let image_type = image_type(request.r#type());
        request::check_alias_count(request.aliases.len())?;
        let properties = request.properties.into_iter().collect();
        request::check_property_sizes("properties", &properties)?;
        let files = request.artifacts.into_iter().enumerate().map(|(index, file)| {
            let field = |name: &str| format!("artifacts[{index}].{name}");
            convert::size_bytes(&field("size_bytes"), file.size_bytes)?;
            Ok(File {
                ftype: file.ftype,
                sha256: convert::digest(&field("sha256"), &file.sha256)?,
                size_bytes: file.size_bytes,
            })
        });
        let aliases = request.aliases.iter().enumerate().map(|(index, alias)| {
            let invalid = |error| Error::invalid(format!("aliases[{index}]"), error);
            alias
                .parse()
                .map_err(|error: rootstock_model::name::InvalidName| invalid(error))
        });
        let mut aliases = aliases.collect::<Result<Vec<AliasName>, _>>()?;
        aliases.sort();
        aliases.dedup();
        let moment = |field: &str, timestamp: Option<prost_types::Timestamp>| match timestamp {
            None => Ok(None),
            Some(timestamp) => convert::moment(&timestamp)
                .map(Some)
                .ok_or_else(|| Error::invalid(field, "is no date")),
        };
        let import = Self {
            request_id: request.request_id,
            onto: Onto::of(request.name, request.image, request.validate_only)?,
            image_type,
            architecture: match request.architecture.as_str() {
                "" => None,
                name => Some(
                    name.parse()
                        .map_err(|error| Error::invalid("architecture", error))?,
                ),
            },
            files: files.collect::<Result<_, Error>>()?,
            properties,
            aliases,
            replace_aliases: request.replace_aliases,
            public: request.public,
            default: request.default,
            expires_at: moment("expires_at", request.expires_at)?,
            created_at: moment("created_at", request.created_at)?,
            validate_only: request.validate_only,
            fingerprint: match request.fingerprint.is_empty() {
                true => None,
                false => Some(convert::digest("fingerprint", &request.fingerprint)?),
            },
        };
        if !import.validate_only && !(1..=2).contains(&import.files.len()) {
            let problem = format!("has {} files; an image has one or two", import.files.len());
            return Err(Error::invalid("artifacts", problem));
        }
        Ok(import)
    }

    fn digests(&self) -> Vec<Digest> {
        self.files.iter().map(|file| file.sha256).collect()
    }
}

impl Onto {
    fn of(name: String, image: String, validate_only: bool) -> Result<Self, Error> {
        match (name.as_str(), image.as_str()) {
            ("", "") if validate_only => Ok(Self::Unnamed),
            ("", "") => Err(Error::invalid("name", "is required, or image")),
            (name, "") => name
                .parse()
                .map(Self::New)
                .map_err(|error| Error::invalid("name", error)),
            ("", _) => Ok(Self::Image(image)),
            _ => Err(Error::invalid("image", "cannot be given along with name")),
        }
    }
}

/// Records an import, or only checks what can be told of it before.
pub(super) async fn record(
    catalog: &Catalog,
    request: RecordImportRequest,
) -> Result<RecordImportResponse, Failure> {
    let import = Import::of(request)?;
    let mut writer = Writer::begin(&catalog.pool).await?;
    match imports::of_request(writer.connection(), &import.request_id).await? {
        Some((_, true)) => {
            let problem = "was used before, for a version that was deleted since";
            return Err(Error::invalid("request_id", problem).into());
        }
        Some((holder, false)) => return answer(&mut writer, &holder.image_id, holder.number).await,
        None => {}
    }
    let image = target(&mut writer, &import).await?;
    let computed = fingerprint(&mut writer, &import).await?;
    check_content(
        &mut writer,
        &import,
        computed.or(import.fingerprint),
        image.as_ref(),
    )
    .await?;
    check_aliases(&mut writer, &import, image.as_ref()).await?;
    if import.validate_only {
        return Ok(RecordImportResponse::default());
    }
    check_stored(&mut writer, &import).await?;
    let (Some(image_type), Some(architecture)) = (import.image_type, import.architecture) else {
        return Err(Error::invalid("type", "is required, and architecture").into());
    };
    let image_id = match &image {
        Some(image) => image.id.clone(),
        None => Id::generate().to_string(),
    };
    record_image(
        &mut writer,
        &import,
        image.as_ref(),
        &image_id,
        image_type,
        architecture,
    )
    .await?;
    let number = record_version(&mut writer, &import, &image_id, computed.or(import.fingerprint)).await?;
    record_aliases(&mut writer, &import, &image_id, image_type, architecture).await?;
    activation::reconcile(&mut writer, &import.digests()).await?;
    change::commit(writer).await?;
    tracing::info!(image.id = image_id, version.number = number, "image imported");
    let mut connection = catalog.pool.acquire().await?;
    answer_from(&mut connection, &image_id, number).await
}

/// The image that gets a new version; `None` when a new image is wanted, and its name is free.
async fn target(writer: &mut Writer, import: &Import) -> Result<Option<catalog_wire::Image>, Failure> {
    let reference = match &import.onto {
        Onto::Image(reference) => reference,
        Onto::Unnamed => return Ok(None),
        Onto::New(name) => {
            if let Some(image_type) = import.image_type
                && imports::name_is_taken(writer.connection(), name.as_str(), image_type).await?
            {
                let (kind, name) = (ResourceKind::Image, name.to_string());
                return Err(Error::AlreadyExists { kind, name }.into());
            }
            return Ok(None);
        }
    };
    let image = match find_image(writer.connection(), reference, import.image_type).await {
        // The type of what is imported is no reason not to find what was named.
        Err(Failure::Refused(Error::NotFound { .. })) if import.image_type.is_some() => {
            find_image(writer.connection(), reference, None).await?
        }
        found => found?,
    };
    if image.immutable || image.source.is_some() {
        let message = format!(
            "{:?} takes its versions from where it comes from; import the files under a name of their own",
            image.name
        );
        return Err(Error::refused(Refusal::Immutable, message).into());
    }
    if import
        .image_type
        .is_some_and(|wanted| image_type(image.r#type()) != Some(wanted))
    {
        let problem = format!("{:?} is of the other type", image.name);
        return Err(Error::invalid("type", problem).into());
    }
    if let Some(architecture) = import.architecture
        && architecture.kernel_name() != image.architecture
    {
        let problem = format!(
            "is {architecture}, and {:?} is {}",
            image.name, image.architecture
        );
        return Err(Error::invalid("architecture", problem).into());
    }
    Ok(Some(image))
}

/// The fingerprint that the files are known to have.
async fn fingerprint(writer: &mut Writer, import: &Import) -> Result<Option<Digest>, Failure> {
    let computed = match import.digests()[..] {
        [unified] => Some(unified),
        [metadata, root] => blobs::combinations(writer.connection(), &[(metadata, root)])
            .await?
            .remove(&(metadata, root)),
        _ => None,
    };
    match (computed, import.fingerprint) {
        (Some(computed), Some(expected)) if computed != expected => {
            let problem = format!("is {expected}, and the files have {computed}");
            Err(Error::invalid("fingerprint", problem).into())
        }
        (computed, _) => Ok(computed),
    }
}

/// That nobody has this content yet.
async fn check_content(
    writer: &mut Writer,
    import: &Import,
    fingerprint: Option<Digest>,
    image: Option<&catalog_wire::Image>,
) -> Result<(), Failure> {
    let holder = imports::of_content(writer.connection(), fingerprint.as_ref(), &import.digests()).await?;
    let Some(holder) = holder else { return Ok(()) };
    if image.is_some_and(|image| image.id == holder.image_id) {
        let message = format!(
            "{:?} not changed: its version {} has this content",
            holder.image_name, holder.number
        );
        return Err(Error::refused(Refusal::NotChanged, message).into());
    }
    Err(Error::AlreadyExists {
        kind: ResourceKind::Version,
        name: format!("{} version {}", holder.image_name, holder.number),
    }
    .into())
}

/// That the aliases are free, or may be taken.
async fn check_aliases(
    writer: &mut Writer,
    import: &Import,
    image: Option<&catalog_wire::Image>,
) -> Result<(), Failure> {
    let (Some(image_type), Some(architecture)) = (import.image_type, import.architecture) else {
        return Ok(());
    };
    for alias in &import.aliases {
        let architecture = Some(architecture.kernel_name());
        let held = aliases::by_name(
            writer.connection(),
            alias.as_str(),
            Some(image_type),
            architecture,
        )
        .await?;
        for held in held {
            if image.is_some_and(|image| image.id == held.image_id) {
                continue;
            }
            if held.synced {
                let message = format!(
                    "alias {alias:?} comes from a remote; take another one",
                    alias = held.name
                );
                return Err(Error::refused(Refusal::Immutable, message).into());
            }
            if !import.replace_aliases {
                let (kind, name) = (ResourceKind::Alias, held.name);
                return Err(Error::AlreadyExists { kind, name }.into());
            }
        }
    }
    Ok(())
}

async fn check_stored(writer: &mut Writer, import: &Import) -> Result<(), Failure> {
    let stored = imports::stored_sizes(writer.connection(), &import.digests()).await?;
    for (index, file) in import.files.iter().enumerate() {
        match stored.get(&file.sha256) {
            None => return Err(Error::not_found(ResourceKind::Blob, file.sha256).into()),
            Some(size_bytes) if *size_bytes != file.size_bytes => {
                let problem = format!("is {}, and the blob has {size_bytes}", file.size_bytes);
                return Err(Error::invalid(format!("artifacts[{index}].size_bytes"), problem).into());
            }
            Some(_) => {}
        }
    }
    Ok(())
}

async fn record_image(
    writer: &mut Writer,
    import: &Import,
    image: Option<&catalog_wire::Image>,
    image_id: &str,
    image_type: ImageType,
    architecture: Architecture,
) -> Result<(), Failure> {
    if let (None, Onto::New(name)) = (image, &import.onto) {
        let new = NewImage {
            id: image_id,
            name: name.as_str(),
            image_type,
            architecture: architecture.kernel_name(),
            public: import.public,
            properties: &import.properties,
            expires_at: import.expires_at,
            default: import.default,
        };
        imports::insert_image(writer.connection(), new).await?;
        writer.image(image_id, ChangeOperation::Created);
    } else {
        let (properties, expires_at) = (&import.properties, import.expires_at);
        imports::describe_image(
            writer.connection(),
            image_id,
            properties,
            expires_at,
            import.default,
        )
        .await?;
        request::check_merged_properties(writer.connection(), image_id).await?;
        writer.image(image_id, ChangeOperation::Updated);
    }
    Ok(())
}

/// Answers the version's number.
async fn record_version(
    writer: &mut Writer,
    import: &Import,
    image_id: &str,
    fingerprint: Option<Digest>,
) -> Result<i32, Failure> {
    let (now, serials) = imports::serials(writer.connection(), image_id).await?;
    if serials.len() >= MAX_VERSIONS {
        let message = format!(
            "an image has at most {MAX_VERSIONS} versions: delete old ones first (`rootstock image delete --version`)"
        );
        return Err(Error::refused(Refusal::LimitReached, message).into());
    }
    let newest = serials.iter().max_by(|a, b| serial::compare(a, b));
    let created_at = import.created_at.unwrap_or(now);
    let files: Vec<NewFile<'_>> = import
        .files
        .iter()
        .map(|file| NewFile {
            ftype: &file.ftype,
            sha256: file.sha256,
            size_bytes: file.size_bytes,
        })
        .collect();
    let version = NewVersion {
        image_id,
        serial: &serial::of_import(created_at, now, newest.map(String::as_str)),
        fingerprint,
        created_at,
        request_id: &import.request_id,
        files: &files,
    };
    let (row, number) = imports::insert_version(writer.connection(), version).await?;
    writer.version(row, ChangeOperation::Created);
    Ok(number)
}

async fn record_aliases(
    writer: &mut Writer,
    import: &Import,
    image_id: &str,
    image_type: ImageType,
    architecture: Architecture,
) -> Result<(), Failure> {
    for alias in &import.aliases {
        let (name, architecture) = (alias.as_str(), architecture.kernel_name());
        let held = aliases::by_name(writer.connection(), name, Some(image_type), Some(architecture)).await?;
        let operation = match held.first() {
            Some(held) if held.image_id == image_id => continue,
            Some(held) => {
                writer.image(&held.image_id, ChangeOperation::Updated);
                ChangeOperation::Updated
            }
            None => ChangeOperation::Created,
        };
        let key = Key {
            name,
            image_type,
            architecture,
        };
        let target = Target {
            image_id,
            version: None,
            description: "",
        };
        aliases::put(writer.connection(), key, target).await?;
        writer.note::<Alias>(key, operation);
    }
    aliases::check_count(writer.connection(), image_id).await
}

async fn answer(writer: &mut Writer, image_id: &str, number: i32) -> Result<RecordImportResponse, Failure> {
    answer_from(writer.connection(), image_id, number).await
}

async fn answer_from(
    connection: &mut sqlx::PgConnection,
    image_id: &str,
    number: i32,
) -> Result<RecordImportResponse, Failure> {
    let image = images::by_ids(connection, &[image_id.to_owned()]).await?.pop();
    let mut image = image.ok_or_else(|| Error::not_found(ResourceKind::Image, image_id))?;
    let rows = versions::of_image(connection, image_id).await?;
    image.versions = rows.into_iter().rev().map(|row| row.version).collect();
    page::cut(&mut image.versions, MAX_MESSAGE_BYTES);
    Ok(RecordImportResponse {
        image: Some(image),
        version: number,
    })
}

#[cfg(test)]
mod tests {
    use rootstock_proto::sync::v1::ImportedArtifact;

    use super::*;

    fn request() -> RecordImportRequest {
        let file = |of: u8| ImportedArtifact {
            ftype: "squashfs".to_owned(),
            sha256: vec![of; 32].into(),
            size_bytes: 1,
        };
        RecordImportRequest {
            name: "mine".to_owned(),
            artifacts: vec![file(1), file(2)],
            ..RecordImportRequest::default()
        }
    }

    #[test]
    fn an_import_that_cannot_be_is_refused_by_its_field() {
        let bad_file = |change: fn(&mut ImportedArtifact)| {
            let mut request = request();
            change(&mut request.artifacts[1]);
            request
        };
        let moment = Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        });
        let cases = [
            (
                "request_id",
                RecordImportRequest {
                    request_id: "x".repeat(65),
                    ..request()
                },
            ),
            (
                "name",
                RecordImportRequest {
                    name: String::new(),
                    ..request()
                },
            ),
            (
                "name",
                RecordImportRequest {
                    name: "a b".to_owned(),
                    ..request()
                },
            ),
            (
                "image",
                RecordImportRequest {
                    image: "other".to_owned(),
                    ..request()
                },
            ),
            (
                "architecture",
                RecordImportRequest {
                    architecture: "vax".to_owned(),
                    ..request()
                },
            ),
            (
                "artifacts",
                RecordImportRequest {
                    artifacts: vec![],
                    ..request()
                },
            ),
            (
                "artifacts[1].sha256",
                bad_file(|file| file.sha256 = vec![1; 31].into()),
            ),
            ("artifacts[1].size_bytes", bad_file(|file| file.size_bytes = -1)),
            (
                "aliases[0]",
                RecordImportRequest {
                    aliases: vec!["a,b".to_owned()],
                    ..request()
                },
            ),
            (
                "expires_at",
                RecordImportRequest {
                    expires_at: moment,
                    ..request()
                },
            ),
            (
                "created_at",
                RecordImportRequest {
                    created_at: moment,
                    ..request()
                },
            ),
            (
                "fingerprint",
                RecordImportRequest {
                    fingerprint: vec![1; 5].into(),
                    ..request()
                },
            ),
        ];
        for (field, request) in cases {
            match Import::of(request) {
                Err(Error::Invalid(violations)) => assert_eq!(violations[0].field, field),
                Err(error) => panic!("{field}: {error}"),
                Ok(_) => panic!("{field} was taken"),
            }
        }
    }

    #[test]
    fn an_import_is_of_a_new_image_or_onto_one_and_may_be_nameless_only_when_it_is_checked() {
        let onto = |name: &str, image: &str, validate_only| {
            Import::of(RecordImportRequest {
                name: name.to_owned(),
                image: image.to_owned(),
                validate_only,
                ..request()
            })
            .map(|import| import.onto)
        };
        assert!(matches!(onto("mine", "", false), Ok(Onto::New(name)) if name.as_str() == "mine"));
        assert!(matches!(onto("", "mine", false), Ok(Onto::Image(image)) if image == "mine"));
        assert!(matches!(onto("", "", true), Ok(Onto::Unnamed)));
    }

    #[test]
    fn aliases_are_each_taken_once() {
        let aliases = ["b", "a", "b"].map(str::to_owned).into();
        let import = Import::of(RecordImportRequest { aliases, ..request() })
            .ok()
            .unwrap();
        let aliases: Vec<_> = import.aliases.iter().map(AliasName::as_str).collect();
        assert_eq!(aliases, ["a", "b"]);
    }
}
