//! What lies in a folder, and which of its files are taken for images.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Endings of the files that are taken for images; what they hold decides what they are.
pub const ENDINGS: [&str; 11] = ["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "tif", "tiff", "gif"];

/// What is in a folder.
#[derive(Default)]
pub struct Entries {
    pub folders: Vec<String>,
    pub files: Vec<String>,
    pub hidden: usize,
}

/// Whether a file is taken for an image by its name.
pub fn is_image(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// What is in a folder, sorted; links are followed.
pub fn entries(folder: &Path) -> Result<Entries> {
    let listed = || format!("{}: cannot be listed", folder.display());
    let mut entries = Entries::default();
    for entry in fs::read_dir(folder).with_context(listed)? {
        let entry = entry.with_context(listed)?;
        let Ok(name) = entry.file_name().into_string() else {
            bail!("{}: a name that is no UTF-8", entry.path().display())
        };
        let kind = entry.file_type().with_context(listed)?;
        let is_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
        match () {
            () if name.starts_with('.') => entries.hidden += usize::from(!is_folder),
            () if is_folder => entries.folders.push(name),
            () => entries.files.push(name),
        }
    }
    entries.folders.sort();
    entries.files.sort();
    Ok(entries)
}
