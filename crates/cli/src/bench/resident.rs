//! What the process holds in memory, as Linux counts it (proc_pid_status(5)).

use std::fs;

/// Bytes resident now and the most since [`forget_peak`]; `None` where there is no such file.
pub(crate) fn resident() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// Makes what is resident now the most that was (proc_pid_clear_refs(5)). Where the kernel does not let
/// it, the peak is that of the whole run.
pub(crate) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}
