//! What makes two trials the same trial.
//!
//! Counted: every layer's layout with its method's version, backbone, data set (name, augmentation and content), recipe,
//! validation, whether test is read, pruning options, seed. Not counted: names, titles, paths, threads, and parts of a recipe
//! that it does not use (milestones without the step schedule, fine-tuning without pruning).

use super::{Recipe, Schedule, TrialConfig};
use crate::methods::Methods;

/// Everything that counts but the data's content, hashed (blake3, hex).
///
/// # Errors
/// Those of [`Methods::new`].
pub fn signature(config: &TrialConfig, architecture: &str) -> anyhow::Result<String> {
    let pruning = Methods::new(config)?.pruning().cloned();
    let default = Recipe::default();
    let mut recipe = config.recipe.clone();
    if recipe.schedule != Schedule::Step {
        recipe = Recipe { milestones: default.milestones, gamma: default.gamma, ..recipe };
    }
    if pruning.is_none() {
        recipe.finetune_epochs = default.finetune_epochs;
        recipe.finetune_lr = default.finetune_lr;
    }
    let parts = (
        (&config.backbone.name, architecture),
        (&config.dataset.name, config.dataset.augment),
        (recipe, pruning),
        (config.validation, config.test, config.seed),
    );
    Ok(blake3::hash(&serde_json::to_vec(&parts)?).to_hex().to_string())
}

/// Names a trial's folder: 16 hex digits over its signature and the data's fingerprint.
pub fn key(signature: &str, fingerprint: &str) -> String {
    let hash = blake3::hash(format!("{signature}\n{fingerprint}").as_bytes());
    hash.to_hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use crate::experiment::{Experiment, Trial};

    use crate::experiment::overrides::apply;
    use crate::experiment::parse::Document;

    const FILE: &str = "name = 'x'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n[method]\n";

    fn experiment(rest: &str, sets: &[&str]) -> Experiment {
        let mut document = Document::parse("x.toml", &format!("{FILE}{rest}")).unwrap();
        sets.iter().for_each(|set| apply(&mut document, set).unwrap());
        Experiment::from_document(&document).unwrap()
    }

    fn trial(sets: &[&str]) -> Trial {
        let rest = "name = 'compconv'\ndepth = 2\n";
        experiment(rest, sets).trials.remove(0)
    }

    #[test]
    fn keys_depend_on_what_decides_a_result_and_on_nothing_else() {
        let key = |sets: &[&str]| trial(sets).key("data");
        let base = key(&[]);
        assert_eq!(base.len(), 16);
        for same in [
            "name=other",
            "title=Other",
            "run.threads=1",
            "dataset.sources=['elsewhere']",
            "recipe.gamma=0.5",
            "recipe.milestones=[0.1]",
            "recipe.finetune_epochs=3",
            "method.shuffle=2",
            "method.tail_kernel=3",
        ] {
            assert_eq!(key(&[same]), base, "{same} changes nothing");
        }
        for other in [
            "protocol.seeds=[1]",
            "protocol.validation=1000",
            "protocol.test=false",
            "recipe.epochs=11",
            "recipe.lr=0.2",
            "recipe.schedule=step",
            "recipe.subset=1000",
            "recipe.kernels=candle",
            "recipe.kernels=direct",
            "dataset.augment=false",
            "dataset.name=cifar100",
            "dataset.name=synthetic",
            "backbone.name=resnet32",
            "backbone.replace.stem=true",
            "method.depth=1",
            "method.tail=full",
            "method.name=vanilla",
            "method.name=pruned",
        ] {
            assert_ne!(key(&[other]), base, "{other} changes the result");
        }
        assert_ne!(trial(&[]).key("other data"), base);
        let pruned = |set| trial(&["method.name=pruned", set]).key("data");
        assert_ne!(pruned("recipe.finetune_epochs=3"), pruned("recipe.finetune_epochs=4"));
        assert_ne!(pruned("method.ratio=0.3"), pruned("method.ratio=0.4"));
        let step = |set| trial(&["recipe.schedule=step", set]).key("data");
        assert_ne!(step("recipe.gamma=0.5"), step("recipe.gamma=0.1"));
    }

    #[test]
    fn equal_networks_are_trained_once_under_the_first_label() {
        let rest = "name = 'vanilla'\n[protocol]\nseeds = [0, 1]\n[[grid]]\nmethod.name = ['vanilla', 'ghost']\n[[grid]]\n\
            method.name = 'compconv'\nmethod.depth = [0, 1]\n[[grid]]\nmethod.name = 'compconv'\nmethod.c0 = [64, 128, 16]\n\
            [[grid]]\nmethod.name = 'thin'\nmethod.width = [1.0, 0.5]\n";
        let experiment = experiment(rest, &[]);
        let rows: Vec<_> =
            experiment.trials.iter().map(|t| (t.label.as_str(), t.config.seed, t.aliases.join("|"))).collect();
        let vanilla = "compconv depth=0|thin width=1.0".to_string();
        let shallow = "compconv c0=64|compconv c0=128".to_string();
        assert_eq!(
            rows,
            [
                ("vanilla", 0, vanilla.clone()),
                ("vanilla", 1, vanilla),
                ("ghost", 0, String::new()),
                ("ghost", 1, String::new()),
                ("compconv depth=1", 0, shallow.clone()),
                ("compconv depth=1", 1, shallow),
                ("compconv c0=16", 0, String::new()),
                ("compconv c0=16", 1, String::new()),
                ("thin width=0.5", 0, String::new()),
                ("thin width=0.5", 1, String::new()),
            ]
        );
        let shallow = &experiment.trials[4];
        assert!(shallow.matches("method=compconv,c0=64") && shallow.matches("depth=1") && shallow.matches("c0=128"));
        assert!(!shallow.matches("method=compconv,depth=2") && !shallow.matches("c0=6"));
        assert!(shallow.matches("seed=0,epochs=10,backbone=resnet20") && !shallow.matches("seed=1"));
    }

    #[test]
    fn labels_show_what_varies_and_was_set() {
        let rest = "[[grid]]\nmethod.name = 'vanilla'\n[[grid]]\nmethod.name = 'ghost'\nrecipe.lr = [0.1, 0.2]\n";
        let labels: Vec<_> = experiment(rest, &[]).trials.into_iter().map(|trial| trial.label).collect();
        assert_eq!(labels, ["vanilla", "ghost lr=0.1", "ghost lr=0.2"]);
    }

    #[test]
    fn the_frozen_form_gives_the_same_trials() {
        let rest = "name = 'vanilla'\n[[grid]]\nmethod.name = ['vanilla', 'compconv']\nrecipe.lr = [0.1, 0.2]\n[[grid]]\n\
            method.name = 'pruned'\nmethod.ratio = [0.3, [0.6, 0.3, 0.1]]\nmethod.skip = [2]\n[[layer]]\nmatch = 'conv1'\n\
            method.name = 'ghost'\n";
        for sets in [&[][..], &["method.depth=2"], &["recipe.lr=1.0", "recipe.batch=[32, 64]"], &["method.name=thin"]] {
            let first = experiment(rest, sets);
            let document = Document::parse("frozen.toml", &first.frozen).unwrap();
            let again = Experiment::from_document(&document).unwrap();
            let signatures = |e: &Experiment| {
                let mut all: Vec<_> = e.trials.iter().map(|t| (t.label.clone(), t.signature.clone())).collect();
                all.sort();
                all
            };
            assert_eq!(signatures(&first), signatures(&again), "{sets:?}\n{}", first.frozen);
        }
    }
}
