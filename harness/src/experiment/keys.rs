//! Every key of an experiment file but the methods' own options (those are in [`crate::methods`]). The keys of a section are
//! those of its table of options; what is added here is which names there are.

use std::sync::LazyLock;

use conv_core::options::Described;
use toml::Value;

pub use super::run_settings::MOST_THREADS;
use super::run_settings::RunSettings;
use super::sweep::Keys;
use super::sweep::keys::MethodKeys;
use super::tuning::TuneSettings;
use crate::config::field::Kind::{Choice, Text};
use crate::config::{BackboneConfig, BudgetConfig, DatasetConfig, Field, InitConfig, Kind, Protocol, Recipe};
use crate::{backbones, data, methods};

/// All keys, by section.
pub static KEYS: LazyLock<Vec<Field>> = LazyLock::new(|| {
    let key = Field::new;
    let top = [
        key("name", Text, "Names the folder of the results, reports/NAME: letters, digits, `-`, `_` and `.`."),
        key("title", Text, "Heads the report."),
        key("description", Text, "Opens the report."),
    ];
    let method =
        [key("method.name", Choice(methods::names), "What makes the convolutions; its options stand beside it.")];
    let network = [section::<DatasetConfig>(), section::<BackboneConfig>(), method.into()].concat();
    let training = [section::<Recipe>(), section::<Protocol>(), section::<RunSettings>()].concat();
    let solved = [section::<BudgetConfig>(), section::<TuneSettings>(), section::<InitConfig>()].concat();
    let mut keys = [&top[..], &network, &training, &solved].concat();
    for field in &mut keys {
        match field.key {
            "dataset.name" => field.kind = Choice(|| data::DATASETS.iter().map(|info| info.name).collect()),
            "backbone.name" => field.kind = Choice(|| backbones::all().map(|info| info.name).collect()),
            _ => {}
        }
    }
    keys
});

/// Keys of a `[[layer]]` block, beside its method's options.
pub static LAYER_KEYS: &[Field] = &[
    Field::new("match", Text, "A layer's name as `harness cost` prints it; `*` stands for any run of characters."),
    Field::new("method.name", Choice(methods::names), "The method there, whatever backbone.replace says."),
];

/// The keys in the form in which the language of sweeps takes them.
pub fn keys() -> &'static Keys {
    static WHOLE: LazyLock<Keys> = LazyLock::new(|| {
        let method = |info: &methods::MethodInfo| MethodKeys {
            name: info.name,
            options: info.options,
            defaults: (info.defaults)(),
        };
        let defaults = defaults();
        let default_of = |dotted: &str| dotted.split('.').try_fold(&defaults, |value, part| value.get(part)).cloned();
        Keys::new(&KEYS, LAYER_KEYS, methods::all().iter().map(method).collect(), default_of)
    });
    &WHOLE
}

/// The keys of a section, dotted.
fn section<T: Described>() -> Vec<Field> {
    dotted(T::NAME, T::OPTIONS)
}

fn dotted(section: &str, fields: &[Field]) -> Vec<Field> {
    let field = |field: &Field| {
        let key = format!("{section}.{}", field.key);
        match field.kind {
            Kind::Table(inner) => dotted(&key, inner),
            // Keys live as long as the program, as those of the tables do.
            _ => vec![Field { key: key.leak(), ..*field }],
        }
    };
    fields.iter().flat_map(field).collect()
}

/// The sections as they are where nothing is set.
fn defaults() -> Value {
    fn of<T: Described>() -> (String, Value) {
        (T::NAME.to_owned(), Value::try_from(T::default()).expect("a table of options has a TOML form"))
    }
    let network = [of::<DatasetConfig>(), of::<BackboneConfig>()];
    let training = [of::<Recipe>(), of::<Protocol>(), of::<RunSettings>()];
    let solved = [of::<BudgetConfig>(), of::<TuneSettings>(), of::<InitConfig>()];
    Value::Table(network.into_iter().chain(training).chain(solved).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Replace;
    use crate::config::field::literal;

    /// What a key's line says is all there is to say of it, so it has to say it in full.
    fn check_table<T: Described>() {
        let default = T::default();
        for (field, value) in T::OPTIONS.iter().zip(default.values()) {
            let key = format!("{}.{}", T::NAME, field.key);
            assert!(field.meaning.ends_with('.'), "{key} has a meaning in plain words: {}", field.meaning);
            if let Kind::Table(_) = field.kind {
                continue;
            }
            let known = keys().lookup(&key, &[]).unwrap_or_else(|error| panic!("{error}"));
            if field.key == "name" {
                assert!(matches!(known.kind, Choice(_)), "{key} is one of a registry's names");
            } else if value == conv_core::options::Literal::Absent {
                assert_eq!(keys().default_of(&key), None);
            } else {
                assert!(field.kind.accepts(&value), "{key} accepts its default {value}");
                assert_eq!(keys().default_of(&key).map(literal), Some(value), "{key}");
            }
        }
        default
            .check_options()
            .map_err(|error| error.to_string())
            .or_else(|error| {
                // A name is asked for, and has no default.
                if error.contains("name = ") { Ok(()) } else { Err(error) }
            })
            .unwrap();
    }

    #[test]
    fn every_key_of_a_section_has_a_meaning_and_a_default_that_it_accepts() {
        check_table::<DatasetConfig>();
        check_table::<BackboneConfig>();
        check_table::<Replace>();
        check_table::<Recipe>();
        check_table::<Protocol>();
        check_table::<RunSettings>();
        check_table::<BudgetConfig>();
        check_table::<TuneSettings>();
        check_table::<InitConfig>();
        let sections = ["dataset", "backbone", "method", "recipe", "protocol", "run", "budget", "tune", "init"];
        assert_eq!(keys().sections[..sections.len()], sections);
    }
}
