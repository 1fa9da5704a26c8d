//! The certificate: from its files into a TLS configuration, and again when they change.

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rootstock_runtime::Shutdown;
use rustls::{ServerConfig, crypto::ring, version::TLS13};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use crate::{TlsConfig, self_signed};

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Why no TLS configuration can be made of the files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: pem::Error },
    #[error("{} holds no certificate", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} and its key cannot be used: {source}", path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error(transparent)]
    SelfSigned(#[from] self_signed::SelfSignedError),
    #[error("reading the certificate broke: {0}")]
    Broke(#[from] tokio::task::JoinError),
    #[error("neither a certificate and a key nor a place to make them is configured")]
    NotConfigured,
}

/// The certificate and key in use, and when their files were last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    changed: Option<(SystemTime, SystemTime)>,
}

impl Files {
    /// Finds the files, making or renewing those that are the gateway's own. Blocks on the disk.
    fn find(config: &TlsConfig) -> Result<Self, CertificateError> {
        let (certificate, key) = match (&config.certificate, &config.key, &config.self_signed) {
            (Some(certificate), Some(key), _) => (certificate.clone(), key.clone()),
            (_, _, Some(directory)) => {
                let made = self_signed::ensure(directory, &config.names)?;
                (made.certificate, made.key)
            }
            _ => return Err(CertificateError::NotConfigured),
        };
        let changed = changed_at(&certificate)
            .and_then(|first| Ok((first, changed_at(&key)?)))
            .ok();
        Ok(Self {
            certificate,
            key,
            changed,
        })
    }

    fn load(&self) -> Result<ServerConfig, CertificateError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Unreadable { path, source }
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable(&self.certificate))?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate {
                path: self.certificate.clone(),
            });
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(unreadable(&self.key))?;
        server_config(chain, key).map_err(|source| CertificateError::Unusable {
            path: self.certificate.clone(),
            source,
        })
    }
}

fn changed_at(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

/// TLS 1.3 only: every client there is speaks it, and none accepts less (incus-protocol §0.4).
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The TLS configuration in force, and what keeps it so.
pub(crate) struct Certificate {
    config: TlsConfig,
    files: Files,
    in_force: watch::Sender<Arc<ServerConfig>>,
}

impl Certificate {
    /// Loads the certificate, making it first when it is the gateway's own and missing.
    pub(crate) async fn load(config: TlsConfig) -> Result<Self, CertificateError> {
        let (config, files, loaded) = blocking(move || {
            let files = Files::find(&config)?;
            let loaded = files.load()?;
            Ok((config, files, loaded))
        })
        .await?;
        Ok(Self {
            config,
            files,
            in_force: watch::Sender::new(Arc::new(loaded)),
        })
    }

    /// What new connections are to use.
    pub(crate) fn in_force(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.in_force.subscribe()
    }

    /// Looks at the files each minute, renews those of the gateway's own that are about to expire,
    /// and takes what has changed. Files that cannot be used leave the certificate as it is.
    pub(crate) async fn keep_fresh(mut self, shutdown: &Shutdown) -> Result<(), Infallible> {
        while shutdown.race(sleep(CHECK_INTERVAL)).await.is_some() {
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "cannot take the certificate anew, keeping the one in use");
            }
        }
        Ok(())
    }

    async fn refresh(&mut self) -> Result<(), CertificateError> {
        let (config, before) = (self.config.clone(), self.files.clone());
        let fresh = blocking(move || {
            let files = Files::find(&config)?;
            if files == before {
                return Ok(None);
            }
            let loaded = files.load()?;
            Ok(Some((files, loaded)))
        })
        .await?;
        if let Some((files, loaded)) = fresh {
            tracing::info!(certificate = %files.certificate.display(), "certificate taken anew");
            self.files = files;
            self.in_force.send_replace(Arc::new(loaded));
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CertificateError> + Send + 'static,
) -> Result<T, CertificateError> {
    spawn_blocking(work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(certificate: &Certificate) -> *const ServerConfig {
        Arc::as_ptr(&certificate.in_force().borrow())
    }

    #[tokio::test]
    async fn new_files_are_taken_and_broken_ones_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let make = |directory: &Path| self_signed::ensure(directory, &["localhost".to_owned()]).unwrap();
        let put = |made: &self_signed::SelfSigned| {
            fs::copy(&made.certificate, path("server.crt")).unwrap();
            fs::copy(&made.key, path("server.key")).unwrap();
        };
        put(&make(&path("first")));
        let config = TlsConfig {
            certificate: Some(path("server.crt")),
            key: Some(path("server.key")),
            ..TlsConfig::default()
        };
        let mut certificate = Certificate::load(config).await.unwrap();
        let first = sequence(&certificate);
        certificate.refresh().await.unwrap();
        assert_eq!(sequence(&certificate), first, "nothing changed");

        let second = make(&path("second"));
        fs::copy(&second.certificate, path("server.crt")).unwrap();
        let error = certificate.refresh().await.unwrap_err().to_string();
        assert!(
            error.contains("server.crt"),
            "the key is still the old one: {error}"
        );
        assert_eq!(sequence(&certificate), first);
        put(&second);
        certificate.refresh().await.unwrap();
        assert_ne!(sequence(&certificate), first);
        let taken = sequence(&certificate);
        fs::write(path("server.crt"), "nonsense").unwrap();
        assert!(certificate.refresh().await.is_err());
        assert_eq!(sequence(&certificate), taken);
    }
}
