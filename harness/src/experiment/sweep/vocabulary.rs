//! The words of conditions: keys of a file, what is computed of a trial, and the values that each has.

use toml::Value;

use super::keys::{Keys, MethodKeys};
use crate::config::error::nearest;
use crate::config::field::NOT_NEGATIVE;
use crate::config::{Complaint, Field, Kind};

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
pub fn resolve(keys: &Keys, word: &str) -> Result<Name, Complaint> {
    let known = &keys.names;
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

/// Every key that conditions know, under its dotted name.
pub(super) fn names(fields: &'static [Field], methods: &[MethodKeys]) -> Vec<(String, Name)> {
    let derived = [("params", Key::Params), ("macs", Key::Macs), ("macs_share", Key::MacsShare), ("seed", Key::Seed)];
    let derived = derived.map(|(name, key)| (name.to_string(), Name { key, kinds: vec![NOT_NEGATIVE] }));
    let mut known = Vec::from(derived);
    let fields = fields.iter().filter(|field| field.key.contains('.') && !field.key.starts_with("run."));
    let options = methods.iter().flat_map(|method| method.options);
    let options = options.map(|option| (format!("method.{}", option.key), option));
    for (dotted, field) in fields.map(|field| (field.key.to_string(), field)).chain(options) {
        match known.iter_mut().find(|(name, _)| *name == dotted) {
            Some((_, name)) => name.kinds.push(field.kind),
            None => known.push((dotted.clone(), Name { key: Key::Set(dotted), kinds: vec![field.kind] })),
        }
    }
    known
}

/// A key as labels show it: `recipe.lr` as `lr`, `backbone.name` as `backbone`.
pub fn short(key: &str) -> &str {
    match key.strip_suffix(".name") {
        Some(section) => section,
        None => key.rsplit('.').next().unwrap_or(key),
    }
}
