//! `harness init`: a first experiment.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, bail};

use crate::files::shell_word;

/// The file it writes.
const TEMPLATE: &str = include_str!("init.toml");

/// Writes the template; never over something that is there.
pub fn write(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(TEMPLATE.as_bytes()).with_context(|| format!("{shown} cannot be written"))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!(
                "{shown} exists already and is left as it is\n  accepted: a path where nothing is: `harness init PATH`"
            )
        }
        Err(error) => return Err(error).with_context(|| format!("{shown} cannot be written")),
    }
    let word = shell_word(path);
    Ok(format!("wrote {shown}; `harness plan {word}` shows what it asks for, `harness {word}` trains it\n"))
}
