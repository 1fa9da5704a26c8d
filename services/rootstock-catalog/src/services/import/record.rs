//! Recording an import: one transaction, in which an image (or a version) is there with all its names, or
//! not at all.

mod request;

use rootstock_model::{
    Architecture, Digest, Id, ImageType,
    limits::{MAX_MESSAGE_BYTES, MAX_VERSIONS},
    serial,
};
use rootstock_proto::{
    Error, Refusal, ResourceKind,
    catalog::v1::{self as catalog_wire, Alias, ChangeOperation},
    sync::v1::{RecordImportRequest, RecordImportResponse},
};

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
    request::{check_merged_properties, find_image, image_type},
};

use self::request::{Import, Onto};

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
        check_merged_properties(writer.connection(), image_id).await?;
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
