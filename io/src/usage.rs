//! What this process takes of the machine, for INFO. Known on Linux alone.

use std::time::Duration;

use kvnode_core::server::Usage;

/// Reads it from `/proc`.
pub(crate) fn read() -> Option<Usage> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    parse(&pages, &stat)
}

fn parse(statm: &str, stat: &str) -> Option<Usage> {
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
    Some(Usage { memory_bytes: resident * page, system, user })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_found() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 {} {} 0 0", 3 * ticks, 2 * ticks);
        let usage = parse("9 4 1 0 0 0 0", &stat).unwrap();
        assert_eq!(usage.memory_bytes, 4 * rustix::param::page_size() as u64);
        assert_eq!((usage.user, usage.system), (Duration::from_secs(3), Duration::from_secs(2)));
        assert_eq!(parse("9", &stat), None);
        assert_eq!(parse("9 4", "7 a"), None);
    }
}
