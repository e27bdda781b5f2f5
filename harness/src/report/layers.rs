//! Where a network spends its MACs: the trials' `costs.csv`, by stage.

use anyhow::{Context, Result};

use super::aggregate::Group;
use super::section::{Part, Section};
use super::table::{Cell, Table};

/// Under the table.
const CAPTION: &str = "Exact, for one image, from each network's layers: data, schedule, subset and seed do not enter. Replaced layers \
    as under the comparison.";

/// MACs by stage, one row a setting; none where no trial has written its cost by layer. `costs` reads a trial's CSV by key.
pub(super) fn section(
    group: &Group<'_>,
    name: &str,
    costs: impl Fn(&str) -> Result<Option<String>>,
) -> Result<Option<Section>> {
    let mut stages: Vec<String> = Vec::new();
    let mut rows: Vec<(&str, Vec<(String, u64)>)> = Vec::new();
    for row in &group.rows {
        let key = &row.first().trial.key;
        let Some(csv) = costs(key)? else { continue };
        let sums = by_stage(&of_csv(&csv).with_context(|| format!("trials/{key}/costs.csv"))?);
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
    let mut table = Table::new(format!("{name}-stages"), format!("{}: MACs by stage", group.title()));
    table.column("Method", ["label"], rows.iter().map(|(label, _)| Cell::text(*label)));
    for stage in &stages {
        let macs = |sums: &[(String, u64)]| sums.iter().find(|(known, _)| known == stage).map(|(_, macs)| *macs);
        table.column(stage, [&**stage], rows.iter().map(|(_, sums)| Cell::of(macs(sums), Cell::quantity)));
    }
    Ok(Some(Section::of_group("Where the MACs are", vec![Part::Table(table), Part::Text(CAPTION.into())])))
}

/// A layer of a network and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerCost {
    pub name: String,
    pub params: u64,
    pub macs: u64,
    /// As far as its method recurses there.
    pub depth: Option<u64>,
}

/// The layers of a cost CSV, which has a row for each and a last one, `total`.
pub(super) fn of_csv(csv: &str) -> Result<Vec<LayerCost>> {
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().context("is empty")?.split(',').collect();
    let column =
        |name: &str| header.iter().position(|title| *title == name).with_context(|| format!("has no column `{name}`"));
    let [layer, params, macs] = [column("layer")?, column("params")?, column("macs")?];
    let depth = column("depth").ok();
    let mut layers = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |column: usize| cells.get(column).copied().with_context(|| format!("`{line}`: too few columns"));
        let count = |column: usize| -> Result<u64> {
            cell(column)?.parse().with_context(|| format!("`{line}`: {} is no count", header[column]))
        };
        let name = cell(layer)?;
        if name == "total" {
            continue;
        }
        let depth = match depth {
            Some(depth) if !cell(depth)?.is_empty() => Some(count(depth)?),
            _ => None,
        };
        layers.push(LayerCost { name: name.to_owned(), params: count(params)?, macs: count(macs)?, depth });
    }
    Ok(layers)
}

/// MACs summed over stages, in order of appearance.
fn by_stage(layers: &[LayerCost]) -> Vec<(String, u64)> {
    let mut sums: Vec<(String, u64)> = Vec::new();
    for LayerCost { name, macs, .. } in layers {
        match sums.iter_mut().find(|(known, _)| known == stage(name)) {
            Some((_, sum)) => *sum += macs,
            None => sums.push((stage(name).to_owned(), *macs)),
        }
    }
    sums
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
    fn costs_are_read_and_summed_by_stage() {
        let csv = "layer,params,macs,depth\nconv1,1,10,\nlayer1.0.conv1,1,20,2\nlayer1.0.conv2,1,30,1\nfc,1,4,\ntotal,4,64,\n";
        let layers = of_csv(csv).unwrap();
        assert_eq!(layers[1], LayerCost { name: "layer1.0.conv1".into(), params: 1, macs: 20, depth: Some(2) });
        let sums = [("conv1".to_owned(), 10), ("layer1".to_owned(), 50), ("fc".to_owned(), 4)];
        assert_eq!(by_stage(&layers), sums);
        let error = of_csv("layer,params,macs,depth\nconv1,1,many,\n").unwrap_err();
        assert!(error.to_string().contains("macs is no count"), "{error}");
    }
}
