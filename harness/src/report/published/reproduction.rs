//! Published tables as experiments: every row that this program can make, trained under one recipe beside what was printed.

use toml::{Table, Value};

use super::papers::{PLACES, PUBLISHED, Paper, Row};
use crate::data;
use crate::methods::{self, SECOND_OF_EACH_BLOCK};

/// Epochs where nobody says how many: the papers' 160 to 400 take days on a few cores.
const EPOCHS: usize = 20;

/// A table that can be made again.
#[derive(Clone, Copy)]
pub struct Reproduction {
    backbone: &'static str,
    dataset: &'static str,
    paper: &'static Paper,
}

/// All of them, those with a row beside the baseline's.
pub fn reproductions() -> Vec<Reproduction> {
    let all = PUBLISHED
        .iter()
        .flat_map(|(backbone, dataset, papers)| papers.iter().map(|paper| Reproduction { backbone, dataset, paper }));
    all.filter(|reproduction| reproduction.rows().count() > 1).collect()
}

impl Reproduction {
    /// `ghost-resnet56`
    pub fn name(&self) -> String {
        format!("{}-{}", self.paper.id, self.backbone)
    }

    /// The paper.
    pub fn source(&self) -> &'static str {
        self.paper.title
    }

    /// Networks of the table that there are methods for, and how many it has.
    pub fn counts(&self) -> (usize, usize) {
        (self.rows().count(), self.paper.rows.len())
    }

    /// Method, options, and whether it is open which convolutions it replaces.
    fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let of = |row: &Row| row.ours.map(|(method, options)| (method, options, row.disputed == Some(PLACES)));
        self.paper.rows.iter().filter_map(of)
    }

    /// Whether its rows are trained, or only counted: photographs are for longer than a reproduction may take.
    pub fn is_trained(&self) -> bool {
        data::find(self.dataset).is_some_and(|info| info.published.is_none())
    }

    /// The experiment, as a file.
    ///
    /// # Errors
    /// Options of a row that are no TOML: a defect.
    pub fn experiment(&self) -> anyhow::Result<String> {
        let name = self.name();
        let text = |value: &str| Value::String(value.to_owned()).to_string();
        let sources = if self.is_trained() { "\nsources = [\"data/cifar10\", \"download\"]" } else { "" };
        let epochs = if self.is_trained() { EPOCHS } else { 0 };
        let mut file = format!(
            "# {}\n# Every row that there is a method for, under one recipe; in the report it stands beside what was printed.\n\n\
             name = {}\ntitle = {}\n\n[dataset]\nname = {}{sources}\n\n[backbone]\nname = {}\n\n\
             [recipe]\nepochs = {epochs}\nfinetune_epochs = {}\n\n[protocol]\nseeds = [0, 1, 2]\n\
             controls = []   # the rows of the table, and no others\n",
            self.paper.title,
            text(&format!("published_{name}")),
            text(&format!("{} beside the published rows", self.paper.title)),
            text(self.dataset),
            text(self.backbone),
            epochs / 4,
        );
        file += "\n[[list]]\nrows = [\n";
        for (method, options, is_open) in self.rows() {
            let options: Table = options.parse()?;
            let mut keys = format!("method.name = {}", text(method));
            keys.extend(options.iter().map(|(key, value)| format!(", method.{key} = {value}")));
            file += &format!("    {{ {keys} }},\n");
            // Where a paper does not say which convolutions it replaces, both readings are made.
            if is_open && method != methods::reference() {
                file += &format!("    {{ {keys}, backbone.replace.layers = [{}] }},\n", text(SECOND_OF_EACH_BLOCK));
            }
        }
        Ok(file + "]\n")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::experiment::{Experiment, parse};

    #[test]
    fn every_reproduction_is_an_experiment_with_a_setting_for_each_row() {
        let all = reproductions();
        let names: BTreeSet<String> = all.iter().map(Reproduction::name).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.contains("ghost-vgg16") && names.contains("scconv-resnet56"), "{names:?}");
        for reproduction in all {
            let text = reproduction.experiment().unwrap();
            let document = parse("x.toml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let experiment = Experiment::from_document(&document).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let labels: BTreeSet<&str> = experiment.trials.iter().map(|trial| trial.label.as_str()).collect();
            assert!(experiment.trials.len() >= reproduction.counts().0, "{labels:?}\n{text}");
        }
    }
}
