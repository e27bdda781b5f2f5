//! What seeds have to say: the spread of every row, and which pairs of rows can be told apart.

use super::aggregate::{Group, SettingRow};
use super::comparison::against;
use super::numbers::{p_value, unsigned};
use super::section::{Part, Section};
use super::table::{Cell, Table, Value};
use crate::statistics::{Interval, Pair, Standing, Summary, Verdict, bootstrap, standings};

/// More pairs than this are folded.
const SHOWN_PAIRS: usize = 15;

/// Sections on the spread over seeds and on all pairs; none where nothing was trained, or one row alone. Where no two rows share
/// two seeds it says that there is nothing to show, and why.
pub fn sections(group: &Group<'_>, name: &str) -> Vec<Section> {
    if group.cost_only() || group.rows.len() < 2 {
        return Vec::new();
    }
    let pairs = group.pairs();
    if pairs.iter().all(|pair| pair.comparison.seeds() < 2) {
        let why = "Not shown: no two rows have two seeds in common. A verdict on methods needs at least two; three to five are usual \
                   (`protocol.seeds`).";
        return vec![Section::of_group("All pairs", vec![Part::Text(why.into())])];
    }
    vec![spread(group, name), all_pairs(group, pairs, name)]
}

/// Where the rows of a group stand by their accuracy at their MACs.
pub fn standings_of(group: &Group<'_>) -> Vec<Standing> {
    let split = group.split();
    let mean = |row: &SettingRow<'_>| row.top1(split).map_or(f64::NAN, |summary| summary.mean);
    let means: Vec<f64> = group.rows.iter().map(mean).collect();
    let costs: Vec<u64> = group.rows.iter().map(|row| row.macs()).collect();
    standings(&costs, &means, group.pairs())
}

fn spread(group: &Group<'_>, name: &str) -> Section {
    let split = group.split();
    let values: Vec<Vec<f64>> =
        group.rows.iter().map(|row| row.top1_by_seed(split).into_iter().map(|(_, value)| value).collect()).collect();
    let summaries: Vec<Option<Summary>> = values.iter().map(|values| Summary::of(values)).collect();
    let standings = standings_of(group);
    let mut table = Table::new(format!("{name}-seeds"), format!("{}: spread over seeds", group.title()));
    table.column("Method", ["label"], group.rows.iter().map(|row| Cell::text(&row.label)));
    table.column("n", ["n"], values.iter().map(|values| Cell::count(values.len())));
    let means = summaries.iter().map(|summary| Cell::of(*summary, |summary| Cell::number(summary.mean, 2)));
    table.column(format!("{} (%)", split.name()), ["mean"], means);
    let deviation = |summary: &Option<Summary>| Cell::of(summary.and_then(|s| s.deviation), |sd| Cell::number(sd, 2));
    table.column("sd", ["sd"], summaries.iter().map(deviation));
    let student = summaries.iter().map(|summary| Cell::of(summary.and_then(|summary| summary.interval()), ends));
    table.column("95 % (Student t)", ["t_low", "t_high"], student);
    let drawn = values.iter().map(|values| Cell::of(bootstrap(values), ends));
    table.column("95 % (bootstrap)", ["bootstrap_low", "bootstrap_high"], drawn);
    let standing = standings.iter().map(|standing| Cell::text(standing.name()));
    table.column("Accuracy at its MACs", ["standing"], standing);
    let verdicts = match standings.contains(&Standing::Beaten) {
        true => "beaten: one that is no dearer is better, by a verdict of the pairs below",
        false => "none is beaten: no verdict below says that one that is no dearer is better",
    };
    table.notes = vec![
        "**Seeds, not images**: the spread is that of networks trained from other seeds, judged on the same images.".into(),
        "**Intervals** of the mean: Student's is exact for normal values. The bootstrap (percentile, 10,000 draws) describes these \
         values, and covers less than it says: about 75 % with three seeds, 83 % with five."
            .into(),
        format!(
            "**Accuracy at its MACs**: on the front: no other row does as well by its mean for as little; undecided: some does, and no \
             verdict confirms it; {verdicts}."
        ),
    ];
    Section::of_group("Over seeds", vec![Part::Table(table)])
}

fn ends(interval: Interval) -> Cell {
    Cell::shown(unsigned(interval), [interval.low.into(), interval.high.into()])
}

fn all_pairs(group: &Group<'_>, pairs: &[Pair], name: &str) -> Section {
    let apart = pairs.iter().filter(|pair| pair.verdict() != Verdict::NotDistinguishable).count();
    let count = format!(
        "{} {}: {apart} told apart, {} not distinguishable",
        pairs.len(),
        if pairs.len() == 1 { "pair" } else { "pairs" },
        pairs.len() - apart
    );
    let mut table = Table::new(format!("{name}-pairs"), format!("{}: all pairs", group.title()));
    let label = |row: usize| &*group.rows[row].label;
    let both = pairs.iter().map(|Pair { first, second, .. }| {
        let [first, second] = [*first, *second].map(label);
        Cell::shown(format!("{first} / {second}"), [first, second].map(|label| Value::Text(label.into())))
    });
    table.column("First / second", ["first", "second"], both);
    table.column("Common seeds", ["seeds"], pairs.iter().map(|pair| Cell::count(pair.comparison.seeds())));
    // What is told apart is said by the verdict, which is corrected.
    let delta = pairs.iter().map(|pair| against(pair, pair.first).bold(false));
    table.column("Δ (points)", ["delta", "delta_low", "delta_high"], delta);
    let p = |p: f64| Cell::shown(p_value(p), [p.into()]);
    table.column("p", ["p"], pairs.iter().map(|pair| Cell::of(pair.tested.map(|tested| tested.p), p)));
    table.column(
        "p (Holm)",
        ["p_holm"],
        pairs.iter().map(|pair| Cell::of(pair.tested.map(|tested| tested.adjusted), p)),
    );
    let verdicts = pairs.iter().map(|pair| {
        let verdict = pair.verdict().name();
        Cell::text(pair.comparison.p.err().map_or_else(|| verdict.into(), |why| format!("{verdict} ({})", why.name())))
    });
    table.column("The first is", ["verdict"], verdicts);
    table.notes = vec![
        format!(
            "**Δ**: first less second in {} top-1, paired by seed, with the 95 % interval of this pair by itself.",
            group.split().name()
        ),
        "**p and intervals**: Student's t of the seeds' differences. Where a table has six pairs or more, they share what all of them tell of the \
         spread between seeds (empirical Bayes; Smyth 2004), and none counts as varying less than its own seeds do."
            .into(),
        "**Verdict**: from p with Holm's correction for the number of pairs. Were all rows alike, at most 5 % of such tables would tell any \
         pair apart. An interval may leave out 0 where the verdict does not follow: by itself the pair would be told apart."
            .into(),
    ];
    let parts = match pairs.len() {
        ..=SHOWN_PAIRS => vec![Part::Text(format!("{count}.")), Part::Table(table)],
        _ => vec![Part::Folded(count, table)],
    };
    Section::of_group("All pairs", parts)
}
