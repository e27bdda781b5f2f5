//! `harness methods | datasets | backbones`: what there is, with every option, its default and meaning.

use toml::{Table as Toml, Value};

use super::table::{Cell, Format, Table};
use crate::experiment::keys::KEYS;
use crate::experiment::{BackboneConfig, DatasetConfig, Protocol, Recipe};
use crate::{backbones, data, methods};

/// Every method with its options.
pub fn methods(format: Format) -> String {
    let mut table = Table::new(&["method", "option", "default", "accepted", "meaning"]);
    for method in methods::all() {
        table.push(vec![Cell::text(method.name), Cell::Empty, Cell::Empty, Cell::Empty, Cell::text(method.summary)]);
        let defaults = (method.defaults)();
        for field in method.options {
            let default = defaults.get(field.key).map_or("-".into(), Value::to_string);
            table.push(vec![
                if format == Format::Table { Cell::Empty } else { Cell::text(method.name) },
                Cell::text(field.key),
                Cell::text(default),
                Cell::text(field.kind.to_string()),
                Cell::text(field.meaning),
            ]);
        }
    }
    table.render(format) + footer(format, "Set as method.OPTION beside method.name, in [method] or a [[grid]].")
}

/// Every backbone, and the keys of `[backbone]`.
pub fn backbones(format: Format) -> String {
    let mut table = Table::new(&["backbone", "key", "default", "accepted", "meaning"]);
    for (name, summary) in backbones::names() {
        table.push(vec![Cell::text(*name), Cell::Empty, Cell::Empty, Cell::Empty, Cell::text(*summary)]);
    }
    push_keys(&mut table, "backbone.");
    table.render(format)
}

/// Every data set, and the keys of `[dataset]`.
pub fn datasets(format: Format) -> String {
    let mut table = Table::new(&["dataset", "key", "default", "accepted", "meaning"]);
    for info in data::describe_all() {
        let size = info.geometry.map_or("any size".into(), |geometry| {
            let ((channels, height, width), classes) = (geometry.shape, geometry.classes);
            format!("{channels} x {height} x {width}, {classes} classes")
        });
        let images = info.images.map_or(String::new(), |(train, test)| format!("; {train} + {test} images"));
        let download = if info.remote.is_some() { "; can be downloaded" } else { "" };
        let meaning = format!("{}: {size}{images}; {}{download}", info.title, info.formats);
        table.push(vec![Cell::text(info.name), Cell::Empty, Cell::Empty, Cell::Empty, Cell::text(meaning)]);
    }
    let meaning = "3 x 224 x 224, 1000 classes: for plan and cost only, there is no loader";
    table.push(vec![Cell::text("imagenet"), Cell::Empty, Cell::Empty, Cell::Empty, Cell::text(meaning)]);
    push_keys(&mut table, "dataset.");
    table.render(format) + footer(format, "HARNESS_DATA names a folder of data sets that is looked at first.")
}

fn footer(format: Format, text: &str) -> &str {
    if format == Format::Table { text } else { "" }
}

fn push_keys(table: &mut Table, section: &str) {
    for field in KEYS.iter().filter(|field| field.key.starts_with(section) && !field.key.ends_with(".name")) {
        let default = default_of(field.key).map_or("-".into(), |value| value.to_string());
        table.push(vec![
            Cell::Empty,
            Cell::text(field.key),
            Cell::text(default),
            Cell::text(field.kind.to_string()),
            Cell::text(field.meaning),
        ]);
    }
}

/// The default of a key outside of methods, if it has one.
fn default_of(dotted: &str) -> Option<Value> {
    let name = || Toml::from_iter([("name".to_string(), Value::String("cifar10".into()))]);
    let (section, rest) = dotted.split_once('.')?;
    let defaults = match section {
        "dataset" => Toml::try_from(name().try_into::<DatasetConfig>().ok()?),
        "backbone" => Toml::try_from(name().try_into::<BackboneConfig>().ok()?),
        "recipe" => Toml::try_from(Recipe::default()),
        "protocol" => Toml::try_from(Protocol::default()),
        _ => return None,
    };
    let value = Value::Table(defaults.ok()?);
    rest.split('.').try_fold(value, |value, part| value.get(part).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_structs_agree() {
        // A key that no struct reads, or a field that no key checks, would go unnoticed otherwise.
        let keys: Vec<&str> = KEYS.iter().map(|field| field.key).filter(|key| key.contains('.')).collect();
        for key in keys.iter().filter(|key| !key.starts_with("method.") && !key.starts_with("run.")) {
            let default = default_of(key).unwrap_or_else(|| panic!("{key} has no default"));
            let field = KEYS.iter().find(|field| field.key == *key).unwrap();
            if !key.ends_with(".name") {
                assert!(field.kind.accepts(&default), "{key} accepts its default {default}");
            }
        }
        for (section, table) in [
            ("recipe", Toml::try_from(Recipe::default()).unwrap()),
            ("protocol", Toml::try_from(Protocol::default()).unwrap()),
        ] {
            for field in table.keys() {
                assert!(keys.contains(&format!("{section}.{field}").as_str()), "{section}.{field} is no key");
            }
        }
    }
}
