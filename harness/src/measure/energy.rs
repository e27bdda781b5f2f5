//! The energy that processors take, where the machine tells: Intel's and AMD's counters (RAPL), as Linux shows them.

use std::fs;
use std::path::{Path, PathBuf};

/// Where Linux shows them.
const POWERCAP: &str = "/sys/class/powercap";

/// The counters of all processor packages.
#[derive(Clone, Debug)]
pub struct EnergyCounter {
    packages: Vec<Package>,
}

/// The counter of one package.
#[derive(Clone, Debug)]
struct Package {
    path: PathBuf,
    /// What it counts to before it begins again at 0, in microjoules.
    range: u64,
}

impl EnergyCounter {
    /// This machine's; none where it has none, or none that may be read.
    pub fn open() -> Option<Self> {
        Self::at(Path::new(POWERCAP))
    }

    /// Those below a folder that looks like [`POWERCAP`]. Only packages count: what they contain (cores, graphics) would count
    /// twice, and so would the whole system, or the same package shown a second time.
    fn at(root: &Path) -> Option<Self> {
        let of = |dir: PathBuf| {
            let name = dir.file_name()?.to_str()?.strip_prefix("intel-rapl:")?;
            let package = !name.contains(':') && fs::read_to_string(dir.join("name")).ok()?.starts_with("package");
            let path = dir.join("energy_uj");
            let range = number(&dir.join("max_energy_range_uj"))?;
            (package && number(&path).is_some()).then_some(Package { path, range })
        };
        let entries = fs::read_dir(root).ok()?.flatten();
        let packages: Vec<Package> = entries.filter_map(|entry| of(entry.path())).collect();
        (!packages.is_empty()).then_some(Self { packages })
    }

    /// Where the counters stand now; none if one cannot be read.
    pub fn read(&self) -> Option<Vec<u64>> {
        self.packages.iter().map(|package| number(&package.path)).collect()
    }

    /// Joules from one reading to a later one. A counter may have begun again once in between.
    pub fn joules(&self, before: &[u64], after: &[u64]) -> f64 {
        let of = |(package, (&before, &after)): (&Package, (&u64, &u64))| {
            if after >= before { after - before } else { (package.range + after).saturating_sub(before) }
        };
        self.packages.iter().zip(before.iter().zip(after)).map(of).sum::<u64>() as f64 * 1e-6
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(root: &Path, dir: &str, name: &str, energy: &str) {
        let dir = root.join(dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("name"), format!("{name}\n")).unwrap();
        fs::write(dir.join("energy_uj"), energy).unwrap();
        fs::write(dir.join("max_energy_range_uj"), "1000000\n").unwrap();
    }

    #[test]
    fn packages_are_summed_and_begin_again_at_their_range() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        domain(root, "intel-rapl:0", "package-0", "100000\n");
        domain(root, "intel-rapl:1", "package-1", "900000\n");
        // None of these is a package that is not counted yet.
        domain(root, "intel-rapl:0:0", "core", "5\n");
        domain(root, "intel-rapl:2", "psys", "5\n");
        domain(root, "intel-rapl-mmio:0", "package-0", "5\n");
        fs::create_dir(root.join("intel-rapl")).unwrap();
        let counter = EnergyCounter::at(root).unwrap();
        assert_eq!(counter.packages.len(), 2);
        let before = counter.read().unwrap();
        fs::write(root.join("intel-rapl:0/energy_uj"), "350000\n").unwrap();
        fs::write(root.join("intel-rapl:1/energy_uj"), "50000\n").unwrap();
        let after = counter.read().unwrap();
        assert!((counter.joules(&before, &after) - (0.25 + 0.15)).abs() < 1e-12);
        assert_eq!(counter.joules(&after, &after), 0.0);
    }

    #[test]
    fn what_is_not_there_or_cannot_be_read_is_no_counter() {
        let folder = tempfile::tempdir().unwrap();
        assert!(EnergyCounter::at(&folder.path().join("nowhere")).is_none());
        assert!(EnergyCounter::at(folder.path()).is_none());
        domain(folder.path(), "intel-rapl:0", "package-0", "not a number");
        assert!(EnergyCounter::at(folder.path()).is_none());
        domain(folder.path(), "intel-rapl:0", "package-0", "7");
        let counter = EnergyCounter::at(folder.path()).unwrap();
        fs::remove_file(folder.path().join("intel-rapl:0/energy_uj")).unwrap();
        assert!(counter.read().is_none());
    }
}
