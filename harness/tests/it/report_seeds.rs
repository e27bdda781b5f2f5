//! What a report says of seeds and pairs, from fabricated trials.

use std::fs;

use harness::report::aggregate::{Group, groups, spread_of_differences};
use harness::report::section::Section;
use harness::report::{self, seeds};
use harness::results::TrialRecord;
use harness::train::Evaluation;

use crate::report::{costs, folder, measures, study, trial};

/// Three methods on five seeds, their test accuracies written down.
pub fn seeded() -> Vec<TrialRecord> {
    let methods = [
        ("vanilla", 40, [74.0, 74.6, 73.9, 74.3, 74.1]),
        ("ghost ratio=2", 20, [71.1, 71.9, 70.8, 71.6, 71.3]),
        ("compconv depth=1", 21, [71.3, 71.8, 71.0, 71.3, 71.6]),
    ];
    let mut records = Vec::new();
    for (label, macs, accuracies) in methods {
        for (seed, percent) in (0..).zip(accuracies) {
            let mut record = trial(label, seed, macs * 1_000_000, macs, 0.7);
            measures(&mut record).test = Some(Evaluation { top1: percent / 100.0, top5: 1.0, loss: 1.0 });
            records.push(record);
        }
    }
    records
}

fn seeds(group: &Group<'_>) -> String {
    seeds::sections(group, "x").iter().map(Section::markdown).collect()
}

#[test]
fn seeds_tell_which_pairs_differ_and_which_methods_are_worth_their_cost() {
    let records = seeded();
    let groups = groups(&records);
    insta::assert_snapshot!(seeds(&groups[0]).trim(), @r"
    ### Over seeds

    | Method | n | test (%) | sd | 95 % (Student t) | 95 % (bootstrap) | Accuracy at its MACs |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: |
    | vanilla | 5 | 74.18 | 0.28 | [73.84, 74.52] | [73.98, 74.42] | on the front |
    | ghost ratio=2 | 5 | 71.34 | 0.43 | [70.81, 71.87] | [71.02, 71.68] | on the front |
    | compconv depth=1 | 5 | 71.40 | 0.31 | [71.02, 71.78] | [71.18, 71.64] | on the front |

    - **Seeds, not images**: the spread is that of networks trained from other seeds, judged on the same images.
    - **Intervals** of the mean: Student's is exact for normal values. The bootstrap (percentile, 10,000 draws) describes these values, and covers less than it says: about 75 % with three seeds, 83 % with five.
    - **Accuracy at its MACs**: on the front: no other row does as well by its mean for as little; undecided: some does, and no verdict confirms it; none is beaten: no verdict below says that one that is no dearer is better.

    ### All pairs

    3 pairs: 2 told apart, 1 not distinguishable.

    | First / second | Common seeds | Δ (points) | p | p (Holm) | The first is |
    | --- | ---: | ---: | ---: | ---: | ---: |
    | vanilla / ghost ratio=2 | 5 | +2.84 [+2.63, +3.05] | < 0.0001 | < 0.0001 | better |
    | vanilla / compconv depth=1 | 5 | +2.78 [+2.54, +3.02] | < 0.0001 | < 0.0001 | better |
    | ghost ratio=2 / compconv depth=1 | 5 | -0.06 [-0.37, +0.25] | 0.6213 | 0.6213 | not distinguishable |

    - **Δ**: first less second in test top-1, paired by seed, with the 95 % interval of this pair by itself.
    - **p and intervals**: Student's t of the seeds' differences. Where a table has six pairs or more, they share what all of them tell of the spread between seeds (empirical Bayes; Smyth 2004), and none counts as varying less than its own seeds do.
    - **Verdict**: from p with Holm's correction for the number of pairs. Were all rows alike, at most 5 % of such tables would tell any pair apart. An interval may leave out 0 where the verdict does not follow: by itself the pair would be told apart.
    ");
    // The same accuracies at other costs: vanilla, now the cheapest, beats both.
    let mut turned = seeded();
    turned.iter_mut().filter(|record| record.trial.label == "vanilla").for_each(|record| record.network.cost.macs = 10);
    let text = seeds(&harness::report::aggregate::groups(&turned)[0]);
    assert_eq!(text.matches("| beaten |").count(), 2, "{text}");
    assert!(text.contains("beaten: one that is no dearer is better"), "{text}");
}

#[test]
fn without_two_common_seeds_pairs_are_not_shown_and_it_is_said_why() {
    let records = study(&[0]);
    let text = seeds(&groups(&records)[0]);
    assert!(
        text.contains("### All pairs") && text.contains("Not shown: no two rows have two seeds in common"),
        "{text}"
    );
    assert!(!text.contains('|'), "{text}");
    let mut priced = study(&[0, 1]);
    costs(&mut priced);
    assert_eq!(seeds(&groups(&priced)[0]), "");
    assert_eq!(seeds(&groups(&study(&[0, 1])[..1])[0]), "");
}

#[test]
fn many_pairs_are_folded_and_one_spread_for_all_seeds_is_no_verdict() {
    let records = study(&[0, 1, 2]);
    let text = seeds(&groups(&records)[0]);
    // Vanilla alone varies otherwise than the rest: 12 of 78 pairs can be tested, and three seeds do not pass the correction for
    // all of them.
    assert!(text.contains("<details><summary>78 pairs: "), "{text}");
    assert!(text.contains("not distinguishable (no spread between seeds)"), "{text}");
}

#[test]
fn the_spread_of_differences_is_pooled_over_rows() {
    let records = seeded();
    // Sample variances of the differences to vanilla: 0.028 of ghost (-2.9, -2.7, -3.1, -2.7, -2.8), 0.037 of compconv
    // (-2.7, -2.8, -2.9, -3.0, -2.5).
    let (spread, differences) = spread_of_differences(&groups(&records)).unwrap();
    assert_eq!(differences, 10);
    assert!((spread - f64::sqrt((0.028 + 0.037) / 2.0)).abs() < 1e-9, "{spread}");
    assert_eq!(spread_of_differences(&groups(&study(&[0]))), None);
}

#[test]
fn several_backbones_are_tasks_that_a_method_is_judged_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = seeded();
    let mut others = seeded();
    for record in &mut others {
        record.trial.config.backbone.name = "vgg16".into();
        record.trial.key = blake3::hash(record.trial.key.as_bytes()).to_hex()[..16].to_owned();
        let compact = record.trial.label != "vanilla";
        measures(record).test.as_mut().unwrap().top1 += if compact { 0.02 } else { 0.0 };
    }
    // Of this one there is nothing on the first backbone.
    let mut lonely = trial("thin width=0.5", 0, 10, 1, 0.6);
    lonely.trial.config.backbone.name = "vgg16".into();
    records.extend(others);
    records.push(lonely);
    let written = report::write(&folder(&dir.path().join("study"), &records)).unwrap().written;
    let page = fs::read_to_string(&written[0]).unwrap();
    let (_, section) = page.split_once("## Over data sets and backbones\n").unwrap();
    // The middle six of ghost's ten differences: -2.8, -2.7, -2.7, -1.1, -0.9, -0.8.
    insta::assert_snapshot!(section.split("## How").next().unwrap().trim(), @r"
    | Method | Runs | Δ to vanilla (interquartile mean) | 95 % (bootstrap) | > -5 | > -2 | > -1 | > -0.5 | > +0 |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
    | ghost ratio=2 | 10 | -1.83 | [-1.95, -1.73] | 100 % | 50 % | 40 % | 0 % | 0 % |
    | compconv depth=1 | 10 | -1.78 | [-1.90, -1.67] | 100 % | 50 % | 40 % | 0 % | 0 % |

    - **Tasks**: ResNet-20 on CIFAR-10 (JPEG copy); VGG-16 on CIFAR-10 (JPEG copy). A run's score is its top-1 less vanilla's with the same seed, in points.
    - **Interquartile mean**: of the middle half of all runs. Its interval is over seeds, drawn within each task (percentile, 10,000 draws): it says nothing of other data or backbones, and covers less than it says with few seeds.
    - **> x**: share of runs whose score is above x, each task with the same weight.
    - **Left out**, for want of a result in every task: thin width=0.5
    ");
    let one = report::write(&folder(&dir.path().join("one"), &seeded())).unwrap().written;
    assert!(!fs::read_to_string(&one[0]).unwrap().contains("Over data sets"));
}
