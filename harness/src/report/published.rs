//! Reference figures that papers print, for tables apart from ours. Copied as printed; "FLOPs" there are MACs.

use super::aggregate::Group;
use super::tables::markdown;
use crate::config::TrialConfig;
use crate::data;

/// The networks of one paper under one recipe; the first is what the others compare with.
struct Paper {
    title: &'static str,
    rows: &'static [Published],
}

/// Method, parameters in millions, MACs in millions, top-1 and top-5 in percent.
type Published = (&'static str, Option<f64>, Option<f64>, Option<f64>, Option<f64>);

const GHOSTNET: &str = "GhostNet (Han et al., CVPR 2020, arXiv 1911.11907)";
const LI: &str = "Pruning Filters for Efficient ConvNets (Li et al., ICLR 2017), Table 1";
const HRANK: &str = "HRank (Lin et al., CVPR 2020)";

const VGG16_CIFAR10: &[Paper] = &[
    Paper {
        title: GHOSTNET,
        rows: &[
            ("VGG-16", Some(15.0), Some(313.0), Some(93.6), None),
            ("l1-VGG-16", Some(5.4), Some(206.0), Some(93.4), None),
            ("SBP-VGG-16", None, Some(136.0), Some(92.5), None),
            ("Ghost-VGG-16 (s = 2)", Some(7.7), Some(158.0), Some(93.7), None),
            ("Ghost-VGG-16 (s = 3)", Some(5.2), Some(107.0), Some(93.4), None),
            ("Ghost-VGG-16 (s = 4)", Some(4.0), Some(80.0), Some(93.0), None),
            ("Ghost-VGG-16 (s = 5)", Some(3.3), Some(65.0), Some(92.9), None),
        ],
    },
    Paper {
        title: LI,
        rows: &[
            ("VGG-16", Some(15.0), Some(313.0), Some(93.25), None),
            ("VGG-16-pruned-A", Some(5.4), Some(206.0), Some(93.40), None),
            ("VGG-16-pruned-A, from scratch", Some(5.4), Some(206.0), Some(93.12), None),
        ],
    },
    Paper {
        title: HRANK,
        rows: &[
            ("VGG-16", Some(14.98), Some(313.73), Some(93.96), None),
            ("HRank", Some(2.51), Some(145.61), Some(93.43), None),
            ("HRank", Some(2.64), Some(108.61), Some(92.34), None),
            ("HRank", Some(1.78), Some(73.70), Some(91.23), None),
        ],
    },
    Paper {
        title: "HetConv (Singh et al., CVPR 2019)",
        rows: &[
            ("P = 1 (VGG-16)", None, Some(313.7), Some(94.06), None),
            ("P = 2", None, Some(175.2), Some(93.89), None),
            ("P = 4", None, Some(106.0), Some(93.93), None),
            ("P = 8", None, Some(71.4), Some(93.92), None),
            ("P = 16", None, Some(54.0), Some(93.96), None),
            ("P = 32", None, Some(45.4), Some(93.73), None),
            ("P = 64", None, Some(41.1), Some(93.42), None),
        ],
    },
    Paper {
        title: "SPConv (Zhang et al., IJCAI 2020)",
        rows: &[
            ("VGG-16", Some(16.62), Some(349.51), Some(94.00), None),
            ("SPConv (alpha = 1/2)", Some(5.6), Some(118.27), Some(94.40), None),
            ("SPConv (alpha = 1/4)", Some(3.77), Some(79.34), Some(93.94), None),
            ("SPConv (alpha = 1/8)", Some(2.85), Some(59.87), Some(93.77), None),
        ],
    },
];

const RESNET56_CIFAR10: &[Paper] = &[
    Paper {
        title: GHOSTNET,
        rows: &[
            ("ResNet-56", Some(0.85), Some(125.0), Some(93.0), None),
            ("CP-ResNet-56", None, Some(63.0), Some(92.0), None),
            ("l1-ResNet-56", Some(0.73), Some(91.0), Some(92.5), None),
            ("AMC-ResNet-56", None, Some(63.0), Some(91.9), None),
            ("Ghost-ResNet-56 (s = 2)", Some(0.43), Some(63.0), Some(92.7), None),
        ],
    },
    Paper {
        title: LI,
        rows: &[
            ("ResNet-56", Some(0.85), Some(125.0), Some(93.04), None),
            ("ResNet-56-pruned-A", Some(0.77), Some(112.0), Some(93.10), None),
            ("ResNet-56-pruned-B", Some(0.73), Some(90.9), Some(93.06), None),
            ("ResNet-56-pruned-B, from scratch", Some(0.73), Some(90.9), Some(91.31), None),
        ],
    },
    Paper {
        title: HRANK,
        rows: &[
            ("ResNet-56", Some(0.85), Some(125.49), Some(93.26), None),
            ("HRank", Some(0.71), Some(88.72), Some(93.52), None),
            ("HRank", Some(0.49), Some(62.72), Some(93.17), None),
            ("HRank", Some(0.27), Some(32.52), Some(90.72), None),
        ],
    },
    Paper {
        title: "SCConv (CVPR 2023), Table 2: drop-ins under one recipe. Disputed: by count, Ghost's row fits every convolution but the stem \
                replaced, the other rows the second of each block",
        rows: &[
            ("ResNet-56", Some(0.86), Some(126.84), Some(93.27), None),
            ("SPConv", Some(0.58), Some(87.95), Some(93.49), None),
            ("Ghost (s = 2)", Some(0.45), Some(68.35), Some(92.35), None),
            ("SlimConv", Some(0.60), Some(88.82), Some(93.51), None),
            ("TiedConv", Some(0.54), Some(94.99), Some(92.87), None),
            ("SCConv", Some(0.52), Some(79.55), Some(94.12), None),
        ],
    },
];

const RESNET50_IMAGENET: &[Paper] = &[Paper {
    title: GHOSTNET,
    rows: &[
        ("ResNet-50", Some(25.6), Some(4100.0), Some(75.3), Some(92.2)),
        ("ThiNet", Some(16.9), Some(2600.0), Some(72.1), Some(90.3)),
        ("NISP-50-B", Some(14.4), Some(2300.0), None, Some(90.8)),
        ("Versatile", Some(11.0), Some(3000.0), Some(74.5), Some(91.8)),
        ("SSS", None, Some(2800.0), Some(74.2), Some(91.9)),
        ("Ghost (s = 2)", Some(13.0), Some(2200.0), Some(75.0), Some(92.3)),
        ("Ghost (s = 4)", Some(6.5), Some(1200.0), Some(74.1), Some(91.9)),
        ("Taylor-FO-BN", Some(7.9), Some(1300.0), Some(71.7), None),
        ("MetaPruning", None, Some(1000.0), Some(73.4), None),
    ],
}];

/// What is known of networks, by backbone and data set.
const PUBLISHED: &[(&str, &str, &[Paper])] = &[
    ("vgg16", "cifar10", VGG16_CIFAR10),
    ("resnet56", "cifar10", RESNET56_CIFAR10),
    ("resnet50", "imagenet", RESNET50_IMAGENET),
];

fn title(dataset: &'static str) -> &'static str {
    data::find(dataset).map_or(dataset, |info| info.title)
}

/// The published rows for a group's backbone and data, as Markdown; none where there are none, and never beside
/// accuracies on procedural data.
pub fn beside(group: &Group<'_>) -> Option<String> {
    let record = group.first();
    // Costs do not depend on where the images come from; accuracies do.
    if record.trial.data.synthetic && !group.cost_only() {
        return None;
    }
    let TrialConfig { dataset, backbone, .. } = &record.trial.config;
    let (_, known, papers) = PUBLISHED.iter().find(|(network, known, _)| {
        // A folder of images is called by its own name.
        let is_folder = data::find(&dataset.name).is_some_and(|info| info.geometry.is_none());
        let is_called_so = is_folder && record.trial.data.label.contains(title(known));
        *network == backbone.name && (*known == dataset.name || is_called_so)
    })?;
    let data = title(known);
    let mut text = format!(
        "**Published** figures for {} on {data}, as printed, from the papers named. Not measured here and not comparable row by \
         row: their schedules are full-length, their data the original files, their baselines differ from paper to paper \
         (compare within one). What they print as FLOPs are MACs.\n",
        group.backbone()
    );
    for paper in *papers {
        text += &format!("\n*published:* {}\n\n{}", paper.title, table(paper));
    }
    Some(text)
}

/// Top-5 has a column where the paper prints it.
fn table(paper: &Paper) -> String {
    let base = paper.rows.first().and_then(|row| row.3);
    let has_top5 = paper.rows.iter().any(|row| row.4.is_some());
    let millions = |value: Option<f64>| value.map_or("–".into(), |millions| format!("{millions}M"));
    let percent = |value: Option<f64>| value.map_or("–".into(), |percent| format!("{percent:?}"));
    let mut header = vec!["Method", "Params", "MACs", "Top-1 (%)", "Δ to its baseline"];
    if has_top5 {
        header.push("Top-5 (%)");
    }
    let rows: Vec<Vec<String>> = paper
        .rows
        .iter()
        .enumerate()
        .map(|(place, (method, params, macs, top1, top5))| {
            let difference = match (top1, base) {
                (Some(top1), Some(base)) if place > 0 => format!("{:+.2}", top1 - base),
                _ => "–".into(),
            };
            let name = format!("{method} (published)");
            let mut cells = vec![name, millions(*params), millions(*macs), percent(*top1), difference];
            cells.extend(has_top5.then(|| percent(*top5)));
            cells
        })
        .collect();
    markdown(&header, &rows)
}
