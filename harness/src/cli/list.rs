//! `harness methods | datasets | backbones`: what there is, with every option, its default and meaning.

use anyhow::bail;
use toml::Value;

use super::table::{Cell, Format, Table};
use crate::config::Complaint;
use crate::experiment::keys::{KEYS, keys};
use crate::{backbones, data, methods};

/// Every method with its options, or the one of this name.
///
/// # Errors
/// A name that no method has.
pub fn methods(name: Option<&str>, format: Format) -> anyhow::Result<String> {
    const COLUMNS: &[&str] = &["method", "option", "default", "accepted", "meaning"];
    let options = |method: &methods::MethodInfo, name: Cell, table: &mut Table| {
        let defaults = (method.defaults)();
        for field in method.options {
            table.push(vec![
                name.clone(),
                Cell::text(field.key),
                Cell::text(defaults.get(field.key).map_or("-".into(), Value::to_string)),
                Cell::text(field.kind.to_string()),
                Cell::text(match method.knobs.contains(&field.key) {
                    true => format!("{} A knob: what [budget] solves for.", field.meaning),
                    false => field.meaning.to_owned(),
                }),
            ]);
        }
    };
    let shown: Vec<_> = methods::all().iter().filter(|method| name.is_none_or(|name| name == method.name)).collect();
    if let (Some(name), []) = (name, &shown[..]) {
        let names: Vec<&str> = methods::all().iter().map(|method| method.name).collect();
        bail!("{}", Complaint::unknown("method", name, &names));
    }
    if format != Format::Table {
        let mut table = Table::new(COLUMNS);
        for method in shown {
            let summary = Cell::text(method.about);
            table.push(vec![Cell::text(method.name), Cell::Empty, Cell::Empty, Cell::Empty, summary]);
            options(method, Cell::text(method.name), &mut table);
        }
        return Ok(table.render(format));
    }
    let mut text = String::new();
    for method in shown {
        text += &format!("{}: {}\n", method.name, method.about);
        if !method.options.is_empty() {
            let mut table = Table::new(COLUMNS);
            options(method, Cell::Empty, &mut table);
            table.render(format).lines().for_each(|line| text += &format!("  {line}\n"));
        }
        text += "\n";
    }
    Ok(text + "Set as method.OPTION beside method.name, in [method] or a [[grid]].\n")
}

/// Every backbone, and the keys of `[backbone]`.
pub fn backbones(format: Format) -> String {
    let names = backbones::all().map(|info| (info.name.to_string(), info.about.to_string()));
    named(&["backbone", "key", "default", "accepted", "meaning"], names.collect(), "backbone.", format)
}

/// Every data set, and the keys of `[dataset]`.
pub fn datasets(format: Format) -> String {
    let describe = |info: &data::DatasetInfo| {
        let size = info.geometry.map_or("any size".into(), |geometry| {
            let ((channels, height, width), classes) = (geometry.shape, geometry.classes);
            format!("{channels} x {height} x {width}, {classes} classes")
        });
        let Some(reader) = info.reader else {
            let meaning = format!("{}: {size}; for plan and cost only, there is no loader", info.title);
            return (info.name.to_string(), meaning);
        };
        let images = reader.images.map_or(String::new(), |(train, test)| format!("; {train} + {test} images"));
        let download = if reader.remote.is_some() { "; can be downloaded" } else { "" };
        (info.name.to_string(), format!("{}: {size}{images}; {}{download}", info.title, reader.formats))
    };
    let names = data::DATASETS.iter().map(describe);
    let text = named(&["dataset", "key", "default", "accepted", "meaning"], names.collect(), "dataset.", format);
    match format {
        Format::Table => text + "\nHARNESS_DATA names a folder of data sets that is looked at first.\n",
        _ => text,
    }
}

/// Names with what they mean, and the keys of their section: for people as two tables.
fn named(columns: &'static [&'static str], names: Vec<(String, String)>, section: &str, format: Format) -> String {
    let mut table = Table::new(columns);
    for (name, meaning) in names {
        table.push(vec![Cell::Text(name), Cell::Empty, Cell::Empty, Cell::Empty, Cell::Text(meaning)]);
    }
    let mut text = String::new();
    if format == Format::Table {
        text = table.render(format) + "\n";
        table = Table::new(columns);
    }
    for field in KEYS.iter().filter(|field| field.key.starts_with(section) && !field.key.ends_with(".name")) {
        table.push(vec![
            Cell::Empty,
            Cell::text(field.key),
            Cell::text(keys().default_of(field.key).map_or("-".into(), |value| value.to_string())),
            Cell::text(field.kind.to_string()),
            Cell::text(field.meaning),
        ]);
    }
    text + &table.render(format)
}
