//! Which settings of a sweep are trained on the same images, whatever sources they name.
//!
//! A trial's signature has the name of its data set; what the sources hold counts by content, and only reading tells that. So
//! a plan looks at the data only where two settings differ in their sources alone, and at each location once.

use std::collections::HashMap;
use std::path::Path;

use toml::Value;

use crate::config::DatasetConfig;
use crate::config::error::explain;
use crate::data::{self, Location};

/// The data sets that a sweep names; the number of each counts from 0, in the order in which they first came.
#[derive(Debug, Default)]
pub(super) struct DataSets {
    numbers: HashMap<String, HashMap<Vec<String>, u32>>,
    known: Vec<DataSet>,
    /// By name and location.
    fingerprints: HashMap<(String, Location), Result<String, String>>,
}

/// A name with its sources, and what was found out about them.
#[derive(Debug)]
struct DataSet {
    config: DatasetConfig,
    /// Where it lies, or why that cannot be told; `None` as long as nobody asked.
    location: Option<Result<Location, String>>,
    /// See [`DataSets::first_equal`].
    first_equal: Option<u32>,
}

impl DataSets {
    /// The number of this name with these sources.
    pub fn number(&mut self, config: &DatasetConfig) -> u32 {
        if let Some(&number) = self.numbers.get(&config.name).and_then(|by_sources| by_sources.get(&config.sources)) {
            return number;
        }
        let number = self.known.len() as u32;
        self.numbers.entry(config.name.clone()).or_default().insert(config.sources.clone(), number);
        self.known.push(DataSet { config: config.clone(), location: None, first_equal: None });
        number
    }

    /// The first data set that holds the same images. Images that are not there, or cannot be read, are the same as no
    /// others, unless the same sources are tried for both.
    pub fn first_equal(&mut self, number: u32) -> u32 {
        if let Some(first) = self.known[number as usize].first_equal {
            return first;
        }
        let first = (0..number).find(|&other| self.are_equal(other, number)).unwrap_or(number);
        self.known[number as usize].first_equal = Some(first);
        first
    }

    /// A line for each data set of which it could not be told whether it is the same as another one.
    pub fn notes(&self) -> Vec<String> {
        let open = self.known.iter().filter_map(|DataSet { config, location, .. }| {
            let why = match location.as_ref()? {
                Ok(location) => self.fingerprints.get(&(config.name.clone(), location.clone()))?.as_ref().err()?,
                Err(why) => why,
            };
            let sources = Value::from(config.sources.clone());
            let why = why.lines().next().unwrap_or_default();
            Some(format!(
                "dataset.sources = {sources}: {why}; until its images can be read, its trials count as trials of their own"
            ))
        });
        open.collect()
    }

    fn are_equal(&mut self, one: u32, other: u32) -> bool {
        let [a, b] = [one, other].map(|number| self.known[number as usize].config.clone());
        if a.name != b.name {
            return false;
        }
        if let (Ok(a), Ok(b)) = (data::sources(&a), data::sources(&b))
            && a == b
        {
            return true;
        }
        let (Some(a), Some(b)) = (self.location(one), self.location(other)) else { return false };
        let both_are_files = matches!((&a, &b), (Location::Files(_), Location::Files(_)));
        a == b
            || both_are_files && {
                let config = self.known[one as usize].config.clone();
                let (a, b) = (self.fingerprint(&config, a), self.fingerprint(&config, b));
                a.is_some() && a == b
            }
    }

    fn location(&mut self, number: u32) -> Option<Location> {
        let DataSet { config, location, .. } = &mut self.known[number as usize];
        let found = location.get_or_insert_with(|| match data::locate(config) {
            // However the path was written.
            Ok(Location::Files(path)) => Ok(Location::Files(real(&path))),
            Ok(location) => Ok(location),
            Err(error) => Err(explain(&error)),
        });
        found.as_ref().ok().cloned()
    }

    fn fingerprint(&mut self, config: &DatasetConfig, location: Location) -> Option<String> {
        let read = |location: &Location| data::fingerprint_at(config, location).map_err(|error| explain(&error));
        let key = (config.name.clone(), location.clone());
        let fingerprint = self.fingerprints.entry(key).or_insert_with(|| read(&location));
        fingerprint.as_ref().ok().cloned()
    }
}

fn real(path: &Path) -> std::path::PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
