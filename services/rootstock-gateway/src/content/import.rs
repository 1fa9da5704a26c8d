//! Making an image of stored blobs: what they are is read from them, whatever the client says.

use std::{collections::BTreeMap, time::Duration};

use rootstock_archive::{Contents, FileKind, Limits, Metadata};
use rootstock_blobs::BlobError;
use rootstock_model::{
    Architecture, Digest, Id, ImageType, MetadataFtype,
    properties::{MAX_COUNT, MAX_KEY_BYTES, MAX_VALUE_BYTES},
};
use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{self as wire, ImportImageRequest, ImportImageResponse},
    convert,
    sync::v1::{ImportedArtifact, RecordImportRequest},
};
use tokio::time::timeout;
use tonic::Status;

use super::{Content, archive, of_store};

/// How long a new image may take to be seen here.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// A file that a request names.
struct File {
    digest: Digest,
    size_bytes: i64,
}

/// What the files turned out to be.
struct Found {
    metadata: Metadata,
    image_type: ImageType,
    ftypes: Vec<&'static str>,
    warnings: Vec<String>,
}

/// Makes an image, or only checks what can be told before its bytes are here.
pub(super) async fn import(
    content: &Content,
    request: ImportImageRequest,
) -> Result<ImportImageResponse, Status> {
    let files = files(&request)?;
    check_properties(&request)?;
    if request.validate_only {
        let record = RecordImportRequest {
            architecture: known_architecture(&request)?.map_or_else(String::new, kernel_name),
            artifacts: match files.len() {
                0 => vec![],
                _ => artifacts(&files, &["", ""]),
            },
            properties: request.properties.clone(),
            expires_at: request.expires_at,
            ..common(&request)?
        };
        content.catalog.record_import(record).await?;
        return Ok(ImportImageResponse::default());
    }
    let found = look_into(content, &files).await?;
    check_claims(&request, &found)?;
    let record = record(&request, &files, &found)?;
    let recorded = content.catalog.record_import(record).await?;
    let image = recorded.image.unwrap_or_default();
    wait_until_seen(content, &image, recorded.version).await;
    Ok(ImportImageResponse {
        image: Some(image),
        version: recorded.version,
        warnings: found.warnings,
    })
}

fn kernel_name(architecture: Architecture) -> String {
    architecture.kernel_name().to_owned()
}

fn files(request: &ImportImageRequest) -> Result<Vec<File>, Error> {
    let at_least = usize::from(!request.validate_only);
    if !(at_least..=2).contains(&request.files.len()) {
        let problem = "are metadata and root, or one unified file";
        return Err(Error::invalid("files", problem));
    }
    let files = request.files.iter().enumerate().map(|(index, file)| {
        let field = |name: &str| format!("files[{index}].{name}");
        convert::size_bytes(&field("size_bytes"), file.size_bytes)?;
        Ok(File {
            digest: file
                .sha256
                .parse()
                .map_err(|error| Error::invalid(field("sha256"), error))?,
            size_bytes: file.size_bytes,
        })
    });
    files.collect()
}

fn check_properties(request: &ImportImageRequest) -> Result<(), Error> {
    if request.properties.len() > MAX_COUNT {
        return Err(Error::invalid("properties", format!("are more than {MAX_COUNT}")));
    }
    for (key, value) in &request.properties {
        let field = format!("properties[{key:?}]");
        if key.is_empty() || key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control) {
            return Err(Error::invalid(field, "is no name for a property"));
        }
        if value.len() > MAX_VALUE_BYTES || value.contains('\0') {
            return Err(Error::invalid(
                field,
                format!("must be text of at most {MAX_VALUE_BYTES} bytes"),
            ));
        }
    }
    Ok(())
}

fn known_architecture(request: &ImportImageRequest) -> Result<Option<Architecture>, Error> {
    match request.architecture.as_str() {
        "" => Ok(None),
        name => name
            .parse()
            .map(Some)
            .map_err(|error| Error::invalid("architecture", error)),
    }
}

/// What is the same in a request that only checks.
fn common(request: &ImportImageRequest) -> Result<RecordImportRequest, Error> {
    let fingerprint: Option<Digest> = match request.fingerprint.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|error| Error::invalid("fingerprint", error))?,
        ),
    };
    Ok(RecordImportRequest {
        // So that the call may be repeated when its answer is lost.
        request_id: match (request.request_id.as_str(), request.validate_only) {
            (id, false) if !id.is_empty() => id.to_owned(),
            (_, true) => String::new(),
            (_, false) => Id::generate().to_string(),
        },
        name: request.name.clone(),
        image: request.image.clone(),
        r#type: request.r#type,
        aliases: request.aliases.clone(),
        replace_aliases: request.replace_aliases,
        public: request.public,
        default: request.default,
        validate_only: request.validate_only,
        fingerprint: fingerprint
            .map(|digest| convert::digest_bytes(&digest))
            .unwrap_or_default(),
        ..RecordImportRequest::default()
    })
}

fn record(request: &ImportImageRequest, files: &[File], found: &Found) -> Result<RecordImportRequest, Error> {
    let metadata = &found.metadata;
    let mut properties: BTreeMap<String, String> = metadata.properties.clone();
    properties.extend(request.properties.clone());
    let common = common(request)?;
    let name = match (request.name.as_str(), request.image.as_str()) {
        ("", "") => metadata.product_name().ok_or_else(|| {
            let problem = "is required: the metadata do not say os and release, to make one of";
            Error::invalid("name", problem)
        })?,
        _ => common.name.clone(),
    };
    Ok(RecordImportRequest {
        name,
        r#type: wire::ImageType::from(found.image_type).into(),
        architecture: kernel_name(metadata.architecture),
        artifacts: artifacts(files, &found.ftypes),
        properties: properties.into_iter().collect(),
        expires_at: request
            .expires_at
            .or_else(|| metadata.expiry_date.map(convert::timestamp)),
        created_at: Some(convert::timestamp(metadata.creation_date)),
        ..common
    })
}

fn artifacts(files: &[File], ftypes: &[&str]) -> Vec<ImportedArtifact> {
    let artifact = |(file, ftype): (&File, &&str)| ImportedArtifact {
        ftype: (*ftype).to_owned(),
        sha256: convert::digest_bytes(&file.digest),
        size_bytes: file.size_bytes,
    };
    files.iter().zip(ftypes).map(artifact).collect()
}

/// Reads what the files are.
async fn look_into(content: &Content, files: &[File]) -> Result<Found, Status> {
    // Closed by nobody.
    let _turn = content.inspections.acquire().await.ok();
    for (index, file) in files.iter().enumerate() {
        let info = content
            .blobs
            .head(&file.digest)
            .await
            .map_err(|error| of_store(&error))?;
        let info = info.ok_or_else(|| Error::not_found(ResourceKind::Blob, file.digest))?;
        if i64::try_from(info.size_bytes) != Ok(file.size_bytes) {
            let problem = format!("is {}, and the blob has {}", file.size_bytes, info.size_bytes);
            return Err(Error::invalid(format!("files[{index}].size_bytes"), problem).into());
        }
    }
    match files {
        [metadata, root] => split(content, metadata, root).await,
        [file] => unified(content, file).await,
        _ => Err(Error::invalid("files", "are metadata and root, or one unified file").into()),
    }
}

async fn split(content: &Content, metadata: &File, root: &File) -> Result<Found, Status> {
    let contents = inspect(content, metadata, Limits::METADATA).await?;
    if contents.root.is_some() {
        let problem = "holds a root of its own: a unified image is imported by itself";
        return Err(Error::invalid("files[0]", problem).into());
    }
    let kind = archive::kind(&content.blobs, &root.digest).await;
    let kind = kind.map_err(|error| not_read(&error, root))?.ok_or_else(|| {
        let problem = "is no root: it begins neither like squashfs nor qcow2 nor an archive";
        Error::invalid("files[1]", problem)
    })?;
    Ok(Found {
        metadata: contents.metadata,
        image_type: kind.image_type(),
        ftypes: vec![MetadataFtype::Incus.as_str(), kind.root_ftype().as_str()],
        warnings: vec![],
    })
}

async fn unified(content: &Content, file: &File) -> Result<Found, Status> {
    let kind = archive::kind(&content.blobs, &file.digest).await;
    if let Some(FileKind::Squashfs | FileKind::Qcow2) = kind.map_err(|error| not_read(&error, file))? {
        let problem = "is a root without metadata: import it along with them";
        return Err(Error::invalid("files[0]", problem).into());
    }
    let contents = inspect(content, file, Limits::UNIFIED).await?;
    let Some(image_type) = contents.root else {
        let problem = "holds metadata and no root: import it along with one";
        return Err(Error::invalid("files[0]", problem).into());
    };
    let warnings = match image_type {
        ImageType::Container => vec![],
        ImageType::VirtualMachine => vec![
            "most Incus and LXD clients take any unified image for a container, so this one is not shown to them; \
             as two files (metadata and qcow2) it would be"
                .to_owned(),
        ],
    };
    Ok(Found {
        metadata: contents.metadata,
        image_type,
        ftypes: vec![MetadataFtype::IncusCombined.as_str()],
        warnings,
    })
}

async fn inspect(content: &Content, file: &File, limits: Limits) -> Result<Contents, Status> {
    let inspected = archive::inspect(&content.blobs, &file.digest, limits).await;
    let inspected = inspected.map_err(|error| not_read(&error, file))?;
    inspected.map_err(|error| Error::invalid("files[0]", error).into())
}

fn not_read(error: &BlobError, file: &File) -> Status {
    match error {
        BlobError::NotFound { .. } => Error::not_found(ResourceKind::Blob, file.digest).into(),
        error => of_store(error),
    }
}

/// That the files are what the client takes them for.
fn check_claims(request: &ImportImageRequest, found: &Found) -> Result<(), Error> {
    let claimed: Option<ImageType> = request.r#type().into();
    if let Some(claimed) = claimed
        && claimed != found.image_type
    {
        let problem = format!("is {claimed}, and the root is that of a {}", found.image_type);
        return Err(Error::invalid("type", problem));
    }
    let actual = found.metadata.architecture;
    if let Some(claimed) = known_architecture(request)?
        && claimed != actual
    {
        let problem = format!("is {claimed}, and the metadata say {actual}");
        return Err(Error::invalid("architecture", problem));
    }
    Ok(())
}

/// Who has imported an image finds it at this gateway at once. A model that lags behind is no failure.
async fn wait_until_seen(content: &Content, image: &wire::Image, number: i32) {
    let is_active = image
        .versions
        .iter()
        .any(|version| version.number == number && version.status() == wire::Status::Active);
    if !is_active {
        return;
    }
    let mut model = content.model.clone();
    let seen = model.wait_for(|model| {
        model
            .as_ref()
            .is_some_and(|model| model.has_version(&image.id, number))
    });
    if timeout(SEEN_WITHIN, seen).await.is_err() {
        tracing::warn!(image.id = image.id, "an imported image is not seen here yet");
    }
}
