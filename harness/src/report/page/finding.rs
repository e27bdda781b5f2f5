//! What a group shows, in sentences that are computed: each says what it rests on, and none says more than its verdicts do.

use crate::methods::Rank;
use crate::report::aggregate::{Group, SettingRow};
use crate::report::markup::html_text;
use crate::report::numbers::{difference, quantity, share, signed, three_digits};
use crate::statistics::{FALSE_VERDICTS, POWER, Pair, Summary, Verdict, detectable_together, pair_of};

/// Costs that differ by no more than this share are called equal.
const ALIKE: f64 = 0.10;

/// The sentences, as HTML.
pub(super) fn sentences(group: &Group<'_>) -> Vec<String> {
    let found = if group.cost_only() {
        vec![smallest(group)]
    } else {
        vec![beside_vanilla(group), at_equal_cost(group), realized(group), sight(group)]
    };
    found.into_iter().flatten().collect()
}

/// The rows that the report is about: those of the method under study, where there are any, else all that compete.
fn studied<'g, 'a>(group: &'g Group<'a>) -> Vec<(usize, &'g SettingRow<'a>)> {
    let of = |rank: Rank| group.rows.iter().enumerate().filter(move |(_, row)| row.rank() == rank).collect::<Vec<_>>();
    let studied = of(Rank::Studied);
    if studied.is_empty() { of(Rank::Rival) } else { studied }
}

fn strong(row: &SettingRow<'_>) -> String {
    format!("<strong>{}</strong>", html_text(&row.label))
}

/// What the smallest network costs, where nothing was trained.
fn smallest(group: &Group<'_>) -> Option<String> {
    let vanilla = group.vanilla()?;
    let (_, row) = studied(group).into_iter().filter(|(_, row)| !row.is_vanilla()).min_by_key(|(_, row)| row.macs())?;
    Some(format!(
        "{} needs the fewest multiply-accumulates: {} of an image, {} of vanilla's {}, with {} of its parameters. Nothing was trained.",
        strong(row),
        quantity(row.macs()),
        share(row.macs(), vanilla.macs()),
        quantity(vanilla.macs()),
        share(row.params(), vanilla.params())
    ))
}

/// The best of the studied rows beside vanilla, and the cheapest that no verdict calls worse.
fn beside_vanilla(group: &Group<'_>) -> Option<String> {
    let split = group.split();
    let at_vanilla = group.rows.iter().position(SettingRow::is_vanilla)?;
    let vanilla = &group.rows[at_vanilla];
    let rows: Vec<(usize, &SettingRow<'_>, Summary)> = studied(group)
        .into_iter()
        .filter_map(|(at, row)| Some((at, row, row.compare(vanilla, split).difference?)))
        .collect();
    let (at, best, Summary { mean, n, .. }) = rows.iter().copied().max_by(|a, b| a.2.mean.total_cmp(&b.2.mean))?;
    let pairs = group.pairs();
    let interval = pair_of(pairs, at, at_vanilla).and_then(|pair| pair.interval_on(at));
    let interval = interval.map_or_else(String::new, |ends| format!(" {}", signed(ends)));
    let verdict = |at: usize| verdict(pairs, at, at_vanilla);
    let told = match (n, verdict(at)) {
        (1, _) => "; one seed tells nothing of others".to_owned(),
        (_, Some(Verdict::Better)) => format!(" over {n} seeds, better than vanilla"),
        (_, Some(Verdict::Worse)) => format!(" over {n} seeds, worse than vanilla"),
        _ => format!(" over {n} seeds, not told apart from vanilla"),
    };
    let mut text = format!(
        "{} does best: {} points of {} top-1{interval} against vanilla at {} of its multiply-accumulates{told}.",
        strong(best),
        difference(mean),
        split.name(),
        share(best.macs(), vanilla.macs()),
    );
    let not_worse = rows.iter().filter(|(at, row, difference)| {
        difference.n > 1
            && row.macs() < best.macs()
            && matches!(verdict(*at), Some(Verdict::NotDistinguishable | Verdict::Better))
    });
    if let Some((_, cheapest, Summary { mean, .. })) = not_worse.min_by_key(|(_, row, _)| row.macs()) {
        text += &format!(
            " The cheapest that no verdict calls worse is {}, at {} ({} points).",
            strong(cheapest),
            share(cheapest.macs(), vanilla.macs()),
            difference(*mean)
        );
    }
    Some(text)
}

/// The verdict on the first of two rows, with the correction for all pairs; none where they were not tested.
fn verdict(pairs: &[Pair], first: usize, second: usize) -> Option<Verdict> {
    let pair = pair_of(pairs, first, second)?;
    pair.tested?;
    Some(pair.verdict_on(first))
}

/// How the method under study does against rivals and controls of its cost.
fn at_equal_cost(group: &Group<'_>) -> Option<String> {
    let others: Vec<(usize, &SettingRow<'_>)> =
        group.rows.iter().enumerate().filter(|(_, row)| matches!(row.rank(), Rank::Rival | Rank::Control)).collect();
    let (mut better, mut worse, mut alike) = (0, 0, 0);
    for (at, row) in studied(group).into_iter().filter(|(_, row)| row.rank() == Rank::Studied) {
        for (other, rival) in &others {
            let (own, theirs) = (row.macs() as f64, rival.macs() as f64);
            if (own - theirs).abs() > ALIKE * own.max(theirs) {
                continue;
            }
            match verdict(group.pairs(), at, *other) {
                Some(Verdict::Better) => better += 1,
                Some(Verdict::Worse) => worse += 1,
                Some(Verdict::NotDistinguishable) => alike += 1,
                None => {}
            }
        }
    }
    let method = html_text(studied(group).first()?.1.method());
    let all = better + worse + alike;
    (all > 0).then(|| {
        format!(
            "Against others within {:.0} % of its multiply-accumulates, {method} is better in {better} of {all} comparisons, worse in \
             {worse}, and not told apart in {alike} (corrected for all pairs of the table).",
            100.0 * ALIKE
        )
    })
}

/// What became of the multiply-accumulates that were saved.
fn realized(group: &Group<'_>) -> Option<String> {
    let measured = group.measured?;
    let speeds = studied(group).into_iter().filter_map(|(_, row)| {
        let network = group.network(row)?;
        let vanilla = measured.vanilla(network)?;
        let batch = network.many.as_ref()?.speedup(vanilla.many.as_ref()?)?;
        let one = network.one.as_ref()?.speedup(vanilla.one.as_ref()?)?;
        (network.macs > 0).then(|| (row, vanilla.macs as f64 / network.macs as f64, one, batch, network.images))
    });
    let (row, theory, one, batch, images) = speeds.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let slower = if one < 1.0 || batch < 1.0 { " It is slower than vanilla where that is below 1." } else { "" };
    let batch = if images > 1 { format!(", {} × for {images}", three_digits(batch)) } else { String::new() };
    Some(format!(
        "{} saves the most multiply-accumulates, {} ×; measured, it is {} × as fast as vanilla for one image{batch}.{slower}",
        strong(row),
        three_digits(theory),
        three_digits(one)
    ))
}

/// What the seeds can see.
fn sight(group: &Group<'_>) -> Option<String> {
    let seeds = group.rows.iter().map(|row| row.trials.len()).min()?;
    if seeds < 2 {
        return Some("Rows of one seed have no interval: their differences may be chance alone.".into());
    }
    let points = detectable_together(seeds, group.rows.len(), group.spread()?, POWER, FALSE_VERDICTS)?;
    Some(format!(
        "{seeds} seeds tell two of these {} rows apart that differ by {points:.1} points ({:.0} % power, corrected for all pairs); what is \
         smaller may have gone unseen.",
        group.rows.len(),
        100.0 * POWER
    ))
}
