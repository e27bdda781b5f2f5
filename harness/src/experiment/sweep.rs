//! `[[grid]]` blocks -> combinations of values.
//!
//! Each block is a product over its keys, the first varying slowest; the blocks follow each other. What varies is decided by
//! one rule: **an array each of whose elements is a value of the key's own type is an axis**; anything else is the value
//! itself. So `method.depth = [1, 2]` and `method.ratio = [0.3, 0.5]` are axes, `recipe.milestones = [0.5, 0.75]` is one
//! value (a milestone list has no single number as its value), `recipe.milestones = [[0.5, 0.75], [0.3, 0.6]]` is an axis of
//! two, and a ratio per stage in a grid is `method.ratio = [[0.6, 0.3, 0.1]]`. Outside of grids an array is always the value.
//!
//! A block's values replace those of the sections; a block that names another method than `[method]` takes none of its options.

use toml::Value;

use super::error::{At, Complaint, ExperimentError};
use super::field::{Field, Kind, describe};
use super::keys::{KEYS, lookup};
use super::parse::{Block, Document, Entry, find};
use crate::methods;

/// Larger sweeps are slips.
const MOST: usize = 100_000;

/// One way to set every key.
#[derive(Clone, Debug)]
pub struct Combination {
    /// The block it comes from.
    pub at: At,
    /// Values of the sections and of the block, one per key.
    pub entries: Vec<Entry>,
}

/// All combinations of a document, in the order of its blocks; without blocks the sections alone make the only one.
///
/// # Errors
/// Unknown methods, keys and options; wrong types; values out of range; empty axes.
pub fn expand(document: &Document) -> Result<Vec<Combination>, ExperimentError> {
    for entry in document.base.iter().filter(|entry| !entry.key.starts_with("method.") || entry.key == "method.name") {
        check(document, entry, lookup(&entry.key, &[], KEYS))?;
    }
    if document.grids.is_empty() {
        return Ok(vec![combine(document, At::File, &[])?]);
    }
    let mut all = Vec::new();
    for grid in &document.grids {
        let axes = axes(document, grid)?;
        let size = axes.iter().try_fold(1usize, |size, axis| size.checked_mul(axis.len()));
        let Some(size) = size.filter(|size| size.saturating_add(all.len()) <= MOST) else {
            let accepted = format!("at most {MOST} combinations in all");
            return Err(document.error(&grid.at, Complaint::new("the grid is too large", "", accepted)));
        };
        for index in 0..size {
            let mut rest = index;
            let mut chosen: Vec<Entry> = axes
                .iter()
                .rev()
                .map(|axis| {
                    let entry = axis[rest % axis.len()].clone();
                    rest /= axis.len();
                    entry
                })
                .collect();
            chosen.reverse();
            all.push(combine(document, grid.at.clone(), &chosen)?);
        }
    }
    Ok(all)
}

/// Whether an array is an axis for a key of this kind.
pub fn is_axis(kind: &Kind, value: &Value) -> bool {
    match value {
        Value::Array(elements) if elements.is_empty() => !matches!(kind, Kind::List(_)),
        Value::Array(elements) => elements.iter().all(|element| kind.has_type(element)),
        _ => false,
    }
}

/// The methods a grid goes through: its own, or that of `[method]`, or vanilla.
pub fn names_of(entries: &[Entry], base: Option<&str>) -> Vec<String> {
    match find(entries, "method.name").map(|entry| &entry.value) {
        Some(Value::Array(names)) => names.iter().filter_map(|name| name.as_str().map(String::from)).collect(),
        Some(Value::String(name)) => vec![name.clone()],
        Some(_) => vec![],
        None => vec![base.unwrap_or("vanilla").to_string()],
    }
}

/// Each key's values, checked.
fn axes(document: &Document, grid: &Block) -> Result<Vec<Vec<Entry>>, ExperimentError> {
    let names = names_of(&grid.entries, document.base_method());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut axes = Vec::new();
    // Methods first: whether another key is an option depends on them.
    for entry in grid.entries.iter().filter(|entry| entry.key == "method.name").chain(&grid.entries) {
        let field = lookup(&entry.key, &names, KEYS).map_err(|complaint| document.error(&entry.at, complaint))?;
        let values = match &entry.value {
            Value::Array(elements) if is_axis(&field.kind, &entry.value) => {
                if elements.is_empty() {
                    let accepted = format!("at least one value, each {}", field.kind);
                    let complaint = Complaint::new(format!("the axis `{}` is empty", entry.key), "[]", accepted);
                    return Err(document.error(&entry.at, complaint));
                }
                elements.clone()
            }
            // A list in which not everything fits was meant as an axis, unless the key takes lists.
            Value::Array(elements) if !field.kind.has_type(&entry.value) => {
                let culprit = elements.iter().find(|element| !field.kind.has_type(element)).unwrap_or(&entry.value);
                let what = format!("`{}` has a value of the wrong type", entry.key);
                let complaint = Complaint::new(what, describe(culprit), field.kind.to_string());
                return Err(document.error(&entry.at, complaint));
            }
            value => vec![value.clone()],
        };
        let entries = values.into_iter().map(|value| Entry { value, ..entry.clone() }).collect::<Vec<_>>();
        for entry in &entries {
            check(document, entry, Ok(field))?;
        }
        axes.push(entries);
    }
    // The methods stood twice in the chain above.
    if find(&grid.entries, "method.name").is_some() {
        axes.remove(0);
    }
    Ok(axes)
}

/// Sections and chosen values in one list, the method's options checked.
fn combine(document: &Document, at: At, chosen: &[Entry]) -> Result<Combination, ExperimentError> {
    let name =
        |entries: &[Entry]| find(entries, "method.name").and_then(|entry| entry.value.as_str().map(String::from));
    let same_method = name(chosen).is_none() || name(chosen).as_deref() == document.base_method();
    let mut entries: Vec<Entry> = document
        .base
        .iter()
        .filter(|entry| same_method || !entry.key.starts_with("method."))
        .filter(|entry| find(chosen, &entry.key).is_none())
        .cloned()
        .collect();
    entries.extend_from_slice(chosen);
    let method = name(&entries).unwrap_or_else(|| "vanilla".into());
    for entry in entries.iter().filter(|entry| entry.key.starts_with("method.") && entry.key != "method.name") {
        let option = entry.key.trim_start_matches("method.");
        check(document, entry, methods::option_of(&[&method], option))?;
    }
    Ok(Combination { at, entries })
}

fn check(document: &Document, entry: &Entry, field: Result<&'static Field, Complaint>) -> Result<(), ExperimentError> {
    field.and_then(|field| field.check(&entry.key, &entry.value)).map_err(|complaint| {
        let sweepable = entry.value.is_array() && entry.key.contains('.') && !entry.key.starts_with("run.");
        let complaint = match complaint.help {
            None if sweepable => complaint.help("to try several values, put the key into a [[grid]] block"),
            _ => complaint,
        };
        document.error(&entry.at, complaint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(text: &str) -> Result<Vec<String>, ExperimentError> {
        let combinations = expand(&Document::parse("x.toml", text)?)?;
        let shown = |c: &Combination| {
            let texts: Vec<_> = c.entries.iter().map(|e| format!("{}={}", e.key, e.value)).collect();
            texts.join(" ").replace('"', "")
        };
        Ok(combinations.iter().map(shown).collect())
    }

    #[test]
    fn a_grid_is_a_product_with_the_first_key_slowest() {
        let all = sweep("[[grid]]\nmethod.name = 'compconv'\nrecipe.lr = [0.1, 0.2]\nmethod.depth = [1, 2]").unwrap();
        assert_eq!(
            all,
            [
                "method.name=compconv recipe.lr=0.1 method.depth=1",
                "method.name=compconv recipe.lr=0.1 method.depth=2",
                "method.name=compconv recipe.lr=0.2 method.depth=1",
                "method.name=compconv recipe.lr=0.2 method.depth=2",
            ]
        );
    }

    #[test]
    fn lists_are_axes_only_where_their_elements_are_values() {
        let count = |line: &str| sweep(&format!("[[grid]]\nmethod.name = 'pruned'\n{line}")).unwrap().len();
        assert_eq!(count("recipe.milestones = [0.5, 0.75]"), 1);
        assert_eq!(count("recipe.milestones = [[0.5, 0.75], [0.3], []]"), 3);
        assert_eq!(count("method.ratio = [0.3, 0.5]"), 2);
        assert_eq!(count("method.ratio = [[0.6, 0.3, 0.1]]"), 1);
        assert_eq!(count("method.ratio = [0.3, [0.6, 0.3, 0.1]]"), 2);
        assert_eq!(count("method.skip = [1, 2]"), 1);
        assert_eq!(count("method.skip = []"), 1);
        assert_eq!(count("protocol.seeds = [0, 1, 2]"), 1);
    }

    #[test]
    fn options_stay_with_their_method() {
        let all =
            sweep("[method]\nname = 'compconv'\nc0 = 32\n[[grid]]\nmethod.name = ['compconv', 'vanilla']").unwrap();
        assert_eq!(all, ["method.c0=32 method.name=compconv", "method.name=vanilla"]);
        let all = sweep("[method]\nname = 'compconv'\nc0 = 32\n[[grid]]\nrecipe.lr = 0.2\nmethod.c0 = 8").unwrap();
        assert_eq!(all, ["method.name=compconv recipe.lr=0.2 method.c0=8"]);
        assert_eq!(sweep("name = 'x'").unwrap(), ["name=x"], "no grid: the sections alone");
    }

    #[test]
    fn slips_are_refused_with_line_and_remedy() {
        for (text, line, part) in [
            ("[[grid]]\nmethod.name = []", 2, "the axis `method.name` is empty"),
            ("[[grid]]\nmethod.name = 'compconv'\nmethod.depth = []", 3, "the axis `method.depth` is empty"),
            ("[[grid]]\nmethod.name = ['vanilla', 'gost']", 2, "did you mean \"ghost\"?"),
            ("[[grid]]\nmethod.name = 'compconv'\nmethod.dept = 1", 3, "did you mean `depth`?"),
            ("[[grid]]\nmethod.name = ['vanilla', 'compconv']\nmethod.depth = [1]", 3, "vanilla"),
            ("[[grid]]\nmethod.name = 'compconv'\nmethod.depth = [1, 7]", 3, "an integer from 0 to 6"),
            ("[[grid]]\nmethod.name = 'compconv'\nmethod.depth = [1, 'two']", 3, "\"two\" (a text)"),
            ("[method]\nname = 'pruned'\nratio = 1.0", 3, "[0, 1)"),
            ("[recipe]\nepochs = -1", 2, "an integer of at least 0"),
            ("[recipe]\nepochs = [1, 2]", 2, "put the key into a [[grid]] block"),
            ("[recipe]\nmomentum = 1", 2, "[0, 1)"),
            ("[recipe]\nlr = 0", 2, "above 0"),
            ("[recipe]\nlabel_smoothing = 1.0", 2, "[0, 1)"),
            ("[protocol]\nseeds = []", 2, "at least one"),
            ("[backbone]\nname = 'resnet21'", 2, "did you mean \"resnet20\"?"),
            ("[backbone]\nname = 20", 2, "20 (an integer)"),
            ("[[grid]]\nrecipe.seed = 1", 2, "unknown key"),
        ] {
            let error = sweep(text).unwrap_err();
            assert_eq!(error.at, At::Line(line), "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        let axis = format!("[{}]", vec!["0.1"; 400].join(", "));
        let error = sweep(&format!("[[grid]]\nrecipe.lr = {axis}\nrecipe.gamma = {axis}")).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }
}
