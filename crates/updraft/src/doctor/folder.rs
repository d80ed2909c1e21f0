//! The data folder as it lies on the disk: who may read it, is there room, do the certificates hold.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use updraft_server::artifacts::LINK_KEYS_FILE;
use updraft_server::auth::OPERATOR_TOKEN_FILE;
use updraft_server::auth::access_key::ACCESS_KEY_FILE;
use updraft_server::pki::{CA_FILE, CA_KEY_FILE, Inspected, SERVER_FILE, SERVER_KEY_FILE, inspect};
use updraft_server::store::DATABASE_FILE;

use super::Finding;
use crate::when;

/// Less free space than this stops uploads before long, in bytes.
const FREE_BYTES_WARN: u64 = 2 << 30;
/// Less free space than this may stop the database, in bytes.
const FREE_BYTES_FAIL: u64 = 128 << 20;
/// Files that nobody but the owner may read.
const SECRET_FILES: [&str; 6] =
    [OPERATOR_TOKEN_FILE, CA_KEY_FILE, SERVER_KEY_FILE, LINK_KEYS_FILE, ACCESS_KEY_FILE, DATABASE_FILE];
/// The clock cannot be right before this: 2026-01-01.
const CLOCK_MIN: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// How far files may lie in the future before the clock is taken to have stepped back.
const CLOCK_STEP: Duration = Duration::from_secs(300);
/// How long before its end a certificate is worth a word.
const EXPIRY_SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Looks at the folder.
pub(super) fn check(folder: &Path) -> Vec<Finding> {
    let Ok(metadata) = fs::metadata(folder) else {
        let advice = "start the server once with `updraft serve`, or name its folder with --data";
        return vec![
            Finding::warn("data folder", format!("{} is not there", folder.display()), advice),
            clock(folder),
        ];
    };
    let mut findings = vec![permissions(folder, &metadata)];
    findings.push(disk(folder));
    findings.push(clock(folder));
    findings.push(certificate("authority", &folder.join(CA_FILE)));
    findings.push(certificate("certificate", &folder.join(SERVER_FILE)));
    findings
}

fn permissions(folder: &Path, metadata: &fs::Metadata) -> Finding {
    const CHECK: &str = "data folder";
    if !metadata.is_dir() {
        let advice = "move the file away, or name another folder with --data";
        return Finding::fail(CHECK, format!("{} is not a folder", folder.display()), advice);
    }
    if rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err() {
        let advice = "run this as the user that runs the server, or give that user the folder";
        return Finding::fail(CHECK, format!("{} is not writable", folder.display()), advice);
    }
    let exposed: Vec<_> = SECRET_FILES
        .into_iter()
        .filter(|name| mode(&folder.join(name)).is_some_and(|mode| mode & 0o077 != 0))
        .collect();
    let closed = metadata.permissions().mode() & 0o077 == 0;
    let path = folder.display();
    match (closed, exposed.is_empty()) {
        (true, _) => Finding::ok(CHECK, format!("{path} is open to its owner only")),
        (false, true) => {
            Finding::warn(CHECK, format!("others may look into {path}"), format!("run: chmod 700 {path}"))
        }
        (false, false) => {
            let found = format!("others may read {} in {path}", exposed.join(", "));
            Finding::fail(
                CHECK,
                found,
                format!("run: chmod 700 {path}; then renew what others may have read"),
            )
        }
    }
}

fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|metadata| metadata.permissions().mode())
}

fn disk(folder: &Path) -> Finding {
    const CHECK: &str = "disk space";
    let space = match rustix::fs::statvfs(folder) {
        Ok(space) => space,
        Err(error) => return Finding::warn(CHECK, format!("cannot be read: {error}"), "look with `df`"),
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let found = format!("{} free", when::size(free));
    if free < FREE_BYTES_FAIL {
        Finding::fail(CHECK, found, "free some space: the database stops when there is none")
    } else if free < FREE_BYTES_WARN {
        Finding::warn(CHECK, found, "free some space before the next upload")
    } else {
        Finding::ok(CHECK, found)
    }
}

fn clock(folder: &Path) -> Finding {
    const CHECK: &str = "clock";
    let now = Timestamp::now();
    if now < CLOCK_MIN {
        return Finding::fail(CHECK, format!("it is set to {now}"), "set it, and keep it set with NTP");
    }
    let changed = fs::metadata(folder.join(DATABASE_FILE)).and_then(|metadata| metadata.modified());
    match changed {
        Ok(changed) if changed > SystemTime::now() + CLOCK_STEP => Finding::warn(
            CHECK,
            format!("it says {now}, and the database was changed after that"),
            "it was set back: deadlines and links last longer than meant until it has caught up",
        ),
        Ok(_) | Err(_) => Finding::ok(CHECK, now.to_string()),
    }
}

fn certificate(check: &'static str, path: &Path) -> Finding {
    if !path.exists() {
        return Finding::ok(check, format!("{} is made at the first start", path.display()));
    }
    let garbage = || {
        let found = format!("{} holds no certificate", path.display());
        Finding::fail(check, found, "restore it from a backup")
    };
    let Ok(Inspected { ends_s, names }) = inspect(path) else { return garbage() };
    let Ok(ends) = Timestamp::from_second(ends_s) else { return garbage() };
    let names: Vec<_> = names.into_iter().collect();
    let names = if names.is_empty() { String::new() } else { format!(", for {}", names.join(", ")) };
    let found = format!("good until {}{names}", ends.strftime("%Y-%m-%d"));
    let now = Timestamp::now();
    if ends <= now {
        Finding::fail(
            check,
            format!("it ended on {}", ends.strftime("%Y-%m-%d")),
            "start the server again: it renews its own",
        )
    } else if ends <= now + EXPIRY_SOON {
        Finding::warn(check, found, "start the server again: it renews its own")
    } else {
        Finding::ok(check, found)
    }
}
