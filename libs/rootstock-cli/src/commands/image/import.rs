//! `rootstock image import`: files of one's own become an image.
//!
//! First everything that can be told here and now: what the files are, what their metadata say, whether
//! the server would take the name. Then the bytes, and only those that the server lacks. Then the image,
//! in one step.

mod about;
mod files;
mod upload;

use std::path::PathBuf;

use rootstock_model::Id;
use rootstock_proto::{
    Error, ResourceKind,
    catalog::v1::{
        GetImageRequest, Image, ImageType, ImportFile, ImportImageRequest, ImportImageResponse, Status,
    },
};
use tokio::time::sleep;

pub(super) use self::files::feed;
use self::{about::About, files::Prepared};
use crate::{
    client::Client,
    failure::Failure,
    human, input,
    interrupt::or_interrupted,
    output::{self, Format},
    transfers::LOOK_AGAIN,
};

const EXAMPLES: &str = "\
Examples:
  rootstock image import debian.tar.gz --alias debian/12              a unified image
  rootstock image import meta.tar.xz rootfs.squashfs --name web       metadata and root
  rootstock image import disk.qcow2 --os Debian --release 12          a root alone; metadata is made for it
  rootstock image import --update web meta.tar.xz rootfs.squashfs     a new version of an image

What the image is (architecture, dates, properties) is read from its metadata; container or virtual machine, from
the root. An import that was cut off goes on where it was when it is given the same files.";

/// Make an image of files: a unified tarball, metadata and root, or a root alone
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    /// The metadata, a unified tarball, or a root alone (squashfs, qcow2, tar)
    #[arg(value_name = "FILE")]
    first: PathBuf,

    /// The root that goes with the metadata
    #[arg(value_name = "ROOT")]
    root: Option<PathBuf>,

    /// Its name [default: os:release:architecture:variant]
    #[arg(long, conflicts_with = "update")]
    name: Option<String>,

    /// Make a new version of this image instead
    #[arg(long, value_name = "IMAGE")]
    update: Option<String>,

    /// An alias to give it; may be repeated
    #[arg(long = "alias", value_name = "ALIAS")]
    aliases: Vec<String>,

    /// Take the aliases from the images that have them
    #[arg(long)]
    reuse: bool,

    /// Let everyone see it at the edge
    #[arg(long, conflicts_with = "update")]
    public: bool,

    /// Make it the default of its type
    #[arg(long)]
    default: bool,

    /// A property over those of the metadata; may be repeated
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = input::pair)]
    properties: Vec<(String, String)>,

    #[command(flatten)]
    about: About,
}

pub(super) async fn run(client: &Client, format: Format, args: ImportArgs) -> Result<(), Failure> {
    let prepared = files::prepare(&args.first, args.root.as_deref(), &args.about).await?;
    let request = request(&args, &prepared);
    let check = ImportImageRequest {
        validate_only: true,
        request_id: String::new(),
        ..request.clone()
    };
    client
        .contents()
        .import_image(check)
        .await
        .map_err(|status| refused(client, &status))?;
    let goes_on = "interrupted; what came is kept for a day: the same command goes on from there";
    let send = async {
        let mut metadata = None;
        for file in &prepared.files {
            upload::upload(client, file, metadata.as_ref()).await?;
            metadata.get_or_insert(file.digest);
        }
        call(client, request).await
    };
    let answer = or_interrupted(send, goes_on).await?;
    for warning in &answer.warnings {
        output::note(&format!("rootstock: {warning}"));
    }
    let number = answer.version;
    let image = settled(client, answer.image.unwrap_or_default(), number).await?;
    output::print(format, &image, |_| line(&image, number))
}

fn request(args: &ImportArgs, prepared: &Prepared) -> ImportImageRequest {
    let named = || {
        let made = prepared.metadata.product_name();
        made.unwrap_or_else(|| format!("image-{}", human::short_digest(&prepared.fingerprint.to_hex())))
    };
    let name = match &args.update {
        None => args.name.clone().unwrap_or_else(named),
        Some(_) => String::new(),
    };
    let file = |file: &files::LocalFile| ImportFile {
        sha256: file.digest.to_hex(),
        size_bytes: i64::try_from(file.size_bytes).unwrap_or(i64::MAX),
    };
    ImportImageRequest {
        request_id: Id::generate().to_string(),
        name,
        image: args.update.clone().unwrap_or_default(),
        r#type: ImageType::from(prepared.image_type).into(),
        architecture: prepared.metadata.architecture.kernel_name().to_owned(),
        files: prepared.files.iter().map(file).collect(),
        properties: args.properties.iter().cloned().collect(),
        aliases: args.aliases.clone(),
        replace_aliases: args.reuse,
        public: args.public,
        default: args.default,
        fingerprint: prepared.fingerprint.to_hex(),
        ..ImportImageRequest::default()
    }
}

/// What the server says of names, with what to do about it.
fn refused(client: &Client, status: &tonic::Status) -> Failure {
    let Some(error @ Error::AlreadyExists { kind, .. }) = &Error::from_status(status) else {
        return client.content_failure(status);
    };
    let next = match kind {
        ResourceKind::Image => "give another --name, or make a new version of it with --update",
        ResourceKind::Alias => "give another --alias, or take it with --reuse",
        ResourceKind::Version => "it has just this content, so there is nothing to import",
        _ => return client.content_failure(status),
    };
    Failure::failed(format!("{error}: {next}"))
}

/// Its request id makes it safe to be repeated.
async fn call(client: &Client, request: ImportImageRequest) -> Result<ImportImageResponse, Failure> {
    let answer = client.patiently(|| {
        let (mut contents, request) = (client.contents(), request.clone());
        async move { contents.import_image(request).await }
    });
    Ok(answer.await?.into_inner())
}

/// Waits while the fingerprint of files is computed that the server had already.
async fn settled(client: &Client, mut image: Image, number: i32) -> Result<Image, Failure> {
    let goes_on = format!(
        "no longer waiting; the image is imported: \"rootstock image show {}\" tells how it stands",
        image.id
    );
    let wait = async {
        loop {
            let version = image.versions.iter().find(|version| version.number == number);
            match version.map(|version| (version.status(), &version.error_message)) {
                Some((Status::Queued, _)) => {}
                Some((Status::Error, error)) => {
                    let message = format!("version {number} of {} cannot be had: {error}", image.name);
                    return Err(Failure::failed(message));
                }
                _ => return Ok(image),
            }
            sleep(LOOK_AGAIN).await;
            let request = GetImageRequest {
                image: image.id.clone(),
                ..GetImageRequest::default()
            };
            let answer = client.patiently(|| {
                let (mut images, request) = (client.images(), request.clone());
                async move { images.get_image(request).await }
            });
            image = answer.await?.into_inner().image.unwrap_or_default();
        }
    };
    or_interrupted(wait, &goes_on).await
}

fn line(image: &Image, number: i32) -> String {
    let version = image.versions.iter().find(|version| version.number == number);
    let (size, fingerprint) = version.map_or((0, ""), |version| (version.size_bytes, &version.fingerprint));
    format!(
        "imported version {number} of {} ({}, {})\n",
        image.name,
        human::short_digest(fingerprint),
        human::size(size)
    )
}
