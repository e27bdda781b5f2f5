//! A sweep's trials, each once: duplicates and what conditions drop are found in a first pass, in which everything is
//! checked; rows come in a second one. Of a trial no more is held than a hash.
//!
//! `repeats` tells which trials were there before.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::budget::solve::Solver;
use super::budget::{Budgets, CURVE, Stopwatch};
use super::network::Networks;
pub use super::repeats::Aliases;
use super::repeats::Repeats;
use super::resolve::{file_name, layers};
use super::setting::{Setting, Settings, Tally};
use super::sweep::document::{Rule, find};
use super::sweep::filter::{SHOWN, fits, none_fits};
use super::sweep::{Document, Sweep};
use crate::config::error::{At, Complaint, ExperimentError};
use crate::config::{LayerOverride, TrialConfig};

/// A checked sweep, and what its trials share.
#[derive(Debug)]
pub struct Plan<'d> {
    sweep: Sweep<'d>,
    layers: Arc<[LayerOverride]>,
    networks: Networks<'d>,
    solver: Solver<'d>,
    tally: Tally,
    repeats: Repeats,
    /// Trials, each counted once.
    pub trials: u64,
    /// Trials that were there before, under the same label or another one.
    pub duplicates: u64,
    /// Whether any of them trains anything.
    pub trains: bool,
}

/// One trial.
#[derive(Debug)]
pub struct Row<'p> {
    /// All but its seed; the seeds of a setting follow each other.
    pub setting: Arc<Setting>,
    /// Its seed.
    pub seed: u64,
    /// Labels of other settings that make the same trial.
    pub aliases: Option<&'p Aliases>,
    /// The budgets that it was solved for.
    pub budgets: Option<&'p Budgets>,
    /// Labels of the pruned settings that it is a control of.
    pub control_of: &'p [Arc<str>],
    /// Which of the setting's seeds is its own.
    pub(super) index: usize,
    layers: &'p [LayerOverride],
}

impl<'d> Plan<'d> {
    /// Checks every trial of a document that overrides were applied to.
    ///
    /// # Errors
    /// An [`ExperimentError`]: what is wrong, where, and what would be accepted.
    pub fn new(document: &'d Document) -> anyhow::Result<Self> {
        Self::check(document, None, false)
    }

    /// The same where times may be measured, too.
    ///
    /// # Errors
    /// Those of [`Plan::new`], and of the stopwatch.
    pub fn timed(document: &'d Document, stopwatch: &'d dyn Stopwatch) -> anyhow::Result<Self> {
        Self::check(document, Some(stopwatch), false)
    }

    /// The same for trials that are to be trained.
    pub(super) fn to_train(document: &'d Document, stopwatch: Option<&'d dyn Stopwatch>) -> anyhow::Result<Self> {
        Self::check(document, stopwatch, true)
    }

    fn check(document: &'d Document, stopwatch: Option<&'d dyn Stopwatch>, keeps_heads: bool) -> anyhow::Result<Self> {
        file_name(document)?;
        let sweep = Sweep::new(document)?;
        let layers: Arc<[LayerOverride]> = layers(document)?.into();
        let networks = Networks::new(document, layers.clone(), keeps_heads);
        let solver = Solver::new(document, stopwatch);
        let mut settings = Settings::new(&sweep, &networks, &solver, true);
        let mut unmatched: Vec<usize> = (0..layers.len()).collect();
        let (mut repeats, mut trains) = (Repeats::default(), false);
        for setting in settings.by_ref() {
            let setting = setting?;
            trains |= setting.recipe.epochs > 0;
            unmatched.retain(|&layer| !setting.network.matched[layer]);
            repeats.add(&setting);
        }
        repeats.close();
        let tally = settings.tally;
        let (trials, duplicates) = (repeats.first_ones, repeats.duplicates);
        if let Some(&index) = unmatched.first().filter(|_| trials > 0) {
            return Err(unmatched_layer(document, index, &layers[index].pattern).into());
        }
        let plan = Self { sweep, layers, networks, solver, tally, repeats, trials, duplicates, trains };
        if trials == 0 {
            return Err(plan.nothing_left().into());
        }
        Ok(plan)
    }

    /// Every trial once, in the order of the file. The first come before the last are looked at.
    pub fn rows(&self) -> Rows<'_> {
        let settings = Settings::new(&self.sweep, &self.networks, &self.solver, self.networks.keeps_heads);
        Rows { plan: self, settings, setting: None, seed: 0, seen: 0, unique: 0 }
    }

    pub(super) fn layers(&self) -> &[LayerOverride] {
        &self.layers
    }

    /// The document.
    pub fn document(&self) -> &'d Document {
        self.sweep.document
    }

    /// Whether any trial fits a filter.
    ///
    /// # Errors
    /// A filter that fits no trial; the message has labels that would.
    pub fn check_filter(&self, filter: &str) -> anyhow::Result<()> {
        let mut labels = Vec::new();
        for row in self.rows() {
            let row = row?;
            if row.matches(filter) {
                return Ok(());
            }
            if labels.len() < SHOWN && labels.last() != Some(&row.setting.label) {
                labels.push(row.setting.label.clone());
            }
        }
        Err(none_fits(filter, labels.iter().map(|label| &**label)).into())
    }

    /// What a user should know of the sweep as a whole, one line each: what conditions dropped, those that never hold,
    /// what overrides replaced, how many duplicates there are.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.document().notes.clone();
        for (index, test) in self.sweep.conditions.iter().enumerate() {
            let condition = test.condition;
            let shown = format!(
                "{} = \"{}\" ({})",
                condition.rule.name(),
                condition.text,
                self.document().place(&condition.at)
            );
            let dropped = self.tally.dropped[index].load(Ordering::Relaxed);
            let held = self.tally.held[index].load(Ordering::Relaxed);
            match condition.rule {
                _ if dropped > 0 => notes.push(format!("{} dropped by {shown}", trials(dropped))),
                Rule::Exclude if !held => notes.push(format!("{shown} never holds: it drops nothing")),
                Rule::When if !held => notes.push(format!("{shown} never holds")),
                Rule::If if !held => notes.push(format!("{shown} never holds: its case adds nothing")),
                _ => {}
            }
        }
        notes.extend(self.repeats.notes());
        let points = self.repeats.all_budgets.len();
        if (1..CURVE).contains(&points) {
            let budgets = if points == 1 { "1 budget".into() } else { format!("{points} budgets") };
            notes.push(format!("{budgets}: fewer than {CURVE} points make no curve"));
        }
        if self.duplicates > 0 {
            let repeated = trials(self.duplicates);
            notes.push(format!(
                "{repeated} dropped as duplicates: earlier ones train the same; labels that differ are among the aliases"
            ));
        }
        notes
    }

    fn nothing_left(&self) -> ExperimentError {
        let at = self.sweep.conditions.first().map_or(&At::File, |test| &test.condition.at);
        let complaint = Complaint::new("the conditions drop every trial", "", "conditions that leave at least one");
        let dropped = self.notes().into_iter().filter(|note| note.contains("dropped by")).take(5);
        self.document().error(at, complaint.help(dropped.collect::<Vec<_>>().join("; ")))
    }
}

/// `1 trial`, `2 trials`.
fn trials(count: u64) -> String {
    if count == 1 { "1 trial".into() } else { format!("{count} trials") }
}

fn unmatched_layer(document: &Document, index: usize, pattern: &str) -> ExperimentError {
    let at = find(&document.layers[index].entries, "match").map_or(&document.layers[index].at, |entry| &entry.at);
    let accepted = "names of convolutions as `harness cost` prints them; `*` stands for any run of characters, `|` for either of two; where \
         several [[layer]] fit, the first makes a layer";
    document.error(at, Complaint::new(format!("no layer is called `{pattern}`, or none is left for it"), "", accepted))
}

impl Row<'_> {
    /// What is remarked of its network, of how it trains, and of budgets that it does not meet.
    pub fn remarks(&self) -> Arc<[String]> {
        let remarks = self.setting.remarks();
        match self.budgets.map(Budgets::remarks) {
            Some(missed) if !missed.is_empty() => remarks.iter().cloned().chain(missed).collect(),
            _ => remarks,
        }
    }

    /// The trial in full, as its results keep it.
    pub fn config(&self) -> TrialConfig {
        self.setting.config(self.layers, self.seed)
    }

    /// Whether it fits a filter (see [`super::Trial::matches`]).
    pub fn matches(&self, filter: &str) -> bool {
        let aliases = self.aliases.iter().flat_map(|aliases| &aliases.labels).map(|label| &**label);
        let labels: Vec<&str> = aliases.chain([&*self.setting.label]).collect();
        fits(filter, &labels, self.seed, |key| self.config().get(key))
    }
}

/// See [`Plan::rows`].
#[derive(Debug)]
pub struct Rows<'p> {
    plan: &'p Plan<'p>,
    settings: Settings<'p>,
    setting: Option<Arc<Setting>>,
    /// The next one of the setting.
    seed: usize,
    /// Trials so far, duplicates counted.
    seen: usize,
    /// Duplicates not counted.
    unique: u32,
}

impl<'p> Iterator for Rows<'p> {
    type Item = anyhow::Result<Row<'p>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(setting) = self.setting.clone().filter(|setting| self.seed < setting.seeds.len()) else {
                match self.settings.next()? {
                    Ok(setting) => (self.setting, self.seed) = (Some(Arc::new(setting)), 0),
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            let index = self.seed;
            (self.seed, self.seen) = (self.seed + 1, self.seen + 1);
            if self.plan.repeats.flags[self.seen - 1] {
                continue;
            }
            self.unique += 1;
            let (number, repeats) = (self.unique - 1, &self.plan.repeats);
            let (aliases, budgets) = (repeats.aliases.get(&number), repeats.budgets.get(&number));
            let control_of = repeats.control_of.get(&number).map(Vec::as_slice).unwrap_or_default();
            let seed = setting.seeds[index];
            return Some(Ok(Row { setting, seed, aliases, budgets, control_of, index, layers: &self.plan.layers }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::keys::keys;

    const HEAD: &str = "[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n[recipe]\nepochs = 1\n";

    fn document(top: &str, blocks: &str) -> Document {
        Document::parse(keys(), "x.toml", &format!("name = 'x'\n{top}\n{HEAD}{blocks}")).unwrap()
    }

    fn labels(document: &Document) -> Vec<String> {
        let plan = Plan::new(document).unwrap();
        plan.rows().map(|row| row.unwrap()).map(|row| format!("{} {}", row.setting.label, row.seed)).collect()
    }

    #[test]
    fn conditions_drop_settings_and_say_how_many() {
        let document = document(
            "exclude = ['method.depth >= 2 and lr > 0.1', 'depth = 6']",
            "[[grid]]\nmethod.name = 'compconv'\nmethod.depth = [1, 2, 3]\nrecipe.lr = [0.1, 0.2]\nprotocol.seeds = [0, 1]\n\
             when = 'seed = 0 or lr = 0.1'\n[[grid]]\nmethod.name = ['vanilla', 'ghost']\nexclude = 'macs_share < 1'\n\
             [[grid.case]]\nif = 'batch = 7'\nrecipe.gamma = 1.0",
        );
        assert_eq!(
            labels(&document),
            [
                "compconv depth=1 lr=0.1 0",
                "compconv depth=1 lr=0.1 1",
                "compconv depth=1 lr=0.2 0",
                "compconv depth=2 lr=0.1 0",
                "compconv depth=2 lr=0.1 1",
                "compconv depth=3 lr=0.1 0",
                "compconv depth=3 lr=0.1 1",
                "vanilla 0",
            ]
        );
        assert_eq!(
            Plan::new(&document).unwrap().notes(),
            [
                "4 trials dropped by exclude = \"method.depth >= 2 and lr > 0.1\" (x.toml:2)",
                "exclude = \"depth = 6\" (x.toml:2) never holds: it drops nothing",
                "1 trial dropped by when = \"seed = 0 or lr = 0.1\" (x.toml:14)",
                "1 trial dropped by exclude = \"macs_share < 1\" (x.toml:17)",
                "if = \"batch = 7\" (x.toml:19) never holds: its case adds nothing",
            ]
        );
    }

    #[test]
    fn what_makes_no_sense_may_be_excluded() {
        let blocks =
            "[[grid]]\nmethod.name = 'compconv'\nmethod.tail = ['full', 'pointwise']\nmethod.tail_kernel = [1, 3]\n";
        let document = |when| document(when, blocks);
        assert!(Plan::new(&document("")).unwrap_err().to_string().contains("pointwise"));
        let left = labels(&document("exclude = 'tail = pointwise and tail_kernel = 3'"));
        assert_eq!(left.len(), 2, "of the three that are left, 1 x 1 comes twice: {left:?}");
        let error = Plan::new(&document("when = 'lr > 100'")).unwrap_err().to_string();
        assert!(
            error.contains("x.toml:2: the conditions drop every trial") && error.contains("4 trials dropped"),
            "{error}"
        );
    }

    #[test]
    fn a_case_that_holds_for_a_method_without_its_option_is_refused_where_the_option_stands() {
        let blocks =
            "[[grid]]\nmethod.name = ['vanilla', 'compconv']\n[[grid.case]]\nif = 'lr = 0.1'\nmethod.depth = 1";
        let error = Plan::new(&document("", blocks)).unwrap_err().to_string();
        assert!(error.starts_with("x.toml:13: unknown option of vanilla `depth`"), "{error}");
    }

    #[test]
    fn duplicates_are_counted_and_named() {
        let document =
            document("", "[[grid]]\nmethod.name = 'compconv'\nmethod.c0 = [64, 128, 16, 64]\nprotocol.seeds = [0, 1]");
        let plan = Plan::new(&document).unwrap();
        assert_eq!((plan.trials, plan.duplicates), (4, 4));
        let aliases: Vec<_> = plan.rows().map(|row| row.unwrap().aliases.map(ToString::to_string)).collect();
        let alias = Some("compconv c0=128".to_string());
        assert_eq!(aliases, [alias.clone(), alias, None, None]);
        assert!(plan.notes()[0].starts_with("4 trials dropped as duplicates"));
    }

    /// Settings are looked at a few thousand at a time, so that the first rows of a large sweep come at once.
    #[test]
    fn rows_come_before_all_are_looked_at() {
        let blocks = "[[draw]]\ncount = 200_000\nrecipe.lr = { log_uniform = [1e-3, 1.0] }\nrecipe.weight_decay = { log_uniform = [1e-5, 1.0] }";
        let document = document("", blocks);
        let plan = Plan::new(&document).unwrap();
        assert_eq!(plan.trials + plan.duplicates, 200_000);
        let mut rows = plan.rows();
        assert_eq!(rows.by_ref().take(10).count(), 10);
        assert!((10..10_000).contains(&rows.settings.looked_at()), "{}", rows.settings.looked_at());
        assert_eq!(rows.count() as u64, plan.trials - 10);
    }
}
