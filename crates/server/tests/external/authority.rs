//! A certificate authority of the test's own: what an organisation has for its broker and those who connect to it.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

/// A certificate and its key, as PEM files.
pub(crate) struct Certified {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    Current,
    Expired,
}

pub(crate) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A broker's certificate, for one name or address.
    pub(crate) fn broker(&self, name: &str) -> Certified {
        self.sign("broker", vec![name.to_owned()], ExtendedKeyUsagePurpose::ServerAuth, Validity::Current)
    }

    /// The certificate of one who connects.
    pub(crate) fn client(&self, name: &str, validity: Validity) -> Certified {
        self.sign(name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, validity)
    }

    fn sign(
        &self,
        name: &str,
        names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
        validity: Validity,
    ) -> Certified {
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        if validity == Validity::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let written = Certified {
            certificate: self.path().join(format!("{name}-{validity:?}.pem")),
            key: self.path().join(format!("{name}-{validity:?}.key")),
        };
        fs::write(&written.certificate, certificate.pem()).unwrap();
        fs::write(&written.key, key.serialize_pem()).unwrap();
        written
    }
}
