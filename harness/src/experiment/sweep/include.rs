//! Files on disk -> [`Document`]: `include = "base.toml"`, relative to the file that says so.
//!
//! What an included file sets is the default that the including one's keys replace; one that names another method takes none
//! of the options. Blocks of included files come first, and conditions of every file hold for all of them.

use std::path::{Path, PathBuf};

use super::axes::overlay;
use super::document::{Document, IncludedFile};
use super::keys::Keys;
use super::overrides;
use crate::config::error::{At, Complaint, ExperimentError};

/// More files are a slip.
const MOST: usize = 100;

/// Reads a file with all that it includes, and applies `KEY=VALUE`s to it.
///
/// # Errors
/// Files that cannot be read or are no TOML; unknown keys; files that include each other in a circle.
pub fn read(keys: &'static Keys, path: &Path, overrides: &[String]) -> Result<Document, ExperimentError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let complaint = Complaint::new(format!("cannot be read: {error}"), "", "an experiment in TOML")
            .help("`harness init PATH` writes one");
        ExperimentError { file: file.clone(), at: At::File, source_line: None, complaint: Box::new(complaint) }
    })?;
    let mut document = Document::parse(keys, &file, &text)?;
    follow(&mut document, path, &mut vec![real(path)], &mut 0)?;
    for assignment in overrides {
        overrides::apply(&mut document, assignment)?;
    }
    Ok(document)
}

/// Takes in what the document at `path` includes; `open`: the files whose inclusion led here.
fn follow(
    document: &mut Document,
    path: &Path,
    open: &mut Vec<PathBuf>,
    count: &mut usize,
) -> Result<(), ExperimentError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    // The last one first: each goes below what is there already.
    for entry in std::mem::take(&mut document.include).iter().rev() {
        let name = entry.value.as_str().unwrap_or_default();
        let path = folder.join(name);
        let fail = |what: String, accepted: &str| Err(document.error(&entry.at, Complaint::new(what, name, accepted)));
        *count += 1;
        if *count > MOST {
            return fail("too many files are included".into(), &format!("at most {MOST}"));
        }
        if open.contains(&real(&path)) {
            let circle = "files that include each other in no circle";
            return fail(format!("{} is included by itself", path.display()), circle);
        }
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("{} cannot be included: {error}", path.display());
                return fail(what, "a path relative to this file");
            }
        };
        let mut below = Document::parse(document.keys, &path.display().to_string(), &text)?;
        open.push(real(&path));
        follow(&mut below, &path, open, count)?;
        open.pop();
        document.build_on(below);
    }
    Ok(())
}

/// The same for every way to write the path; a file that is not there has none.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

impl Document {
    /// Puts another document below this one.
    fn build_on(&mut self, mut below: Self) {
        // Its files come behind those that are there, itself first.
        let first = self.included.len();
        for at in below.places_mut() {
            match at {
                At::Line(line) => *at = At::Included { file: first, line: *line },
                At::Included { file, .. } => *file += first + 1,
                At::Option(_) | At::File => {}
            }
        }
        self.included.push(IncludedFile { file: below.file, text: below.text });
        self.included.append(&mut below.included);
        overlay(&mut below.base, std::mem::take(&mut self.base));
        self.base = below.base;
        overlay(&mut below.search, std::mem::take(&mut self.search));
        self.search = below.search;
        prepend(&mut self.conditions, below.conditions);
        prepend(&mut self.blocks, below.blocks);
        prepend(&mut self.layers, below.layers);
    }
}

fn prepend<T>(there: &mut Vec<T>, mut first: Vec<T>) {
    first.append(there);
    *there = first;
}

#[cfg(test)]
mod tests {
    use super::super::{Sweep, sample};
    use super::*;

    const BASE: &str = "name = 'base'\nexclude = 'lr = 0.3'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n\
        [method]\nname = 'compconv'\ndepth = 2\n[recipe]\nlr = 0.2\nepochs = 7\n[[grid]]\nrecipe.batch = [8, 16]\n";

    /// Files in a folder of their own; the first is read.
    fn read_files(files: &[(&str, &str)], sets: &[&str]) -> (tempfile::TempDir, Result<Document, ExperimentError>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let document = read(sample::keys(), &folder.path().join(files[0].0), &sets);
        (folder, document)
    }

    fn refused(files: &[(&str, &str)], sets: &[&str]) -> String {
        let (folder, document) = read_files(files, sets);
        let error = document.and_then(|document| Sweep::new(&document).map(drop));
        error.unwrap_err().to_string().replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn another_method_takes_none_of_the_options_and_later_files_win() {
        let own = "include = ['base.toml', 'more.toml']\n[method]\nname = 'ghost'";
        let more = "include = 'deep.toml'\n[recipe]\nlr = 0.7";
        let files = [("own.toml", own), ("base.toml", BASE), ("more.toml", more), ("deep.toml", "recipe.gamma = 0.5")];
        let document = read_files(&files, &[]).1.unwrap();
        assert!(document.get("method.depth").is_none() && document.base_method() == Some("ghost"));
        let value = |key| document.get(key).unwrap().value.to_string();
        assert_eq!([value("recipe.lr"), value("recipe.gamma"), value("recipe.epochs")], ["0.7", "0.5", "7"]);
        assert!(document.place(&document.get("recipe.gamma").unwrap().at).ends_with("deep.toml:1"));
        assert!(document.place(&document.blocks[0].at).ends_with("base.toml:13"));
    }

    #[test]
    fn errors_name_the_file_they_are_in() {
        let own = "include = 'base.toml'\nname = 'own'";
        let error = refused(&[("own.toml", own), ("base.toml", &BASE.replace("lr = 0.2", "lr = 0"))], &[]);
        assert!(error.starts_with("base.toml:11: `recipe.lr` is out of range\n    11 | lr = 0"), "{error}");
        let error = refused(&[("own.toml", own), ("base.toml", &BASE.replace("lr = 0.2", "rl = 0.2"))], &[]);
        assert!(error.starts_with("base.toml:11: unknown key `recipe.rl`"), "{error}");
        let error = refused(&[("own.toml", own), ("base.toml", &BASE.replace("lr = 0.3", "dept = 3"))], &[]);
        assert!(error.starts_with("base.toml:2: `exclude`: unknown key `dept`"), "{error}");
        let error = refused(&[("own.toml", own), ("base.toml", BASE)], &["recipe.lr=0"]);
        assert!(error.starts_with("--set recipe.lr=0: "), "{error}");
    }

    #[test]
    fn missing_files_and_circles_are_refused_where_they_are_included() {
        let error = refused(&[("own.toml", "name = 'own'\ninclude = 'bse.toml'")], &[]);
        assert!(error.starts_with("own.toml:2: bse.toml cannot be included"), "{error}");
        let files = [("a.toml", "include = 'b.toml'"), ("b.toml", "\ninclude = 'sub/../a.toml'"), ("sub/c.toml", "")];
        let error = refused(&files, &[]);
        assert!(error.starts_with("b.toml:2: sub/../a.toml is included by itself"), "{error}");
        // Not a circle, but two to the power of its depth.
        let texts: Vec<String> = (0..30).map(|i| format!("include = ['{0}.toml', '{0}.toml']", i + 1)).collect();
        let names: Vec<String> = (0..30).map(|i| format!("{i}.toml")).collect();
        let mut files: Vec<(&str, &str)> =
            names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
        files.push(("30.toml", ""));
        assert!(refused(&files, &[]).contains("too many files"));
    }
}
