//! The job script of a submission.

use std::fmt::Write;
use std::path::Path;

use crate::experiment::{OnFailure, RunSettings};
use crate::run::process::common_arguments;

/// What the script needs to know.
pub(super) struct Job<'a> {
    /// The experiment's name.
    pub name: &'a str,
    /// The harness.
    pub program: &'a Path,
    /// The run folder.
    pub folder: &'a Path,
    /// The submission's folder.
    pub dir: &'a Path,
    /// Where the experiment's paths start from.
    pub working_dir: &'a Path,
    pub settings: &'a RunSettings,
    pub allow_path_change: bool,
}

/// The script: one trial a task. `SLURM_ARRAY_TASK_ID` counts from 0, the script's argument
/// is the line before the array's first.
///
/// A minute before the job's time is over Slurm sends USR1: the trial writes a checkpoint, and the task goes back into the
/// queue. TERM, from `scancel`, stops it for good. What a node that fails was running, Slurm requeues by itself.
pub(super) fn script(job: &Job<'_>) -> String {
    let quote = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let mut text = format!("#!/bin/sh\n# Trials of the experiment `{}`; written by `harness submit`.\n", job.name);
    let mut option = |value: String| {
        let _ = writeln!(text, "#SBATCH {value}");
    };
    // A space would begin another option.
    let word = |letter: char| if letter.is_alphanumeric() || "._-".contains(letter) { letter } else { '-' };
    option(format!("--job-name=harness-{}", job.name.chars().map(word).collect::<String>()));
    option("--requeue".into());
    option("--open-mode=append".into());
    option("--signal=B:USR1@60".into());
    option(format!("--cpus-per-task={}", job.settings.threads.unwrap_or(1)));
    if let Some(memory) = job.settings.memory {
        // A tenth more than the trial's own limit, so that a trial that goes beyond it can say so itself.
        option(format!("--mem={}M", (memory.0 / 10 * 11).div_ceil(1 << 20)));
    }
    let arguments = common_arguments(job.settings, job.allow_path_change).join(" ");
    let retries = match job.settings.on_failure {
        OnFailure::Retry(times) => times,
        OnFailure::Continue | OnFailure::Stop => 0,
    };
    let [program, folder, dir, working_dir] = [job.program, job.folder, job.dir, job.working_dir].map(quote);
    text += &format!(
        r#"
set -u
cd {working_dir} || exit 2
line=$(($1 + SLURM_ARRAY_TASK_ID + 1))
key=$(sed -n "${{line}}p" {dir}/keys)
threads=${{SLURM_CPUS_PER_TASK:-1}}
export RAYON_NUM_THREADS=$threads CANDLE_NUM_THREADS=$threads

{program} trial {folder} "$key" --threads "$threads" --attempt $((${{SLURM_RESTART_COUNT:-0}} + 1)) {arguments} &
trial=$!
again=no
trap 'again=yes; kill -TERM $trial 2>/dev/null' USR1
trap 'again=no; kill -TERM $trial 2>/dev/null' TERM INT
wait $trial
code=$?
# A signal ends the waiting, not the trial.
while kill -0 $trial 2>/dev/null; do wait $trial; code=$?; done

case $code in
0 | 4) exit 0 ;; # done, or another process is at work on it
3) ;;            # stopped after a checkpoint
6) exit 1 ;;     # failed, as it would again, and its failed.json says why
*) [ "${{SLURM_RESTART_COUNT:-0}}" -lt {retries} ] && again=yes ;;
esac
if [ $again = yes ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
"#
    );
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::experiment::{Size, Time};

    #[test]
    fn a_script_asks_for_what_the_settings_say() {
        let settings = RunSettings {
            threads: Some(4),
            memory: Some(Size(1 << 30)),
            time_limit: Some(Time(Duration::from_secs(60))),
            on_failure: OnFailure::Retry(2),
            ..RunSettings::default()
        };
        let path = Path::new;
        let text = script(&Job {
            name: "x",
            program: path("/bin/harness"),
            folder: path("/it's here"),
            dir: path("/it's here/slurm/1"),
            working_dir: path("/"),
            settings: &settings,
            allow_path_change: false,
        });
        for part in [
            "--cpus-per-task=4",
            "--mem=1127M",
            "'/it'\\''s here'",
            "--memory-bytes 1073741824",
            "-lt 2 ]",
            "6) exit 1",
            "--requeue",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
