//! The gateway's own authority and certificate, for who has none: standalone, a test, a small site.
//!
//! | file | what | lives |
//! |---|---|---|
//! | `ca.crt` | the authority's certificate: what clients are told to trust | ten years |
//! | `ca.key` | its key; nobody else may read it | |
//! | `server.crt` | the server's certificate | a year, renewed in its last month |
//! | `server.key` | its key; nobody else may read it | |

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use time::{Duration, OffsetDateTime};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    pem::Pem,
    prelude::FromDer as _,
};

const AUTHORITY_LIFE: Duration = Duration::days(3650);
const SERVER_LIFE: Duration = Duration::days(365);
/// A certificate with less than this left is renewed.
const RENEW_BEFORE: Duration = Duration::days(30);
/// Clocks of clients may be behind.
const CLOCK_SKEW: Duration = Duration::days(1);

/// Where everything lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// The authority's certificate, for clients.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfSignedError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The authority is there in part, or damaged. Making another would lock out every client that
    /// trusts it, so that is left to people.
    #[error(
        "the authority in {} cannot be used ({problem}): restore ca.crt and ca.key, or delete both \
         and have every client trust the new ca.crt",
        directory.display()
    )]
    Authority {
        /// Where it lies.
        directory: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A certificate could not be made, most likely for what one of the names holds.
    #[error("cannot make a certificate for {}: {source}", names.join(", "))]
    Make {
        /// The names it was for.
        names: Vec<String>,
        /// The cause.
        source: rcgen::Error,
    },
}

/// Makes what is missing in `directory`, renews what is about to expire, and says where it lies. A
/// server certificate for other names than `names` (host names and addresses) is replaced; the
/// authority stays. Blocks on the disk.
///
/// # Errors
/// See [`SelfSignedError`].
pub fn ensure(directory: &Path, names: &[String]) -> Result<SelfSigned, SelfSignedError> {
    ensure_at(directory, names, OffsetDateTime::now_utc())
}

fn ensure_at(directory: &Path, names: &[String], now: OffsetDateTime) -> Result<SelfSigned, SelfSignedError> {
    fs::create_dir_all(directory).map_err(|source| SelfSignedError::Io {
        path: directory.to_owned(),
        source,
    })?;
    let authority = match load_authority(directory, now)? {
        Some(authority) => authority,
        None => make_authority(directory, now)?,
    };
    let made = SelfSigned {
        ca: directory.join("ca.crt"),
        certificate: directory.join("server.crt"),
        key: directory.join("server.key"),
    };
    let is_good = made.key.is_file()
        && read_if_there(&made.certificate)?.is_some_and(|pem| is_good_for(&pem, names, &authority, now));
    if !is_good {
        make_server(&made, names, &authority, now)?;
    }
    Ok(made)
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    key_id: Vec<u8>,
}

fn load_authority(directory: &Path, now: OffsetDateTime) -> Result<Option<Authority>, SelfSignedError> {
    let unusable = |problem: String| SelfSignedError::Authority {
        directory: directory.to_owned(),
        problem,
    };
    let certificate = read_if_there(&directory.join("ca.crt"))?;
    let key = read_if_there(&directory.join("ca.key"))?;
    let (pem, key) = match (certificate, key) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => return Err(unusable("ca.key is missing".to_owned())),
        (None, Some(_)) => return Err(unusable("ca.crt is missing".to_owned())),
    };
    let key = KeyPair::from_pem(&key).map_err(|error| unusable(format!("ca.key: {error}")))?;
    let read = with_certificate(&pem, |certificate| {
        let same_key = certificate.public_key().subject_public_key.data == key.der_bytes();
        (same_key, life_left(certificate, now), subject_key_id(certificate))
    });
    let (same_key, life_left, key_id) =
        read.ok_or_else(|| unusable("ca.crt is no certificate".to_owned()))?;
    if !same_key {
        return Err(unusable("ca.crt and ca.key do not belong together".to_owned()));
    }
    if life_left < RENEW_BEFORE {
        tracing::warn!(
            directory = %directory.display(),
            "the gateway's own authority expires: making another, which clients have to be given"
        );
        return Ok(None);
    }
    let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|error| unusable(format!("ca.crt: {error}")))?;
    Ok(Some(Authority { issuer, key_id }))
}

fn make_authority(directory: &Path, now: OffsetDateTime) -> Result<Authority, SelfSignedError> {
    let failed = |source| SelfSignedError::Make {
        names: vec!["the authority".to_owned()],
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    let key_id = params.key_identifier(&key);
    // A name of its own, so that a client that holds an older one tries the right one.
    let name = format!(
        "Rootstock authority {}",
        hex_of(key_id.get(..4).unwrap_or_default())
    );
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + AUTHORITY_LIFE;
    let certificate = params.self_signed(&key).map_err(failed)?;
    // The key first: a certificate without its key is the one state that cannot be mended.
    write(&directory.join("ca.key"), &key.serialize_pem(), 0o600)?;
    write(&directory.join("ca.crt"), &certificate.pem(), 0o644)?;
    tracing::info!(certificate = %directory.join("ca.crt").display(), "made an authority for this gateway");
    Ok(Authority {
        issuer: Issuer::new(params, key),
        key_id,
    })
}

fn make_server(
    made: &SelfSigned,
    names: &[String],
    authority: &Authority,
    now: OffsetDateTime,
) -> Result<(), SelfSignedError> {
    let failed = |source| SelfSignedError::Make {
        names: names.to_vec(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Rootstock gateway");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + SERVER_LIFE;
    let certificate = params.signed_by(&key, &authority.issuer).map_err(failed)?;
    write(&made.key, &key.serialize_pem(), 0o600)?;
    write(&made.certificate, &certificate.pem(), 0o644)?;
    tracing::info!(certificate = %made.certificate.display(), ?names, "made a certificate for this gateway");
    Ok(())
}

/// Whether a server certificate can go on being used.
fn is_good_for(pem: &str, names: &[String], authority: &Authority, now: OffsetDateTime) -> bool {
    with_certificate(pem, |certificate| {
        life_left(certificate, now) >= RENEW_BEFORE
            && issuer_key_id(certificate).as_deref() == Some(authority.key_id.as_slice())
            && bears(certificate, names)
    })
    .unwrap_or(false)
}

fn with_certificate<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let pem = Pem::iter_from_buffer(pem.as_bytes()).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
    Some(read(&certificate))
}

fn life_left(certificate: &X509Certificate<'_>, now: OffsetDateTime) -> Duration {
    Duration::seconds(
        certificate
            .validity()
            .not_after
            .timestamp()
            .saturating_sub(now.unix_timestamp()),
    )
}

fn subject_key_id(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let id = certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
    id.unwrap_or_default()
}

fn issuer_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(issuer) => {
                Some(issuer.key_identifier.as_ref()?.0.to_vec())
            }
            _ => None,
        })
}

fn bears(certificate: &X509Certificate<'_>, names: &[String]) -> bool {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return false;
    };
    let borne = &extension.value.general_names;
    borne.len() == names.len()
        && names.iter().all(|name| {
            borne.iter().any(|borne| match (borne, name.parse::<IpAddr>()) {
                (GeneralName::IPAddress(bytes), Ok(IpAddr::V4(address))) => *bytes == address.octets(),
                (GeneralName::IPAddress(bytes), Ok(IpAddr::V6(address))) => *bytes == address.octets(),
                (GeneralName::DNSName(borne), Err(_)) => borne == name,
                _ => false,
            })
        })
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_if_there(path: &Path) -> Result<Option<String>, SelfSignedError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SelfSignedError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Puts the text in the file's place in one step.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), SelfSignedError> {
    let staging = path.with_extension("new");
    let written = || -> io::Result<()> {
        if let Err(error) = fs::remove_file(&staging)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&staging)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&staging, path)
    };
    written().map_err(|source| SelfSignedError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names() -> Vec<String> {
        ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
    }

    fn contents(made: &SelfSigned) -> [String; 3] {
        [&made.ca, &made.certificate, &made.key].map(|path| fs::read_to_string(path).unwrap())
    }

    #[test]
    fn what_is_good_stays_and_keys_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let first = ensure(directory.path(), &names()).unwrap();
        let before = contents(&first);
        for key in ["ca.key", "server.key"] {
            let mode = fs::metadata(directory.path().join(key))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
        assert_eq!(contents(&ensure(directory.path(), &names()).unwrap()), before);
    }

    #[test]
    fn a_certificate_is_renewed_under_the_same_authority() {
        let directory = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        let [ca, first, _] = contents(&ensure_at(directory.path(), &names(), now).unwrap());
        let [_, second, _] = contents(&ensure_at(directory.path(), &names()[..1], now).unwrap());
        assert_ne!(second, first, "other names");
        let later = now + SERVER_LIFE - RENEW_BEFORE + Duration::HOUR;
        let [ca_later, third, _] = contents(&ensure_at(directory.path(), &names()[..1], later).unwrap());
        assert_ne!(third, second, "about to expire");
        assert_eq!(ca_later, ca);
        fs::remove_file(directory.path().join("server.key")).unwrap();
        let [_, fourth, _] = contents(&ensure_at(directory.path(), &names()[..1], later).unwrap());
        assert_ne!(fourth, third, "its key is lost");
        let much_later = now + AUTHORITY_LIFE - Duration::DAY;
        let [ca_much_later, ..] = contents(&ensure_at(directory.path(), &names(), much_later).unwrap());
        assert_ne!(ca_much_later, ca, "the authority expires too");
    }

    #[test]
    fn half_an_authority_is_not_replaced_behind_peoples_backs() {
        let directory = tempfile::tempdir().unwrap();
        ensure(directory.path(), &names()).unwrap();
        fs::remove_file(directory.path().join("ca.key")).unwrap();
        let error = ensure(directory.path(), &names()).unwrap_err().to_string();
        assert!(error.contains("ca.key is missing"), "{error}");
    }
}
