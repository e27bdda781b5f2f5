//! Sweeps whose terminal goes away, or that are told to stop, in every screen and phase: they end, with what they started,
//! and going on leaves the bits of a sweep that nothing happened to.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{FlowArg, tcflow};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustix::termios::{Winsize, tcsetwinsize};
use tempfile::TempDir;

use crate::support::{children, signal, text, without_times};

/// A failure names its seed; with `HARNESS_SEED` set to it the test does the same again, as far as clocks do.
const SEED: u64 = 12;

/// A sweep has to be over so long after it was told to stop, on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

const FILE: &str = r#"
name = "tiny"
[dataset]
name = "synthetic"
sources = ["synthetic:200+50"]
[backbone]
name = "resnet20"
[recipe]
epochs = 3
batch = 20
subset = 60
finetune_epochs = 1
[protocol]
validation = 20
controls = []
[run]
measure = false
threads = 1
[[grid]]
method.name = ["ghost", "pruned"]
"#;

/// What is done to a sweep.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Its terminal goes away.
    Close,
    /// A signal, by name.
    Signal(&'static str),
    /// Its terminal takes nothing more, and a signal comes.
    Stall,
}

const FAULTS: [Fault; 3] = [Fault::Close, Fault::Signal("HUP"), Fault::Signal("TERM")];

/// Keys that lead to each screen of the dashboard: none (at any instant, whatever is shown), the dashboard itself, help,
/// a log, the failures, the question before a trial is skipped, the same over a log, and the last moments after `q`.
const SCREENS: [Option<&[u8]>; 8] =
    [None, Some(b""), Some(b"?"), Some(b"l"), Some(b"f"), Some(b"s"), Some(b"ls"), Some(b"q")];

struct Bench {
    dir: TempDir,
    expected: Vec<(String, Vec<u8>)>,
}

/// A sweep with a terminal of its own.
struct Sweep {
    child: Child,
    /// Our end of the terminal, and one of its own.
    terminal: PtyMaster,
    other: File,
    drawn: Vec<u8>,
}

impl Bench {
    /// None where no terminal can be given to a process.
    fn new() -> Option<Self> {
        if Command::new("setsid").arg("--version").output().is_err() {
            eprintln!("skipped: there is no setsid on this machine");
            return None;
        }
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("tiny.toml"), FILE).unwrap();
        let mut bench = Self { dir, expected: vec![] };
        bench.finish("undisturbed", "undisturbed");
        bench.expected = bench.results("undisturbed");
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A sweep in a session of its own, whose terminal it owns, as after a login.
    fn start(&self, output: &str) -> Sweep {
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(env!("CARGO_BIN_EXE_harness")).args(["tiny.toml", "--output", output]);
        Sweep::start(command.current_dir(self.dir.path()))
    }

    /// What must not depend on what happened.
    fn results(&self, output: &str) -> Vec<(String, Vec<u8>)> {
        let root = self.path(output);
        let table = without_times(&fs::read_to_string(root.join("results.csv")).unwrap());
        let mut found = vec![("results.csv".to_owned(), table.into_bytes())];
        for trial in fs::read_dir(root.join("trials")).unwrap().map(|entry| entry.unwrap().path()) {
            found.push((trial.display().to_string(), fs::read(trial.join("weights.safetensors")).unwrap()));
        }
        found.iter_mut().for_each(|(name, _)| *name = name.rsplit('/').next().unwrap().to_owned());
        found.sort();
        found
    }

    fn finish(&self, output: &str, what: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.current_dir(self.dir.path()).args(["tiny.toml", "--progress", "plain", "--output", output]);
        let run = command.output().unwrap();
        assert!(run.status.success(), "{what}: {}", text(&run));
    }

    /// Nothing of a sweep is left: none of its processes, no lock that anybody holds.
    fn check_nothing_left(&self, output: &str, sweep: u32, trials: &[u32], what: &str) {
        let started = Instant::now();
        // The trials of a sweep that was ended end by themselves.
        while trials.iter().any(|&process| is_there(process)) {
            assert!(started.elapsed() < PATIENCE, "{what}: a trial's process is left");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(children(sweep).is_empty(), "{what}");
        let trials = fs::read_dir(self.path(output).join("trials")).into_iter().flatten();
        let locks = trials.map(|trial| trial.unwrap().path().join("lock"));
        for lock in locks.chain([self.path(output).join("harness.lock")]) {
            let free = File::open(&lock).map_or(true, |file| file.try_lock().is_ok());
            assert!(free, "{what}: {} is held", lock.display());
        }
    }
}

fn is_there(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // A process whose parent is gone is collected by the system's first one, in its own time.
    !stat.is_empty() && !stat.contains(") Z ")
}

impl Sweep {
    fn start(command: &mut Command) -> Self {
        // No other process may inherit our end, or it would stay open.
        let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let path = ptsname_r(&terminal).unwrap();
        let other = File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(path).unwrap();
        tcsetwinsize(&other, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let [input, out, err] = [0; 3].map(|_| Stdio::from(other.try_clone().unwrap()));
        let child = command.env("TERM", "xterm").stdin(input).stdout(out).stderr(err).spawn().unwrap();
        Self { child, terminal, other, drawn: vec![] }
    }

    /// Lets it draw for so long, or until it is over or `done` with what was drawn.
    fn draw(&mut self, time: Duration, done: impl Fn(&[u8]) -> bool) {
        let started = Instant::now();
        while let Some(left) = time.checked_sub(started.elapsed()) {
            if done(&self.drawn) || self.child.try_wait().unwrap().is_some() {
                return;
            }
            let wait = PollTimeout::try_from(left.min(Duration::from_millis(50))).unwrap();
            let mut ready = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            if poll(&mut ready, wait).unwrap() > 0 {
                let mut bytes = [0; 4096];
                let count = self.terminal.read(&mut bytes).unwrap_or(0);
                self.drawn.extend(&bytes[..count]);
            }
        }
    }

    fn has_dashboard(drawn: &[u8]) -> bool {
        drawn.windows(8).any(|part| part == b"\x1b[?1049h")
    }

    /// Does it to the sweep, and waits for its end.
    fn suffer(mut self, fault: Fault, what: &str) -> ExitStatus {
        let process = self.child.id();
        let mut terminal = Some((self.terminal, self.other));
        match fault {
            Fault::Close => terminal = None,
            Fault::Signal(name) => signal(name, process),
            Fault::Stall => {
                let (_, other) = terminal.as_ref().unwrap();
                tcflow(other, FlowArg::TCOOFF).unwrap();
                // Until somebody waits for it.
                thread::sleep(Duration::from_millis(300));
                signal("TERM", process);
            }
        }
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if let (Some((terminal, _)), Fault::Signal(_)) = (&mut terminal, fault) {
                // Its terminal goes on taking what it draws.
                let mut ready = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ready, 10u8).unwrap() > 0 {
                    let _ = terminal.read(&mut [0; 4096]);
                }
            } else {
                thread::sleep(Duration::from_millis(10));
            }
            if started.elapsed() > PATIENCE {
                signal("KILL", process);
                self.child.wait().unwrap();
                panic!("{what}: it never ends");
            }
        }
    }
}

#[test]
fn a_terminal_that_goes_away_and_signals_end_a_sweep_that_goes_on_to_the_same_bits() {
    let Some(bench) = Bench::new() else { return };
    let seed = std::env::var("HARNESS_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut folder, mut checkpoints) = (0, 0);
    let faults = FAULTS.iter().flat_map(|&fault| SCREENS.map(|screen| (fault, screen)));
    let stalls = [None, Some(&b"l"[..])].map(|screen| (Fault::Stall, screen));
    for (round, (fault, screen)) in faults.chain(stalls).enumerate() {
        let output = format!("run{folder}");
        let mut what = format!("seed {seed}, round {round}, {fault:?}, keys {screen:?}");
        let mut sweep = bench.start(&output);
        let process = sweep.child.id();
        if let Some(keys) = screen {
            sweep.draw(PATIENCE, Sweep::has_dashboard);
            for key in keys {
                sweep.draw(Duration::from_millis(150), |_| false);
                let _ = sweep.terminal.write_all(&[*key]);
            }
        }
        let wait = Duration::from_millis(rng.next_u64() % if screen.is_some() { 400 } else { 1500 });
        sweep.draw(wait, |_| false);
        let trials = children(process);
        what += &format!(", after {wait:?}, trials {trials:?}");
        let dashboard = Sweep::has_dashboard(&sweep.drawn);
        let status = sweep.suffer(fault, &what);
        assert!(matches!(status.code(), Some(0 | 3)) || (!dashboard && status.code().is_none()), "{what}: {status}");
        bench.check_nothing_left(&output, process, &trials, &what);
        let left = fs::read_dir(bench.path(&output).join("trials")).into_iter().flatten();
        let left = left.filter(|trial| trial.as_ref().unwrap().path().join("checkpoint").exists()).count();
        checkpoints += left;
        if status.code() == Some(0) {
            assert!(bench.results(&output) == bench.expected, "{what}");
            folder += 1;
        }
    }
    assert!(checkpoints > 8, "stopped after checkpoints, not at once: {checkpoints}");
    for folder in 0..=folder {
        let (output, what) = (format!("run{folder}"), format!("seed {seed}, folder {folder} at its end"));
        bench.finish(&output, &what);
        assert!(bench.results(&output) == bench.expected, "{what}");
    }
}

/// A shell passes on that its terminal is gone, and the system says so again when the shell ends: that is one request.
#[test]
fn a_login_that_ends_leaves_a_checkpoint() {
    let Some(bench) = Bench::new() else { return };
    for progress in ["tui", "plain"] {
        let mut command = Command::new("setsid");
        let mut login = Sweep::start(command.args(["--ctty", "bash", "--norc", "-i"]).current_dir(bench.dir.path()));
        let line = format!(
            "{} tiny.toml --progress {progress} --output {progress} --set recipe.epochs=3000\n",
            env!("CARGO_BIN_EXE_harness")
        );
        login.terminal.write_all(line.as_bytes()).unwrap();
        let begun = |_: &[u8]| {
            let trials = fs::read_dir(bench.path(progress).join("trials")).into_iter().flatten();
            trials.flatten().any(|trial| fs::read(trial.path().join("epochs.jsonl")).is_ok_and(|log| !log.is_empty()))
        };
        login.draw(PATIENCE, begun);
        let sweeps = children(login.child.id());
        assert_eq!(sweeps.len(), 1, "{progress}: {}", String::from_utf8_lossy(&login.drawn));
        let trials = children(sweeps[0]);
        login.suffer(Fault::Close, progress);
        bench.check_nothing_left(progress, sweeps[0], &[&sweeps[..], &trials].concat(), progress);
        let trials = fs::read_dir(bench.path(progress).join("trials")).unwrap();
        let checkpoints = trials.filter(|trial| trial.as_ref().unwrap().path().join("checkpoint").exists()).count();
        assert_eq!(checkpoints, 1, "{progress}");
    }
}
