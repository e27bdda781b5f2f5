//! Files that tell the classes of images which stand in no folders of their classes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// What such files are called: Tiny ImageNet's, the Kaggle edition of ILSVRC's, and Caffe's.
pub const NAMES: [&str; 3] = ["val_annotations.txt", "LOC_val_solution.csv", "val.txt"];

/// The file of labels for the images in `root/split`, in that folder or beside it.
pub fn find(root: &Path, split: &str) -> Option<PathBuf> {
    let places = [root.join(split), root.to_owned()];
    let own = [format!("{split}_annotations.txt"), format!("{split}.txt")];
    let names = || NAMES.into_iter().filter(|_| split != "test").chain(own.iter().map(String::as_str));
    places.iter().flat_map(|place| names().map(|name| place.join(name))).find(|path| path.is_file())
}

/// The class of each of the images `names`: the lines of the file are `NAME CLASS`, separated by blanks, tabs or a comma, and may
/// go on; NAME with or without its ending, CLASS by name or by number.
///
/// # Errors
/// An image without a line; a class that is unknown. Names file and line.
pub fn read(path: &Path, names: &[String], classes: &[String]) -> Result<Vec<u16>> {
    let text = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut lines = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        if let (Some(name), Some(class)) = (words.next(), words.next()) {
            lines.insert(stem(name), (number + 1, class));
        }
    }
    let places: HashMap<&str, usize> = classes.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let label = |name: &String| {
        let found = lines.get(stem(name));
        let (line, class) = found.with_context(|| format!("{}: no line for the image {name}", path.display()))?;
        let place = places.get(class).copied().or_else(|| class.parse().ok());
        let place = place.filter(|place| *place < classes.len()).with_context(|| {
            format!(
                "{}:{line}: class `{class}`, where folders of train ({} to {}) or numbers from 0 to {} are accepted",
                path.display(),
                classes[0],
                classes[classes.len() - 1],
                classes.len() - 1
            )
        })?;
        Ok(place as u16)
    };
    let labels = names.iter().map(label).collect::<Result<Vec<u16>>>()?;
    ensure!(!labels.is_empty(), "{}: no images that it could be about", path.display());
    Ok(labels)
}

/// A file's name without folders and ending.
fn stem(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}
