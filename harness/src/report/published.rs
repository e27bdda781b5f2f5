//! Reference figures that papers print, for tables apart from ours. Copied as printed; "FLOPs" there are MACs.

use super::aggregate::Group;
use super::tables::markdown;

/// The networks of one paper under one recipe; the first is what the others compare with.
struct Paper {
    title: &'static str,
    rows: &'static [Published],
}

/// Method, parameters in millions, MACs in millions, top-1 in percent.
type Published = (&'static str, Option<f64>, Option<f64>, Option<f64>);

const GHOSTNET: &str = "GhostNet (Han et al., CVPR 2020, arXiv 1911.11907)";
const LI: &str = "Pruning Filters for Efficient ConvNets (Li et al., ICLR 2017), Table 1";
const HRANK: &str = "HRank (Lin et al., CVPR 2020)";

const VGG16_CIFAR10: &[Paper] = &[
    Paper {
        title: GHOSTNET,
        rows: &[
            ("VGG-16", Some(15.0), Some(313.0), Some(93.6)),
            ("l1-VGG-16", Some(5.4), Some(206.0), Some(93.4)),
            ("SBP-VGG-16", None, Some(136.0), Some(92.5)),
            ("Ghost-VGG-16 (s = 2)", Some(7.7), Some(158.0), Some(93.7)),
            ("Ghost-VGG-16 (s = 3)", Some(5.2), Some(107.0), Some(93.4)),
            ("Ghost-VGG-16 (s = 4)", Some(4.0), Some(80.0), Some(93.0)),
            ("Ghost-VGG-16 (s = 5)", Some(3.3), Some(65.0), Some(92.9)),
        ],
    },
    Paper {
        title: LI,
        rows: &[
            ("VGG-16", Some(15.0), Some(313.0), Some(93.25)),
            ("VGG-16-pruned-A", Some(5.4), Some(206.0), Some(93.40)),
            ("VGG-16-pruned-A, from scratch", Some(5.4), Some(206.0), Some(93.12)),
        ],
    },
    Paper {
        title: HRANK,
        rows: &[
            ("VGG-16", Some(14.98), Some(313.73), Some(93.96)),
            ("HRank", Some(2.51), Some(145.61), Some(93.43)),
            ("HRank", Some(2.64), Some(108.61), Some(92.34)),
            ("HRank", Some(1.78), Some(73.70), Some(91.23)),
        ],
    },
    Paper {
        title: "HetConv (Singh et al., CVPR 2019)",
        rows: &[
            ("P = 1 (VGG-16)", None, Some(313.7), Some(94.06)),
            ("P = 2", None, Some(175.2), Some(93.89)),
            ("P = 4", None, Some(106.0), Some(93.93)),
            ("P = 8", None, Some(71.4), Some(93.92)),
            ("P = 16", None, Some(54.0), Some(93.96)),
            ("P = 32", None, Some(45.4), Some(93.73)),
            ("P = 64", None, Some(41.1), Some(93.42)),
        ],
    },
    Paper {
        title: "SPConv (Zhang et al., IJCAI 2020)",
        rows: &[
            ("VGG-16", Some(16.62), Some(349.51), Some(94.00)),
            ("SPConv (alpha = 1/2)", Some(5.6), Some(118.27), Some(94.40)),
            ("SPConv (alpha = 1/4)", Some(3.77), Some(79.34), Some(93.94)),
            ("SPConv (alpha = 1/8)", Some(2.85), Some(59.87), Some(93.77)),
        ],
    },
];

const RESNET56_CIFAR10: &[Paper] = &[
    Paper {
        title: GHOSTNET,
        rows: &[
            ("ResNet-56", Some(0.85), Some(125.0), Some(93.0)),
            ("CP-ResNet-56", None, Some(63.0), Some(92.0)),
            ("l1-ResNet-56", Some(0.73), Some(91.0), Some(92.5)),
            ("AMC-ResNet-56", None, Some(63.0), Some(91.9)),
            ("Ghost-ResNet-56 (s = 2)", Some(0.43), Some(63.0), Some(92.7)),
        ],
    },
    Paper {
        title: LI,
        rows: &[
            ("ResNet-56", Some(0.85), Some(125.0), Some(93.04)),
            ("ResNet-56-pruned-A", Some(0.77), Some(112.0), Some(93.10)),
            ("ResNet-56-pruned-B", Some(0.73), Some(90.9), Some(93.06)),
            ("ResNet-56-pruned-B, from scratch", Some(0.73), Some(90.9), Some(91.31)),
        ],
    },
    Paper {
        title: HRANK,
        rows: &[
            ("ResNet-56", Some(0.85), Some(125.49), Some(93.26)),
            ("HRank", Some(0.71), Some(88.72), Some(93.52)),
            ("HRank", Some(0.49), Some(62.72), Some(93.17)),
            ("HRank", Some(0.27), Some(32.52), Some(90.72)),
        ],
    },
    Paper {
        title: "SCConv (CVPR 2023), Table 2: drop-ins under one recipe",
        rows: &[
            ("ResNet-56", Some(0.86), Some(126.84), Some(93.27)),
            ("SPConv", Some(0.58), Some(87.95), Some(93.49)),
            ("Ghost (s = 2)", Some(0.45), Some(68.35), Some(92.35)),
            ("SlimConv", Some(0.60), Some(88.82), Some(93.51)),
            ("TiedConv", Some(0.54), Some(94.99), Some(92.87)),
            ("SCConv", Some(0.52), Some(79.55), Some(94.12)),
        ],
    },
];

const RESNET50_IMAGENET: &[Paper] = &[Paper {
    title: GHOSTNET,
    rows: &[
        ("ResNet-50", Some(25.6), Some(4100.0), Some(75.3)),
        ("ThiNet", Some(16.9), Some(2600.0), Some(72.1)),
        ("NISP-50-B", Some(14.4), Some(2300.0), None),
        ("Versatile", Some(11.0), Some(3000.0), Some(74.5)),
        ("SSS", None, Some(2800.0), Some(74.2)),
        ("Ghost (s = 2)", Some(13.0), Some(2200.0), Some(75.0)),
        ("Ghost (s = 4)", Some(6.5), Some(1200.0), Some(74.1)),
        ("Taylor-FO-BN", Some(7.9), Some(1300.0), Some(71.7)),
        ("MetaPruning", None, Some(1000.0), Some(73.4)),
    ],
}];

/// The published rows for a group's backbone and data, as Markdown; none where there are none, and never beside
/// accuracies on procedural data.
pub fn beside(group: &Group<'_>) -> Option<String> {
    let record = group.first();
    // Costs do not depend on where the images come from; accuracies do.
    if record.data.synthetic && !group.cost_only() {
        return None;
    }
    let dataset = record.config.dataset.name.as_str();
    let imagenet = dataset.contains("imagenet") || record.data.label.contains("ImageNet");
    let (papers, data) = match record.config.backbone.name.as_str() {
        "vgg16" if dataset == "cifar10" => (VGG16_CIFAR10, "CIFAR-10"),
        "resnet56" if dataset == "cifar10" => (RESNET56_CIFAR10, "CIFAR-10"),
        "resnet50" if imagenet || (group.cost_only() && !dataset.starts_with("cifar")) => {
            (RESNET50_IMAGENET, "ImageNet")
        }
        _ => return None,
    };
    let mut text = format!(
        "**Published** figures for {} on {data}, as printed, from the papers named. Not measured here and not comparable row by \
         row: their schedules are full-length, their data the original files, their baselines differ from paper to paper \
         (compare within one). What they print as FLOPs are MACs.\n",
        group.backbone()
    );
    for paper in papers {
        text += &format!("\n*published:* {}\n\n{}", paper.title, table(paper));
    }
    Some(text)
}

fn table(paper: &Paper) -> String {
    let base = paper.rows.first().and_then(|row| row.3);
    let millions = |value: Option<f64>| value.map_or("–".into(), |millions| format!("{millions}M"));
    let rows: Vec<Vec<String>> = paper
        .rows
        .iter()
        .enumerate()
        .map(|(place, (method, params, macs, top1))| {
            let difference = match (top1, base) {
                (Some(top1), Some(base)) if place > 0 => format!("{:+.2}", top1 - base),
                _ => "–".into(),
            };
            let top1 = top1.map_or("–".into(), |top1| format!("{top1}"));
            vec![format!("{method} (published)"), millions(*params), millions(*macs), top1, difference]
        })
        .collect();
    markdown(&["Method", "Params", "MACs", "Top-1 (%)", "Δ to its baseline"], &rows)
}
