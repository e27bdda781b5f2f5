//! Which files of a folder are images of which class and split.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::entries::{ENDINGS, entries, is_image};
use super::labels;
use crate::data::listing::{FileList, Files, Listing};
use crate::data::split_names::{TESTS, TRAIN, find, split_of};

/// What is read, for people.
pub const ACCEPTED: &str = "train/CLASS/* (or train/CLASS/images/*) with test/CLASS/* (or val, valid, validation), a val folder \
    with a file of labels beside its images, or CLASS/* with dataset.test_share";

/// What is no image, among images.
#[derive(Default)]
struct Passed {
    count: usize,
    first: Option<String>,
    /// The file of labels, which is read.
    read: Option<String>,
}

impl Passed {
    fn add(&mut self, count: usize, example: impl FnOnce() -> String) {
        if count > 0 {
            self.count += count;
            self.first.get_or_insert_with(example);
        }
    }
}

/// The folder of training images, by its name in `folder`.
fn train_folder(folder: &Path) -> Option<String> {
    if folder.join(TRAIN[0]).is_dir() {
        return Some(TRAIN[0].to_owned());
    }
    let folders = entries(folder).ok()?.folders;
    find(&TRAIN, &folders).map(|(_, name)| name.clone())
}

/// Whether a folder looks like one of images: it has a folder `train`, or one with an image in it.
pub fn looks_like_images(folder: &Path) -> bool {
    if train_folder(folder).is_some() {
        return true;
    }
    let has_images = |class: &String| {
        entries(&folder.join(class)).is_ok_and(|entries| entries.files.iter().any(|name| is_image(name)))
    };
    entries(folder).is_ok_and(|entries| entries.folders.iter().any(has_images))
}

/// Names of the classes, sorted.
///
/// # Errors
/// A folder without any, or that cannot be listed.
pub fn classes(folder: &Path) -> Result<Vec<String>> {
    if let Some(train) = train_folder(folder) {
        let train = folder.join(train);
        let classes = entries(&train)?.folders;
        ensure!(!classes.is_empty(), "{}: no folders, expected one a class", train.display());
        return Ok(classes);
    }
    let mut classes = entries(folder)?.folders;
    classes.retain(|class| {
        entries(&folder.join(class)).is_ok_and(|entries| entries.files.iter().any(|name| is_image(name)))
    });
    ensure!(
        !classes.is_empty(),
        "{}: no folder `train` and no folders of images in it; expected: {ACCEPTED}",
        folder.display()
    );
    // A share of such images would be trained on, though its name says that it is not for that.
    if let Some(split) = classes.iter().find(|class| split_of(class).is_some()) {
        bail!(
            "{}: is called as a split, beside folders of classes and without a folder `train`\n  accepted: {ACCEPTED}; or another \
             name of that class",
            folder.join(split).display()
        );
    }
    Ok(classes)
}

/// The images of the first class, at least one.
///
/// # Errors
/// There is none.
pub fn first_class(folder: &Path) -> Result<FileList> {
    let classes = classes(folder)?;
    let base = train_folder(folder).map_or(String::new(), |train| train + "/");
    let members = members(folder, &format!("{base}{}", classes[0]), &mut Passed::default())?;
    let mut list = FileList::new(folder);
    members.iter().for_each(|name| list.push(name));
    Ok(list)
}

/// The images of a folder; `share` of each class becomes test images where it is set.
///
/// # Errors
/// A class without images, a test split whose labels cannot be told, a share where there is a test split; names the folder.
pub fn list(folder: &Path, share: Option<f64>) -> Result<Listing> {
    let classes = classes(folder)?;
    ensure!(classes.len() <= 1 << 16, "{}: {} classes, at most 65,536 are accepted", folder.display(), classes.len());
    let (mut passed, mut remarks) = (Passed::default(), Vec::new());
    let train = train_folder(folder);
    let mut by_class = Vec::new();
    for class in &classes {
        let base = train.as_ref().map_or_else(|| class.clone(), |train| format!("{train}/{class}"));
        by_class.push(members(folder, &base, &mut passed)?);
    }
    let tests = match &train {
        Some(train) => test_folder(folder, train, &classes, &mut remarks)?,
        None => None,
    };
    let train = files(folder, by_class);
    let mut listing = Listing { classes, train, test: Files::default(), remarks };
    match (tests, share) {
        (Some(test), None) => {
            let Listing { classes, remarks, .. } = &mut listing;
            listing.test = test_files(folder, &test, classes, &mut passed, remarks)?;
        }
        (Some(test), Some(_)) => bail!(
            "{}: is the test split, and dataset.test_share is for folders without one\n  accepted: one of the two",
            folder.join(&test.folder).display()
        ),
        (None, Some(share)) => listing.share(share),
        (None, None) => {}
    }
    listing.remark_classes();
    if let Some(first) = passed.first {
        let remark = format!("{} files or folders among the images were passed over, `{first}` for one", passed.count);
        listing.remarks.push(remark);
    }
    Ok(listing)
}

/// Where test images are.
struct TestFolder {
    folder: String,
    /// File of their classes, where no folders tell them.
    labels: Option<std::path::PathBuf>,
}

fn test_folder(root: &Path, train: &str, classes: &[String], remarks: &mut Vec<String>) -> Result<Option<TestFolder>> {
    let (mut usable, mut unlabelled) = (Vec::new(), Vec::new());
    let mut others = entries(root)?.folders;
    others.retain(|name| name != train);
    for split in TESTS {
        let Some((_, folder)) = find(&[split], &others) else { continue };
        let folder = folder.clone();
        others.retain(|name| *name != folder);
        let there = entries(&root.join(&folder))?.folders;
        let labels = labels::find(root, &folder);
        if there.iter().any(|name| classes.contains(name))
            || labels.is_none() && there.iter().any(|name| name != "images")
        {
            usable.push(TestFolder { folder, labels: None });
        } else if labels.is_some() {
            usable.push(TestFolder { folder, labels });
        } else {
            unlabelled.push(folder);
        }
    }
    if !others.is_empty() {
        let shown: Vec<String> = others.iter().take(5).map(|name| format!("`{name}`")).collect();
        let more = if others.len() > 5 { ", ..." } else { "" };
        remarks.push(format!("beside `{train}`, and not read: {}{more}", shown.join(", ")));
    }
    let mut usable = usable.into_iter();
    let Some(test) = usable.next() else {
        let Some(folder) = unlabelled.first() else { return Ok(None) };
        bail!(
            "{}: its images stand in no folders of their classes, and no file tells them\n  accepted: {folder}/CLASS/*; or a file of \
             lines `NAME CLASS`, called {}, in {folder} or beside it (CLASS: a folder of train, or its number in their sorted \
             order, from 0); ILSVRC2012_validation_ground_truth.txt alone is not enough, as its numbers follow another order",
            root.join(folder).display(),
            labels::NAMES.join(", ")
        );
    };
    if let Some(folder) = unlabelled.first() {
        remarks.push(format!(
            "the images in `{folder}` have no labels and are not read; the test split is `{}`",
            test.folder
        ));
    } else if let Some(other) = usable.next() {
        remarks.push(format!(
            "the test split is `{}`; `{}` is not read, as validation images are carved from `{train}`",
            test.folder, other.folder
        ));
    } else if test.folder != "test" {
        remarks.push(format!("the test split is `{}`; validation images are carved from `{train}`", test.folder));
    }
    Ok(Some(test))
}

fn test_files(
    root: &Path,
    test: &TestFolder,
    classes: &[String],
    passed: &mut Passed,
    remarks: &mut Vec<String>,
) -> Result<Files> {
    let folder = &test.folder;
    if let Some(path) = &test.labels {
        let inner =
            if root.join(folder).join("images").is_dir() { format!("{folder}/images") } else { folder.to_owned() };
        let own = path.strip_prefix(root).unwrap_or(path).display().to_string();
        passed.read = Some(own.clone());
        let names = members(root, &inner, passed)?;
        let (labels, strangers) = labels::read(path, &names, classes)?;
        remarks.push(format!("the classes of the images in `{inner}` are those of `{own}`"));
        if strangers > 0 {
            remarks.push(format!("{strangers} lines of `{own}` are about no image in `{inner}`"));
        }
        let mut list = FileList::new(root);
        names.iter().for_each(|name| list.push(name));
        return Ok(Files { list, labels });
    }
    let there = entries(&root.join(folder))?;
    for class in &there.folders {
        ensure!(
            classes.contains(class),
            "{}: a class that `train` does not have ({}{})",
            root.join(folder).join(class).display(),
            classes.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", "),
            if classes.len() > 10 { ", ..." } else { "" }
        );
    }
    let mut by_class = Vec::new();
    for class in classes {
        let base = format!("{folder}/{class}");
        by_class.push(if there.folders.contains(class) { images(root, &base, passed)?.1 } else { vec![] });
    }
    ensure!(
        by_class.iter().any(|members| !members.is_empty()),
        "{}: no image in any of its folders",
        root.join(folder).display()
    );
    Ok(files(root, by_class))
}

fn files(root: &Path, by_class: Vec<Vec<String>>) -> Files {
    let mut files = Files { list: FileList::new(root), labels: vec![] };
    for (label, members) in by_class.iter().enumerate() {
        files.labels.extend(std::iter::repeat_n(label as u16, members.len()));
        members.iter().for_each(|name| files.list.push(name));
    }
    files
}

/// Paths, from `root`, of the images in its folder `base` or in `base/images`, sorted; at least one.
fn members(root: &Path, base: &str, passed: &mut Passed) -> Result<Vec<String>> {
    let (base, images) = images(root, base, passed)?;
    ensure!(
        !images.is_empty(),
        "{}: no image in it (no file that ends in {})",
        root.join(&base).display(),
        ENDINGS.map(|ending| format!(".{ending}")).join(", ")
    );
    Ok(images)
}

/// The same, of which there may be none, and the folder that they are in.
fn images(root: &Path, base: &str, passed: &mut Passed) -> Result<(String, Vec<String>)> {
    let mut base = base.to_owned();
    let entries = |base: &str, passed: &Passed| {
        let mut there = entries(&root.join(base))?;
        there.files.retain(|name| passed.read.as_ref().is_none_or(|read| *read != format!("{base}/{name}")));
        Ok::<_, anyhow::Error>(there)
    };
    let mut there = entries(&base, passed)?;
    if !there.files.iter().any(|name| is_image(name)) && there.folders.iter().any(|name| name == "images") {
        passed.add(there.files.len() + there.hidden, || {
            format!("{base}/{}", there.files.first().map_or(".*", |name| name))
        });
        base += "/images";
        there = entries(&base, passed)?;
    }
    let (images, others): (Vec<String>, Vec<String>) = there.files.into_iter().partition(|name| is_image(name));
    let other = others.first().or(there.folders.first()).map_or("hidden files", |name| name);
    passed.add(others.len() + there.folders.len() + there.hidden, || format!("{base}/{other}"));
    let images = images.into_iter().map(|name| format!("{base}/{name}")).collect();
    Ok((base, images))
}
