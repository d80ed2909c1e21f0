//! Certificates that prove a device: one that the server made, and one of an authority of another's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::Server;

/// Where a device's certificate and its key are.
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// One that the server made, with an EC key.
    pub(crate) fn of_server(server: &Server, device: &str) -> Self {
        let folder = server.folder().to_str().unwrap();
        server.verb(&["token", "create", "--device", device, "--certificate", "--out", folder]);
        Self {
            certificate: server.path(&format!("{device}.pem")),
            key: server.path(&format!("{device}.key")),
        }
    }

    /// One of an imported authority, with an RSA key, as a factory has them.
    pub(crate) fn of_factory(authority: &Authority, device: &str) -> Self {
        let folder = authority.folder.path();
        openssl(
            folder,
            &format!(
                "req -new -newkey rsa:2048 -nodes -keyout device.key -out device.csr -subj /CN={device}"
            ),
        );
        // Without extensions it would be of X.509's first version, which the server does not read.
        fs::write(folder.join("extensions"), "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n")
            .unwrap();
        openssl(
            folder,
            "x509 -req -in device.csr -CA factory.pem -CAkey factory.key -set_serial 7 -days 30 -extfile extensions -out device.pem",
        );
        Self { certificate: folder.join("device.pem"), key: folder.join("device.key") }
    }
}

/// An authority of another's.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// Makes one, with an RSA key.
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let make = "req -x509 -newkey rsa:2048 -nodes -keyout factory.key -out factory.pem -days 30 -subj /CN=factory";
        openssl(folder.path(), make);
        Self { folder }
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("factory.pem")
    }
}

/// Runs openssl in a folder, with words that have no blanks in them.
pub(crate) fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
