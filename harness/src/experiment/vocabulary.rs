//! The keys that conditions know, what values they have, and what a trial has under each.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use toml::{Table, Value};

use super::document::{Entry, find};
use super::keys::KEYS;
use super::resolve::short;
use crate::config::error::{Complaint, nearest};
use crate::config::field::{Field, Kind, NOT_NEGATIVE};
use crate::config::{BackboneConfig, DatasetConfig, Protocol, Recipe};
use crate::methods::{self, METHODS};

/// What a condition asks a trial for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A key of the file, dotted; options of methods as `method.OPTION`.
    Set(String),
    /// Parameters of the final network.
    Params,
    /// Its multiply-accumulates an image.
    Macs,
    /// The same as a share of vanilla's.
    MacsShare,
    /// The trial's seed.
    Seed,
}

impl Key {
    /// Whether the network has to be priced before the answer is known.
    pub fn is_price(&self) -> bool {
        matches!(self, Self::Params | Self::Macs | Self::MacsShare)
    }

    /// Whether the answer may differ from seed to seed.
    pub fn is_seed(&self) -> bool {
        *self == Self::Seed
    }
}

/// A key with the values that it takes.
#[derive(Clone, Debug)]
pub struct Name {
    /// Which it is.
    pub key: Key,
    /// One for a key, one per method for an option that several have.
    kinds: Vec<Kind>,
}

impl Name {
    /// Whether its values are more or less than each other.
    pub fn has_order(&self) -> bool {
        self.kinds.iter().any(Kind::is_number)
    }

    /// Whether it can ever have this value, its range aside.
    ///
    /// # Errors
    /// A value of another type; a text that is none of the key's.
    pub fn check(&self, shown: &str, value: &Value) -> Result<(), Complaint> {
        let fits = |kind: &Kind| match kind {
            Kind::Choice(_) => kind.accepts(value),
            _ if kind.is_number() && value.is_float() => true,
            _ => kind.has_type(value),
        };
        if self.kinds.iter().any(fits) {
            return Ok(());
        }
        let kind = self.kinds.first().copied().unwrap_or(Kind::Text);
        let complaint = Field { key: "", kind, meaning: "" }.check(shown, value);
        complaint.and(Err(Complaint::new(format!("`{shown}` never is this"), value.to_string(), kind.to_string())))
    }
}

/// The key that a word of a condition names: dotted, or as labels show it.
///
/// # Errors
/// A word that names none, or several.
pub fn resolve(word: &str) -> Result<Name, Complaint> {
    let known = &*KNOWN;
    if let Some((_, name)) = known.iter().find(|(dotted, _)| dotted == word) {
        return Ok(name.clone());
    }
    let fitting: Vec<&(String, Name)> = known.iter().filter(|(dotted, _)| short(dotted) == word).collect();
    match fitting[..] {
        [(_, name)] => Ok(name.clone()),
        [] => {
            let names = known.iter().flat_map(|(dotted, _)| [dotted.as_str(), short(dotted)]).collect::<Vec<_>>();
            let accepted = "keys such as method.depth or lr, and params, macs, macs_share, seed";
            let complaint =
                Complaint::new(format!("unknown key `{word}` in a condition"), format!("`{word}`"), accepted);
            Err(match nearest(word, &names) {
                Some(name) => complaint.help(format!("did you mean `{name}`?")),
                None => complaint,
            })
        }
        _ => {
            let names: Vec<&str> = fitting.iter().map(|(dotted, _)| dotted.as_str()).collect();
            Err(Complaint::new(format!("`{word}` may be several keys"), format!("`{word}`"), names.join(" or ")))
        }
    }
}

/// Every key under its dotted name.
static KNOWN: LazyLock<Vec<(String, Name)>> = LazyLock::new(|| {
    let derived = [("params", Key::Params), ("macs", Key::Macs), ("macs_share", Key::MacsShare), ("seed", Key::Seed)];
    let derived = derived.map(|(name, key)| (name.to_string(), Name { key, kinds: vec![NOT_NEGATIVE] }));
    let mut known = Vec::from(derived);
    let keys = KEYS.iter().filter(|field| field.key.contains('.') && !field.key.starts_with("run."));
    let options =
        METHODS.iter().flat_map(|method| method.options).map(|option| (format!("method.{}", option.key), option));
    for (dotted, field) in keys.map(|field| (field.key.to_string(), field)).chain(options) {
        match known.iter_mut().find(|(name, _)| *name == dotted) {
            Some((_, name)) => name.kinds.push(field.kind),
            None => known.push((dotted.clone(), Name { key: Key::Set(dotted), kinds: vec![field.kind] })),
        }
    }
    known
});

/// What a setting has under a key of the file: what was set, or the default.
pub fn value_of<'a>(entries: &'a [impl std::borrow::Borrow<Entry>], key: &str) -> Option<Cow<'a, Value>> {
    if let Some(entry) = find(entries, key) {
        return Some(Cow::Borrowed(&entry.value));
    }
    match key.strip_prefix("method.") {
        None => DEFAULTS.get(key).map(Cow::Borrowed),
        Some("name") => Some(Cow::Owned(Value::String("vanilla".into()))),
        Some(option) => {
            let name = find(entries, "method.name").and_then(|entry| entry.value.as_str()).unwrap_or("vanilla");
            OPTIONS.get(name).and_then(|defaults| defaults.get(option)).map(Cow::Borrowed)
        }
    }
}

static OPTIONS: LazyLock<HashMap<&str, Table>> =
    LazyLock::new(|| methods::all().iter().map(|method| (method.name, (method.defaults)())).collect());

static DEFAULTS: LazyLock<HashMap<&str, Value>> = LazyLock::new(|| {
    KEYS.iter()
        .filter_map(|field| Some((field.key, default_of(field.key)?)))
        .filter(|(key, _)| !key.ends_with(".name"))
        .collect()
});

/// The default of a key outside of methods, if it has one.
pub fn default_of(dotted: &str) -> Option<Value> {
    let name = || Table::from_iter([("name".to_string(), Value::String("cifar10".into()))]);
    let (section, rest) = dotted.split_once('.')?;
    let defaults = match section {
        "dataset" => Table::try_from(name().try_into::<DatasetConfig>().ok()?),
        "backbone" => Table::try_from(name().try_into::<BackboneConfig>().ok()?),
        "recipe" => Table::try_from(Recipe::default()),
        "protocol" => Table::try_from(Protocol::default()),
        _ => return None,
    };
    let value = Value::Table(defaults.ok()?);
    rest.split('.').try_fold(value, |value, part| value.get(part).cloned())
}
