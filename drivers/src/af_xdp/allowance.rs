//! What this process may use: locked memory and cores.

use std::fs;

use super::error::Error;

/// Bytes that this process may lock.
pub(super) fn memlock_limit() -> u64 {
    // "Max locked memory       8388608              8388608              bytes"
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max locked memory"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(u64::MAX)
}

/// Whether this process may lock `needed` bytes of frames.
///
/// What other processes of the same user have locked counts too, and can't be known
/// (`xdp_umem_account_pages`, net/xdp/xdp_umem.c); then opening the queue says so.
///
/// # Errors
/// [`Error::Memlock`].
pub fn check_memlock(needed: u64) -> Result<(), Error> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let limit = memlock_limit();
    if needed <= limit || may_lock_all(&read("/proc/self/status"), &read("/proc/self/uid_map")) {
        return Ok(());
    }
    Err(Error::Memlock { needed, limit })
}

/// Whether the process has CAP_IPC_LOCK, in the host's own user namespace: capabilities of
/// another do not count (`capable`, kernel/capability.c).
fn may_lock_all(status: &str, uid_map: &str) -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(0);
    let of_host = uid_map.split_whitespace().eq(["0", "0", "4294967295"]);
    effective & 1 << CAP_IPC_LOCK != 0 && of_host
}

/// Whether this process may run on `core`: its affinity, which cpusets and systemd's CPUAffinity=
/// narrow.
///
/// # Errors
/// [`Error::CoreNotAllowed`], with the cores that it may use.
pub fn check_core(core: usize) -> Result<(), Error> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    // Unreadable: pinning will tell.
    let allowed = line.map_or("", str::trim);
    if allowed.is_empty() || list_contains(allowed, core) {
        return Ok(());
    }
    Err(Error::CoreNotAllowed { core, allowed: allowed.into() })
}

/// Whether a list of the form `0-3,8,10-11` has `core`.
fn list_contains(list: &str, core: usize) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bounds = first.trim().parse().ok().zip(last.trim().parse().ok());
        bounds.is_some_and(|(first, last): (usize, usize)| (first..=last).contains(&core))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_are_read_as_taskset_writes_them() {
        for (list, core, is_in) in [
            ("0-3", 3, true),
            ("0-3", 4, false),
            ("1,5-6", 5, true),
            ("1,5-6", 4, false),
            ("7", 7, true),
        ] {
            assert_eq!(list_contains(list, core), is_in, "{core} in {list}");
        }
        assert!(!list_contains("", 0) && !list_contains("x-y", 0));
        assert!(check_core(100_000).is_err());
    }

    #[test]
    fn the_limit_of_locked_memory_can_be_read() {
        assert!(memlock_limit() > 0);
    }

    #[test]
    fn who_may_lock_all_memory() {
        let host = "         0          0 4294967295\n";
        let status = |capabilities| format!("Name:\tx\nCapEff:\t{capabilities}\n");
        assert!(may_lock_all(&status("000001ffffffffff"), host));
        assert!(may_lock_all(&status("0000000000004000"), host));
        assert!(!may_lock_all(&status("000001ffffffbfff"), host));
        assert!(!may_lock_all(&status("000001ffffffffff"), "0 1000 1\n"), "a user namespace");
        assert!(!may_lock_all("", host));
        assert!(check_memlock(4096).is_ok());
    }
}
