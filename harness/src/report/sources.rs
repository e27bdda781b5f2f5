//! The folders that a report is about: one, or several together.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::aggregate::Group;
use crate::files::write_atomic;
use crate::results::{Collected, Measured, RunFolder, write_frames};
use crate::train::EpochLog;

/// Says that a folder is a report on several others.
const MARKER: &str = "merged.json";

/// Folders with their trials.
pub(super) struct Sources<'f> {
    folders: &'f [RunFolder],
    /// The trials of each folder that are in none before it.
    parts: Vec<Collected>,
    /// All of them.
    trials: Collected,
    /// Which folder a trial is in.
    places: HashMap<String, usize>,
    /// What was measured in each.
    measured: Vec<Option<Measured>>,
}

impl<'f> Sources<'f> {
    /// Collects the folders' trials; of one that is in several, the first counts.
    ///
    /// # Errors
    /// A result that cannot be read; names the file.
    pub fn of(folders: &'f [RunFolder]) -> Result<Self> {
        let (mut parts, mut trials, mut places) = (Vec::new(), Collected::default(), HashMap::new());
        for (place, folder) in folders.iter().enumerate() {
            let mut own = folder.collected()?;
            folder.count_test_images(&mut own.done)?;
            own.done.retain(|record| !places.contains_key(&record.trial.key));
            own.failed.retain(|record| !places.contains_key(&record.trial.key));
            places.extend(own.done.iter().chain(&own.failed).map(|record| (record.trial.key.clone(), place)));
            trials.done.extend(own.done.iter().cloned());
            trials.failed.extend(own.failed.iter().cloned());
            parts.push(own);
        }
        let measured = folders.iter().map(RunFolder::measured).collect::<Result<_>>()?;
        Ok(Self { folders, parts, trials, places, measured })
    }

    pub fn trials(&self) -> &Collected {
        &self.trials
    }

    /// The trials of each folder.
    pub fn parts(&self) -> &[Collected] {
        &self.parts
    }

    fn folder(&self, key: &str) -> Option<&'f RunFolder> {
        self.folders.get(*self.places.get(key)?)
    }

    /// As of [`RunFolder::epochs`].
    pub fn epochs(&self, key: &str) -> Result<Vec<EpochLog>> {
        self.folder(key).map_or_else(|| Ok(Vec::new()), |folder| folder.epochs(key))
    }

    /// As of [`RunFolder::costs`].
    pub fn costs(&self, key: &str) -> Result<Option<String>> {
        self.folder(key).map_or_else(|| Ok(None), |folder| folder.costs(key))
    }

    /// What was measured of a group: times of several folders were not measured together, and do not compare.
    pub fn measured_of(&self, group: &Group<'_>) -> Option<&Measured> {
        let places: BTreeSet<usize> =
            group.trials().filter_map(|record| self.places.get(&record.trial.key).copied()).collect();
        match Vec::from_iter(places)[..] {
            [place] => self.measured[place].as_ref(),
            _ => None,
        }
    }

    /// Where a trial's files are, from `root`.
    pub fn path(&self, root: &Path, key: &str) -> String {
        let own = format!("trials/{key}");
        match self.folder(key) {
            Some(folder) if folder.root() != root => {
                relative(root, folder.root()).join(own).to_string_lossy().replace('\\', "/")
            }
            _ => own,
        }
    }

    /// The frames of all trials, written into `root`; their paths.
    ///
    /// # Errors
    /// A log that cannot be read, a file that cannot be written.
    pub fn write_frames(&self, root: &Path) -> Result<[PathBuf; 3]> {
        let parts: Vec<(&RunFolder, Collected)> = self.folders.iter().zip(self.parts.iter().cloned()).collect();
        write_frames(root, &parts)
    }
}

/// `to`, as seen from the folder `from`.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let whole =
        |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned());
    let (from, to) = (whole(from), whole(to));
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) = (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| Component::ParentDir);
    up.chain(to[shared..].iter().copied()).collect()
}

/// Makes the folder of a report on several others, or finds that it is one.
///
/// # Errors
/// A folder that holds something else.
pub(super) fn claim(root: &Path) -> Result<()> {
    let marker = root.join(MARKER);
    if root.exists() && !marker.exists() {
        let mut entries = fs::read_dir(root).with_context(|| format!("output {}: cannot be read", root.display()))?;
        if entries.next().is_some() {
            bail!(
                "output {}: holds something that is no report on several folders; nothing was touched\n  accepted: a new or an \
                 empty folder, or such a report",
                root.display()
            );
        }
    }
    fs::create_dir_all(root).with_context(|| format!("output {}: the folder cannot be made", root.display()))?;
    write_atomic(&marker, b"{}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_from_one_folder_to_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let [here, there] = ["reports/all", "reports/study/one"].map(|name| dir.path().join(name));
        fs::create_dir_all(&here).unwrap();
        fs::create_dir_all(&there).unwrap();
        assert_eq!(relative(&here, &there), Path::new("../study/one"));
        assert_eq!(relative(&here, &here), Path::new(""));
    }

    #[test]
    fn a_folder_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("all");
        claim(&root).unwrap();
        claim(&root).unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        let error = claim(dir.path()).unwrap_err().to_string();
        assert!(error.contains("nothing was touched"), "{error}");
    }
}
