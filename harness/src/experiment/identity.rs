//! What makes two trials the same trial.
//!
//! Counted: every layer's layout with its method's version, backbone, data set (name, what is done to its images, and content), recipe,
//! content of the weights that are given, validation, whether test is read, options and version of what compresses the network, seed. Not counted: names, titles,
//! descriptions, paths, how a sweep is written and run (`run.*`), and parts of a recipe that it does not use (milestones without the
//! step schedule, fine-tuning where nothing is compressed, momentum where Adam makes the steps).

use blake3::{Hash, Hasher};
use serde::Serialize;

use crate::config::{BackboneConfig, DatasetConfig};
use crate::config::{InitConfig, Recipe, TrialConfig};
use crate::data::transform::Deviations;
use crate::methods::{Compression, Methods};

/// What counts of a network and its data, as text: the beginning of a trial's identity.
///
/// # Errors
/// Numbers that JSON cannot hold; a file cannot hold them either.
pub fn head(backbone: &BackboneConfig, architecture: &str, dataset: &DatasetConfig) -> serde_json::Result<String> {
    let (network, data) = ((&backbone.name, architecture), (&dataset.name, dataset.augment));
    let data = match Deviations::of(dataset) {
        None => serde_json::to_string(&data)?,
        Some(deviations) => serde_json::to_string(&(data.0, data.1, deviations))?,
    };
    Ok(format!("[{},{data},", serde_json::to_string(&network)?))
}

/// The identity of a setting, all but its seed.
#[derive(Clone, Debug)]
pub struct Identity(Hasher);

impl Identity {
    /// Of what begins with `head`. To tell trials from each other, a hash of the [`head`] serves as well as itself; for
    /// [`key`]s it has to be the whole.
    ///
    /// # Errors
    /// Numbers that JSON cannot hold; a file cannot hold them either.
    pub fn new(
        head: &[u8],
        (init, recipe): (&InitConfig, &Recipe),
        compression: Option<&Compression>,
        validation: usize,
        test: bool,
    ) -> serde_json::Result<Self> {
        let default = Recipe::default();
        let mut recipe = recipe.clone().canonical();
        let (epochs, rate) = compression.map_or((false, false), Compression::reads_finetuning);
        if !epochs {
            recipe.finetune_epochs = default.finetune_epochs;
        }
        if !rate {
            recipe.finetune_lr = default.finetune_lr;
        }
        let compression = compression.map(|options| Versioned::new(options, options.version()));
        let rest = match &init.digest {
            Some(digest) => serde_json::to_string(&(recipe, compression, (digest, init.classifier, init.partial)))?,
            // Not written where it is not set: trials from fresh weights came before there were others.
            None => serde_json::to_string(&(recipe, compression))?,
        };
        let mut hasher = Hasher::new();
        hasher.update(head).update(rest.as_bytes()).update(format!(",[{validation},{test},").as_bytes());
        Ok(Self(hasher))
    }

    /// Of `epochs` of training the whole network, whatever compresses it then.
    ///
    /// # Errors
    /// As of [`Identity::new`].
    pub fn of_base(
        head: &[u8],
        (init, recipe): (&InitConfig, &Recipe),
        epochs: usize,
        validation: usize,
    ) -> serde_json::Result<Self> {
        // Whether the test split is read in the end is no part of it.
        Self::new(head, (init, &Recipe { epochs, ..recipe.clone() }), None, validation, false)
    }

    /// With its seed.
    pub fn of_seed(&self, seed: u64) -> Hash {
        self.0.clone().update(format!("{seed}]]").as_bytes()).finalize()
    }
}

/// A method that is no layer's, so that no layer carries its version. The first version is not written: it came before there
/// were any.
#[derive(Serialize)]
#[serde(untagged)]
enum Versioned<'a> {
    First(&'a Compression),
    Later(u32, &'a Compression),
}

impl<'a> Versioned<'a> {
    fn new(options: &'a Compression, version: u32) -> Self {
        if version == 1 { Self::First(options) } else { Self::Later(version, options) }
    }
}

/// The signature of one trial as it stands in no plan any more: the same that its plan gave it.
///
/// # Errors
/// A method that does not exist, or not with these options.
pub fn signature(config: &TrialConfig, architecture: &str) -> anyhow::Result<String> {
    let head = head(&config.backbone, architecture, &config.dataset)?;
    let methods = Methods::new(config)?;
    let start = (&config.init, &config.recipe);
    let identity = Identity::new(head.as_bytes(), start, methods.compression(), config.validation, config.test)?;
    Ok(identity.of_seed(config.seed).to_hex().to_string())
}

/// Names what a trial has trained before it compresses it, among all trainings that any trial begins with: 16 hex digits over
/// all that decides its bits. `epochs`: of the whole network; `penalty`: on its batch norms' scales; `kernels`: the path.
///
/// # Errors
/// Numbers that JSON cannot hold; a file cannot hold them either.
pub fn base(
    config: &TrialConfig,
    architecture: &str,
    fingerprint: &str,
    (epochs, penalty): (usize, f64),
    kernels: &str,
) -> serde_json::Result<String> {
    let head = head(&config.backbone, architecture, &config.dataset)?;
    let identity = Identity::of_base(head.as_bytes(), (&config.init, &config.recipe), epochs, config.validation)?;
    let all = format!("{}\n{fingerprint}\n{penalty}\n{kernels}", identity.of_seed(config.seed).to_hex());
    Ok(blake3::hash(all.as_bytes()).to_hex().chars().take(16).collect())
}

/// Names a trial's folder: 16 hex digits over its signature and the data's fingerprint.
pub fn key(signature: &str, fingerprint: &str) -> String {
    let hash = blake3::hash(format!("{signature}\n{fingerprint}").as_bytes());
    hash.to_hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::price::price;
    use crate::experiment::{Experiment, Trial};

    use crate::experiment::keys::keys;
    use crate::experiment::sweep::Document;
    use crate::experiment::sweep::overrides::apply;

    const FILE: &str = "name = 'x'\n[dataset]\nname = 'cifar10'\n[backbone]\nname = 'resnet20'\n[method]\n";

    fn experiment(rest: &str, sets: &[&str]) -> Experiment {
        let mut document = Document::parse(keys(), "x.toml", &format!("{FILE}{rest}")).unwrap();
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
            "description=Other",
            "run.threads=1",
            "run.jobs=7",
            "run.memory=1GiB",
            "run.time_limit=1h",
            "run.checkpoint_every=1s",
            "run.on_failure=stop",
            "exclude=lr > 1",
            "dataset.sources=['elsewhere']",
            "dataset.memory=1GiB",
            "dataset.on_bad_image=skip",
            "dataset.crop=pad",
            "dataset.flip=true",
            "dataset.flip_order=random",
            "recipe.gamma=0.5",
            "recipe.milestones=[0.1]",
            "recipe.optimizer=sgd",
            "recipe.beta1=0.8",
            "recipe.finetune_epochs=3",
            "recipe.precision=f32",
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
            "recipe.momentum=0.8",
            "recipe.subset=1000",
            "recipe.kernels=candle",
            "recipe.kernels=direct",
            "recipe.precision=bf16",
            "dataset.augment=false",
            "dataset.size=64",
            "dataset.crop=none",
            "dataset.flip=false",
            "dataset.flip_order=alternating",
            "recipe.average=0.9",
            "recipe.schedule=linear",
            "dataset.channels=1",
            "dataset.name=cifar100",
            "dataset.name=synthetic",
            "backbone.name=resnet32",
            "backbone.replace.stem=true",
            "method.depth=1",
            "method.tail=full",
            "method.name=vanilla",
            "method.name=pruned",
            "method.name=magnitude",
        ] {
            assert_ne!(key(&[other]), base, "{other} changes the result");
        }
        assert_ne!(trial(&[]).key("other data"), base);
        let pruned = |set: &str| trial(&["method.name=pruned", set]).key("data");
        assert_ne!(pruned("recipe.finetune_epochs=3"), pruned("recipe.finetune_epochs=4"));
        assert_ne!(pruned("method.ratio=0.3"), pruned("method.ratio=0.4"));
        let base = pruned("method.ratio=0.5");
        let same = ["ranking=layer", "steps=1", "residual=false", "weights=kept", "penalty=0.0", "criterion=l1"];
        for same in same {
            assert_eq!(pruned(&format!("method.{same}")), base, "{same} is the default");
        }
        let other = ["ranking=global", "residual=true", "weights=scratch", "penalty=1e-5", "criterion=slimming"];
        for other in other {
            assert_ne!(pruned(&format!("method.{other}")), base, "{other} changes the result");
        }
        // What no fine-tuning follows is not told apart by it.
        let fresh = |set| trial(&["method.name=pruned", "method.weights=scratch", set]).key("data");
        assert_eq!(fresh("recipe.finetune_epochs=3"), fresh("recipe.finetune_lr=0.3"));
        assert_eq!(fresh("method.criterion=fpgm"), fresh("method.criterion=l1"));
        let masked = |set| trial(&["method.name=magnitude", set]).key("data");
        assert_ne!(
            masked("backbone.replace.stem=true"),
            masked("backbone.replace.stem=false"),
            "other layers are masked"
        );
        assert_ne!(masked("method.ranking=layer"), masked("method.ranking=global"));
        assert_ne!(masked("method.ratio=0.9"), masked("method.ratio=0.8"));
        let factored = |sets: &[&str]| trial(&[&["method.name=lowrank"], sets].concat()).key("data");
        assert_eq!(factored(&["method.from=scratch", "recipe.finetune_epochs=3"]), factored(&[]));
        let trained = |set| factored(&["method.from=trained", set]);
        assert_ne!(trained("method.ratio=0.5"), factored(&[]));
        assert_ne!(
            trained("method.ratio=0.5"),
            trained("method.ratio=0.25"),
            "what is made of the trained network counts"
        );
        assert_ne!(trained("recipe.finetune_epochs=3"), trained("recipe.finetune_epochs=4"));
        let adam = |set| trial(&["recipe.optimizer=adam", "recipe.lr=1e-3", set]).key("data");
        let base = adam("recipe.gamma=0.5");
        for same in ["recipe.momentum=0.8", "recipe.nesterov=false", "recipe.beta2=0.999", "recipe.eps=1e-8"] {
            assert_eq!(adam(same), base, "{same} changes nothing");
        }
        for other in ["recipe.optimizer=adamw", "recipe.beta1=0.8", "recipe.beta2=0.99", "recipe.eps=1e-7"] {
            assert_ne!(adam(other), base, "{other} changes the result");
        }
        let step = |set| trial(&["recipe.schedule=step", set]).key("data");
        assert_ne!(step("recipe.gamma=0.5"), step("recipe.gamma=0.1"));
    }

    /// A key that changes without need orphans every result there is.
    #[test]
    fn keys_are_pinned() {
        let rest = "name = 'vanilla'\n[recipe]\nepochs = 0\n[protocol]\nseeds = [3]\n[[grid]]\n\
            method.name = ['vanilla', 'pruned']\n[[grid]]\nmethod.name = 'compconv'\nmethod.depth = 2";
        let keys: Vec<String> = experiment(rest, &[]).trials.iter().map(|trial| trial.key("none")).collect();
        assert_eq!(keys, ["e7cca75a13f7687f", "b4272fd6705ca06b", "fd3159dfdd6e9eb7"]);
    }

    #[test]
    fn versions_of_methods_count_also_of_pruning() {
        let pruned = Compression::Pruned(baselines::pruning::Pruned::default());
        let text = |version| serde_json::to_string(&Versioned::new(&pruned, version)).unwrap();
        assert!(text(1) != text(2) && text(2) != text(3));
        let price = price(&trial(&[]).config).unwrap();
        assert!(price.architecture.contains(" v1 "), "layers carry their method's");
        let raised = price.architecture.replace(" v1 ", " v2 ");
        let config = trial(&[]).config;
        let head = |architecture: &str| head(&config.backbone, architecture, &config.dataset).unwrap();
        let hash = |architecture: &str| {
            let identity =
                Identity::new(head(architecture).as_bytes(), (&config.init, &config.recipe), None, 5000, true).unwrap();
            identity.of_seed(0).to_hex().to_string()
        };
        assert_eq!(hash(&price.architecture), trial(&[]).signature);
        assert_ne!(hash(&raised), trial(&[]).signature);
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
            method.name = 'ghost'\n[[zip]]\nmethod.name = 'compconv'\nmethod.depth = [1, 2]\nrecipe.lr = [0.3, 0.4]\n[[list]]\n\
            rows = [{ recipe.lr = 0.7 }]\n[[draw]]\ncount = 3\nmethod.name = ['thin', 'ghost']\n[[draw.case]]\nif = 'method = thin'\n\
            method.width = { uniform = [0.4, 0.6] }\n";
        for sets in [&[][..], &["method.depth=2"], &["recipe.lr=1.0", "recipe.batch=[32, 64]"], &["method.name=thin"]] {
            let first = experiment(rest, sets);
            let document = Document::parse(keys(), "frozen.toml", &first.frozen).unwrap();
            let again = Experiment::from_document(&document).unwrap();
            let signatures = |e: &Experiment| {
                let all = e.trials.iter().map(|t| (t.label.clone(), t.aliases.clone(), t.signature.clone()));
                all.collect::<Vec<_>>()
            };
            assert_eq!(signatures(&first), signatures(&again), "{sets:?}\n{}", first.frozen);
        }
    }
}
