//! The language of sweeps: TOML -> combinations of values, whatever the keys mean.
//!
//! It is given its [`Keys`], and knows no method, data set or network. [`parse`] takes a text apart into a [`document`],
//! [`mod@include`] adds the files it builds on, [`overrides`] applies `--set`. A [`Sweep`] is a document whose blocks were checked;
//! [`combine`] goes through the combinations of its [`axes`] one after the other, and a [`condition`] tells those apart that it
//! holds for.
//!
//! What varies is decided by one rule: **an array each of whose elements is a value of the key's own type is an axis**;
//! anything else is the value itself. So `method.depth = [1, 2]` and `method.ratio = [0.3, 0.5]` are axes,
//! `recipe.milestones = [0.5, 0.75]` is one value (a milestone list has no single number as its value),
//! `recipe.milestones = [[0.5, 0.75], [0.3, 0.6]]` is an axis of two, and a ratio per stage in a grid is
//! `method.ratio = [[0.6, 0.3, 0.1]]`. Outside of blocks, and in a `[[list]]`, an array is always the value.
//!
//! - `[[grid]]`: a product over its keys, the first varying slowest.
//! - `[[zip]]`: axes in step; single values go with each step.
//! - `[[list]]`: one setting, or one for each of its `rows`, whose values replace the block's.
//! - `[[draw]]`: settings drawn at random, from ranges (see [`draw`]) and from the elements of axes.
//! - A block's `case`s: a product as of a grid (in a draw: drawn), onto each of the block's settings that its `if` holds for.
//!
//! A block's values replace those of the sections, and a case's those of the block; whatever names another method takes none
//! of the options that it finds.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::config::error::{Complaint, ExperimentError};
use crate::config::field::describe;
use axes::{Axes, axes, base_options, case_axes, in_step, is_option, names_of, rows};
use condition::Expression;
use document::plain;
use document::{Block, BlockKind, Condition, Entry, Rule, find};
use keys::Key;

mod axes;
pub mod combine;
pub mod condition;
pub mod document;
pub mod draw;
mod edits;
pub mod filter;
pub mod include;
pub mod keys;
pub mod overrides;
pub mod parse;
#[cfg(test)]
mod sample;
mod tokens;
pub mod vocabulary;

pub use axes::check;
pub use document::Document;
pub use keys::Keys;

/// Larger sweeps are slips.
pub const MOST: u64 = 10_000_000;

/// A document's blocks, checked.
#[derive(Debug)]
pub struct Sweep<'d> {
    /// Where they come from.
    pub document: &'d Document,
    /// In the order of the file; without blocks the sections alone make the only setting.
    blocks: Vec<BlockAxes<'d>>,
    /// Every condition of the document: those outside of blocks first, then block by block.
    pub conditions: Vec<ParsedCondition<'d>>,
    /// Keys outside of the method that differ between settings: labels show them.
    pub varied: Vec<String>,
}

/// A block with its axes and those of its cases.
#[derive(Debug)]
struct BlockAxes<'d> {
    block: Option<&'d Block>,
    axes: Axes,
    /// Each with the index of its condition.
    cases: Vec<(Option<usize>, Axes)>,
}

/// A condition with its text taken apart.
#[derive(Debug)]
pub struct ParsedCondition<'d> {
    /// As it was written.
    pub condition: &'d Condition,
    /// What it says.
    pub expression: Expression,
    /// The block whose settings it looks at; none: all.
    pub block: Option<usize>,
    /// Whether the network has to be priced before the answer is known.
    pub asks_price: bool,
    /// Whether the answer may differ from seed to seed.
    pub asks_seed: bool,
}

impl<'d> Sweep<'d> {
    /// Checks every value and condition of the document. Nothing is multiplied out yet.
    ///
    /// # Errors
    /// Unknown methods, keys and options; wrong types; values out of range; empty axes, axes that are not in step; conditions
    /// that cannot be understood; more than [`MOST`] settings; files that are still to be included.
    pub fn new(document: &'d Document) -> Result<Self, ExperimentError> {
        if let Some(entry) = document.include.first() {
            let complaint = Complaint::new("only a file can include another one", describe(&entry.value), "");
            return Err(document.error(&entry.at, complaint));
        }
        let mut sweep = Self { document, blocks: vec![], conditions: vec![], varied: vec![] };
        for entry in document.base.iter().filter(|entry| !is_option(&entry.key)) {
            check(document, entry, document.keys.lookup(&entry.key, &[]))?;
        }
        for condition in &document.conditions {
            sweep.condition(condition, None)?;
        }
        let mut total = 0u64;
        for block in &document.blocks {
            let axes = sweep.block_axes(block)?;
            let size = axes.axes.count();
            let sum = size.and_then(|size| total.checked_add(size));
            let Some(sum) = sum.filter(|sum| *sum <= MOST) else {
                return Err(too_large(document, block, sum));
            };
            total = sum;
            sweep.blocks.push(axes);
        }
        if document.blocks.is_empty() {
            base_options(document, &[])?;
            sweep.blocks.push(BlockAxes { block: None, axes: Axes::Rows(vec![vec![]]), cases: vec![] });
        }
        sweep.varied = sweep.varied();
        Ok(sweep)
    }

    fn condition(&mut self, condition: &'d Condition, block: Option<usize>) -> Result<usize, ExperimentError> {
        let expression = Expression::parse(self.document.keys, &condition.text).map_err(|complaint| {
            let what = format!("`{}`: {}", condition.rule.name(), complaint.what);
            self.document.error(&condition.at, Complaint { what, ..complaint })
        })?;
        let (asks_price, asks_seed) = (expression.asks(&Key::is_price), expression.asks(&Key::is_seed));
        if condition.rule == Rule::If && (asks_price || asks_seed) {
            let what = "`if` asks for what is known only once every value is chosen";
            let accepted =
                "keys of dataset, backbone, method, recipe and protocol; `when` and `exclude` may ask for the others";
            return Err(self.document.error(&condition.at, Complaint::new(what, &condition.text, accepted)));
        }
        self.conditions.push(ParsedCondition { condition, expression, block, asks_price, asks_seed });
        Ok(self.conditions.len() - 1)
    }

    fn block_axes(&mut self, block: &'d Block) -> Result<BlockAxes<'d>, ExperimentError> {
        let document = self.document;
        let index = Some(self.blocks.len());
        let names = names_of(&block.entries, document.method());
        let axes = match block.kind {
            BlockKind::Grid => Axes::Product(axes(document, &block.entries, &names, false)?),
            BlockKind::Zip => Axes::Step(in_step(document, axes(document, &block.entries, &names, false)?)?),
            BlockKind::Draw { count, seed } => Axes::draw(axes(document, &block.entries, &names, true)?, count, seed),
            BlockKind::List => Axes::Rows(rows(document, block)?),
        };
        base_options(document, &block.entries)?;
        for condition in &block.conditions {
            self.condition(condition, index)?;
        }
        let mut cases = Vec::new();
        for case in &block.cases {
            let test = case.condition.as_ref().map(|condition| self.condition(condition, index)).transpose()?;
            let case_axes = match block.kind {
                BlockKind::Draw { seed, .. } => Axes::draw(case_axes(document, block, case, true)?, 1, seed),
                _ => Axes::Product(case_axes(document, block, case, false)?),
            };
            let count = case_axes.count();
            if count.is_none_or(|count| count > MOST) {
                return Err(too_large(document, block, count));
            }
            cases.push((test, case_axes));
        }
        Ok(BlockAxes { block: Some(block), axes, cases })
    }

    /// Keys that have several values, or are not set everywhere.
    fn varied(&self) -> Vec<String> {
        // The values there are (two are enough to tell), and in how many blocks the key is set throughout.
        let mut seen: BTreeMap<&str, (Vec<String>, usize)> = BTreeMap::new();
        let base = &self.document.base;
        for block in &self.blocks {
            let throughout = block.axes.throughout();
            let left = base.iter().filter(|entry| !throughout.contains(&entry.key.as_str()));
            let values = block.axes.values().chain(block.cases.iter().flat_map(|(_, axes)| axes.values()));
            for entry in left.chain(values) {
                let (texts, _) = seen.entry(&entry.key).or_default();
                let text = plain(&entry.value);
                if texts.len() < 2 && !texts.contains(&text) {
                    texts.push(text);
                }
                // Every draw is another value.
                if entry.value.is_table() {
                    texts.push("drawn".into());
                }
            }
            let new = throughout.into_iter().filter(|key| find(base, key).is_none());
            for key in base.iter().map(|entry| entry.key.as_str()).chain(new) {
                seen.entry(key).or_default().1 += 1;
            }
        }
        let differs = |(key, (texts, blocks)): &(&str, (Vec<String>, usize))| {
            !key.starts_with("method.") && *key != "protocol.seeds" && (texts.len() > 1 || *blocks < self.blocks.len())
        };
        seen.into_iter().filter(differs).map(|(key, _)| key.to_string()).collect()
    }
}

/// So many points of a space, drawn as the settings of a `[[draw]]` block of this seed: a value for each of its keys.
///
/// # Errors
/// Unknown keys, wrong types, values out of range.
pub fn points(document: &Document, space: &[Entry], count: u64, seed: u64) -> Result<Vec<Vec<Entry>>, ExperimentError> {
    let axes = Axes::draw(axes(document, space, &[], true)?, count, seed);
    Ok((0..count).map(|index| axes.at(index).into_iter().map(Cow::into_owned).collect()).collect())
}

/// `settings`: so many it would come to, with the blocks before it; none where they are more than can be counted.
fn too_large(document: &Document, block: &Block, settings: Option<u64>) -> ExperimentError {
    let what = format!("the [[{}]] is too large", block.kind.name());
    let found =
        settings.map_or_else(|| "more settings than 64 bits can count".to_owned(), |count| format!("{count} settings"));
    document.error(&block.at, Complaint::new(what, found, format!("at most {MOST} settings in all")))
}

#[cfg(test)]
mod tests {
    use super::combine::{Combination, Combinations};
    use super::*;
    use crate::config::error::At;

    fn sweep(text: &str) -> Result<Vec<String>, ExperimentError> {
        let document = Document::parse(sample::keys(), "x.toml", text)?;
        let sweep = Sweep::new(&document)?;
        let shown = |c: Combination<'_>| {
            let texts: Vec<_> = c.into_entries().iter().map(|e| format!("{}={}", e.key, e.value)).collect();
            texts.join(" ").replace('"', "")
        };
        Combinations::new(&sweep).map(|combination| combination.map(shown)).collect()
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
        let axis = format!("[{}]", vec!["0.1"; 4000].join(", "));
        let error = sweep(&format!("[[grid]]\nrecipe.lr = {axis}\nrecipe.gamma = {axis}")).unwrap_err();
        assert!(error.to_string().contains("too large") && error.to_string().contains("found:"), "{error}");
    }

    #[test]
    fn a_zip_goes_in_step() {
        let all = sweep("[[zip]]\nrecipe.lr = [0.1, 0.2]\nmethod.name = 'thin'\nmethod.width = [0.5, 0.7]").unwrap();
        assert_eq!(
            all,
            ["recipe.lr=0.1 method.name=thin method.width=0.5", "recipe.lr=0.2 method.name=thin method.width=0.7"]
        );
        assert_eq!(sweep("[[zip]]\nrecipe.lr = 0.1\nrecipe.milestones = [0.1, 0.2]").unwrap().len(), 1);
        let error = sweep("[[zip]]\nrecipe.lr = [0.1, 0.2]\nrecipe.batch = [1, 2, 3]\n").unwrap_err().to_string();
        insta::assert_snapshot!(error, @r"
        x.toml:3: the axes `recipe.lr` and `recipe.batch` of the [[zip]] are not equally long
             3 | recipe.batch = [1, 2, 3]
          found:    2 values (x.toml:2) and 3
          accepted: as many values for each, or a single one outside of brackets
          help:     [[grid]] makes every combination
        ");
    }

    #[test]
    fn a_list_takes_arrays_as_values_and_rows_replace_what_they_share() {
        let all = sweep(
            "[[list]]\nmethod.name = 'pruned'\nmethod.ratio = [0.6, 0.3, 0.1]\nrecipe.lr = 0.1\n\
             rows = [{ recipe.batch = 1 }, { recipe.lr = 0.2 }, { method.name = 'ghost', method.ratio = 2 }]",
        );
        assert_eq!(
            all.unwrap(),
            [
                "method.name=pruned method.ratio=[0.6, 0.3, 0.1] recipe.lr=0.1 recipe.batch=1",
                "method.name=pruned method.ratio=[0.6, 0.3, 0.1] recipe.lr=0.2",
                "recipe.lr=0.1 method.name=ghost method.ratio=2",
            ]
        );
    }

    const CASES: &str = "[[grid]]\nmethod.name = ['vanilla', 'compconv', 'ghost']\nrecipe.lr = [0.1, 0.2]\n\
        [[grid.case]]\nif = 'method = compconv and lr < 0.2'\nmethod.depth = [1, 2]\nrecipe.batch = 8\n";

    #[test]
    fn a_case_multiplies_the_settings_that_its_condition_holds_for() {
        assert_eq!(
            sweep(CASES).unwrap(),
            [
                "method.name=vanilla recipe.lr=0.1",
                "method.name=vanilla recipe.lr=0.2",
                "method.name=compconv recipe.lr=0.1 method.depth=1 recipe.batch=8",
                "method.name=compconv recipe.lr=0.1 method.depth=2 recipe.batch=8",
                "method.name=compconv recipe.lr=0.2",
                "method.name=ghost recipe.lr=0.1",
                "method.name=ghost recipe.lr=0.2",
            ]
        );
        let more = format!(
            "{CASES}[[grid.case]]\nif = 'depth = 2'\nrecipe.epochs = [1, 2]\n[[grid.case]]\nrecipe.gamma = [0.1, 0.2]"
        );
        let all = sweep(&more).unwrap();
        assert_eq!(all.len(), 2 * (2 + 1 + 2 + 1 + 2), "later cases see what earlier ones set");
        assert_eq!(all.iter().filter(|one| one.contains("depth=2 recipe.batch=8 recipe.epochs=")).count(), 4);
        let named = "[[grid]]\nmethod.name = 'compconv'\nmethod.depth = [1, 2]\n[[grid.case]]\nif = 'depth = 2'\nmethod.name = 'thin'";
        assert_eq!(sweep(named).unwrap(), ["method.name=compconv method.depth=1", "method.name=thin"]);
    }

    #[test]
    fn draws_stay_as_they_are_when_others_come() {
        let draw = |count: usize, more: &str| {
            let text = format!(
                "[[draw]]\ncount = {count}\nseed = 3\nmethod.name = ['vanilla', 'ghost']\n\
                 recipe.lr = {{ log_uniform = [1e-3, 1.0] }}\nrecipe.momentum = 0.5\n{more}"
            );
            sweep(&text).unwrap()
        };
        let few = draw(5, "");
        assert_eq!(few, draw(50, "")[..5]);
        let more = draw(5, "recipe.batch = { uniform = [1, 1000] }");
        assert!(few.iter().zip(&more).all(|(few, more)| more.starts_with(few.as_str())), "{few:?} {more:?}");
        let many = draw(200, "");
        assert!(many.iter().all(|one| one.contains("momentum=0.5")));
        let ghosts = many.iter().filter(|one| one.contains("ghost")).count();
        assert!((60..=140).contains(&ghosts), "{ghosts} of 200");
        let rates: std::collections::HashSet<_> = many.iter().map(|one| one.split(' ').nth(1)).collect();
        assert!(rates.len() > 190, "{} rates", rates.len());
        let case = "[[draw.case]]\nif = 'method = ghost'\nmethod.ratio = { uniform = [2, 5] }";
        let cases = draw(200, case);
        assert_eq!(cases.len(), 200);
        assert!(cases.iter().all(|one| one.contains("ghost") == one.contains("ratio=")));
    }

    #[test]
    fn slips_in_other_blocks_are_refused_with_line_and_remedy() {
        for (text, line, part) in [
            ("[[list]]\nrecipe.lr = [0.1, 0.2]", 2, "[[grid]] block"),
            ("[[list]]\nrows = [{ method.name = 'ghost', method.depth = 1 }]", 2, "unknown option of ghost `depth`"),
            ("[[grid]]\nrecipe.lr = { uniform = [0.1, 1.0] }", 2, "[[draw]]"),
            ("[[draw]]\ncount = 2\nrecipe.lr = { uniform = [0.0, 1.0] }", 3, "a number above 0"),
            ("[[grid]]\nrecipe.lr = 0.1\nexclude = 'dept = 1'", 3, "did you mean `depth`?"),
            ("when = 'lr = fast'\n[recipe]\nlr = 0.1", 1, "`when`: "),
            (
                "[[grid]]\nrecipe.lr = 0.1\n[[grid.case]]\nif = 'macs > 1'\nrecipe.batch = 1",
                4,
                "once every value is chosen",
            ),
            ("[[grid]]\nrecipe.lr = 0.1\n[[grid.case]]\nmethod.depth = 1", 4, "unknown option of vanilla `depth`"),
            ("[[grid]]\nmethod.name = ['thin', 'compconv']\n[[grid.case]]\nmethod.depth = 9", 4, "from 0 to 6"),
            ("include = 'x.toml'", 1, "only a file can include"),
        ] {
            let error = sweep(text).unwrap_err();
            assert_eq!(error.at, At::Line(line), "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
