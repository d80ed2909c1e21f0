//! Programs of others, which end with the test.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longest time that anything here may take: on loopback it takes milliseconds.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(60);

/// A program, and where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    /// On the path.
    Command(&'static str),
    /// Of the Python clients that `scripts/clients` installs.
    Python(&'static str),
}

impl Program {
    fn path(self) -> Option<PathBuf> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let path = match self {
            Self::Command(name) => {
                std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
            }
            Self::Python(name) => {
                Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/clients/py/bin").join(name))
            }
        };
        path.filter(|path| path.is_file())
    }

    /// Whether it is there. If not, says so, and fails where everything must be there.
    pub(crate) fn is_present(self) -> bool {
        let present = self.path().is_some();
        if !present {
            let told = format!("needs {self:?}; run scripts/setup clients");
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{told}");
            eprintln!("skipped: {told}");
        }
        present
    }

    /// Starts it with these words; what it prints can be read in the end.
    pub(crate) fn start(self, words: &[&str]) -> Running {
        let mut command = Command::new(self.path().expect("present"));
        command.args(words).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().unwrap()))
    }
}

/// A program that is killed if the test ends before it.
pub(crate) struct Running(Option<Child>);

impl Running {
    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// What it printed; it must have ended well.
    pub(crate) fn printed(mut self) -> Vec<u8> {
        let output = self.0.take().expect("not asked before").wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that nobody has, for a program which cannot tell the one it was given.
pub(crate) fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
