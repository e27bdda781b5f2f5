//! The keys that a file may set. The language is literal them and knows only two things of their meaning: `method.name` names
//! a method, and `method.OPTION` is an option of the methods that have it.

use std::collections::HashMap;

use toml::{Table, Value};

use crate::config::field::{Check, NOT_NEGATIVE, literal};
use crate::config::{Complaint, Field, Kind};

/// The blocks that make settings, each any number of times.
pub const BLOCKS: [&str; 4] = ["grid", "zip", "list", "draw"];

/// Sections that are about the experiment as a whole: settings do not differ in them, and no condition asks for them.
const WHOLE: [&str; 2] = ["run", TUNE];
/// The section whose keys with a section of their own are keys to be searched: `tune.recipe.lr`.
const TUNE: &str = "tune";

/// Whether settings may differ in a key.
pub fn varies(key: &str) -> bool {
    key.split_once('.').is_some_and(|(section, _)| !WHOLE.contains(&section))
}

/// The key that is to be searched: `recipe.lr` of `tune.recipe.lr`.
pub fn searched(key: &str) -> Option<&str> {
    key.strip_prefix(TUNE)?.strip_prefix('.').filter(|rest| rest.contains('.'))
}

/// A method as files see it.
#[derive(Clone, Debug)]
pub struct MethodKeys {
    /// The value of `method.name`.
    pub name: &'static str,
    /// Its options, by their bare names.
    pub options: &'static [Field],
    /// The options' defaults; an option that has none is absent.
    pub defaults: Table,
}

/// Every key that a file may set.
#[derive(Debug)]
pub struct Keys {
    /// Keys outside of the methods' options, dotted, section by section.
    pub fields: &'static [Field],
    /// Keys of a `[[layer]]` block, beside the options of its method.
    pub layer_fields: &'static [Field],
    /// Tables of a file: those of `fields`, the blocks, and `layer`.
    pub sections: Vec<&'static str>,
    methods: Vec<MethodKeys>,
    defaults: HashMap<&'static str, Value>,
    pub(super) names: Vec<(String, TypedKey)>,
}

impl Keys {
    /// The first of `methods` makes what names none; `default_of` gives the value of a field that a file leaves out.
    pub fn new(
        fields: &'static [Field],
        layer_fields: &'static [Field],
        methods: Vec<MethodKeys>,
        default_of: impl Fn(&str) -> Option<Value>,
    ) -> Self {
        let mut sections: Vec<&'static str> = Vec::new();
        let headed = fields.iter().filter_map(|field| field.key.split_once('.'));
        for section in headed.map(|(section, _)| section).chain(BLOCKS).chain(["layer"]) {
            if !sections.contains(&section) {
                sections.push(section);
            }
        }
        let defaults = fields.iter().filter_map(|field| Some((field.key, default_of(field.key)?))).collect();
        let names = names(fields, &methods);
        Self { fields, layer_fields, sections, methods, defaults, names }
    }

    /// The field behind a dotted key. `methods`: the names whose options `method.*` may be; the first that has it counts.
    ///
    /// # Errors
    /// A key that is none, with the keys that are.
    pub fn lookup(&self, dotted: &str, methods: &[&str]) -> Result<&'static Field, Complaint> {
        self.lookup_in(self.fields, dotted, methods)
    }

    /// The field behind a key of a `[[layer]]` block.
    ///
    /// # Errors
    /// A key that no `[[layer]]` block has, with those that it has.
    pub fn lookup_layer(&self, key: &str, methods: &[&str]) -> Result<&'static Field, Complaint> {
        self.lookup_in(self.layer_fields, key, methods)
    }

    fn lookup_in(&self, fields: &'static [Field], dotted: &str, methods: &[&str]) -> Result<&'static Field, Complaint> {
        if let Some(field) = fields.iter().find(|field| field.key == dotted) {
            return Ok(field);
        }
        if let Some(option) = dotted.strip_prefix("method.") {
            return self.option_of(methods, option);
        }
        let all: Vec<&str> = fields.iter().map(|field| field.key).collect();
        let complaint = Complaint::unknown("key", dotted, &all);
        // On one screen: only the keys of the section that was meant.
        let section = dotted.split_once('.').map_or("", |(section, _)| section);
        let same: Vec<&str> =
            all.iter().filter(|key| key.split_once('.').is_some_and(|(s, _)| s == section)).copied().collect();
        let near = if !same.is_empty() {
            same
        } else if std::ptr::eq(fields, self.layer_fields) {
            all
        } else {
            all.into_iter().filter(|key| !key.contains('.')).chain(self.sections.iter().copied()).collect()
        };
        let complaint = Complaint { accepted: near.join(", "), ..complaint };
        Err(match (&complaint.help, self.methods_with(&format!("method.{dotted}")).as_slice()) {
            (None, [method, ..]) => complaint.help(format!("`method.{dotted}` is an option of {method}")),
            _ => complaint,
        })
    }

    /// The option that all of these methods have; its field is the first one's.
    ///
    /// # Errors
    /// An unknown method; a method without that option, with the options it has.
    pub fn option_of(&self, methods: &[&str], option: &str) -> Result<&'static Field, Complaint> {
        let unknown = |name: &str| {
            let names: Vec<&str> = self.methods.iter().map(|method| method.name).collect();
            Complaint::unknown("method", name, &names)
        };
        let mut found = None;
        for name in methods {
            let method = self.method(name).ok_or_else(|| unknown(name))?;
            let Some(field) = method.options.iter().find(|field| field.key == option) else {
                let options: Vec<&str> = method.options.iter().map(|field| field.key).collect();
                let complaint = Complaint::unknown(&format!("option of {name}"), option, &options);
                let elsewhere =
                    methods.len() > 1 && methods.iter().any(|other| self.option_of(&[other], option).is_ok());
                return Err(match complaint.help {
                    None if elsewhere => {
                        complaint.help("give methods with other options a [[grid]] block of their own")
                    }
                    _ => complaint,
                });
            };
            found = found.or(Some(field));
        }
        found.ok_or_else(|| unknown(""))
    }

    /// The method of this name.
    pub fn method(&self, name: &str) -> Option<&MethodKeys> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// The method that makes what names none.
    pub fn default_method(&self) -> &'static str {
        self.methods.first().map_or("", |method| method.name)
    }

    /// The methods that have the option of a dotted key, if it is one.
    pub fn methods_with(&self, dotted: &str) -> Vec<&'static str> {
        let option = dotted.strip_prefix("method.").unwrap_or_default();
        let has = |method: &&MethodKeys| method.options.iter().any(|field| field.key == option);
        self.methods.iter().filter(has).map(|method| method.name).collect()
    }

    /// The value of a field that a file leaves out.
    pub fn default_of(&self, dotted: &str) -> Option<&Value> {
        self.defaults.get(dotted)
    }
}

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
pub struct TypedKey {
    /// Which it is.
    pub key: Key,
    /// One for a key, one per method for an option that several have.
    kinds: Vec<Kind>,
}

impl TypedKey {
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
            Kind::Choice(_) => kind.accepts(&literal(value)),
            _ if kind.is_number() && value.is_float() => true,
            _ => kind.has_type(&literal(value)),
        };
        if self.kinds.iter().any(fits) {
            return Ok(());
        }
        let kind = self.kinds.first().copied().unwrap_or(Kind::Text);
        let complaint = Field::new("", kind, "").check(shown, value);
        complaint.and(Err(Complaint::new(format!("`{shown}` never is this"), value.to_string(), kind.to_string())))
    }
}

/// Every key that conditions know, under its dotted name.
fn names(fields: &'static [Field], methods: &[MethodKeys]) -> Vec<(String, TypedKey)> {
    let derived = [("params", Key::Params), ("macs", Key::Macs), ("macs_share", Key::MacsShare), ("seed", Key::Seed)];
    let derived = derived.map(|(name, key)| (name.to_string(), TypedKey { key, kinds: vec![NOT_NEGATIVE] }));
    let mut known = Vec::from(derived);
    // How a network came to be is no part of what it is.
    let fields = fields.iter().filter(|field| varies(field.key) && !field.key.starts_with("budget."));
    let options = methods.iter().flat_map(|method| method.options);
    let options = options.map(|option| (format!("method.{}", option.key), option));
    for (dotted, field) in fields.map(|field| (field.key.to_string(), field)).chain(options) {
        match known.iter_mut().find(|(name, _)| *name == dotted) {
            Some((_, name)) => name.kinds.push(field.kind),
            None => known.push((dotted.clone(), TypedKey { key: Key::Set(dotted), kinds: vec![field.kind] })),
        }
    }
    known
}
