//! A certificate authority of the test's own, and the certificates that endpoints show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// What an endpoint shows for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Signed by the authority for `127.0.0.1` and `localhost`.
    Good,
    /// As that, and its time is over.
    Expired,
    /// As that, and its time is still to come.
    Early,
    /// Signed by the authority for somebody else.
    OtherName,
    /// Signed by an authority that nobody knows.
    UnknownAuthority,
    /// Signed by itself.
    SelfSigned,
}

/// The authority that the node is told to trust: its certificate lies in a file that is gone with this value.
#[derive(Debug)]
pub struct Authority {
    trusted: CertifiedIssuer<'static, KeyPair>,
    unknown: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let trusted = authority("Trusted by the test");
        let file = std::env::temp_dir().join(format!("sw-authority-{:016x}.pem", rand::random::<u64>()));
        std::fs::write(&file, trusted.pem()).expect("the temporary directory can be written");
        Self { trusted, unknown: authority("Known to nobody"), file }
    }

    /// What `SSL_CERT_FILE` must name.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What takes TLS connections and shows that certificate.
    pub fn acceptor(&self, certificate: Certificate) -> TlsAcceptor {
        let key = KeyPair::generate().expect("a key");
        let der = self.issue(certificate, &key);
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![der], private)
            .expect("the key belongs to the certificate");
        TlsAcceptor::from(Arc::new(config))
    }

    fn issue(&self, certificate: Certificate, key: &KeyPair) -> CertificateDer<'static> {
        let names = match certificate {
            Certificate::OtherName => vec!["elsewhere.example".to_owned()],
            _ => vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
        };
        let mut params = CertificateParams::new(names).expect("plain names");
        match certificate {
            Certificate::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            Certificate::Early => params.not_before = date_time_ymd(2999, 1, 1),
            _ => {}
        }
        let issued = match certificate {
            Certificate::SelfSigned => params.self_signed(key),
            Certificate::UnknownAuthority => params.signed_by(key, &self.unknown),
            _ => params.signed_by(key, &self.trusted),
        };
        issued.expect("it can be signed").der().clone()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("it can be signed")
}
