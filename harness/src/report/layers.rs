//! Where a network spends its MACs: the trials' `costs.csv`, by stage.

use anyhow::{Context, Result};

use super::aggregate::Group;
use super::tables::{markdown, quantity};

/// Under the table.
pub(super) const CAPTION: &str = "Exact, for one image, from each network's layers: data, schedule, subset and seed do not \
    enter. Replaced layers as under the comparison.\n";

/// MACs by stage, one row a setting; none where no trial has written its cost by layer. `costs` reads a trial's CSV by key.
pub(super) fn table(group: &Group<'_>, costs: impl Fn(&str) -> Result<Option<String>>) -> Result<Option<String>> {
    let mut stages: Vec<String> = Vec::new();
    let mut rows: Vec<(&str, Vec<(String, u64)>)> = Vec::new();
    for row in &group.rows {
        let key = &row.first().trial.key;
        let Some(csv) = costs(key)? else { continue };
        let sums = by_stage(&csv).with_context(|| format!("trials/{key}/costs.csv"))?;
        for (stage, _) in &sums {
            if !stages.contains(stage) {
                stages.push(stage.clone());
            }
        }
        rows.push((&row.label, sums));
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let header: Vec<&str> = std::iter::once("Method").chain(stages.iter().map(String::as_str)).collect();
    let cells = |(label, sums): &(&str, Vec<(String, u64)>)| {
        let cell = |stage: &String| {
            sums.iter().find(|(known, _)| known == stage).map_or("–".into(), |(_, macs)| quantity(*macs))
        };
        std::iter::once((*label).to_owned()).chain(stages.iter().map(cell)).collect()
    };
    Ok(Some(markdown(&header, &rows.iter().map(cells).collect::<Vec<_>>())))
}

/// Sums a cost CSV (columns `layer` and `macs` among others, last row `total`) over stages, in order of appearance.
fn by_stage(csv: &str) -> Result<Vec<(String, u64)>> {
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().context("is empty")?.split(',').collect();
    let column =
        |name: &str| header.iter().position(|title| *title == name).with_context(|| format!("has no column `{name}`"));
    let (layer, macs) = (column("layer")?, column("macs")?);
    let mut sums: Vec<(String, u64)> = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |column: usize| cells.get(column).copied().with_context(|| format!("`{line}`: too few columns"));
        let name = cell(layer)?;
        if name == "total" {
            continue;
        }
        let count: u64 = cell(macs)?.parse().with_context(|| format!("`{line}`: macs is no count"))?;
        match sums.iter_mut().find(|(known, _)| known == stage(name)) {
            Some((_, sum)) => *sum += count,
            None => sums.push((stage(name).to_owned(), count)),
        }
    }
    Ok(sums)
}

/// `layer1.0.conv1` belongs to `layer1`; a name of one or two parts (`conv1`, `features.3`) is a stage of its own.
fn stage(layer: &str) -> &str {
    match layer.split_once('.') {
        Some((stage, rest)) if rest.contains('.') => stage,
        _ => layer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_summed_by_stage() {
        let csv = "layer,params,macs\nconv1,1,10\nlayer1.0.conv1,1,20\nlayer1.0.conv2,1,30\nfc,1,4\ntotal,4,64\n";
        let sums = [("conv1".to_owned(), 10), ("layer1".to_owned(), 50), ("fc".to_owned(), 4)];
        assert_eq!(by_stage(csv).unwrap(), sums);
        let error = by_stage("layer,macs\nconv1,many\n").unwrap_err();
        assert!(error.to_string().contains("macs is no count"), "{error}");
    }
}
