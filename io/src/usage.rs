//! What this process takes of the machine, and what that is, for INFO. Known on Linux alone.

use std::time::Duration;

use kvnode_core::server::Usage;

/// Reads it from `/proc`.
pub(crate) fn read() -> Option<Usage> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    parse(&pages, &stat, &status, &memory)
}

/// The system's name, release and architecture.
pub(crate) fn os() -> String {
    let name = rustix::system::uname();
    let words = [name.sysname(), name.release(), name.machine()];
    words.map(|word| word.to_string_lossy().into_owned()).join(" ")
}

fn parse(statm: &str, stat: &str, status: &str, meminfo: &str) -> Option<Usage> {
    let resident: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = rustix::param::clock_ticks_per_second();
    let mut time = || -> Option<Duration> {
        let spent: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_micros(spent.checked_mul(1_000_000)? / ticks))
    };
    let (user, system) = (time()?, time()?);
    let page = rustix::param::page_size() as u64;
    let memory_bytes = resident * page;
    Some(Usage {
        memory_bytes,
        // The system takes note of the peak now and then, so that it may lag.
        peak_bytes: kibibytes(status, "VmHWM")?.max(memory_bytes),
        system_bytes: kibibytes(meminfo, "MemTotal")?,
        system,
        user,
    })
}

/// The bytes in a line `field:   123 kB`.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let value = |line: &str| {
        let value = line.strip_prefix(field)?.strip_prefix(':')?.trim().strip_suffix(" kB")?;
        value.parse::<u64>().ok()?.checked_mul(1024)
    };
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_found() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 {} {} 0 0", 3 * ticks, 2 * ticks);
        let (status, meminfo) = ("Name:\ta\nVmHWM:\t  400 kB\n", "MemTotal:  9000 kB\n");
        let usage = parse("9 4 1 0 0 0 0", &stat, status, meminfo).unwrap();
        assert_eq!(usage.memory_bytes, 4 * rustix::param::page_size() as u64);
        assert_eq!((usage.user, usage.system), (Duration::from_secs(3), Duration::from_secs(2)));
        assert_eq!((usage.peak_bytes, usage.system_bytes), (400 << 10, 9000 << 10));
        let peak = parse("9 400 1", &stat, status, meminfo).unwrap().peak_bytes;
        assert_eq!(peak, 400 * rustix::param::page_size() as u64, "never below what there is");
        assert_eq!(parse("9", &stat, status, meminfo), None);
        assert_eq!(parse("9 4", "7 a", status, meminfo), None);
        assert_eq!(parse("9 4", &stat, "VmHWM: x kB", meminfo), None);
        assert_eq!(parse("9 4", &stat, status, "MemTotal: 9"), None);
        assert!(read().is_some_and(|usage| usage.peak_bytes >= usage.memory_bytes));
        assert!(os().starts_with("Linux "));
    }
}
