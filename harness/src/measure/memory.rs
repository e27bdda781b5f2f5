//! The memory of this process, as the system tells it.

/// The most memory this process has held so far, in MiB; none where the system does not say.
pub fn peak_memory() -> Option<f64> {
    status("VmHWM:")
}

/// What this process holds now beside the code and files that are mapped into it, in MiB; none where the system does not say.
pub fn own_memory() -> Option<f64> {
    status("RssAnon:")
}

/// The peak of [`own_memory`]: what is mapped is taken to have been there at the peak as it is now.
pub fn peak_own_memory() -> Option<f64> {
    Some(peak_memory()? - status("RssFile:")? - status("RssShmem:")?)
}

/// Forgets the peak so far, where the system lets a process do so: else [`peak_memory`] goes on from it.
pub fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn status(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
