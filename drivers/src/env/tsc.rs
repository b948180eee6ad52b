//! The processor's time-stamp counter.
#![allow(unsafe_code, reason = "_rdtsc is an unsafe intrinsic; on the allow-list of scripts/tidy")]

/// Cycles since the processor started, or `None` where there is no such counter.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
pub(super) fn read() -> Option<u64> {
    // SAFETY: RDTSC exists on every x86_64 processor and touches no memory. It faults only under
    // CR4.TSD, which Linux sets for no task that has not asked for it (prctl PR_SET_TSC).
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

/// Cycles since the processor started, or `None` where there is no such counter.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
pub(super) fn read() -> Option<u64> {
    None
}
