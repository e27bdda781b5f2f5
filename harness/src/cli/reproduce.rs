//! `harness reproduce`: a published table made again, beside what was printed.

use std::fs;

use anyhow::{Context, bail};
use clap::Args;

use super::Reply;
use super::run::{HowArgs, train_file};
use super::table::{Cell, Format, Table};
use crate::config::error::Complaint;
use crate::report::published::reproductions;

/// Train the rows of a published table, and report them beside what was printed: published, ours, difference, agreement
///
/// Every row that there is a method for, under one recipe; short by default (20 epochs), which the report says: --set
/// recipe.epochs=200 is the papers' length. Both readings are made where a paper does not say which convolutions it replaces.
/// Without a name: the tables there are.
#[derive(Args, Debug)]
pub struct ReproduceArgs {
    /// A table, e.g. ghost-resnet56.
    name: Option<String>,
    /// Print the experiment, and train nothing.
    #[arg(long, requires = "name")]
    print: bool,
    #[command(flatten)]
    how: HowArgs,
}

/// Runs the command.
pub fn reproduce(args: &ReproduceArgs) -> anyhow::Result<Reply> {
    let all = reproductions();
    let Some(name) = &args.name else {
        let mut table = Table::new(&["table", "rows here", "rows", "trained", "source"]);
        for reproduction in &all {
            let (here, rows) = reproduction.counts();
            table.push(vec![
                Cell::text(reproduction.name()),
                Cell::count(Some(here)),
                Cell::count(Some(rows)),
                Cell::text(if reproduction.is_trained() { "yes" } else { "counted" }),
                Cell::text(reproduction.source()),
            ]);
        }
        return Ok(table.render(Format::Table).into());
    };
    let Some(reproduction) = all.iter().find(|reproduction| reproduction.name() == *name) else {
        let names: Vec<String> = all.iter().map(|reproduction| reproduction.name()).collect();
        bail!("{}", Complaint::unknown("table", name, &names.iter().map(String::as_str).collect::<Vec<_>>()));
    };
    let text = reproduction.experiment()?;
    if args.print {
        return Ok(text.into());
    }
    // The run folder keeps the experiment, so that this file is needed only until it is read.
    let dir = tempfile::tempdir().context("a place for the experiment")?;
    let file = dir.path().join(format!("published_{name}.toml"));
    fs::write(&file, text).with_context(|| format!("{}: cannot be written", file.display()))?;
    train_file(&file, &args.how)
}
