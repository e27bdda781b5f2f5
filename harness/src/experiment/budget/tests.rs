use toml::Value;

use crate::config::TrialConfig;
use crate::experiment::price::{LayerPrice, Price, price};
use crate::experiment::sweep::overrides::apply;
use crate::experiment::{Experiment, Trial, parse};

const SHARES: [f64; 5] = [0.7, 0.45, 0.28, 0.15, 0.06];

fn text(backbone: &str, rest: &str) -> String {
    let data = if backbone == "resnet50" { "imagenet" } else { "cifar10" };
    format!("name = 'x'\n[dataset]\nname = '{data}'\n[recipe]\nepochs = 0\n[backbone]\nname = '{backbone}'\n{rest}")
}

fn solve(backbone: &str, rest: &str) -> Vec<Trial> {
    experiment(&text(backbone, rest), &[]).trials
}

fn experiment(text: &str, sets: &[&str]) -> Experiment {
    let mut document = parse("x.toml", text).unwrap();
    sets.iter().for_each(|set| apply(&mut document, set).unwrap());
    Experiment::from_document(&document).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(text: &str, sets: &[&str]) -> String {
    let document = parse("x.toml", text).and_then(|mut document| {
        sets.iter().try_for_each(|set| apply(&mut document, set))?;
        Ok(document)
    });
    match document {
        Ok(document) => Experiment::from_document(&document).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

fn labels(trials: &[Trial]) -> Vec<&str> {
    trials.iter().map(|trial| trial.label.as_str()).collect()
}

fn share(price: &Price) -> f64 {
    price.total.macs as f64 / price.vanilla.macs as f64
}

/// Of all configurations that are tried, the least distance from a share of vanilla's MACs.
fn least(config: &TrialConfig, wanted: f64, choices: impl Iterator<Item = Vec<(&'static str, Value)>>) -> f64 {
    let mut config = config.clone();
    let off = |choice: Vec<(&'static str, Value)>| {
        config.method.options = choice.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let price = price(&config).ok()?;
        let declined = |layer: &&LayerPrice| layer.remarks.iter().any(|remark| remark.starts_with("stays vanilla: "));
        Some((price.layers.iter().filter(declined).count(), (share(&price) - wanted).abs()))
    };
    // Fewest declined layers first.
    let least = choices.filter_map(off).min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    least.map_or(f64::INFINITY, |(_, off)| off)
}

/// The trial that a method is solved to for one share, and how far off that is.
fn solved(backbone: &str, method: &str, wanted: f64) -> (Trial, f64) {
    let mut trials = solve(backbone, &format!("[method]\nname = '{method}'\n[budget]\nmacs = [{wanted}]\n"));
    assert_eq!(trials.len(), 1);
    let trial = trials.remove(0);
    let off = trial.network.cost.macs as f64 / trial.network.vanilla.macs as f64 - wanted;
    let mismatch = trial.budgets.mismatch().unwrap();
    assert!((mismatch - off / wanted).abs() < 1e-12, "{method}: {mismatch}");
    (trial, off.abs())
}

/// Exhaustive search finds nothing nearer, over more than the solver looks at (but for Ghost: of more ghosts than a layer has channels, all
/// that are too many are computed and thrown away).
#[test]
fn integer_knobs_are_solved_exactly() {
    for (method, knob) in
        [("ghost", "ratio"), ("grouped", "groups"), ("hetconv", "parts"), ("pconv", "parts"), ("tied", "blocks")]
    {
        for (backbone, most) in [("resnet20", 200), ("vgg16", 1100)] {
            let most = if method == "ghost" { if backbone == "vgg16" { 513 } else { 65 } } else { most };
            for wanted in SHARES {
                let (trial, off) = solved(backbone, method, wanted);
                let all = (2..most).map(|value| vec![(knob, Value::Integer(value))]);
                let least = least(&trial.config, wanted, all);
                assert!(off <= least, "{backbone} {} for {wanted}: {off} off, {least} is possible", trial.label);
            }
        }
    }
}

#[test]
fn depth_and_c0_are_solved_exactly() {
    for (backbone, step) in [("resnet20", 1), ("vgg16", 13)] {
        for wanted in SHARES {
            let (trial, off) = solved(backbone, "compconv", wanted);
            let depths = (0..=6).map(|depth| Some(("depth", Value::Integer(depth)))).chain([None]);
            let c0 = |depth: Option<(&'static str, Value)>| {
                let c0 = (1..600).step_by(step).map(|c0| Some(("c0", Value::Integer(c0)))).chain([None]);
                c0.map(move |c0| [depth.clone(), c0].into_iter().flatten().collect())
            };
            let least = least(&trial.config, wanted, depths.flat_map(c0));
            assert!(off <= least, "{backbone} {} for {wanted}: {off} off, {least} is possible", trial.label);
        }
    }
}

#[test]
fn numbers_are_solved_to_the_nearest_network() {
    for (method, knob) in
        [("thin", "width"), ("lowrank", "ratio"), ("pruned", "ratio"), ("spconv", "alpha"), ("octconv", "alpha")]
    {
        for wanted in SHARES {
            let (trial, off) = solved("resnet20", method, wanted);
            let all = (1..1000).map(|step| vec![(knob, Value::Float(f64::from(step) / 1000.0))]);
            let least = least(&trial.config, wanted, all);
            assert!(off <= least, "{} for {wanted}: {off} off, {least} is possible", trial.label);
        }
    }
}

#[test]
fn what_is_solved_stands_in_the_trial_as_if_written_by_hand() {
    let budget =
        "[budget]\nmacs = [0.5, 0.25]\n[[grid]]\nmethod.name = ['vanilla', 'ghost', 'thin']\nprotocol.seeds = [0, 1]\n";
    let trials = solve("resnet20", budget);
    let shown: Vec<_> =
        trials.iter().map(|trial| (trial.label.as_str(), trial.config.seed, trial.budgets.shown())).collect();
    let of = |share: &str| Some(format!("macs {share}"));
    assert_eq!(
        shown,
        [
            ("vanilla", 0, None),
            ("vanilla", 1, None),
            ("ghost ratio=2", 0, of("0.5")),
            ("ghost ratio=2", 1, of("0.5")),
            ("ghost ratio=5", 0, of("0.25")),
            ("ghost ratio=5", 1, of("0.25")),
            ("thin width=0.711", 0, of("0.5")),
            ("thin width=0.711", 1, of("0.5")),
            ("thin width=0.49", 0, of("0.25")),
            ("thin width=0.49", 1, of("0.25")),
        ]
    );
    let by_hand = solve("resnet20", "[method]\nname = 'ghost'\nratio = 5\n");
    assert_eq!(trials[4].signature, by_hand[0].signature);
    let first = experiment(&text("resnet20", budget), &["budget.macs=[0.3]", "budget.fit=width"]);
    let again = experiment(&first.frozen, &[]);
    let all = |e: &Experiment| {
        e.trials.iter().map(|t| (t.label.clone(), t.signature.clone(), t.budgets.clone())).collect::<Vec<_>>()
    };
    assert_eq!(all(&first), all(&again), "{}", first.frozen);
}

#[test]
fn who_cannot_reach_a_budget_is_kept_and_says_so() {
    let trials = solve("resnet20", "[method]\nname = 'depthwise'\n[budget]\nmacs = [0.5, 0.125, 0.1]\n");
    assert_eq!(labels(&trials), ["depthwise"], "nothing is free: one network for all");
    let budgets = &trials[0].budgets;
    assert_eq!((budgets.len(), budgets.shown()), (3, Some("macs 0.125".into())));
    let remarks = budgets.remarks();
    assert_eq!(remarks.len(), 2 + usize::from(budgets.mismatch().unwrap() > 0.1), "{remarks:?}");
    assert!(
        remarks.iter().any(|remark| remark.starts_with("cannot reach 50 % of vanilla's MACs, nearest is 1")),
        "{remarks:?}"
    );
    // The width reaches it.
    let rest = "[method]\nname = 'depthwise'\n[budget]\nmacs = [0.5, 0.05]\nfit = 'width'\n";
    let trials = solve("resnet20", rest);
    assert_eq!(trials.len(), 2);
    for (trial, share) in trials.iter().zip([0.5, 0.05]) {
        assert!(trial.label.starts_with("depthwise width="), "{}", trial.label);
        let width = trial.config.backbone.width.unwrap();
        assert!(if share == 0.5 { width > 1.0 } else { width < 1.0 }, "{width}");
        assert!(trial.budgets.remarks().is_empty() && trial.network.replaced.contains("the backbone's width times"));
    }
}

#[test]
fn what_is_set_by_hand_stays_and_only_the_rest_is_solved() {
    let trials = solve("resnet20", "[budget]\nmacs = [0.5, 0.1]\n[[grid]]\nmethod.name = 'ghost'\nmethod.ratio = 3\n");
    assert_eq!(labels(&trials), ["ghost ratio=3"]);
    assert_eq!(trials[0].budgets.len(), 2);
    let rest =
        "[budget]\nmacs = [0.5, 0.3]\n[[grid]]\nmethod.name = 'compconv'\nmethod.c0 = 16\nmethod.tail = 'full'\n";
    let trials = solve("vgg16", rest);
    for trial in &trials {
        let options = &trial.config.method.options;
        assert!(options["c0"].as_integer() == Some(16) && options["tail"].as_str() == Some("full"), "{}", trial.label);
        assert!(options.contains_key("depth"), "{}", trial.label);
    }
    let text = text("resnet20", "width = 0.5\n[method]\nname = 'scconv'\n[budget]\nmacs = [0.3]\nfit = 'width'\n");
    let trials = experiment(&text, &[]).trials;
    assert_eq!((labels(&trials), trials[0].config.backbone.width), (vec!["scconv"], Some(0.5)));
}

#[test]
fn equal_networks_of_several_budgets_are_one_trial_that_belongs_to_all() {
    // 0.5 and 0.51 are nearest to the same ratio.
    let trials = solve("resnet20", "[method]\nname = 'ghost'\n[budget]\nmacs = [0.51, 0.52, 0.25]\n");
    assert_eq!(labels(&trials), ["ghost ratio=2", "ghost ratio=5"]);
    assert_eq!(trials[0].budgets.shown(), Some("macs 0.52; macs 0.51".into()));
    // Nothing is compressed: vanilla under another name.
    let trials = solve(
        "resnet20",
        "[budget]\nmacs = [1.0]\n[[grid]]\nmethod.name = ['vanilla', 'thin', 'compconv', 'pruned']\n",
    );
    assert_eq!(trials[0].aliases, ["thin width=1.0", "compconv depth=0"]);
    assert_eq!((labels(&trials), trials[0].budgets.mismatch()), (vec!["vanilla", "pruned ratio=0.0"], Some(0.0)));
}

#[test]
fn a_width_is_told_once_and_not_at_all_where_it_changes_nothing() {
    let rest = "[budget]\nmacs = [0.5]\nfit = 'width'\n[[grid]]\nmethod.name = 'depthwise'\n[[grid]]\nmethod.name = 'pruned'\n\
                backbone.width = 1.0\n";
    assert_eq!(labels(&solve("resnet20", rest)), ["depthwise width=1.92", "pruned ratio=0.5"]);
}

#[test]
fn other_quantities_heads_data_and_layers_are_solved_for_what_they_are() {
    let params = solve("vgg16", "head = 'mlp'\n[method]\nname = 'thin'\n[budget]\nparams = [0.25]\n");
    let network = &params[0].network;
    let share = network.cost.params as f64 / network.vanilla.params as f64;
    assert!((share - 0.25).abs() < 0.002 && params[0].budgets.shown() == Some("params 0.25".into()), "{share}");
    let rest = "[method]\nname = 'ghost'\n[budget]\nmacs = [0.3]\n";
    let fixed = "[[layer]]\nmatch = 'layer1.*'\nmethod.name = 'vanilla'\n";
    let (all, but_fixed) = (solve("resnet20", rest), solve("resnet20", &format!("{rest}{fixed}")));
    let ratio = |trials: &[Trial]| trials[0].config.method.options["ratio"].as_integer().unwrap();
    assert!(ratio(&but_fixed) > ratio(&all), "what is fixed has to be saved elsewhere");
    assert_eq!(but_fixed[0].budgets.remarks().len(), 1, "and cannot be saved wholly");
    let imagenet = solve("resnet50", "[method]\nname = 'thin'\n[budget]\nmacs = [0.5]\n");
    assert!(imagenet[0].budgets.mismatch().unwrap().abs() < 0.01);
}

#[test]
fn conditions_know_what_was_solved_and_drop_before_what_was_not() {
    let rest = "[budget]\nmacs = [0.5, 0.25]\n[[grid]]\nmethod.name = ['ghost', 'thin']\n";
    let trials = experiment(&text("resnet20", rest), &["exclude=ratio = 2 or width = 0.49"]).trials;
    assert_eq!(labels(&trials), ["ghost ratio=5", "thin width=0.711"]);
    let trials = experiment(&text("resnet20", rest), &["exclude=['method = thin', 'macs_share > 0.4']"]).trials;
    assert_eq!(labels(&trials), ["ghost ratio=5"]);
    // What makes no sense may be dropped before it is solved for.
    let rest = "[budget]\nmacs = [0.5]\n[[grid]]\nmethod.name = 'compconv'\nmethod.tail = ['full', 'pointwise']\n\
        method.tail_kernel = [1, 3]\n";
    let trials = experiment(&text("resnet20", rest), &["exclude=tail = pointwise and tail_kernel = 3"]).trials;
    assert!(trials.len() >= 2, "{:?}", labels(&trials));
    let blocks = "[budget]\nmacs = [0.5]\n[[grid]]\nmethod.name = 'ghost'\n[[grid]]\nmethod.name = 'ghost'\nbudget.macs = [0.25]\n";
    assert_eq!(labels(&solve("resnet20", blocks)), ["ghost ratio=2", "ghost ratio=5"], "blocks may have their own");
}

#[test]
fn slips_are_refused_where_they_stand() {
    let with = |budget: &str| text("resnet20", &format!("[method]\nname = 'ghost'\n[budget]\n{budget}\n"));
    for (budget, line, part) in [
        ("mac = [0.5]", 11, "did you mean `budget.macs`?"),
        ("macs = [0.5]\nparams = [0.5]", 12, "[budget] has both `macs` and `params`"),
        ("macs = [0.5]\nlatency = [0.5]", 12, "macs (x.toml:11)"),
        ("macs = [0.5, 1.5]", 11, "(0, 1]"),
        ("macs = []", 11, "at least one"),
        ("macs = [0]", 11, "(0, 1]"),
        ("macs = 0.5", 11, "a list"),
        ("fit = 'width'", 11, "asks for no share of anything"),
        ("macs = [0.5]\nfit = 'widht'", 12, "did you mean \"width\"?"),
        ("macs = [0.5]\ntolerance = 0", 12, "above 0"),
        ("latency = [0.5]", 11, "measured by `harness plan` and by runs only"),
    ] {
        let error = refused(&with(budget), &[]);
        assert!(error.starts_with(&format!("x.toml:{line}: ")) && error.contains(part), "{budget}: {error}");
    }
    let error = refused(&with("macs = [0.5]"), &["budget.params=[0.5]"]);
    assert!(error.starts_with("--set budget.params=[0.5]: ") && error.contains("macs (x.toml:11)"), "{error}");
    let error = refused(&text("resnet20", "width = 5\n"), &[]);
    assert!(error.contains("x.toml:8") && error.contains("(0, 4]"), "{error}");
    let error = refused(
        &text(
            "resnet20",
            "[method]\nname = 'ghost'\n[budget]\nmacs = [0.5]\n[[layer]]\nmatch = 'no.*'\nmethod.name = 'vanilla'\n",
        ),
        &[],
    );
    assert!(error.contains("no layer is called"), "{error}");
}
