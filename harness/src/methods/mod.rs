//! The registry: methods by name; [`Methods`] tells which of them makes which layer.
//!
//! The rivals come from [`baselines::rivals`], one line each; a binary of its own adds those of other crates with
//! [`crate::main_with`].

mod assignment;
mod compression;

use std::sync::{Arc, OnceLock};

use baselines::Vanilla;
use baselines::masking::Magnitude;
use baselines::pruning::Pruned;
use compconv::CompConvOptions;
use conv_core::Method;
use conv_core::options::Described;
use toml::{Table, Value};

use crate::config::error::Complaint;
use crate::config::field::{Check, Field};
use crate::config::{MethodConfig, TrialConfig};

pub use assignment::{Methods, SECOND_OF_EACH_BLOCK, matches, names_layer};
pub use compression::Compression;

/// A method with its options settled.
#[derive(Clone, Debug)]
pub struct MethodInstance {
    /// What makes the convolutions.
    pub conv: Arc<dyn Method>,
    /// What makes another network of the trained one as a whole, for methods that do.
    pub compression: Option<Compression>,
}

impl MethodInstance {
    /// Whether it changes the network as a whole, and so can make no single layer.
    fn is_whole_network(&self) -> bool {
        self.compression.is_some() || self.conv.width() != 1.0
    }
}

/// What there is to know of a method before its options are settled.
#[derive(Clone, Copy, Debug)]
pub struct MethodInfo {
    /// As experiments call it.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Its options.
    pub options: &'static [Field],
    /// Those of them that set how much it compresses.
    pub knobs: &'static [&'static str],
    /// The options' defaults; an option that has none is absent.
    pub defaults: fn() -> Table,
    /// What reports have it for.
    pub rank: Rank,
    /// Which colour and mark it has in plots.
    pub place: usize,
    make: fn(Table) -> anyhow::Result<MethodInstance>,
}

impl MethodInfo {
    /// Whether it makes single layers, and does not change the network as a whole.
    pub fn makes_layers(&self) -> bool {
        (self.make)((self.defaults)()).is_ok_and(|made| !made.is_whole_network())
    }
}

/// What a report has a method for; in the order of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// What everything is compared with.
    Reference,
    /// A network narrowed as a whole.
    Control,
    /// One of those that compete.
    Rival,
    /// The method under study.
    Studied,
}

/// The registry's entry for a method that makes convolutions.
pub const fn entry<M: Method + Described>() -> MethodInfo {
    described::<M>(|options| Ok(MethodInstance { conv: Arc::new(read::<M>(options)?), compression: None }))
}

const fn described<T: Described>(make: fn(Table) -> anyhow::Result<MethodInstance>) -> MethodInfo {
    MethodInfo {
        name: T::NAME,
        about: T::ABOUT,
        options: T::OPTIONS,
        knobs: T::KNOBS,
        defaults: || Table::try_from(T::default()).expect("a table of options is a table"),
        rank: Rank::Rival,
        place: 0,
        make,
    }
}

/// Pruning makes no convolutions: it cuts a trained vanilla network.
const PRUNED: MethodInfo = described::<Pruned>(|options| {
    let compression = Some(Compression::Pruned(read::<Pruned>(options)?.settled()));
    Ok(MethodInstance { conv: Arc::new(Vanilla {}), compression })
});

/// Nor does setting weights to 0.
const MAGNITUDE: MethodInfo = described::<Magnitude>(|options| {
    let compression = Some(Compression::Magnitude { magnitude: read::<Magnitude>(options)? });
    Ok(MethodInstance { conv: Arc::new(Vanilla {}), compression })
});

fn read<T: Described>(options: Table) -> anyhow::Result<T> {
    let read: T = options.try_into()?;
    read.check_options()?;
    Ok(read)
}

static METHODS: OnceLock<Vec<MethodInfo>> = OnceLock::new();

/// Every method, in the order of the registry. The first is the reference, and what makes a network that names none.
pub fn all() -> &'static [MethodInfo] {
    METHODS.get_or_init(|| listed(&[]))
}

/// Adds methods to those that come with the harness; once, before anything asks for one.
///
/// # Errors
/// A name that is taken; a registry that is in use already.
pub fn register(more: &[MethodInfo]) -> anyhow::Result<()> {
    let methods = listed(more);
    for (index, method) in methods.iter().enumerate() {
        let taken = methods[..index].iter().any(|earlier| earlier.name == method.name);
        anyhow::ensure!(!taken, "two methods are called `{}`", method.name);
    }
    METHODS.set(methods).map_err(|_| anyhow::anyhow!("methods are registered once, before anything asks for one"))
}

fn listed(more: &[MethodInfo]) -> Vec<MethodInfo> {
    struct Rivals(Vec<MethodInfo>);
    impl baselines::Registry for Rivals {
        fn add<M: Method + Described>(&mut self) {
            let rank = match M::default() {
                _ if self.0.is_empty() => Rank::Reference,
                method if method.width() != 1.0 => Rank::Control,
                _ => Rank::Rival,
            };
            self.0.push(MethodInfo { rank, place: 2 + self.0.len(), ..entry::<M>() });
        }
    }
    let mut methods = Rivals(vec![]);
    baselines::rivals(&mut methods);
    let mut methods = methods.0;
    // With the first places, so that a new rival's is behind them all.
    methods.push(MethodInfo { place: 1, ..PRUNED });
    // Behind the rivals, whose places stay as they are.
    methods.push(MethodInfo { place: methods.len() + 1, ..MAGNITUDE });
    methods.push(MethodInfo { rank: Rank::Studied, place: 0, ..entry::<CompConvOptions>() });
    for method in more {
        methods.push(MethodInfo { place: methods.len(), ..*method });
    }
    methods
}

/// Every method's name.
pub fn names() -> Vec<&'static str> {
    all().iter().map(|method| method.name).collect()
}

/// The name of the method that everything is compared with.
pub fn reference() -> &'static str {
    all()[0].name
}

/// The method of this name.
pub fn find(name: &str) -> Option<&'static MethodInfo> {
    all().iter().find(|method| method.name == name)
}

/// Settles a method's options.
///
/// # Errors
/// An unknown name or option (with the nearest that exists), a wrong type, a value out of range (with the range).
pub fn resolve(config: &MethodConfig) -> anyhow::Result<MethodInstance> {
    let Some(info) = find(&config.name) else {
        return Err(Complaint::unknown("method", &config.name, &names()).into());
    };
    for (key, value) in &config.options {
        let Some(field) = info.options.iter().find(|field| field.key == key) else {
            let options: Vec<&str> = info.options.iter().map(|field| field.key).collect();
            return Err(Complaint::unknown(&format!("option of {}", info.name), key, &options).into());
        };
        field.check(&format!("method.{key}"), value)?;
    }
    (info.make)(config.options.clone())
}

/// A method and what was set of its options, e.g. `compconv depth=2`.
pub fn label(config: &MethodConfig) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string().replace(' ', ""),
    };
    let options = config.options.iter().map(|(key, value)| format!(" {key}={}", shown(value)));
    options.fold(config.name.clone(), |label, option| label + &option)
}

/// What a network is called: its method, and what stands in its place in some layers, e.g. `vanilla + ghost in layer1.*`.
pub fn network_label(config: &TrialConfig) -> String {
    let elsewhere = config.layers.iter().map(|layer| format!(" + {} in {}", label(&layer.method), layer.pattern));
    label(&config.method) + &elsewhere.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Kind;
    use crate::config::field::literal;

    fn config(name: &str, options: &str) -> MethodConfig {
        MethodConfig { name: name.into(), options: toml::from_str(options).unwrap() }
    }

    #[test]
    fn the_listed_options_are_those_that_exist() {
        for method in all() {
            let defaults = (method.defaults)();
            for (key, value) in &defaults {
                let field = method.options.iter().find(|field| field.key == key).unwrap();
                assert!(field.kind.accepts(&literal(value)), "{}.{key} accepts its default {value}", method.name);
            }
            (method.make)(defaults).unwrap();
            for field in method.options {
                let mut options = Table::new();
                options.insert(field.key.into(), sample(&field.kind));
                (method.make)(options).unwrap_or_else(|e| panic!("{}.{}: {e}", method.name, field.key));
            }
            assert!(resolve(&config(method.name, "no_such_option = 1")).is_err(), "{}", method.name);
        }
    }

    fn sample(kind: &Kind) -> Value {
        match kind {
            Kind::Flag => Value::Boolean(true),
            Kind::Integer(low, _) => Value::Integer(*low),
            Kind::Odd => Value::Integer(3),
            Kind::Number(_) => Value::Float(0.5),
            Kind::Text | Kind::Form(..) => Value::String("x".into()),
            Kind::Choice(names) => Value::String(names()[0].into()),
            Kind::List(inner) | Kind::NonEmptyList(inner) | Kind::OneOrList(inner) => Value::Array(vec![sample(inner)]),
            Kind::Table(_) => Value::Table(Table::new()),
        }
    }

    #[test]
    fn every_method_keeps_the_promises_of_one() {
        // The tests of `baselines` hold the rivals to them.
        struct Names(Vec<&'static str>);
        impl baselines::Registry for Names {
            fn add<M: Method + Described>(&mut self) {
                self.0.push(M::NAME);
            }
        }
        let mut rivals = Names(vec![]);
        baselines::rivals(&mut rivals);
        let others = all().iter().filter(|method| !rivals.0.contains(&method.name));
        let mut checked = vec![];
        for method in others {
            let made = (method.make)((method.defaults)()).unwrap();
            // Pruning cuts networks and leaves their units vanilla.
            if made.compression.is_none() {
                baselines::conformance::check(&*made.conv).unwrap_or_else(|e| panic!("{}: {e}", method.name));
                checked.push(method.name);
            }
        }
        assert_eq!(checked, ["compconv"]);
    }

    #[test]
    fn places_are_taken_once_and_new_methods_come_last() {
        let own = [MethodInfo { name: "own", ..entry::<baselines::Ghost>() }];
        let methods = listed(&own);
        let mut places: Vec<usize> = methods.iter().map(|method| method.place).collect();
        assert_eq!(places.last(), Some(&(methods.len() - 1)));
        places.sort_unstable();
        assert_eq!(places, (0..methods.len()).collect::<Vec<_>>());
        let rank = |name: &str| methods.iter().find(|method| method.name == name).map(|method| method.rank);
        assert_eq!(
            ["vanilla", "thin", "own", "compconv"].map(rank),
            [Some(Rank::Reference), Some(Rank::Control), Some(Rank::Rival), Some(Rank::Studied)]
        );
        let taken = register(&[entry::<baselines::Ghost>()]).unwrap_err().to_string();
        assert_eq!(taken, "two methods are called `ghost`");
    }

    #[test]
    fn every_choice_exists() {
        for method in all() {
            for field in method.options {
                if let Kind::Choice(names) = field.kind {
                    for name in names() {
                        let options = Table::from_iter([(field.key.to_string(), Value::String(name.into()))]);
                        (method.make)(options).unwrap_or_else(|e| panic!("{}.{}: {e}", method.name, field.key));
                    }
                }
            }
        }
    }

    #[test]
    fn slips_are_explained() {
        for (name, options, part) in [
            ("gohst", "", "did you mean `ghost`?"),
            ("compconv", "dept = 1", "did you mean `depth`?"),
            ("compconv", "depth = 7", "from 0 to 6"),
            ("compconv", "tail_kernel = 3\ntail = 'pointwise'", "pointwise"),
            ("ghost", "ratio = 1", "at least 2"),
            ("thin", "width = 0.0", "(0, 1]"),
            ("pruned", "ratio = [0.5, 1.0]", "[0, 1)"),
        ] {
            let error = resolve(&config(name, options)).unwrap_err().to_string();
            assert!(error.contains(part), "{name} {options}: {error}");
        }
    }

    #[test]
    fn labels_show_what_was_set() {
        assert_eq!(label(&config("compconv", "depth = 2\ntail = 'full'")), "compconv depth=2 tail=full");
        assert_eq!(label(&config("pruned", "ratio = [0.6, 0.3]")), "pruned ratio=[0.6,0.3]");
        assert_eq!(label(&config("vanilla", "")), "vanilla");
    }
}
