//! Results and report from fabricated trials: nothing here trains.

use std::fs;
use std::path::Path;

use conv_core::Cost;
use harness::config::{BackboneConfig, DatasetConfig, Head, MethodConfig, Recipe, TrialConfig};
use harness::data::Provenance;
use harness::experiment::budget::Budgets;
use harness::report::aggregate::{Group, groups};
use harness::report::{self, comparison};
use harness::results::{
    FrozenTrial, Measures, NetworkSummary, Outcome, Reporting, RunFolder, TrialRecord, collect, write_frames,
};
use harness::stamp::Environment;
use harness::statistics::Verdict;
use harness::train::{EpochLog, Evaluation};
use polars::prelude::{ParquetReader, SerReader};

const EPOCHS: usize = 12;

/// The comparison of a group, without its heading.
pub fn compared(group: &Group<'_>) -> String {
    comparison::section(group, "x").body()
}
const FROZEN: &str = "name = \"study\"\ntitle = \"A study\"\ndescription = \"Why.\"\n[recipe]\nepochs = 12\n";

/// A finished trial; its accuracy wobbles with the seed.
pub fn trial(label: &str, seed: u64, macs: u64, params: u64, top1: f64) -> TrialRecord {
    let mut words = label.split(' ');
    let name = words.next().unwrap_or_default().to_owned();
    let options: toml::Table = words
        .filter_map(|word| word.split_once('='))
        .map(|(key, value)| {
            (
                key.to_owned(),
                value.parse::<i64>().map_or_else(|_| toml::Value::Float(value.parse().unwrap()), toml::Value::Integer),
            )
        })
        .collect();
    let depth = options.get("depth").and_then(toml::Value::as_integer);
    let wobble = [0.0, 0.0061, -0.0037, 0.0029][seed as usize % 4] * if name == "vanilla" { 1.0 } else { 0.8 };
    let accuracy = |top1: f64| Evaluation { top1, top5: 0.95, loss: 1.1 };
    TrialRecord {
        trial: FrozenTrial {
            key: blake3::hash(format!("{label} {seed}").as_bytes()).to_hex()[..16].to_owned(),
            aliases: Vec::new(),
            budgets: Budgets::default(),
            control_of: Vec::new(),
            label: label.to_owned(),
            config: TrialConfig {
                dataset: DatasetConfig {
                    name: "cifar10".into(),
                    sources: vec!["data/cifar10".into()],
                    ..DatasetConfig::default()
                },
                backbone: BackboneConfig { name: "resnet20".into(), head: Head::Linear, ..Default::default() },
                method: MethodConfig { name, options },
                layers: Vec::new(),
                init: Default::default(),
                recipe: Recipe { epochs: EPOCHS, subset: 10_000, ..Recipe::default() },
                validation: 5000,
                test: true,
                seed,
            },
            data: Provenance {
                label: "CIFAR-10 (JPEG copy)".into(),
                source: "data/cifar10".into(),
                synthetic: false,
                fingerprint: "5eed".into(),
                remarks: vec![],
            },
            tuned: None,
        },
        network: NetworkSummary {
            widths: Default::default(),
            cost: Cost { params, macs, activations: 188_426 },
            params_nonzero: None,
            macs_nonzero: None,
            depth: depth.map(|depth| depth as usize),
            replaced: "every convolution but the stem".into(),
            remarks: Vec::new(),
        },
        environment: Environment {
            commit: "0123456789abcdef".into(),
            dirty: false,
            diff: String::new(),
            lock: "10cc".into(),
            features: String::new(),
            cpu: "Some CPU @ 2.1 GHz".into(),
            threads: 2,
            jobs: Some(2),
            os: "linux x86_64".into(),
            rustc: "rustc 1.90.0".into(),
            harness: "0.1.0".into(),
            candle: "0.11.1".into(),
            kernels: "avx512".into(),
            off_engine: String::new(),
        },
        outcome: Outcome::Trained(Measures {
            train_images: 10_000,
            validation: Some(accuracy(top1 + wobble + 0.012)),
            test: Some(accuracy(top1 + wobble)),
            train_loss: 0.8,
            epochs: EPOCHS,
            seconds: 100.0,
            images_per_second: macs as f64 / 35_000.0,
            base: None,
            test_images: Some(10_000),
            normalization: None,
            reporting: Reporting::LastEpoch,
        }),
    }
}

pub fn measures(record: &mut TrialRecord) -> &mut Measures {
    match &mut record.outcome {
        Outcome::Trained(measures) => measures,
        outcome => panic!("{outcome:?}"),
    }
}

/// What the main job may give: 13 settings with the given seeds.
pub fn study(seeds: &[u64]) -> Vec<TrialRecord> {
    let settings = [
        ("vanilla", 40_551_040, 269_722, 0.742),
        ("thin width=0.5", 10_307_264, 68_426, 0.671),
        ("thin width=0.7", 20_107_264, 134_426, 0.712),
        ("depthwise", 6_012_928, 36_698, 0.641),
        ("ghost ratio=2", 21_200_896, 140_154, 0.715),
        ("ghost ratio=4", 11_540_480, 77_034, 0.668),
        ("pruned ratio=0.5", 20_551_040, 135_722, 0.709),
        ("compconv depth=1", 20_847_616, 138_378, 0.718),
        ("compconv depth=2", 11_862_528, 79_634, 0.693),
        ("compconv depth=3", 9_447_616, 57_274, 0.672),
        ("compconv c0=8", 8_847_616, 54_274, 0.668),
        ("compconv c0=16", 10_947_616, 60_274, 0.680),
        ("compconv c0=32", 15_447_616, 99_274, 0.703),
    ];
    let mut records: Vec<_> = seeds
        .iter()
        .flat_map(|seed| settings.map(|(label, macs, params, top1)| trial(label, *seed, macs, params, top1)))
        .collect();
    for record in &mut records {
        match record.trial.label.as_str() {
            "compconv depth=1" => record.trial.aliases = vec!["compconv c0=64".into(), "compconv c0=128".into()],
            "compconv depth=3" => {
                record.network.remarks = vec![
                    "layer1.0.conv1, layer1.0.conv2, layer1.1.conv1: depth 3 is not feasible for 16 -> 16: takes 2"
                        .into(),
                    "layer2.0.conv1: costs more than vanilla".into(),
                ];
            }
            "pruned ratio=0.5" => {
                record.trial.config.recipe.finetune_epochs = 3;
                record.network.replaced = "none replaced; filters removed after training".into();
            }
            _ => {}
        }
    }
    records
}

pub fn costs(records: &mut [TrialRecord]) {
    for record in records {
        record.trial.config.recipe.epochs = 0;
        record.outcome = Outcome::Priced;
    }
}

/// A run folder of an experiment `study` with these trials.
pub fn folder(root: &Path, records: &[TrialRecord]) -> RunFolder {
    let folder = RunFolder::create(root, "study", FROZEN).unwrap();
    for record in records {
        folder.start(&record.trial.key, &record.trial.config, &[]).unwrap();
        let (epochs, top1) =
            record.measures().map_or((0, 0.0), |measures| (measures.epochs, measures.validation.unwrap().top1));
        for epoch in 1..=epochs {
            let share = epoch as f64 / epochs as f64;
            let tuned = record.trial.config.recipe.finetune_epochs;
            let cut = if tuned > 0 && epoch == EPOCHS - tuned + 1 { 0.12 } else { 0.0 };
            let log = EpochLog {
                epoch,
                phase: if epoch > EPOCHS - tuned { "finetune" } else { "train" }.into(),
                validation_accuracy: Some(
                    top1 * (1.0 - (-4.0 * share).exp()) + 0.03 * (epoch as f64 * 1.7).sin() * (1.0 - share) - cut,
                ),
                ..EpochLog::default()
            };
            folder.append_epoch(&record.trial.key, &log).unwrap();
        }
        folder.save_costs(&record.trial.key, &format!("layer,params,macs,activations\nconv1,432,442368,1\nlayer1.0.conv1,1,{0},1\nlayer1.0.conv2,1,{0},1\nfc,650,640,10\ntotal,9,9,9\n", record.network.cost.macs / 18)).unwrap();
        folder.save(record).unwrap();
    }
    folder
}

#[test]
fn captions_tell_how_what_is_cut_was_trained() {
    let caption = |options: &str, base: Option<&str>| {
        let mut records: Vec<_> =
            (study(&[0]).into_iter()).filter(|record| record.trial.label.starts_with("pruned")).collect();
        let mut other = trial("pruned ratio=0.25", 0, 30_000_000, 200_000, 0.72);
        other.trial.config.recipe.finetune_epochs = 3;
        records.push(other);
        for record in &mut records {
            record.trial.config.method.options.extend(toml::from_str::<toml::Table>(options).unwrap());
            measures(record).base = base.map(str::to_owned);
        }
        compared(&groups(&records)[0])
    };
    let once = caption("", Some("ba5e"));
    assert!(
        once.contains("- **One base**: pruned ratio=0.25, pruned ratio=0.5 begin with the same trained network"),
        "{once}"
    );
    assert!(!caption("", None).contains("One base"));
    let steps = caption("steps = 3", None);
    let cut = "- **Cut**: pruned ratio=0.5 trains for 9 of its 12 epochs, and is cut 3 times by an equal factor; the last 3 are divided";
    assert!(steps.contains(cut), "{steps}");
    let scratch = caption("weights = 'scratch_compute'", None);
    let fresh = "- **From scratch**: pruned ratio=0.5 has a cut network's widths and trains them from fresh weights for 12 epochs, as \
        many as cost what the pruned network's own training does.\n";
    assert!(scratch.contains(fresh), "{scratch}");
    let global = caption("weights = 'scratch'\nranking = 'global'", Some("ba5e"));
    assert!(
        global.contains("for 12 epochs. Its widths are what a network that was trained for 9 epochs before chose"),
        "{global}"
    );
}

#[test]
fn table_over_seeds() {
    let records = study(&[0, 1, 2]);
    let groups = groups(&records);
    assert_eq!(groups.len(), 1);
    insta::assert_snapshot!(compared(&groups[0]), @r"
    | Method | Depth | Params | MACs | of vanilla | Validation (%) | Test (%) | Δ test to vanilla |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | vanilla | – | 269.7k | 40.55M | 100.0 % | 75.48 ± 0.49 | 74.28 ± 0.49 | – |
    | thin width=0.7 | – | 134.4k | 20.11M | 49.6 % | 72.46 ± 0.40 | 71.26 ± 0.40 | **-3.02 [-3.25, -2.78]** |
    | thin width=0.5 | – | 68.43k | 10.31M | 25.4 % | 68.36 ± 0.40 | 67.16 ± 0.40 | **-7.12 [-7.35, -6.88]** |
    | depthwise | – | 36.70k | 6.013M | 14.8 % | 65.36 ± 0.40 | 64.16 ± 0.40 | **-10.12 [-10.35, -9.88]** |
    | ghost ratio=2 | – | 140.2k | 21.20M | 52.3 % | 72.76 ± 0.40 | 71.56 ± 0.40 | **-2.72 [-2.95, -2.48]** |
    | ghost ratio=4 | – | 77.03k | 11.54M | 28.5 % | 68.06 ± 0.40 | 66.86 ± 0.40 | **-7.42 [-7.65, -7.18]** |
    | pruned ratio=0.5 | – | 135.7k | 20.55M | 50.7 % | 72.16 ± 0.40 | 70.96 ± 0.40 | **-3.32 [-3.55, -3.08]** |
    | compconv depth=1 | 1 | 138.4k | 20.85M | 51.4 % | 73.06 ± 0.40 | 71.86 ± 0.40 | **-2.42 [-2.65, -2.18]** |
    | compconv c0=32 | – | 99.27k | 15.45M | 38.1 % | 71.56 ± 0.40 | 70.36 ± 0.40 | **-3.92 [-4.15, -3.68]** |
    | compconv depth=2 | 2 | 79.63k | 11.86M | 29.3 % | 70.56 ± 0.40 | 69.36 ± 0.40 | **-4.92 [-5.15, -4.68]** |
    | compconv c0=16 | – | 60.27k | 10.95M | 27.0 % | 69.26 ± 0.40 | 68.06 ± 0.40 | **-6.22 [-6.45, -5.98]** |
    | compconv depth=3 | 3 | 57.27k | 9.448M | 23.3 % | 68.46 ± 0.40 | 67.26 ± 0.40 | **-7.02 [-7.25, -6.78]** |
    | compconv c0=8 | – | 54.27k | 8.848M | 21.8 % | 68.06 ± 0.40 | 66.86 ± 0.40 | **-7.42 [-7.65, -7.18]** |

    - **Data**: CIFAR-10 (JPEG copy), from `data/cifar10`. 10,000 training images (a subset), 5,000 validation images carved from the training set, 10,000 test images read once, after the last epoch.
    - **Recipe**: 12 epochs (a short schedule: the literature trains 160 to 400, and compact modules lose more than vanilla by it), batch 128, SGD with Nesterov momentum 0.9, rate 0.1 cosine to 0, weight decay 0.0005, crops and flips.
    - **Reported**: the last epoch of every trial, whatever other epochs came to.
    - **Seeds** 0, 1, 2: mean ± sample standard deviation; differences are paired by seed, with their 95 % interval (Student t) in brackets, bold where it leaves out 0 (each row by itself, not corrected for the number of rows). A row with one seed is a plain number.
    - **Counted** for one input of 32 x 32 pixels in 3 channels, 10 classes. MACs are multiply-accumulates of convolutions and linear layers, padded taps among them; batch norm counts none, and is folded into no convolution. Parameters include its scale and shift.
    - **Replaced layers** (thin, depthwise, ghost, compconv): every convolution but the stem
    - **Replaced layers** (pruned): none replaced; filters removed after training
    - **Cut**: pruned ratio=0.5 trains for 9 of its 12 epochs, is cut, and trains for the last 3 at a peak rate of 0.01.
    - **Same network**: compconv depth=1 = compconv c0=64 = compconv c0=128
    - **Made with** commit 0123456789ab, Cargo.lock 10cc, Some CPU @ 2.1 GHz, 2 threads, avx512 kernels, harness 0.1.0, candle 0.11.1, rustc 1.90.0, linux x86_64: 39 trials

    <details><summary>Remarks on layers (2)</summary>

    - compconv depth=3: `layer1.0.conv1` and 2 more: depth 3 is not feasible for 16 -> 16: takes 2
    - compconv depth=3: `layer2.0.conv1`: costs more than vanilla

    </details>
    ");
}

#[test]
fn table_of_one_seed_has_no_spread() {
    let records = study(&[0]);
    let groups = groups(&records);
    let text = compared(&groups[0]);
    assert!(text.contains("**One seed** (0)"), "{text}");
    assert!(text.contains("| vanilla | – | 269.7k | 40.55M | 100.0 % | 75.40 | 74.20 | – |"), "{text}");
    assert!(text.contains("| -2.40 |"), "{text}");
    assert!(!text.contains('±') && !text.contains("| **"), "{text}");
}

#[test]
fn table_of_costs_has_no_accuracy() {
    let mut records = study(&[0]);
    costs(&mut records);
    let groups = groups(&records);
    assert_eq!(groups.len(), 1);
    insta::assert_snapshot!(compared(&groups[0]), @r"
    | Method | Depth | Params | MACs | of vanilla | params of vanilla | Activations |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: |
    | vanilla | – | 269.7k | 40.55M | 100.0 % | 100.0 % | 188.4k |
    | thin width=0.7 | – | 134.4k | 20.11M | 49.6 % | 49.8 % | 188.4k |
    | thin width=0.5 | – | 68.43k | 10.31M | 25.4 % | 25.4 % | 188.4k |
    | depthwise | – | 36.70k | 6.013M | 14.8 % | 13.6 % | 188.4k |
    | ghost ratio=2 | – | 140.2k | 21.20M | 52.3 % | 52.0 % | 188.4k |
    | ghost ratio=4 | – | 77.03k | 11.54M | 28.5 % | 28.6 % | 188.4k |
    | pruned ratio=0.5 | – | 135.7k | 20.55M | 50.7 % | 50.3 % | 188.4k |
    | compconv depth=1 | 1 | 138.4k | 20.85M | 51.4 % | 51.3 % | 188.4k |
    | compconv c0=32 | – | 99.27k | 15.45M | 38.1 % | 36.8 % | 188.4k |
    | compconv depth=2 | 2 | 79.63k | 11.86M | 29.3 % | 29.5 % | 188.4k |
    | compconv c0=16 | – | 60.27k | 10.95M | 27.0 % | 22.3 % | 188.4k |
    | compconv depth=3 | 3 | 57.27k | 9.448M | 23.3 % | 21.2 % | 188.4k |
    | compconv c0=8 | – | 54.27k | 8.848M | 21.8 % | 20.1 % | 188.4k |

    - **Nothing was trained**: exact cost per image.
    - **Counted** for one input of 32 x 32 pixels in 3 channels, 10 classes. MACs are multiply-accumulates of convolutions and linear layers, padded taps among them; batch norm counts none, and is folded into no convolution. Parameters include its scale and shift.
    - **Replaced layers** (thin, depthwise, ghost, compconv): every convolution but the stem
    - **Replaced layers** (pruned): none replaced; filters removed after training
    - **Same network**: compconv depth=1 = compconv c0=64 = compconv c0=128
    - **Made with** commit 0123456789ab, Cargo.lock 10cc, Some CPU @ 2.1 GHz, 2 threads, avx512 kernels, harness 0.1.0, candle 0.11.1, rustc 1.90.0, linux x86_64: 13 trials

    <details><summary>Remarks on layers (2)</summary>

    - compconv depth=3: `layer1.0.conv1` and 2 more: depth 3 is not feasible for 16 -> 16: takes 2
    - compconv depth=3: `layer2.0.conv1`: costs more than vanilla

    </details>
    ");
}

#[test]
fn nothing_mixes_data_or_recipes() {
    let mut records = study(&[0]);
    let plain = records.len();
    let mut synthetic = trial("vanilla", 0, 40_551_040, 269_722, 0.99);
    synthetic.trial.data = Provenance {
        label: "procedural, 10 classes".into(),
        source: "synthetic".into(),
        synthetic: true,
        fingerprint: "0".into(),
        remarks: vec![],
    };
    let mut longer = trial("ghost ratio=2", 0, 21_200_896, 140_154, 0.90);
    longer.trial.config.recipe.epochs = 200;
    let mut other_copy = trial("ghost ratio=2", 0, 21_200_896, 140_154, 0.90);
    other_copy.trial.data.fingerprint = "other".into();
    records.extend([synthetic, longer, other_copy]);

    let groups = groups(&records);
    let mut sizes: Vec<_> = groups.iter().map(|group| group.trials().count()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 1, plain]);
    let titles: Vec<_> = groups.iter().map(|group| group.title()).collect();
    assert!(
        titles.contains(&"ResNet-20 on SYNTHETIC (procedural, 10 classes): short schedule (12 epochs)".to_owned()),
        "{titles:?}"
    );
    assert!(titles.contains(&"ResNet-20 on CIFAR-10 (JPEG copy) (200 epochs)".to_owned()), "{titles:?}");

    // Vanilla elsewhere is no reference here.
    let lonely = groups.iter().find(|group| group.title().contains("200")).unwrap();
    let text = compared(lonely);
    assert!(text.contains("**No vanilla trial**"), "{text}");
    assert!(text.contains("| ghost ratio=2 | 140.2k | 21.20M | – |"), "{text}");
}

#[test]
fn differences_are_paired_by_seed() {
    // Vanilla's third seed is an outlier that ghost does not have: it must not enter the difference.
    let records = [
        trial("vanilla", 0, 40, 4, 0.70),
        trial("vanilla", 1, 40, 4, 0.80),
        trial("vanilla", 2, 40, 4, 0.10),
        trial("ghost", 0, 20, 2, 0.69),
        trial("ghost", 1, 20, 2, 0.78),
    ];
    let flat: Vec<TrialRecord> = records
        .into_iter()
        .map(|mut record| {
            // Without the helper's wobble, sums are exact enough to be written down.
            let top1 = match (record.trial.label.as_str(), record.trial.config.seed) {
                ("vanilla", 0) => 0.70,
                ("vanilla", 1) => 0.80,
                ("vanilla", _) => 0.10,
                (_, 0) => 0.69,
                _ => 0.78,
            };
            measures(&mut record).test = Some(Evaluation { top1, top5: 1.0, loss: 1.0 });
            record
        })
        .collect();
    let groups = groups(&flat);
    let [vanilla, ghost] = &groups[0].rows[..] else { panic!("two rows") };
    assert!(vanilla.is_vanilla());
    let comparison = ghost.compare(vanilla, groups[0].split());
    let difference = comparison.difference.unwrap();
    assert_eq!((difference.n, comparison.left_out), (2, 1));
    assert_eq!(comparison.verdict(), Verdict::NotDistinguishable);
    assert!((difference.mean + 1.5).abs() < 1e-9, "{difference:?}");
    // t = 12.706 at one degree of freedom: -1.5 +- 12.706 * 0.7071 / 1.4142.
    let interval = difference.interval().unwrap();
    assert!((interval.low + 7.853).abs() < 1e-3 && (interval.high - 4.853).abs() < 1e-3, "{interval:?}");
    let text = compared(&groups[0]);
    assert!(text.contains("| -1.50 [-7.85, +4.85] |"), "{text}");
    assert!(text.contains("Not every row has every seed"), "{text}");
}

#[test]
fn vanilla_is_found_under_another_name() {
    let mut records = study(&[0]);
    records[0].trial.label = "compconv depth=0".into();
    records[0].trial.config.method.name = "compconv".into();
    records[0].trial.aliases = vec!["vanilla".into()];
    let groups = groups(&records);
    assert_eq!(groups[0].rows[0].label, "compconv depth=0");
    assert!(groups[0].vanilla().is_some());
}

#[test]
fn mixed_stamps_are_said() {
    let mut records = study(&[0]);
    records[3].environment.threads = 8;
    records[3].environment.dirty = true;
    let text = compared(&groups(&records)[0]);
    assert!(text.contains("**Mixed stamps**"), "{text}");
    assert!(text.contains("(with uncommitted changes), Cargo.lock 10cc, Some CPU @ 2.1 GHz, 8 threads"), "{text}");
}

#[test]
fn frames_hold_one_row_a_trial() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = study(&[0, 1]);
    measures(&mut records[0]).train_loss = f64::NAN;
    let folder = folder(&dir.path().join("study"), &records);
    assert!(folder.record(&records[0].trial.key).unwrap().unwrap().measures().unwrap().train_loss.is_nan());
    let frame = collect(&folder).unwrap();
    assert_eq!(frame.height(), 26);

    let [csv, parquet, _] = write_frames(folder.root(), &[(&folder, folder.collected().unwrap())]).unwrap();
    let read = ParquetReader::new(fs::File::open(parquet).unwrap()).finish().unwrap();
    assert!(read.equals_missing(&frame));
    let names: Vec<_> = read.get_column_names().iter().map(ToString::to_string).collect();
    for name in
        ["key", "option_depth", "option_c0", "option_ratio", "params", "macs", "test_top1", "commit", "data_source"]
    {
        assert!(names.contains(&name.to_owned()), "{name} not in {names:?}");
    }
    // Set by 6 of 26, and a whole number; a ratio is 2 here and 0.5 there, so a real one.
    assert_eq!(read.column("option_depth").unwrap().null_count(), 20);
    assert!(read.column("option_depth").unwrap().i64().is_ok());
    assert!(read.column("option_ratio").unwrap().f64().is_ok());
    let text = fs::read_to_string(csv).unwrap();
    assert_eq!(text.lines().count(), 27);
    assert_eq!(text.lines().next().unwrap().split(',').count(), names.len());
}

#[test]
fn frames_of_costs_hold_no_accuracy() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = study(&[0]);
    costs(&mut records);
    let frame = collect(&folder(&dir.path().join("study"), &records)).unwrap();
    assert_eq!(frame.column("validation_top1").unwrap().null_count(), frame.height());
    assert_eq!(frame.column("macs").unwrap().null_count(), 0);
}

#[test]
fn a_frame_of_ten_thousand_trials_has_their_values_in_their_order() {
    let records: Vec<_> = (0..10_000).map(|seed| trial("compconv depth=2", seed, 1_000 + seed, 100, 0.5)).collect();
    let frame = harness::results::frame(&records).unwrap();
    assert_eq!(frame.height(), 10_000);
    let macs = frame.column("macs").unwrap().u64().unwrap();
    assert!(macs.into_no_null_iter().eq(1_000..11_000));
}

#[test]
fn folders_that_are_not_ours_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = |root: &Path, name: &str| format!("{:#}", RunFolder::create(root, name, "").unwrap_err());

    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "years of work").unwrap();
    let text = refusal(&foreign, "cifar");
    assert!(text.contains("not made by the harness") && text.contains("thesis.tex"), "{text}");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1, "nothing was added");

    let used = dir.path().join("used");
    RunFolder::create(&used, "cifar", "").unwrap();
    RunFolder::create(&used, "cifar", "again").unwrap();
    let text = refusal(&used, "imagenet");
    assert!(text.contains("holds the results of experiment `cifar`, not of `imagenet`"), "{text}");
    assert_eq!(fs::read_to_string(used.join("experiment.toml")).unwrap(), "again");

    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refusal(&file, "cifar").contains("is a file"));
    assert!(refusal(&file.join("below"), "cifar").contains("cannot be made"));
    assert!(format!("{:#}", RunFolder::open(&foreign).unwrap_err()).contains("not made by the harness"));
    assert!(format!("{:#}", RunFolder::open(&dir.path().join("none")).unwrap_err()).contains("no such folder"));
}

#[test]
fn a_corrupt_result_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let records = [trial("vanilla", 0, 40, 4, 0.7)];
    let folder = folder(&dir.path().join("study"), &records);
    let path = folder.trial_dir(&records[0].trial.key).join("result.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    for error in [collect(&folder).unwrap_err(), report::write(&folder).unwrap_err()] {
        let text = format!("{error:#}");
        assert!(text.contains(&path.display().to_string()) && text.contains("run the experiment again"), "{text}");
    }
    // A folder without a result is a trial that is not done.
    fs::remove_file(&path).unwrap();
    assert_eq!(folder.record(&records[0].trial.key).unwrap(), None);
    assert!(format!("{:#}", report::write(&folder).unwrap_err()).contains("no trial is finished"));
}

#[test]
fn logs_survive_interruptions() {
    let dir = tempfile::tempdir().unwrap();
    let record = trial("vanilla", 0, 40, 4, 0.7);
    let folder = RunFolder::create(&dir.path().join("study"), "study", "").unwrap();
    assert_eq!(folder.epochs(&record.trial.key).unwrap(), []);
    let log = |epoch, loss| EpochLog { epoch, train_loss: loss, ..EpochLog::default() };
    for line in [log(1, 2.0), log(2, 1.5), log(2, 1.4)] {
        folder.append_epoch(&record.trial.key, &line).unwrap();
    }
    let path = folder.trial_dir(&record.trial.key).join("epochs.jsonl");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}{{\"epoch\":3,\"ph")).unwrap();
    assert_eq!(folder.epochs(&record.trial.key).unwrap(), [log(1, 2.0), log(2, 1.4)]);
    fs::write(&path, format!("nonsense\n{whole}")).unwrap();
    assert!(format!("{:#}", folder.epochs(&record.trial.key).unwrap_err()).contains("epochs.jsonl:1"));
    // A new attempt starts a new log.
    folder.start(&record.trial.key, &record.trial.config, &[]).unwrap();
    assert_eq!(folder.epochs(&record.trial.key).unwrap(), []);
    let config: TrialConfig =
        toml::from_str(&fs::read_to_string(folder.trial_dir(&record.trial.key).join("config.toml")).unwrap()).unwrap();
    assert_eq!(config, record.trial.config);
}
