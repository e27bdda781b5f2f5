//! Texts whose numbers come from the committed results, so that neither can drift from the other.
//!
//! The texts are in `tests/texts`. What stands there in double braces is asked of a study: `{{FOLDER: QUESTION: ROW: ROW}}`, such as
//! `{{ablation: difference: compconv depth=1: vanilla}}`, of a backbone of it by `FOLDER@BACKBONE`. With `UPDATE_DOCS=1` the documents are
//! written anew.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness::config::Precision;
use harness::report::aggregate::{Group, SettingRow, Split, groups};
use harness::report::numbers::{difference, p_equals, p_value, quantity, share, signed, thousands, three_digits};
use harness::results::{Collected, Measured, RunFolder};
use harness::statistics::{
    Comparison, FALSE_VERDICTS, Interval, POWER, Pair, Tested, Verdict, compare_all, detectable_together, pair_of,
    test_together,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The results of a study.
struct Study {
    trials: Collected,
    measured: Option<Measured>,
}

impl Study {
    fn open(name: &str) -> Self {
        let folder = RunFolder::open(&root().join("reports/study").join(name)).unwrap();
        Self { trials: folder.collected().unwrap(), measured: folder.measured().unwrap() }
    }

    /// The only group of a study, or that of a backbone.
    fn group(&self, backbone: Option<&str>) -> Group<'_> {
        let fits = |group: &Group<'_>| backbone.is_none_or(|name| group.first().trial.config.backbone.name == name);
        let found: Vec<Group<'_>> = groups(&self.trials.done).into_iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "one group of {backbone:?}");
        found.into_iter().next().unwrap().with(self.measured.as_ref())
    }
}

/// What a question is asked of.
struct Asked<'g> {
    group: &'g Group<'g>,
    question: &'g str,
    rows: &'g [&'g str],
}

impl<'g> Asked<'g> {
    fn place(&self, nth: usize) -> usize {
        let Some(label) = self.rows.get(nth) else { panic!("{}: a row is missing", self.question) };
        let known =
            |row: &SettingRow<'_>| row.label == *label || row.first().trial.aliases.iter().any(|alias| alias == label);
        let found = self.group.rows.iter().position(known);
        found.unwrap_or_else(|| {
            let all: Vec<&str> = self.group.rows.iter().map(|row| &*row.label).collect();
            panic!("{}: no row `{label}` among {all:?}", self.question)
        })
    }

    fn row(&self, nth: usize) -> &'g SettingRow<'g> {
        &self.group.rows[self.place(nth)]
    }

    fn vanilla(&self) -> &'g SettingRow<'g> {
        self.group.vanilla().unwrap()
    }

    fn pair(&self) -> (usize, &'g Pair) {
        let [one, other] = [0, 1].map(|nth| self.place(nth));
        (one, pair_of(self.group.pairs(), one, other).unwrap())
    }

    /// How many times as fast as vanilla: one image, or a batch.
    fn speedup(&self, one: bool) -> f64 {
        let of = |row: &SettingRow<'_>| {
            let network = self.group.network(row).unwrap_or_else(|| panic!("{} was not measured", row.label));
            let used = if one { network.one.as_ref() } else { network.many.as_ref() };
            used.unwrap_or_else(|| panic!("{} has no time", row.label)).ms[0]
        };
        of(self.vanilla()) / of(self.row(0))
    }

    fn answer(&self) -> String {
        let split = self.group.split();
        match self.question {
            "top1" => {
                let top1 = self.row(0).top1(split).unwrap();
                let spread = top1.deviation.map_or_else(String::new, |deviation| format!(" ± {deviation:.2}"));
                format!("{:.2}{spread} %", top1.mean)
            }
            "macs" => quantity(self.row(0).macs()),
            "params" => quantity(self.row(0).params()),
            "macs share" => share(self.row(0).macs(), self.vanilla().macs()),
            "params share" => share(self.row(0).params(), self.vanilla().params()),
            "macs saved" => three_digits(self.vanilla().macs() as f64 / self.row(0).macs() as f64),
            "speedup of one" => three_digits(self.speedup(true)),
            "speedup of a batch" => three_digits(self.speedup(false)),
            "batch" => self.group.network(self.vanilla()).unwrap().images.to_string(),
            "difference" => {
                let (one, pair) = self.pair();
                let mean = pair.difference_on(one).unwrap();
                let ends = pair.interval_on(one).map_or_else(String::new, |ends| format!(" {}", signed(ends)));
                format!("{}{ends}", difference(mean))
            }
            "loss" => {
                let (one, pair) = self.pair();
                format!("{:.2}", -pair.difference_on(one).unwrap())
            }
            // The same on the images that choices may be made by.
            "validation" => {
                let [one, other] = [0, 1].map(|nth| self.place(nth));
                let rows = self.group.rows.iter().map(|row| row.top1_by_seed(Split::Validation));
                let pairs = compare_all(&rows.collect::<Vec<_>>());
                let pair = pair_of(&pairs, one, other).unwrap();
                let mean = pair.difference_on(one).unwrap();
                let tested = pair.tested.unwrap();
                let corrected = p_value(tested.adjusted);
                format!("{} points, {} by itself, {corrected} corrected", difference(mean), p_equals(tested.p))
            }
            "params more" => quantity(self.row(0).params() - self.row(1).params()),
            "verdict" => verdict(self.pair()).to_owned(),
            "seeds" => self.group.rows.iter().map(|row| row.trials.len()).min().unwrap().to_string(),
            "most seeds" => self.group.rows.iter().map(|row| row.trials.len()).max().unwrap().to_string(),
            "settings" => self.group.rows.len().to_string(),
            "pairs" => self.group.pairs().len().to_string(),
            "pairs told apart" => {
                let apart = |pair: &&Pair| pair.verdict() != Verdict::NotDistinguishable;
                self.group.pairs().iter().filter(apart).count().to_string()
            }
            "epochs" => self.group.first().trial.config.recipe.epochs.to_string(),
            "images" => thousands(self.group.first().measures().unwrap().train_images as u64),
            "sight" => {
                let seeds = self.group.rows.iter().map(|row| row.trials.len()).min().unwrap();
                let rows = self.group.rows.len();
                format!(
                    "{:.1}",
                    detectable_together(seeds, rows, self.group.spread().unwrap(), POWER, FALSE_VERDICTS).unwrap()
                )
            }
            "against" => against(self.group, self.place(0)),
            // What the words around it say; nothing is written.
            question => match question.strip_prefix("is ") {
                Some(expected) => {
                    assert_eq!(verdict(self.pair()), expected, "{:?}: the text says otherwise", self.rows);
                    String::new()
                }
                None => panic!("no answer is known to `{question}`"),
            },
        }
    }
}

fn verdict((one, pair): (usize, &Pair)) -> &'static str {
    told(pair.verdict_on(one))
}

fn told(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NotDistinguishable => "not told apart",
    }
}

/// Every row but vanilla beside one of them, in its order by accuracy.
fn against(group: &Group<'_>, base: usize) -> String {
    let mut found: Vec<(f64, String)> = Vec::new();
    for (at, row) in group.rows.iter().enumerate().filter(|(at, row)| *at != base && !row.is_vanilla()) {
        let pair = pair_of(group.pairs(), at, base).unwrap();
        let mean = pair.difference_on(at).unwrap();
        // One seed has none.
        let ends = pair.interval_on(at).map_or_else(
            || "–".to_owned(),
            |Interval { low, high }| format!("{} to {}", difference(low), difference(high)),
        );
        let setting = row.label.split_once(' ').map_or(&*row.label, |(_, options)| options);
        let corrected = pair.tested.map_or_else(|| "one seed".to_owned(), |tested| p_value(tested.adjusted));
        let (macs, told) = (quantity(row.macs()), verdict((at, pair)));
        let line = format!("| `{setting}` | {} | {ends} | {macs} | {told} ({corrected}) |\n", difference(mean));
        found.push((mean, line));
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let lines: String = found.into_iter().map(|(_, line)| line).collect();
    format!("| setting | points | 95 % | MACs | verdict (p, corrected) |\n| --- | ---: | ---: | ---: | --- |\n{lines}")
        .trim_end()
        .to_owned()
}

/// Every row that was trained in bf16 beside the same of f32: one family of comparisons.
fn of_bf16(study: &Study) -> Vec<(String, [String; 2], Comparison, Option<Tested>)> {
    let all = groups(&study.trials.done);
    let of = |precision: Precision| {
        let groups = all.iter().filter(move |group| group.first().trial.config.recipe.precision() == precision);
        groups.flat_map(|group| &group.rows)
    };
    let same = |row: &SettingRow<'_>| {
        let label = row.label.replace("precision=bf16", "precision=f32");
        of(Precision::F32).find(|other| other.label == label).unwrap_or_else(|| panic!("no row {label}"))
    };
    let pairs: Vec<(&SettingRow<'_>, &SettingRow<'_>)> = of(Precision::Bf16).map(|row| (row, same(row))).collect();
    let comparisons: Vec<Comparison> = pairs.iter().map(|(half, single)| half.compare(single, Split::Test)).collect();
    let freedom: usize = comparisons.iter().map(|comparison| comparison.seeds() - 1).sum();
    let tested = test_together(&comparisons, freedom as f64);
    let mean = |row: &SettingRow<'_>| {
        let top1 = row.top1(Split::Test).unwrap();
        format!("{:.2} ± {:.2}", top1.mean, top1.deviation.unwrap())
    };
    let found = pairs.into_iter().zip(comparisons).zip(tested);
    found
        .map(|(((half, single), comparison), tested)| {
            let label = half.label.replace(" precision=bf16", "");
            (label, [mean(single), mean(half)], comparison, tested)
        })
        .collect()
}

/// A table of them.
fn table_of_bf16(study: &Study) -> String {
    let lines = of_bf16(study).into_iter().map(|(label, [single, half], comparison, tested)| {
        let (Interval { low, high }, tested) = (comparison.interval().unwrap(), tested.unwrap());
        let (mean, seeds) = (comparison.difference.unwrap().mean, comparison.seeds());
        let told = told(Verdict::of(tested.adjusted, mean));
        let (ends, p) = (format!("{} to {}", difference(low), difference(high)), p_value(tested.adjusted));
        format!("| `{label}` | {single} | {half} | {} | {ends} | {seeds} | {told} ({p}) |", difference(mean))
    });
    let head = "| network | f32 | bf16 | points | 95 % | seeds | verdict (p, corrected) |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |";
    [head.to_owned()].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

/// Paragraphs and items of lists broken anew, as answers are longer or shorter than their questions.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 130;
    let (mut out, mut paragraph) = (String::new(), String::new());
    for line in text.lines().chain([""]) {
        let begins = line.starts_with("- ");
        let ends = line.is_empty() || line.starts_with(['|', '#']);
        if (begins || ends) && !paragraph.is_empty() {
            let indent = if paragraph.starts_with("- ") { "  " } else { "" };
            let mut length = 0;
            for word in paragraph.split_whitespace() {
                let letters = word.chars().count();
                if length > 0 && length + 1 + letters > WIDTH {
                    out += &format!("\n{indent}{word}");
                    length = indent.len() + letters;
                } else {
                    out += &format!("{}{word}", if length > 0 { " " } else { "" });
                    length += letters + usize::from(length > 0);
                }
            }
            out.push('\n');
            paragraph.clear();
        }
        if ends {
            out += &format!("{line}\n");
        } else {
            paragraph += &format!("{line} ");
        }
    }
    format!("{}\n", out.trim_end())
}

/// The texts, and the documents that they become.
const TEXTS: [(&str, &str); 2] = [("findings.md", "docs/findings.md"), ("ablation.md", "compconv/src/ablation.md")];

#[test]
fn documents_say_what_the_committed_results_do() {
    for (text, document) in TEXTS {
        check(text, document);
    }
}

fn check(text: &str, document: &str) {
    let template = fs::read_to_string(root().join("harness/tests/texts").join(text)).unwrap();
    let mut studies: HashMap<&str, Study> = HashMap::new();
    let asked: Vec<&str> =
        template.split("{{").skip(1).map(|part| part.split_once("}}").expect("braces are closed").0).collect();
    for question in &asked {
        let name = question.split([':', '@']).next().unwrap();
        studies.entry(name).or_insert_with(|| Study::open(name));
    }
    let mut text = String::new();
    let mut rest = &*template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (question, after) = after.split_once("}}").unwrap();
        let parts: Vec<&str> = question.split(": ").collect();
        let (study, backbone) =
            parts[0].split_once('@').map_or((parts[0], None), |(name, backbone)| (name, Some(backbone)));
        text += before;
        text += &match parts[1] {
            "bf16 beside f32" => table_of_bf16(&studies[study]),
            // What the words around it say; nothing is written.
            "bf16 is not told apart" => {
                for (label, _, comparison, tested) in of_bf16(&studies[study]) {
                    let verdict = Verdict::of(tested.unwrap().adjusted, comparison.difference.unwrap().mean);
                    assert_eq!(told(verdict), "not told apart", "{label}: the text says otherwise");
                }
                String::new()
            }
            question => {
                let group = studies[study].group(backbone);
                Asked { group: &group, question, rows: &parts[2..] }.answer()
            }
        };
        rest = after;
    }
    let text = wrapped(&(text + rest));
    let path = root().join(document);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == text, "{document} is not what its text and the results say: run the test with UPDATE_DOCS=1");
}
