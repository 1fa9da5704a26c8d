//! The HTTP clients: how often and how long they try. This is the only place where S3 requests are
//! repeated.

use std::{path::Path, time::Duration};

use object_store::{
    BackoffConfig, Certificate, ClientOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, Checksum},
};
use url::Url;

use crate::{
    config::{PartIntegrity, S3Config},
    error::BlobError,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest silence: before the answer, and between two of its pieces.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// The whole of a request that sends a part: 16 MiB at 1 Mbit/s take a little longer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// The whole of a listing request.
const LISTING_TIMEOUT: Duration = Duration::from_secs(30);

/// Six attempts with jittered pauses that add up to some 15 seconds, so that a service that restarts
/// is waited for; no attempt begins later than 30 seconds after the first.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(10),
            base: 3.0,
        },
        max_retries: 5,
        retry_timeout: Duration::from_secs(30),
    }
}

/// See [`super::S3Store`] for what each is for.
pub(super) struct Clients {
    pub(super) reads: AmazonS3,
    pub(super) writes: AmazonS3,
    pub(super) signer: AmazonS3,
    pub(super) http: reqwest::Client,
}

pub(super) async fn build(config: &S3Config) -> Result<Clients, BlobError> {
    let authorities = match &config.ca_file {
        Some(path) => Some(read_authorities(path).await?),
        None => None,
    };
    let authorities = authorities.as_deref();
    let options = || client_options(config, authorities);
    let reads = options()?
        .with_timeout_disabled()
        .with_read_timeout(SILENCE_TIMEOUT);
    let writes = options()?.with_timeout(WRITE_TIMEOUT);
    let public_endpoint = config.public_endpoint.as_ref().or(config.endpoint.as_ref());
    Ok(Clients {
        reads: service(config, config.endpoint.as_ref(), reads)?,
        writes: service(config, config.endpoint.as_ref(), writes)?,
        signer: service(config, public_endpoint, options()?)?,
        http: listing_client(authorities)?,
    })
}

fn service(config: &S3Config, endpoint: Option<&Url>, options: ClientOptions) -> Result<AmazonS3, BlobError> {
    let mut builder = match (&config.access_key_id, &config.secret_access_key) {
        // Explicit credentials must not be mixed with a session token from the environment.
        (Some(id), Some(secret)) => AmazonS3Builder::new()
            .with_access_key_id(id)
            .with_secret_access_key(secret.expose()),
        _ => AmazonS3Builder::from_env(),
    };
    builder = builder
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_virtual_hosted_style_request(!config.path_style)
        .with_client_options(options)
        .with_retry(retries());
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(address(endpoint, config)?);
    }
    builder = match part_integrity(config) {
        PartIntegrity::Auto | PartIntegrity::Sha256 => builder,
        PartIntegrity::Crc64nvme => builder
            .with_unsigned_payload(true)
            .with_checksum_algorithm(Checksum::CRC64NVME),
        PartIntegrity::None => builder.with_unsigned_payload(true),
    };
    builder
        .build()
        .map_err(|error| BlobError::Config(error.to_string()))
}

/// object_store wants the bucket in the host name already when that is where it goes.
fn address(endpoint: &Url, config: &S3Config) -> Result<String, BlobError> {
    let mut endpoint = endpoint.clone();
    if !config.path_style {
        let host = format!("{}.{}", config.bucket, endpoint.host_str().unwrap_or_default());
        endpoint
            .set_host(Some(&host))
            .map_err(|error| BlobError::Config(format!("endpoint: {host} is not a host: {error}")))?;
    }
    Ok(endpoint.as_str().trim_end_matches('/').to_owned())
}

fn part_integrity(config: &S3Config) -> PartIntegrity {
    let plain = config
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.scheme() == "http");
    match config.part_integrity {
        PartIntegrity::Auto if plain => PartIntegrity::Sha256,
        PartIntegrity::Auto => PartIntegrity::None,
        chosen => chosen,
    }
}

fn client_options(config: &S3Config, authorities: Option<&[u8]>) -> Result<ClientOptions, BlobError> {
    let mut options = ClientOptions::new()
        .with_allow_http(config.allow_http)
        .with_connect_timeout(CONNECT_TIMEOUT);
    if let Some(pem) = authorities {
        let certificates = Certificate::from_pem_bundle(pem)
            .map_err(|error| BlobError::Config(format!("ca_file: {error}")))?;
        for certificate in certificates {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

fn listing_client(authorities: Option<&[u8]>) -> Result<reqwest::Client, BlobError> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(LISTING_TIMEOUT);
    if let Some(pem) = authorities {
        let certificates = reqwest::Certificate::from_pem_bundle(pem)
            .map_err(|error| BlobError::Config(format!("ca_file: {error}")))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|error| BlobError::Config(format!("cannot make an HTTP client: {error}")))
}

async fn read_authorities(path: &Path) -> Result<Vec<u8>, BlobError> {
    tokio::fs::read(path)
        .await
        .map_err(|error| BlobError::Config(format!("ca_file: cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> S3Config {
        let mut config = S3Config::new("images");
        config.endpoint = Some(endpoint.parse().unwrap());
        config.allow_http = true;
        config
    }

    #[test]
    fn the_bucket_goes_into_the_host_name_when_the_path_does_not_have_it() {
        let mut config = config("https://s3.example:9000");
        let address_of = |config: &S3Config| address(config.endpoint.as_ref().unwrap(), config).unwrap();
        assert_eq!(address_of(&config), "https://s3.example:9000");
        config.path_style = false;
        assert_eq!(address_of(&config), "https://images.s3.example:9000");
    }

    #[test]
    fn bodies_are_signed_where_tls_does_not_protect_them() {
        assert_eq!(
            part_integrity(&config("http://localhost:1")),
            PartIntegrity::Sha256
        );
        assert_eq!(part_integrity(&config("https://s3.example")), PartIntegrity::None);
        assert_eq!(part_integrity(&S3Config::new("images")), PartIntegrity::None);
    }
}
