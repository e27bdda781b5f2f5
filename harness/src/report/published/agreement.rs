//! How far published rows agree with the networks that were run here.

use toml::Table;

use super::papers::Row;
use crate::config::Replace;
use crate::methods::{self, SECOND_OF_EACH_BLOCK};
use crate::report::aggregate::{Group, SettingRow, Split};

/// How a published figure stands to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Agreement {
    /// The printed accuracy lies in the interval of ours; of costs: it is ours to the printed digits.
    Inside,
    /// It does not.
    Outside,
    /// There is no interval.
    OneSeed,
    /// The row is not what it seems to be, whatever ours is.
    Disputed,
    /// There is nothing here that it could be held against.
    Open,
}

impl Agreement {
    pub fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
            Self::OneSeed => "one seed",
            Self::Disputed => "disputed",
            Self::Open => "–",
        }
    }

    /// Of a published row beside ours, if there is one.
    pub fn of(row: &Row, ours: Option<&SettingRow<'_>>) -> Self {
        match ours {
            _ if row.disputed.is_some() => Self::Disputed,
            None => Self::Open,
            Some(ours) if ours.first().measures().is_none() => match differences(row, ours) {
                counts if counts.is_empty() => Self::Open,
                counts if counts.iter().all(|(_, difference)| difference.is_none()) => Self::Inside,
                _ => Self::Outside,
            },
            Some(ours) => match (row.top1.parse::<f64>(), ours.top1(Split::Test)) {
                (Ok(printed), Some(summary)) => match summary.interval() {
                    None => Self::OneSeed,
                    Some(ours) if ours.low <= printed && printed <= ours.high => Self::Inside,
                    Some(_) => Self::Outside,
                },
                _ => Self::Open,
            },
        }
    }
}

/// The rows of a group that the published row is of, under each reading of what is replaced that papers leave open.
pub(super) fn ours<'g, 'a>(group: &'g Group<'a>, row: &Row) -> Vec<&'g SettingRow<'a>> {
    let Some((method, options)) = row.ours else { return Vec::new() };
    let settled = |set: &Table| -> Table {
        let mut all = methods::find(method).map(|info| (info.defaults)()).unwrap_or_default();
        all.extend(set.clone());
        all
    };
    let wanted = options.parse().map(|set| settled(&set)).unwrap_or_default();
    let is = |found: &&SettingRow<'_>| match method == methods::reference() {
        true => found.is_vanilla(),
        false => {
            let config = &found.first().trial.config;
            let made = found.method() == method && settled(&config.method.options) == wanted;
            made && config.layers.is_empty() && is_reading(&config.backbone.replace)
        }
    };
    group.rows.iter().filter(is).collect()
}

/// Whether it replaces every convolution, with or without the stem, or the second of each block.
fn is_reading(replace: &Replace) -> bool {
    let Replace { stem: _, spatial, pointwise, shortcut, layers } = replace;
    *spatial && *pointwise && *shortcut && layers.as_ref().is_none_or(|layers| *layers == [SECOND_OF_EACH_BLOCK])
}

/// By how much our counts differ from the printed ones, as a share of these: none where they are the same to the printed digits.
fn differences(row: &Row, ours: &SettingRow<'_>) -> Vec<(&'static str, Option<f64>)> {
    let counts = [("MACs", row.macs, ours.macs()), ("params", row.params, ours.params())];
    let compared = counts.into_iter().filter_map(|(what, printed, ours)| {
        let (unit, digits) = digits(printed)?;
        let is_same = (ours + unit / 2) / unit == digits;
        Some((what, (!is_same).then(|| ours as f64 / (unit * digits) as f64 - 1.0)))
    });
    compared.collect()
}

/// `exact`, or `MACs +3.2 %, params exact`.
pub(super) fn counts(row: &Row, ours: &SettingRow<'_>) -> String {
    let differences = differences(row, ours);
    if differences.iter().all(|(_, difference)| difference.is_none()) {
        return if differences.is_empty() { "–" } else { "exact" }.into();
    }
    let one = |(what, difference): &(&str, Option<f64>)| match difference {
        None => format!("{what} exact"),
        Some(share) => format!("{what} {:+.1} %", 100.0 * share),
    };
    differences.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What the last printed digit stands for, and all of them: `313.7M` is 3137 times 100,000. None of what is no count.
fn digits(printed: &str) -> Option<(u64, u64)> {
    let (number, exponent) = match printed.strip_suffix('G') {
        Some(number) => (number, 9),
        None => (printed.strip_suffix('M')?, 6),
    };
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len() as u32);
    Some((10u64.pow(exponent - decimals), number.replace('.', "").parse().ok().filter(|digits| *digits > 0)?))
}

#[cfg(test)]
mod tests {
    use super::super::papers::PUBLISHED;
    use super::*;

    #[test]
    fn printed_figures_have_their_digits() {
        assert_eq!(digits("313.73M"), Some((10_000, 31_373)));
        assert_eq!(digits("4.1G"), Some((100_000_000, 41)));
        assert_eq!(digits("15M"), Some((1_000_000, 15)));
        assert_eq!((digits(""), digits("1/2.12")), (None, None));
    }

    #[test]
    fn every_published_row_can_be_read_and_names_a_method_that_there_is() {
        for row in PUBLISHED.iter().flat_map(|(_, _, papers)| papers.iter()).flat_map(|paper| paper.rows) {
            for figure in [row.params, row.macs] {
                assert!(figure.is_empty() || figure.starts_with("1/") || digits(figure).is_some(), "{figure}");
            }
            for percent in [row.top1, row.top5] {
                assert!(percent.is_empty() || percent.parse::<f64>().is_ok(), "{percent}");
            }
            if let Some((name, options)) = row.ours {
                let config = crate::config::MethodConfig { name: name.into(), options: options.parse().unwrap() };
                methods::resolve(&config).unwrap_or_else(|error| panic!("{}: {error}", row.method));
            }
        }
    }
}
