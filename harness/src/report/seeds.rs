//! What seeds have to say: the spread of every row, and which pairs of rows can be told apart.

use super::aggregate::Group;
use super::tables::{dash, markdown, signed};
use crate::statistics::{Interval, Pair, Standing, Summary, Verdict, bootstrap, standings};

/// More pairs than this are folded.
const SHOWN_PAIRS: usize = 15;

/// Sections on the spread over seeds and on all pairs; empty where nothing was trained, or one row alone. Where no two rows share
/// two seeds it says that there is nothing to show, and why.
pub fn sections(group: &Group<'_>) -> String {
    if group.cost_only() || group.rows.len() < 2 {
        return String::new();
    }
    let pairs = group.pairs(group.split());
    if pairs.iter().all(|pair| pair.comparison.seeds() < 2) {
        return "\n### All pairs\n\nNot shown: no two rows have two seeds in common. A verdict on methods needs at least two; three to \
                five are usual (`protocol.seeds`).\n"
            .into();
    }
    spread(group, &pairs) + &all_pairs(group, &pairs)
}

fn spread(group: &Group<'_>, pairs: &[Pair]) -> String {
    let split = group.split();
    let values: Vec<Vec<f64>> =
        group.rows.iter().map(|row| row.top1_by_seed(split).into_iter().map(|(_, value)| value).collect()).collect();
    let means: Vec<f64> =
        values.iter().map(|values| Summary::of(values).map_or(f64::NAN, |summary| summary.mean)).collect();
    let costs: Vec<u64> = group.rows.iter().map(|row| row.macs()).collect();
    let standings = standings(&costs, &means, pairs);
    let rows: Vec<Vec<String>> = group
        .rows
        .iter()
        .zip(&values)
        .zip(&standings)
        .map(|((row, values), standing)| {
            let summary = Summary::of(values);
            let deviation = summary.and_then(|summary| summary.deviation);
            vec![
                row.label.clone(),
                values.len().to_string(),
                summary.map_or_else(dash, |summary| format!("{:.2}", summary.mean)),
                deviation.map_or_else(dash, |deviation| format!("{deviation:.2}")),
                summary.and_then(|summary| summary.interval()).map_or_else(dash, plain),
                bootstrap(values).map_or_else(dash, plain),
                standing.name().into(),
            ]
        })
        .collect();
    let title = format!("{} (%)", split.name());
    let header = ["Method", "n", &title, "sd", "95 % (Student t)", "95 % (bootstrap)", "Accuracy at its MACs"];
    let verdicts = match standings.contains(&Standing::Beaten) {
        true => "beaten: one that is no dearer is better, by a verdict of the pairs below",
        false => "none is beaten: no verdict below says that one that is no dearer is better",
    };
    format!(
        "\n### Over seeds\n\n{}\n\
         - **Seeds, not images**: the spread is that of networks trained from other seeds, judged on the same images.\n\
         - **Intervals** of the mean: Student's is exact for normal values. The bootstrap (percentile, 10,000 draws) describes these \
         values, and covers less than it says: about 75 % with three seeds, 83 % with five.\n\
         - **Accuracy at its MACs**: on the front: no other row does as well by its mean for as little; undecided: some does, and no verdict \
         confirms it; {verdicts}.\n",
        markdown(&header, &rows)
    )
}

fn all_pairs(group: &Group<'_>, pairs: &[Pair]) -> String {
    let apart = pairs.iter().filter(|pair| pair.verdict() != Verdict::NotDistinguishable).count();
    let count = format!(
        "{} {}: {apart} told apart, {} not distinguishable",
        pairs.len(),
        if pairs.len() == 1 { "pair" } else { "pairs" },
        pairs.len() - apart
    );
    let rows: Vec<Vec<String>> = pairs.iter().map(|pair| cells(group, pair)).collect();
    let table = markdown(&["First / second", "Common seeds", "Δ (points)", "p", "p (Holm)", "The first is"], &rows);
    let body = match pairs.len() {
        ..=SHOWN_PAIRS => format!("{count}.\n\n{table}"),
        _ => format!("<details><summary>{count}</summary>\n\n{table}\n</details>\n"),
    };
    format!(
        "\n### All pairs\n\n{body}\n\
         - **Δ**: first less second in {} top-1, paired by seed, with the 95 % interval (Student t) of this pair by itself.\n\
         - **Verdict**: from p with Holm's correction for the number of pairs. Were all rows alike, at most 5 % of such tables would tell any \
         pair apart. An interval may leave out 0 where the verdict does not follow: by itself the pair would be told apart.\n",
        group.split().name()
    )
}

fn cells(group: &Group<'_>, pair: &Pair) -> Vec<String> {
    let comparison = &pair.comparison;
    let verdict = pair.verdict().name();
    vec![
        format!("{} / {}", group.rows[pair.first].label, group.rows[pair.second].label),
        comparison.seeds().to_string(),
        match (comparison.difference, comparison.interval()) {
            (None, _) => dash(),
            (Some(difference), None) => format!("{:+.2}", difference.mean),
            (Some(difference), Some(interval)) => format!("{:+.2} {}", difference.mean, signed(interval)),
        },
        comparison.p.map_or_else(|_| dash(), p_value),
        pair.adjusted.map_or_else(dash, p_value),
        comparison.p.err().map_or_else(|| verdict.into(), |doubt| format!("{verdict} ({})", doubt.name())),
    ]
}

/// Below this, p has no digits among four.
const SMALL: f64 = 1e-4;

/// `0.0312`, or that it is too small for four decimals.
fn p_value(p: f64) -> String {
    if p < SMALL { "< 0.0001".into() } else { format!("{p:.4}") }
}

/// `p = 0.0312`, or `p < 0.0001`.
pub fn p_equals(p: f64) -> String {
    if p < SMALL { format!("p {}", p_value(p)) } else { format!("p = {}", p_value(p)) }
}

/// `[62.10, 62.90]`.
fn plain(Interval { low, high }: Interval) -> String {
    format!("[{low:.2}, {high:.2}]")
}
