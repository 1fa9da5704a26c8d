//! A certificate authority for one test run.

use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Issues certificates for loopback servers; trusted by whoever is given [`Authority::pem`].
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate and key.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, without the authority's.
    pub pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
    /// The certificate again, for rustls.
    pub der: CertificateDer<'static>,
    /// The key again, for rustls.
    pub key_der: PrivateKeyDer<'static>,
}

static SHARED: LazyLock<Authority> = LazyLock::new(Authority::new);

impl Authority {
    /// The one that every server of the harness uses in this process.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// A new one, that nothing else trusts.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Rootstock test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key pair");
        let pem = params
            .self_signed(&key)
            .expect("a certificate signed by its own key")
            .pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// The authority's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for `localhost`, `127.0.0.1` and `::1`.
    pub fn issue(&self) -> Certificate {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).expect("valid names");
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().expect("a key pair");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a signed certificate");
        Certificate {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
