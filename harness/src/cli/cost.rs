//! `harness cost`: exact cost per layer, counted from what methods write down, without training or data.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use conv_core::Depth;
use toml::Value;

use super::kernels;
use super::table::{Cell, Format, Table};
use crate::config::error::At;
use crate::config::schema::off_engine_remark;
use crate::experiment::price::{Price, price};
use crate::experiment::sweep::document::{Document, Entry};
use crate::experiment::sweep::overrides;
use crate::experiment::{Experiment, Trial, parse, read};
use crate::{backbones, data, methods};

const COLUMNS: &[&str] =
    &["layer", "params", "macs", "activations", "depth_requested", "depth", "vanilla_share", "remark", "trial"];

/// Exact cost per layer and in total, counted from what the method writes down: parameters (batch norms counted),
/// multiply-accumulates and activations for one image. `vanilla_share` compares a layer's MACs with the vanilla network's.
#[derive(Args, Debug)]
pub struct CostArgs {
    /// An experiment: the cost of each of its trials.
    #[arg(conflicts_with_all = ["backbone", "method", "dataset"])]
    file: Option<PathBuf>,
    /// A network, as `harness backbones` lists them.
    #[arg(long)]
    backbone: Option<String>,
    /// A method with options, such as compconv,depth=2, as `harness methods` lists them [default: vanilla].
    #[arg(long, value_name = "NAME[,OPTION=VALUE...]")]
    method: Option<String>,
    /// Sets image size and classes [default: imagenet for resnet18/34/50, else cifar10].
    #[arg(long)]
    dataset: Option<String>,
    /// Sets any key, e.g. --set method.c0=32 --set backbone.head=mlp.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Shows the layers that the engine runs, and which kernel does each pass of them: in training steps and inference of
    /// recipe.batch images, and in inference of a single one.
    #[arg(long)]
    layers: bool,
    /// How rows are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub fn list_costs(args: &CostArgs) -> anyhow::Result<String> {
    let document = match &args.file {
        Some(file) => read(file, &args.set)?,
        None => {
            let Some(backbone) = args.backbone.as_deref() else {
                bail!(
                    "cost of what?\n  accepted: an experiment FILE, or --backbone NAME (`harness backbones` lists them)"
                );
            };
            document("cost", backbone, args.method.as_deref(), args.dataset.as_deref(), &args.set)?
        }
    };
    let experiment = Experiment::from_document(&document)?;
    if args.layers {
        return kernels::table(&distinct(&experiment), args.format);
    }
    let mut table = Table::new(COLUMNS);
    let mut text = String::new();
    for trial in distinct(&experiment) {
        let price = price(&trial.config)?;
        if args.format == Format::Table {
            let mut own = Table::new(COLUMNS);
            push(&mut own, &price, "");
            let config = &trial.config;
            text += &format!(
                "{}{}, {}, {} ({} replaced)\n\n",
                if text.is_empty() { "" } else { "\n" },
                config.backbone.name,
                config.dataset.name,
                trial.label,
                trial.network.replaced
            );
            text += &own.render(args.format);
            if let Some(why) = config.recipe.off_engine().filter(|_| config.recipe.epochs > 0) {
                text += &format!("\nIt {}.\n", off_engine_remark(why));
            }
        } else {
            push(&mut table, &price, &trial.label);
        }
    }
    Ok(if args.format == Format::Table { text } else { table.render(args.format) })
}

/// The trials of an experiment, of those that differ in nothing but the seed, which changes no cost, the first.
fn distinct(experiment: &Experiment) -> Vec<&Trial> {
    let mut distinct: Vec<&Trial> = Vec::new();
    for trial in &experiment.trials {
        if !distinct.iter().any(|known| known.label == trial.label) {
            distinct.push(trial);
        }
    }
    distinct
}

fn push(table: &mut Table, price: &Price, label: &str) {
    for layer in &price.layers {
        table.push(vec![
            Cell::text(&layer.name),
            Cell::Count(layer.cost.params),
            Cell::Count(layer.cost.macs),
            Cell::Count(layer.cost.activations),
            Cell::count(layer.depth.map(|Depth { requested, .. }| requested)),
            Cell::count(layer.depth.map(|Depth { effective, .. }| effective)),
            Cell::share(layer.cost.macs, layer.vanilla.macs),
            Cell::text(layer.remarks.join("; ")),
            Cell::text(label),
        ]);
    }
    table.push(vec![
        Cell::text("total"),
        Cell::Count(price.total.params),
        Cell::Count(price.total.macs),
        Cell::Count(price.total.activations),
        Cell::Empty,
        Cell::Empty,
        Cell::share(price.total.macs, price.vanilla.macs),
        Cell::Empty,
        Cell::text(label),
    ]);
}

/// The experiment that options describe; a method is `NAME,OPTION=VALUE,...`.
pub(super) fn document(
    name: &str,
    backbone: &str,
    method: Option<&str>,
    dataset: Option<&str>,
    set: impl IntoIterator<Item = impl AsRef<str>>,
) -> anyhow::Result<Document> {
    // An unknown backbone is reported when the document is resolved.
    let dataset = dataset.unwrap_or(backbones::find(backbone).map_or(data::DATASETS[0].name, |info| info.dataset));
    let entry = |key: &str, option: &str, value: &str| Entry {
        key: key.into(),
        value: Value::String(value.into()),
        at: At::Option(format!("--{option} {value}")),
    };
    // One network is asked for, and nothing that it would be compared with.
    let mut document = parse("the command line", &format!("name = \"{name}\"\nprotocol.controls = []"))?;
    document.base.push(entry("dataset.name", "dataset", dataset));
    document.base.push(entry("backbone.name", "backbone", backbone));
    let method = method.unwrap_or(methods::reference());
    let (name, options) = options(method);
    document.base.push(entry("method.name", "method", name));
    for option in options {
        overrides::apply_at(&mut document, &format!("method.{option}"), At::Option(format!("--method {method}")))?;
    }
    for assignment in set {
        overrides::apply(&mut document, assignment.as_ref())?;
    }
    Ok(document)
}

/// `NAME,OPTION=VALUE,...` taken apart; a comma without an assignment behind it belongs to a list.
fn options(method: &str) -> (&str, Vec<String>) {
    let mut parts = method.split(',');
    let name = parts.next().unwrap_or_default();
    let mut options: Vec<String> = Vec::new();
    for part in parts {
        match options.last_mut() {
            Some(list) if !part.contains('=') => *list = format!("{list},{part}"),
            _ => options.push(part.to_owned()),
        }
    }
    (name, options)
}

#[cfg(test)]
mod tests {
    use super::options;

    #[test]
    fn lists_keep_their_commas() {
        for (spec, name, expected) in [
            ("vanilla", "vanilla", &[][..]),
            ("compconv,depth=2,tail=full", "compconv", &["depth=2", "tail=full"]),
            ("pruned,ratio=[[0.6,0.3,0.1]],skip=[2,3]", "pruned", &["ratio=[[0.6,0.3,0.1]]", "skip=[2,3]"]),
            ("compconv,depth", "compconv", &["depth"]),
        ] {
            let (found, options) = options(spec);
            assert_eq!((found, &options[..]), (name, &expected.iter().map(|o| o.to_string()).collect::<Vec<_>>()[..]));
        }
    }
}
