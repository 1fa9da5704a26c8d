//! `rootstock image export`: the files of an image, as `incus image export` writes them.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rootstock_model::{Digest, MetadataFtype, RootFtype};
use rootstock_proto::{
    Error,
    catalog::v1::{Artifact, DownloadBlobRequest, GetImageRequest, Image, ImageType, Status, Version},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tonic::Code;

use super::import::feed;
use crate::{
    bar::Bar,
    client::Client,
    failure::Failure,
    human,
    interrupt::or_interrupted,
    output::{self, Format, Record},
    value::Value,
};

/// How long a server is tried that sends nothing.
const PATIENCE: Duration = Duration::from_secs(60);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Write an image's files to a directory
///
/// The files have the names that `incus image export` gives them. Each is written under a name that ends in .part, and
/// gets its own when all of it is there and right; what is cut off goes on where it was when the command is repeated.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Name, alias, id, or fingerprint (or at least 12 characters of one)
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Where to write them; made when it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// The virtual machine, where a container has the same name
    #[arg(long)]
    vm: bool,

    /// Number of the version [default: the current one]
    #[arg(long = "version", value_name = "N")]
    number: Option<i32>,
}

/// What was written.
#[derive(Debug)]
struct Exported {
    image: String,
    version: i32,
    fingerprint: String,
    files: Vec<ExportedFile>,
}

#[derive(Debug)]
struct ExportedFile {
    path: String,
    ftype: String,
    sha256: String,
    size_bytes: u64,
}

impl Record for Exported {
    const COLUMNS: &'static [&'static str] = &["image", "version", "fingerprint"];

    fn value(&self) -> Result<Value, Failure> {
        let file = |file: &ExportedFile| {
            Value::fields([
                ("path", file.path.as_str().into()),
                ("ftype", file.ftype.as_str().into()),
                ("sha256", file.sha256.as_str().into()),
                ("size_bytes", file.size_bytes.into()),
            ])
        };
        Ok(Value::fields([
            ("image", self.image.as_str().into()),
            ("version", self.version.into()),
            ("fingerprint", self.fingerprint.as_str().into()),
            ("files", self.files.iter().map(file).collect()),
        ]))
    }
}

pub(super) async fn run(client: &Client, format: Format, args: ExportArgs) -> Result<(), Failure> {
    let image = get(client, &args).await?;
    let version = choose(&image, args.number)?;
    let directory = &args.directory;
    fs::create_dir_all(directory).map_err(|error| wrong(directory, &error))?;
    let goes_on = "interrupted; what came is kept: the same command goes on from there";
    let exported = or_interrupted(write(client, &image, version, directory), goes_on).await?;
    output::print(format, &exported, |_| text(&exported))
}

async fn get(client: &Client, args: &ExportArgs) -> Result<Image, Failure> {
    let image_type = match args.vm {
        true => ImageType::VirtualMachine,
        false => ImageType::Unspecified,
    };
    let request = GetImageRequest {
        image: args.image.clone(),
        r#type: image_type.into(),
    };
    let answer = client.images().get_image(request).await;
    let answer = answer.map_err(|status| client.failure(&status))?;
    Ok(answer.into_inner().image.unwrap_or_default())
}

/// The version asked for, or what clients get.
fn choose(image: &Image, number: Option<i32>) -> Result<&Version, Failure> {
    let name = &image.name;
    let Some(number) = number.or(image.current_version) else {
        let message = format!("{name:?} has no active version; \"rootstock image fetch {name}\" brings it");
        return Err(Failure::failed(message));
    };
    let version = image.versions.iter().find(|version| version.number == number);
    match version.map(|version| (version.status(), version)) {
        Some((Status::Active, version)) => Ok(version),
        Some(_) => {
            let message = format!("version {number} of {name:?} is not stored here");
            Err(Failure::failed(message))
        }
        None => {
            let status = Error::not_found(
                rootstock_proto::ResourceKind::Version,
                format!("{name} version {number}"),
            );
            Err(Failure::of_status(&status.into(), ""))
        }
    }
}

async fn write(
    client: &Client,
    image: &Image,
    version: &Version,
    directory: &Path,
) -> Result<Exported, Failure> {
    let mut fingerprint = Sha256::new();
    let mut files = Vec::new();
    for artifact in &version.artifacts {
        let file = Target::of(artifact, directory)?;
        fingerprint = file.write(client, fingerprint).await?;
        files.push(ExportedFile {
            path: file.path.display().to_string(),
            ftype: artifact.ftype.clone(),
            sha256: artifact.sha256.clone(),
            size_bytes: file.size_bytes,
        });
    }
    let fingerprint = Digest::new(fingerprint.finalize().into()).to_hex();
    if fingerprint != version.fingerprint {
        let expected = &version.fingerprint;
        let message = format!("the files have the fingerprint {fingerprint}, and the image has {expected}");
        return Err(Failure::failed(message));
    }
    Ok(Exported {
        image: image.name.clone(),
        version: version.number,
        fingerprint,
        files,
    })
}

/// A file to write.
struct Target {
    digest: Digest,
    size_bytes: u64,
    path: PathBuf,
    part: PathBuf,
}

/// The hash of one file, and that of the whole image so far.
#[derive(Clone)]
struct Hashes {
    own: Sha256,
    image: Sha256,
}

impl Hashes {
    fn update(&mut self, bytes: &[u8]) {
        self.own.update(bytes);
        self.image.update(bytes);
    }

    fn digest(&self) -> Digest {
        Digest::new(self.own.clone().finalize().into())
    }
}

impl Target {
    fn of(artifact: &Artifact, directory: &Path) -> Result<Self, Failure> {
        let unusable = || {
            Failure::failed(format!(
                "the server names a file {:?} {:?}",
                artifact.ftype, artifact.sha256
            ))
        };
        let extension = match (
            artifact.ftype.parse::<MetadataFtype>(),
            artifact.ftype.parse::<RootFtype>(),
        ) {
            (Ok(metadata), _) => metadata.extension(),
            (_, Ok(root)) => root.extension(),
            _ => return Err(unusable()),
        };
        let digest: Digest = artifact.sha256.parse().map_err(|_| unusable())?;
        Ok(Self {
            digest,
            size_bytes: u64::try_from(artifact.size_bytes).map_err(|_| unusable())?,
            path: directory.join(format!("{digest}.{extension}")),
            part: directory.join(format!("{digest}.{extension}.part")),
        })
    }

    /// Brings the file here, unless it is; answers the image's hash with this file in it.
    async fn write(&self, client: &Client, image: Sha256) -> Result<Sha256, Failure> {
        let new = Hashes {
            own: Sha256::new(),
            image,
        };
        if let Some(here) = hashed(&self.path, new.clone()).await?
            && here.0.digest() == self.digest
        {
            return Ok(here.0.image);
        }
        let (mut hashes, mut offset) = match hashed(&self.part, new.clone()).await? {
            Some((hashes, length)) if length <= self.size_bytes => (hashes, length),
            Some(_) => self.anew(&new)?,
            None => (new.clone(), 0),
        };
        let mut resumed = offset > 0;
        let bar = Bar::new("receiving", &self.path.display().to_string(), self.size_bytes);
        let mut until = Instant::now() + PATIENCE;
        loop {
            let begun_at = offset;
            match self.receive(client, &mut hashes, &mut offset, &bar).await {
                Ok(()) if hashes.digest() == self.digest => break,
                // Nobody knows whose part was wrong.
                Ok(()) if resumed => {
                    bar.say(&format!(
                        "{}: what was there is not a part of it; beginning anew",
                        self.path.display()
                    ));
                    (hashes, offset) = self.anew(&new)?;
                    resumed = false;
                    continue;
                }
                Ok(()) => {
                    self.anew(&new)?;
                    let message = format!(
                        "{}: other bytes came than the server promised",
                        self.path.display()
                    );
                    return Err(Failure::failed(message));
                }
                Err(Broken::Here(failure)) => return Err(failure),
                Err(Broken::There(status)) => {
                    if offset > begun_at {
                        until = Instant::now() + PATIENCE;
                    }
                    if !is_worth_repeating(&status) || Instant::now() > until {
                        return Err(client.content_failure(&status));
                    }
                }
            }
            resumed = offset > 0;
            sleep(TRY_AGAIN).await;
        }
        fs::rename(&self.part, &self.path).map_err(|error| wrong(&self.path, &error))?;
        bar.done();
        Ok(hashes.image)
    }

    fn anew(&self, hashes: &Hashes) -> Result<(Hashes, u64), Failure> {
        fs::remove_file(&self.part).map_err(|error| wrong(&self.part, &error))?;
        Ok((hashes.clone(), 0))
    }

    /// Appends what follows `offset`, until the file has its length.
    async fn receive(
        &self,
        client: &Client,
        hashes: &mut Hashes,
        offset: &mut u64,
        bar: &Bar,
    ) -> Result<(), Broken> {
        let here = |error: std::io::Error| Broken::Here(wrong(&self.part, &error));
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.part)
            .map_err(here)?;
        let request = DownloadBlobRequest {
            sha256: self.digest.to_hex(),
            offset_bytes: i64::try_from(*offset).unwrap_or(i64::MAX),
        };
        let answer = client
            .contents()
            .download_blob(request)
            .await
            .map_err(Broken::There)?;
        let mut answers = answer.into_inner();
        bar.position(*offset);
        while let Some(answer) = answers.message().await.map_err(Broken::There)? {
            if *offset + answer.chunk.len() as u64 > self.size_bytes {
                let message = format!("{}: more came than the server promised", self.part.display());
                return Err(Broken::Here(Failure::failed(message)));
            }
            // A megabyte at a time, to a file, in a process that does nothing else.
            file.write_all(&answer.chunk).map_err(here)?;
            hashes.update(&answer.chunk);
            *offset += answer.chunk.len() as u64;
            bar.position(*offset);
        }
        if *offset < self.size_bytes {
            let status = tonic::Status::unavailable("the stream ended before the file did");
            return Err(Broken::There(status));
        }
        // Its name says that it is whole, whatever happens to this machine.
        file.sync_all().map_err(here)
    }
}

enum Broken {
    Here(Failure),
    There(tonic::Status),
}

fn is_worth_repeating(status: &tonic::Status) -> bool {
    match Error::from_status(status) {
        Some(Error::Unavailable(_)) => true,
        Some(_) => false,
        None => !matches!(
            status.code(),
            Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied | Code::DataLoss
        ),
    }
}

/// The hashes with a file in them, and its length; `None` when there is no such file.
async fn hashed(path: &Path, mut hashes: Hashes) -> Result<Option<(Hashes, u64)>, Failure> {
    let file = path.to_owned();
    let work = spawn_blocking(move || {
        let length = feed(&file, |bytes| hashes.update(bytes))?;
        Ok::<_, std::io::Error>((hashes, length))
    });
    match work.await {
        Ok(Ok(hashed)) => Ok(Some(hashed)),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Ok(Err(error)) => Err(wrong(path, &error)),
        Err(error) => Err(Failure::failed(error.to_string())),
    }
}

fn wrong(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

fn text(exported: &Exported) -> String {
    let files = exported.files.iter().map(|file| {
        let size = human::size(i64::try_from(file.size_bytes).unwrap_or(i64::MAX));
        format!("{}  {size}\n", file.path)
    });
    files.collect()
}
