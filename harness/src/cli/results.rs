//! `harness results`: whether a run folder is as it was written, and what its columns mean.

use std::path::{Path, PathBuf};

use super::Reply;
use super::table::{Cell, Format, Table};
use crate::files::shell_word;
use crate::results::dictionary;
use crate::results::verify::{Findings, verify};
use crate::results::{RunFolder, write_events};

/// Runs the command. Damage is no error of the command, but its exit code is 1.
pub fn check(folder: &Path) -> anyhow::Result<Reply> {
    let Findings { sound, open, damaged } = verify(&RunFolder::open(folder)?)?;
    let mut text: String = damaged.iter().map(|damage| format!("damaged: {damage}\n")).collect();
    text += &format!("{}: {sound} finished trials are sound, {open} are open, ", folder.display());
    text += &match damaged.len() {
        0 => "nothing is damaged\n".to_owned(),
        1 => "1 file is damaged\n".to_owned(),
        n => format!("{n} files are damaged\n"),
    };
    if !damaged.is_empty() {
        text += "running the experiment again makes damaged trials anew and keeps the damaged files aside;\n\
                 weights alone are made anew once their trial's folder is removed; `harness report` writes the report anew\n";
    }
    Ok(Reply { text, code: u8::from(!damaged.is_empty()) })
}

/// Writes events for TensorBoard; the folder that it is to be given.
pub fn tensorboard(folder: &Path, output: Option<PathBuf>) -> anyhow::Result<String> {
    let to = output.unwrap_or_else(|| folder.join("tensorboard"));
    let trials = write_events(&RunFolder::open(folder)?, &to)?;
    say!("{trials} trials; show them with: tensorboard --logdir {}", shell_word(&to));
    Ok(format!("{}\n", to.display()))
}

/// Every column of every file, with its meaning.
pub fn columns(format: Format) -> String {
    let mut table = Table::new(&["file", "column", "meaning"]);
    for (file, column, meaning) in dictionary::columns() {
        table.push(vec![Cell::text(file), Cell::text(column), Cell::text(meaning)]);
    }
    table.render(format)
}
