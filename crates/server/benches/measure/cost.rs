//! What a process has cost, as the kernel counts it.

use std::fs;
use std::time::Duration;

/// Ticks per second in `/proc/<pid>/stat` (`sysconf(_SC_CLK_TCK)`, fixed on Linux).
const TICKS_PER_SECOND: u64 = 100;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// User and system time of a process and its children that live.
pub(crate) fn cpu_time(pid: u32) -> Outcome<Duration> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let pids = children.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let mut ticks = 0;
    for pid in pids.into_iter().chain([pid]) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // proc(5): fields 14 and 15; the name in parentheses may hold blanks.
        let fields = stat.rsplit_once(')').ok_or("no stat")?.1;
        for field in fields.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
    }
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// A line of `/proc/<pid>/status` in KiB: `VmRSS` is what is resident, `VmHWM` the most that was.
pub(crate) fn memory_kib(pid: u32, line: &str) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let value = found.ok_or("no such line in status")?;
    Ok(value.split_whitespace().next().ok_or("an empty line in status")?.parse()?)
}
