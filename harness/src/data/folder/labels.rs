//! Files that tell the classes of images which stand in no folders of their classes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::entries::is_image;

/// What such files are called: Tiny ImageNet's, the Kaggle edition of ILSVRC's, and Caffe's.
pub const NAMES: [&str; 3] = ["val_annotations.txt", "LOC_val_solution.csv", "val.txt"];

/// First lines that say what the classes of a file are, where both could be meant.
const SAYS_NAMES: &str = "# names";
const SAYS_NUMBERS: &str = "# numbers";

/// What stands between the parts of a line.
const SEPARATORS: [char; 3] = [' ', '\t', ','];

/// The file of labels for the images in `root/split`, in that folder or beside it.
pub fn find(root: &Path, split: &str) -> Option<PathBuf> {
    let places = [root.join(split), root.to_owned()];
    let small = split.to_lowercase();
    let own = [split, &small].map(|name| [format!("{name}_annotations.txt"), format!("{name}.txt")]);
    let is_test = small.starts_with("test");
    let names = || NAMES.into_iter().filter(|_| !is_test).chain(own.as_flattened().iter().map(String::as_str));
    places.iter().flat_map(|place| names().map(|name| place.join(name))).find(|path| path.is_file())
}

/// A line about an image that is there.
struct Line<'a> {
    number: usize,
    /// What follows the image's name.
    rest: &'a str,
    /// Its class, were it the name of one.
    name: Option<usize>,
    /// Its class, were it a number.
    place: Option<usize>,
}

/// The class of each of the images `names`, and how many lines are about none of them. The lines of the file are `NAME CLASS`, separated
/// by blanks, tabs or a comma, and may go on; NAME with or without its ending. CLASS is a class's name in all lines or its number in all.
///
/// # Errors
/// An image without a line, or with several that contradict each other; a class that is unknown; classes that could be names as well
/// as numbers, and differ. Names file and line.
pub fn read(path: &Path, names: &[String], classes: &[String]) -> Result<(Vec<u16>, usize)> {
    let text = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    ensure!(!names.is_empty(), "{}: no images that it could be about", path.display());
    let images = images(names);
    let places: HashMap<&str, usize> = classes.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let (mut lines, mut strangers) = (Vec::new(), 0);
    let text = text.trim_start_matches('\u{feff}');
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match about(line, &images) {
            Some((image, rest)) => {
                let name = cuts(rest).filter_map(|(name, _)| places.get(name).copied()).next();
                let first = rest.split(SEPARATORS).next().unwrap_or(rest);
                let place = first.parse().ok().filter(|place| *place < classes.len());
                lines.push((image, Line { number, rest, name, place }));
            }
            // A table's head.
            None if number == 1 && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) => {}
            None if line.starts_with('#') => {}
            None => strangers += 1,
        }
    }
    let by_name = reading(path, text, &lines, classes)?;
    let mut labels: Vec<Option<(u16, usize)>> = vec![None; names.len()];
    for (image, line) in &lines {
        let place = if by_name { line.name } else { line.place };
        let label = place.with_context(|| unknown(path, line, classes))? as u16;
        for &index in *image {
            match labels[index].replace((label, line.number)) {
                Some((other, first)) if other != label => bail!(
                    "{}:{}: `{}` for the image {}, of which line {first} says something else",
                    path.display(),
                    line.number,
                    line.rest,
                    names[index]
                ),
                _ => {}
            }
        }
    }
    let label = |(label, name): (&Option<(u16, usize)>, &String)| {
        label.map(|(label, _)| label).with_context(|| format!("{}: no line for the image {name}", path.display()))
    };
    Ok((labels.iter().zip(names).map(label).collect::<Result<_>>()?, strangers))
}

/// Whether the classes of a file are names. One reading for all of its lines: 1 may be a folder's name, or the number of another one.
fn reading(path: &Path, text: &str, lines: &[(&Vec<usize>, Line<'_>)], classes: &[String]) -> Result<bool> {
    match text.lines().next().map(str::trim) {
        Some(SAYS_NAMES) => return Ok(true),
        Some(SAYS_NUMBERS) => return Ok(false),
        _ => {}
    }
    let no_name = lines.iter().find(|(_, line)| line.name.is_none());
    let no_number = lines.iter().find(|(_, line)| line.place.is_none());
    match (no_name, no_number) {
        (None, Some(_)) => Ok(true),
        (Some(_), None) => Ok(false),
        (None, None) => match lines.iter().find(|(_, line)| line.name != line.place) {
            None => Ok(true),
            Some((_, line)) => bail!(
                "{}:{}: `{}` is the name of a class, and also the number of another one, `{}`\n  accepted: a first line `{SAYS_NAMES}` \
                 or `{SAYS_NUMBERS}` (from 0, in the order of the names as texts), which says what all lines mean",
                path.display(),
                line.number,
                line.rest,
                line.place.map_or("", |place| &classes[place])
            ),
        },
        (Some((_, one)), Some((_, other))) => {
            // A line that is neither is the one to blame; else names and numbers are mixed.
            let blamed = lines.iter().map(|(_, line)| line).find(|line| line.name.is_none() && line.place.is_none());
            match blamed {
                Some(line) => bail!("{}", unknown(path, line, classes)),
                None => bail!(
                    "{}: line {} has a class's number (`{}`) and line {} a class's name (`{}`)\n  accepted: one of the two in all lines",
                    path.display(),
                    one.number,
                    one.rest,
                    other.number,
                    other.rest
                ),
            }
        }
    }
}

fn unknown(path: &Path, line: &Line<'_>, classes: &[String]) -> String {
    format!(
        "{}:{}: class `{}`, where folders of train ({} to {}) or numbers from 0 to {} are accepted",
        path.display(),
        line.number,
        line.rest.split(['\t', ',']).next().unwrap_or(line.rest),
        classes[0],
        classes[classes.len() - 1],
        classes.len() - 1
    )
}

/// Places of the images by their names, with and without ending.
fn images(names: &[String]) -> HashMap<&str, Vec<usize>> {
    let mut images = HashMap::<&str, Vec<usize>>::new();
    for (index, name) in names.iter().enumerate() {
        let name = name.rsplit('/').next().unwrap_or(name);
        images.entry(name).or_default().push(index);
        images.entry(stem(name)).or_default().push(index);
    }
    images
}

/// The images that a line is about, and what follows their name: the longest beginning of the line that is an image's name, as names
/// may have blanks in them.
fn about<'a, 'b>(line: &'a str, images: &'b HashMap<&str, Vec<usize>>) -> Option<(&'b Vec<usize>, &'a str)> {
    let found = |name: &str| {
        let name = name.rsplit('/').next().unwrap_or(name);
        images.get(name).or_else(|| images.get(stem(name)))
    };
    cuts(line).filter(|(_, rest)| !rest.is_empty()).find_map(|(name, rest)| Some((found(name)?, rest)))
}

/// A text cut in two at each of its separators, the longest beginning first: all of it, and nothing behind.
fn cuts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let text = text.trim_matches(SEPARATORS);
    let places = std::iter::once(text.len()).chain(text.rmatch_indices(SEPARATORS).map(|(at, _)| at));
    places.map(move |at| (text[..at].trim_end_matches(SEPARATORS), text[at..].trim_start_matches(SEPARATORS)))
}

/// The name of a file without the ending of an image.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').filter(|_| is_image(name)).map_or(name, |(stem, _)| stem)
}
