//! What a trial's process may use: processors, memory, time.

use std::fs::File;
#[cfg(target_os = "linux")]
use std::path::Path;
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::results::FailureKind;

/// How often the limits are looked at.
const PERIOD: Duration = Duration::from_millis(100);

/// Keeps this process, with the threads it will start, to these processors. Where the system cannot, it stays free, and
/// where a trial of another sweep on this machine has taken one of them: two on one processor would wait for each other
/// while others idle. They are taken for as long as what is returned lives.
pub(super) fn pin(processors: &[usize]) -> Vec<File> {
    #[cfg(target_os = "linux")]
    if let Some(taken) = take(&std::env::temp_dir(), processors) {
        let mut set = rustix::thread::CpuSet::new();
        for &processor in processors.iter().filter(|&&processor| processor < rustix::thread::CpuSet::MAX_CPU) {
            set.set(processor);
        }
        let _ = rustix::thread::sched_setaffinity(None, &set);
        return taken;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = processors;
    Vec::new()
}

/// A locked file for each of these processors; none where there are none to take, or one is taken.
#[cfg(target_os = "linux")]
fn take(dir: &Path, processors: &[usize]) -> Option<Vec<File>> {
    let lock = |processor: &usize| {
        let path = dir.join(format!("harness-processor-{processor}.lock"));
        let file = File::options().create(true).append(true).open(path).ok()?;
        file.try_lock().ok().map(|()| file)
    };
    if processors.is_empty() { None } else { processors.iter().map(lock).collect() }
}

/// The processors that this process may use, if the system tells.
pub(super) fn processors() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return (0..rustix::thread::CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect();
    }
    Vec::new()
}

/// Lets the system, when it runs out of memory, end this process before the one that looks after it.
pub(super) fn offer_to_the_oom_killer() {
    #[cfg(target_os = "linux")]
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

/// Bytes of memory that this machine has, or the part of it that this process is confined to; none where the system does not tell.
fn machine_memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    let confined = system.cgroup_limits().map(|limits| limits.total_memory).filter(|&bytes| bytes > 0);
    let total = Some(system.total_memory()).filter(|&bytes| bytes > 0)?;
    Some(confined.map_or(total, |bytes| bytes.min(total)))
}

/// A training that would hold more memory than there is.
#[derive(Debug)]
pub struct TooLarge(String);

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooLarge {}

/// That the parameters of a network, their gradients and what an optimizer remembers of them (values for each parameter) are no
/// more than there is, before any of them is made.
///
/// # Errors
/// As [`check_memory`].
pub fn check_parameters(params: u64, remembered: u64, limit: Option<u64>) -> Result<(), TooLarge> {
    let planned = params.saturating_mul(4 * (2 + remembered));
    let what = "the parameters alone, with gradients and what the optimizer remembers, take";
    check(planned, limit, what, "a smaller network")
}

/// That what a training is planned to hold is there at all: a system that runs out of memory ends whatever it likes.
///
/// # Errors
/// More than `limit`, where there is one, or than this machine has.
pub(super) fn check_memory(planned: u64, limit: Option<u64>) -> Result<(), TooLarge> {
    let what = "training it takes, by the engine's plan,";
    check(planned, limit, what, "a smaller recipe.batch, or a smaller network")
}

fn check(planned: u64, limit: Option<u64>, what: &str, accepted: &str) -> Result<(), TooLarge> {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let machine = machine_memory();
    let known = [limit.map(|bytes| (bytes, "run.memory allows")), machine.map(|bytes| (bytes, "this machine has"))];
    let Some((most, whose)) = known.into_iter().flatten().min_by_key(|(bytes, _)| *bytes) else { return Ok(()) };
    if planned <= most {
        return Ok(());
    }
    Err(TooLarge(format!("{what} {} MiB, and {whose} {} MiB\n  accepted: {accepted}", mib(planned), mib(most))))
}

/// Watches memory (resident, bytes) and time from now on, in a thread of its own: also a trial that hangs is ended.
/// `exceeded` is called once, with what was exceeded and how, and is to end the process.
pub(super) fn watch(
    memory: Option<u64>,
    time: Option<Duration>,
    exceeded: impl FnOnce(FailureKind, String) + Send + 'static,
) {
    if memory.is_none() && time.is_none() {
        return;
    }
    let started = Instant::now();
    std::thread::spawn(move || {
        // Where the system tells nothing of its processes, only time is watched.
        let (mut system, me) = (System::new().ok(), Pid::from_u32(std::process::id()));
        loop {
            std::thread::sleep(PERIOD);
            if let Some(limit) = time.filter(|&limit| started.elapsed() > limit) {
                let reason = format!("ran longer than run.time_limit = {:.0} s", limit.as_secs_f64());
                return exceeded(FailureKind::OutOfTime, reason);
            }
            let (Some(limit), Some(system)) = (memory, &mut system) else { continue };
            let what = ProcessRefreshKind::nothing().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[me]), false, what);
            let held = system.process(me).map_or(0, sysinfo::Process::memory);
            if held > limit {
                let mib = |bytes: u64| bytes / (1 << 20);
                let reason = format!("held {} MiB, and run.memory allows {} MiB", mib(held), mib(limit));
                return exceeded(FailureKind::OutOfMemory, reason);
            }
        }
    });
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_training_that_no_machine_could_hold_is_refused() {
        assert!(check_memory(1 << 20, None).is_ok() && check_memory(1 << 20, Some(2 << 20)).is_ok());
        let error = check_memory(3 << 20, Some(2 << 20)).unwrap_err().to_string();
        assert!(error.contains("plan, 3 MiB") && error.contains("run.memory allows 2 MiB"), "{error}");
        // Parameters, their gradients, and one value remembered of each.
        assert!(check_parameters(1 << 18, 1, Some(3 << 20)).is_ok());
        let error = check_parameters((1 << 18) + 1, 1, Some(3 << 20)).unwrap_err().to_string();
        assert!(error.contains("parameters alone") && error.contains("4 MiB"), "{error}");
        assert!(check_parameters(u64::MAX / 2, 4, Some(1 << 40)).is_err());
        let error = check_memory(1 << 50, None).unwrap_err().to_string();
        assert!(error.contains("this machine has"), "{error}");
    }

    #[test]
    fn a_processor_is_taken_once_and_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path(), &[0, 1]).unwrap();
        assert_eq!(first.len(), 2);
        assert!(take(dir.path(), &[1, 2]).is_none());
        assert!(take(dir.path(), &[2]).is_some(), "what was not got as a whole was given back");
        drop(first);
        assert!(take(dir.path(), &[1]).is_some());
        assert!(take(dir.path(), &[]).is_none());
    }
}
