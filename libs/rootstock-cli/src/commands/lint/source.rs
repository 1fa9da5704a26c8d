//! Where a tree is: on a server, or in a directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use rootstock_model::Endpoint;
use rootstock_remote::{
    MAX_DOCUMENT_BYTES,
    http::{FetchError, FetchErrorKind, OldestTls, ProbedFile},
    probe,
    simplestreams::ImageServer,
};
use rootstock_simplestreams::{
    INDEX_PATH,
    lint::{Code, Finding, Place},
};
use tokio::{fs::File, io::AsyncReadExt as _};

use crate::failure::Failure;

/// What a piece of a file on disk is at most, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// A tree.
#[derive(Debug)]
pub(super) enum Source {
    /// On a server, and what was noticed on the way there.
    Server {
        server: Box<ImageServer>,
        findings: Vec<Finding>,
    },
    /// On this machine.
    Directory(PathBuf),
}

/// Something that cannot be had.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: FetchErrorKind,
    pub(super) text: String,
}

/// A file of a tree, to be read to its end.
#[derive(Debug)]
pub(super) enum Reading {
    Answer(Box<ProbedFile>),
    File { file: File, size_bytes: u64 },
}

impl Source {
    /// Finds the tree, and reads its index.
    pub(super) async fn open(
        target: &str,
        ca: Option<&Path>,
        insecure: bool,
    ) -> Result<(Self, Result<Vec<u8>, Trouble>), Failure> {
        if !target.contains("://") {
            let directory = PathBuf::from(target);
            if !directory.is_dir() {
                return Err(Failure::not_found(format!(
                    "{target} is no directory here: name one, or a URL that begins with https://"
                )));
            }
            let source = Self::Directory(directory);
            let index = source.document(source.index_path()).await;
            return Ok((source, index));
        }
        let ca_pem = match ca {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::usage(format!("--ca {}: {error}", path.display())))?,
            None => String::new(),
        };
        let endpoint = Endpoint {
            ca_pem,
            insecure,
            ..Endpoint::new(target)
        };
        let server = |oldest| probe(&endpoint, oldest).map_err(|error| Failure::usage(error.to_string()));
        let mut findings = Vec::new();
        if target.starts_with("http://") {
            let detail = format!("{target} is not https");
            findings.push(Finding::new(Code::NotHttps, Place::default(), detail));
        }
        let unreachable = |answer: &Result<_, FetchError>| {
            answer
                .as_ref()
                .is_err_and(|error| error.kind() == FetchErrorKind::Unreachable)
        };
        let mut chosen = server(OldestTls::V1_3)?;
        let mut index = chosen.document(chosen.index_path()).await;
        if unreachable(&index) {
            let old = server(OldestTls::V1_2)?;
            let answer = old.document(old.index_path()).await;
            if !unreachable(&answer) {
                let detail = format!("{target} does not speak TLS 1.3");
                findings.push(Finding::new(Code::TlsTooOld, Place::default(), detail));
                (chosen, index) = (old, answer);
            }
        }
        let server = Self::Server {
            server: Box::new(chosen),
            findings,
        };
        Ok((server, index.map(Into::into).map_err(Trouble::from)))
    }

    /// Where the tree's index lies.
    pub(super) fn index_path(&self) -> &'static str {
        match self {
            Self::Server { server, .. } => server.index_path(),
            Self::Directory(_) => INDEX_PATH,
        }
    }

    /// What was noticed of the server itself.
    pub(super) fn findings(&self) -> Vec<Finding> {
        match self {
            Self::Server { findings, .. } => findings.clone(),
            Self::Directory(_) => Vec::new(),
        }
    }

    /// A document, whole.
    pub(super) async fn document(&self, path: &str) -> Result<Vec<u8>, Trouble> {
        match self {
            Self::Server { server, .. } => Ok(server.document(path).await?.into()),
            Self::Directory(_) => {
                let Reading::File { file, .. } = self.open_file(path).await? else {
                    return Err(Trouble::failed("no file"));
                };
                let mut bytes = Vec::new();
                file.take(MAX_DOCUMENT_BYTES as u64 + 1)
                    .read_to_end(&mut bytes)
                    .await
                    .map_err(|error| trouble(path, &error))?;
                match bytes.len() > MAX_DOCUMENT_BYTES {
                    true => Err(Trouble::failed(&format!(
                        "{path} is larger than {} MiB",
                        MAX_DOCUMENT_BYTES >> 20
                    ))),
                    false => Ok(bytes),
                }
            }
        }
    }

    /// A file of the tree, of which only the head is wanted.
    pub(super) async fn head(&self, path: &str) -> Result<Reading, Trouble> {
        match self {
            Self::Server { server, .. } => Ok(Reading::Answer(Box::new(server.head(path).await?))),
            Self::Directory(_) => self.open_file(path).await,
        }
    }

    /// A file of the tree.
    pub(super) async fn open_blob(&self, path: &str) -> Result<Reading, Trouble> {
        match self {
            Self::Server { server, .. } => Ok(Reading::Answer(Box::new(server.open(path).await?))),
            Self::Directory(_) => self.open_file(path).await,
        }
    }

    async fn open_file(&self, path: &str) -> Result<Reading, Trouble> {
        let Self::Directory(directory) = self else {
            return Err(Trouble::failed("no directory"));
        };
        // What is escaped in a path, a server reads unescaped.
        let name = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        let opened = async {
            let file = File::open(directory.join(&*name)).await?;
            let about = file.metadata().await?;
            match about.is_file() {
                true => Ok((file, about.len())),
                false => Err(io::Error::other("it is no file")),
            }
        };
        match opened.await {
            Ok((file, size_bytes)) => Ok(Reading::File { file, size_bytes }),
            Err(error) => Err(trouble(path, &error)),
        }
    }
}

impl Reading {
    /// How many bytes there are to be, if that is known.
    pub(super) fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::Answer(content) => content.size_bytes,
            Self::File { size_bytes, .. } => Some(*size_bytes),
        }
    }

    /// The encoding that a server put on it.
    pub(super) fn encoding(&self) -> &str {
        match self {
            Self::Answer(content) => &content.encoding,
            Self::File { .. } => "",
        }
    }

    /// The next piece; empty at the end.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, Trouble> {
        match self {
            Self::Answer(content) => Ok(content.next().await?.map(Into::into).unwrap_or_default()),
            Self::File { file, .. } => {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                file.read_buf(&mut piece)
                    .await
                    .map_err(|error| trouble("it", &error))?;
                Ok(piece)
            }
        }
    }
}

impl Trouble {
    fn failed(text: &str) -> Self {
        Self {
            kind: FetchErrorKind::Failed,
            text: text.to_owned(),
        }
    }
}

fn trouble(path: &str, error: &io::Error) -> Trouble {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FetchErrorKind::Gone,
        _ => FetchErrorKind::Failed,
    };
    Trouble {
        kind,
        text: format!("{path} cannot be read: {error}"),
    }
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Self {
            kind: error.kind(),
            text: error.to_string(),
        }
    }
}
