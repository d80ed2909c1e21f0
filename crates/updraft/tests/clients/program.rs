//! One program of another's, with a limit on its time.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Longest time that a program may take: what it waits for comes within a second on an idle machine.
const TIME_MAX: Duration = Duration::from_secs(120);

/// The folder where `scripts/clients` installs.
fn installed() -> PathBuf {
    root().join("target/clients")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The folder of the clients for Node, from which they are found.
pub(crate) fn node_clients() -> PathBuf {
    installed().join("js")
}

/// A kind of client, and what it takes to run one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A program of `tests/clients/python`.
    Python,
    /// A program of `tests/clients/js`.
    Node,
    /// An example that a library for Node comes with, by its path among the installed ones.
    NodeExample,
    /// A script of `tests/clients/shell`.
    Shell,
    /// A class of `tests/clients/java` on Leshan's client.
    Java,
    /// A class of `tests/clients/java` on Leshan's server.
    JavaServer,
    /// A jar that comes as it is.
    Jar,
    /// libcoap's client on OpenSSL, by no name of a program.
    Libcoap,
}

/// The server's JSON library is older than Java's modules.
const OPENS: [&str; 2] = ["--add-opens", "java.base/java.util=ALL-UNNAMED"];

/// What makes Java run a class of ours, with a library of theirs.
fn java_words(classes: &str, library: &str, name: &str) -> Vec<PathBuf> {
    let java = installed().join("java");
    let path = std::env::join_paths([java.join(classes), java.join(library)]).unwrap();
    let quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error";
    // One core's worth of threads: many of these run at once.
    let small = ["-XX:ActiveProcessorCount=1", "-XX:TieredStopAtLevel=1", "-Xshare:auto", quiet];
    let words = small.into_iter().chain(OPENS).chain(["-cp"]).map(PathBuf::from);
    words.chain([path.into(), name.into()]).collect()
}

impl Kind {
    fn interpreter(self) -> PathBuf {
        match self {
            Self::Python => installed().join("py/bin/python"),
            Self::Node | Self::NodeExample => "node".into(),
            Self::Shell => "bash".into(),
            Self::Java | Self::JavaServer | Self::Jar => "java".into(),
            Self::Libcoap => "coap-client-openssl".into(),
        }
    }

    /// What makes its interpreter run a program.
    fn words(self, name: &str) -> Vec<PathBuf> {
        match self {
            Self::Python => vec![root().join("tests/clients/python").join(name)],
            Self::Node => vec![root().join("tests/clients/js").join(name)],
            Self::NodeExample => vec![node_clients().join("node_modules").join(name)],
            Self::Shell => vec![root().join("tests/clients/shell").join(name)],
            Self::Java => java_words("classes", "client/*", name),
            Self::JavaServer => java_words("server-classes", "leshan-server-demo.jar", name),
            Self::Jar => {
                let words = OPENS.into_iter().chain(["-jar"]).map(PathBuf::from);
                words.chain([installed().join("java").join(name)]).collect()
            }
            Self::Libcoap => Vec::new(),
        }
    }

    /// What must be there: installed completely, which the pins are a sign of, and the commands.
    fn needs(self) -> (Option<PathBuf>, &'static [&'static str]) {
        match self {
            Self::Python => (Some(installed().join("py/.pins")), &["openssl"]),
            Self::Node | Self::NodeExample => (Some(node_clients().join(".pins")), &["node", "openssl"]),
            Self::Java | Self::JavaServer | Self::Jar => {
                (Some(installed().join("java/.pins")), &["java", "openssl"])
            }
            Self::Libcoap => (None, &["coap-client-openssl"]),
            Self::Shell => (None, &["mosquitto_sub", "mosquitto_pub", "mosquitto_rr", "curl", "jq"]),
        }
    }

    /// Whether it can run here. If not, says what is missing, and fails where everything must be there.
    pub(crate) fn is_present(self) -> bool {
        let (sign, commands) = self.needs();
        let mut missing: Vec<_> =
            commands.iter().filter(|name| !is_command(name)).map(|name| (*name).to_owned()).collect();
        if sign.is_some_and(|path| !path.is_file()) {
            missing.push(format!("the clients for {self:?}"));
        }
        if missing.is_empty() {
            return true;
        }
        let told = format!("needs {}; run scripts/setup test clients", missing.join(", "));
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{told}");
        eprintln!("skipped: {told}");
        false
    }

    /// The command that runs a program, in a process group of its own, with nothing set that a person may have set.
    pub(crate) fn command(self, name: &str, folder: &Path) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(self.interpreter());
        command.args(self.words(name)).current_dir(folder).process_group(0);
        for name in ["UPDRAFT_URL", "UPDRAFT_TOKEN", "UPDRAFT_DATA", "UPDRAFT_CA", "AWS_PROFILE"] {
            command.env_remove(name);
        }
        // Python's own cache would be files in the tree.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        // A library that asks the cloud for what it may do is told that there is none.
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn is_command(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|folders| std::env::split_paths(&folders).any(|folder| folder.join(name).is_file()))
}

/// A program that runs; it and what it started are killed when this is dropped.
pub(crate) struct Running {
    name: String,
    group: Pid,
    output: mpsc::Receiver<std::io::Result<Output>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let name = format!("{command:?}");
        let child: Child = command.spawn().unwrap();
        let group = Pid::from_child(&child);
        let (sender, output) = mpsc::channel();
        // Nobody listens any more if the test has failed.
        std::thread::spawn(move || drop(sender.send(child.wait_with_output())));
        Self { name, group, output }
    }

    /// Waits for its end, at most as long as a program may take. It must be a good one. What it printed.
    pub(crate) fn must_hold(&self) -> String {
        match self.output.recv_timeout(TIME_MAX) {
            Ok(output) => {
                let output = output.unwrap();
                assert!(output.status.success(), "{}\n{}", self.name, told(&output));
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            Err(_) => panic!("{} takes longer than {TIME_MAX:?}\n{}", self.name, self.kill()),
        }
    }

    /// Kills it, and returns what it wrote.
    pub(crate) fn kill(&self) -> String {
        let _ = kill_process_group(self.group, Signal::KILL);
        self.output
            .recv_timeout(TIME_MAX)
            .map_or_else(|error| error.to_string(), |output| told(&output.unwrap()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Most often it has ended, and the group is gone.
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

/// What a program wrote, for the message of a test that fails.
fn told(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Runs a command, which must end well.
pub(crate) fn must_hold(command: Command) {
    Running::start(command).must_hold();
}
