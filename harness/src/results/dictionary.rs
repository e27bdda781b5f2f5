//! What the columns of the files of results mean.

use conv_core::options::Described;

use crate::config::{BackboneConfig, DatasetConfig, InitConfig, Protocol, Recipe};

/// A column's name and its meaning.
type Column = (&'static str, &'static str);

const NETWORK: &[Column] = &[
    ("experiment", "Name of the experiment."),
    ("key", "The trial: its folder is trials/KEY."),
    (
        "label",
        "Method and options as tables show them; unique with the seed among trials of one backbone, data set and recipe.",
    ),
    ("method", "What makes the convolutions."),
    (
        "option_*",
        "An option of the method, as `harness methods` tells them; null where the method has none of that name, or no value.",
    ),
    ("layers", "Exceptions by layer, as [[layer]] sets them; null where there are none."),
    ("aliases", "Other labels of the same network and training."),
    ("budget", "What the network was solved for, e.g. macs 0.25; null without [budget]."),
    ("budget_mismatch", "By how much it misses that, as a share of the budget."),
    ("control_of", "Labels of the pruned networks that it is a control of."),
    ("tuned", "Whether values of its recipe were chosen by [tune]."),
];

const DATA: &[Column] = &[
    ("replaced", "Which layers the method made, in words."),
    ("data_source", "Where the images came from."),
    ("data_label", "What the data calls itself."),
    ("synthetic", "Whether procedural images stood in for real ones."),
    ("data_fingerprint", "Digest of the images and labels: equal ones are equal data, in equal order."),
    ("seed", "Of initialisation, order and augmentation."),
];

const OUTCOME: &[Column] = &[
    ("epochs_trained", "Epochs that trained the final network's weights, fine-tuning included."),
    ("base", "Key of the trained network that it was compressed from."),
    ("train_images", "Images that it was trained on."),
    ("test_images", "Images that it was tested on."),
    ("reporting", "Which epoch the accuracies are of."),
    ("params", "Trainable parameters of the final network."),
    ("macs", "Its multiply-accumulates for an image, of convolutions and linear layers, padded taps among them."),
    ("params_nonzero", "Parameters that are not masked; null without masks."),
    ("macs_nonzero", "MACs with weights that are not masked; masks save no executed one."),
    ("activations", "Values that its convolutions and linear layers put out for an image."),
    ("depth", "Deepest effective recursion of any layer; null of methods that do not recurse."),
    ("validation_top1", "Share of validation images whose class was the first guess, after the last epoch."),
    ("validation_top5", "The same for the first five guesses."),
    ("validation_loss", "Mean cross-entropy over the validation images."),
    ("test_top1", "Share of test images whose class was the first guess, read once."),
    ("test_top5", "The same for the first five guesses."),
    ("test_loss", "Mean cross-entropy over the test images."),
    ("train_loss", "Mean loss over the steps of the last epoch."),
    ("seconds", "Wall time of the trial, earlier attempts included; of a busy machine."),
    ("images_per_second", "Speed of training beside whatever else ran: it does not compare."),
    ("commit", "Commit of the sources that it was built from."),
    ("dirty", "Whether these differed from the commit."),
    ("diff", "Digest of what differed."),
    ("cargo_lock", "Digest of the dependencies' versions."),
    ("features", "Features of the build that are not the default."),
    ("cpu", "The processor."),
    ("threads", "Threads that computed."),
    ("jobs", "Trials that ran at once; null where that is not known."),
    ("os", "The operating system."),
    ("rustc", "The compiler."),
    ("harness", "Version of the harness."),
    ("candle", "Version of candle."),
    ("kernels", "Instruction set of the kernels that computed."),
    ("off_engine", "Why it trained operation by operation; null where it did not."),
    ("status", "done, or FAILED."),
    ("failure", "What went wrong."),
];

const MEASURED: &[Column] = &[
    ("infer_batch", "Images of a batch, where inference was measured. b1 is of one image, bN of such a batch."),
    ("infer_b1_ms_p50", "Median time of inference, in milliseconds, over all rounds."),
    ("infer_b1_ms_p90", "Its 0.9 quantile."),
    ("infer_b1_ms_p99", "Its 0.99 quantile."),
    ("infer_b1_memory_analytic_mib", "Memory of inference by the engine's plan, in MiB."),
    ("infer_b1_memory_measured_mib", "Peak of the process beyond what it held before it made the network, in MiB."),
    ("infer_b1_energy_mj", "Energy for an image, in millijoules; null where the machine does not tell."),
    ("infer_b1_speedup", "How many times as fast as the vanilla network, by the medians."),
    ("infer_b1_off_engine", "Why it inferred operation by operation; null where it did not."),
    ("infer_bN_ms_p50", "As of one image, for the whole batch."),
    ("infer_bN_ms_p90", "As of one image, for the whole batch."),
    ("infer_bN_ms_p99", "As of one image, for the whole batch."),
    ("infer_bN_memory_analytic_mib", "As of one image, for the whole batch."),
    ("infer_bN_memory_measured_mib", "As of one image, for the whole batch."),
    ("infer_bN_energy_mj", "Energy for an image of the batch, in millijoules."),
    ("infer_bN_speedup", "As of one image, for the whole batch."),
    ("infer_bN_off_engine", "As of one image, for the whole batch."),
    ("noisy", "Whether rounds differed by more than those of a quiet machine."),
    ("macs_executed", "Multiply-accumulates for an image of the operations that were run."),
    ("multiplications_executed", "Multiplications that the kernels of a batch did for them."),
    ("train_memory_analytic_mib", "Memory of training by the engine's plan, in MiB."),
    ("train_memory_measured_mib", "Peak of a process that trains, in MiB."),
    ("measured_by", "Build and processor that measured."),
    ("measured_threads", "Threads that computed then."),
];

const EPOCHS: &[Column] = &[
    ("experiment", "Name of the experiment."),
    ("key", "The trial."),
    ("label", "Its method and options."),
    ("seed", "Its seed."),
    ("epoch", "Counted from 1, over all phases."),
    ("phase", "train; finetune after a compression; scratch where fresh weights were trained after one."),
    ("lr", "Learning rate at the epoch's end."),
    ("train_loss", "Mean loss over its steps."),
    ("train_accuracy", "Share of its training images whose class was the first guess, as they were augmented."),
    ("validation_loss", "Mean cross-entropy over the validation images, after it."),
    ("validation_accuracy", "Share of validation images whose class was the first guess, after it."),
    ("seconds", "Its wall time."),
    ("images_per_second", "Its speed, beside whatever else ran."),
];

const PREDICTIONS: &[Column] = &[
    ("experiment", "Name of the experiment."),
    ("key", "The trial."),
    ("image", "Place of the image in the test split."),
    ("label", "Its class."),
    ("guess", "The class that was guessed first; null where an output was no number."),
    ("rank", "Place of the right class among the guesses, from 0; null where an output was no number."),
    ("loss", "Cross-entropy."),
];

/// Every column as file, name and meaning, in the order of the files.
pub fn columns() -> Vec<(&'static str, &'static str, &'static str)> {
    fn keys<D: Described>() -> impl Iterator<Item = Column> {
        D::OPTIONS.iter().filter_map(|field| Some((field.column?, field.meaning)))
    }
    let network = NETWORK.iter().copied().chain(keys::<BackboneConfig>());
    let data = DATA[..1].iter().copied().chain(keys::<DatasetConfig>()).chain(DATA[1..].iter().copied());
    let training =
        keys::<InitConfig>().chain(keys::<Recipe>()).chain(keys::<Protocol>()).chain(OUTCOME.iter().copied());
    let trials = network.chain(data).chain(training).chain(MEASURED.iter().copied());
    let of =
        |file: &'static str, columns: &'static [Column]| columns.iter().map(move |(name, text)| (file, *name, *text));
    trials
        .map(|(name, text)| ("results.csv, results.parquet", name, text))
        .chain(of("epochs.parquet", EPOCHS))
        .chain(of("trials/KEY/predictions.parquet", PREDICTIONS))
        .collect()
}

/// The columns of one file, in order.
#[cfg(test)]
pub(super) fn of(file: &str) -> Vec<&'static str> {
    columns().into_iter().filter(|(of, ..)| of.starts_with(file)).map(|(_, name, _)| name).collect()
}
