//! What papers print, as printed; "FLOPs" there are MACs.

/// The networks of one paper under one recipe; the first is what the others compare with.
pub(super) struct Paper {
    /// What `harness reproduce` calls it, before the backbone.
    pub id: &'static str,
    pub title: &'static str,
    pub rows: &'static [Row],
}

/// A network of a paper. Figures that it does not print are empty.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub method: &'static str,
    /// `15M`.
    pub params: &'static str,
    /// `313M`.
    pub macs: &'static str,
    /// Percent.
    pub top1: &'static str,
    /// Percent.
    pub top5: &'static str,
    /// The method here that the row is of, and those of its options that are not at their defaults, as TOML.
    pub ours: Option<(&'static str, &'static str)>,
    /// Why its figures are not what they seem to be.
    pub disputed: Option<&'static str>,
}

const fn row(method: &'static str, params: &'static str, macs: &'static str, top1: &'static str) -> Row {
    Row { method, params, macs, top1, top5: "", ours: None, disputed: None }
}

impl Row {
    const fn ours(self, method: &'static str, options: &'static str) -> Self {
        Self { ours: Some((method, options)), ..self }
    }

    const fn vanilla(self) -> Self {
        self.ours("vanilla", "")
    }

    const fn disputed(self, why: &'static str) -> Self {
        Self { disputed: Some(why), ..self }
    }

    const fn top5(self, top5: &'static str) -> Self {
        Self { top5, ..self }
    }
}

const GHOSTNET: &str = "GhostNet (Han et al., CVPR 2020, arXiv 1911.11907)";
const LI: &str = "Pruning Filters for Efficient ConvNets (Li et al., ICLR 2017), Table 1";
const HRANK: &str = "HRank (Lin et al., CVPR 2020)";

const STEM: &str = "the author says that the stem was kept (ghostnet.pytorch, issue 7), and the MACs fit it replaced; parameters fit the \
    mlp head, MACs the linear one";
const CHEAP: &str = "the count leaves out the cheap operations";
const HRANK_COUNTS: &str = "HRank's own issue 16 doubts the counts after pruning";
/// It is not told which convolutions are replaced.
pub(super) const PLACES: &str = "the paper does not say which convolutions are replaced: by count, Ghost's row fits every one but the stem, the other \
    rows the second of each block, so that they are not of one comparison";
const BEST_EPOCH: &str = "the best test epoch is reported";

const VGG16_CIFAR10: &[Paper] = &[
    Paper {
        id: "ghost",
        title: GHOSTNET,
        rows: &[
            row("VGG-16", "15M", "313M", "93.6").vanilla(),
            row("l1-VGG-16", "5.4M", "206M", "93.4").ours("pruned", "only = [1, 8, 9, 10, 11, 12, 13]"),
            row("SBP-VGG-16", "", "136M", "92.5"),
            row("Ghost-VGG-16 (s = 2)", "7.7M", "158M", "93.7").ours("ghost", "ratio = 2").disputed(STEM),
            row("Ghost-VGG-16 (s = 3)", "5.2M", "107M", "93.4").ours("ghost", "ratio = 3").disputed(STEM),
            row("Ghost-VGG-16 (s = 4)", "4.0M", "80M", "93.0").ours("ghost", "ratio = 4").disputed(STEM),
            row("Ghost-VGG-16 (s = 5)", "3.3M", "65M", "92.9").ours("ghost", "ratio = 5").disputed(STEM),
        ],
    },
    Paper {
        id: "li",
        title: LI,
        rows: &[
            row("VGG-16", "15M", "313M", "93.25").vanilla(),
            row("VGG-16-pruned-A", "5.4M", "206M", "93.40").ours("pruned", "only = [1, 8, 9, 10, 11, 12, 13]"),
            row("VGG-16-pruned-A, from scratch", "5.4M", "206M", "93.12")
                .ours("pruned", "only = [1, 8, 9, 10, 11, 12, 13]\nweights = \"scratch\""),
        ],
    },
    Paper {
        id: "hrank",
        title: HRANK,
        rows: &[
            row("VGG-16", "14.98M", "313.73M", "93.96").vanilla(),
            row("HRank", "2.51M", "145.61M", "93.43").disputed(HRANK_COUNTS),
            row("HRank", "2.64M", "108.61M", "92.34").disputed(HRANK_COUNTS),
            row("HRank", "1.78M", "73.70M", "91.23").disputed(HRANK_COUNTS),
        ],
    },
    Paper {
        id: "hetconv",
        title: "HetConv (Singh et al., CVPR 2019)",
        rows: &[
            row("P = 1 (VGG-16)", "", "313.7M", "94.06").vanilla(),
            row("P = 2", "", "175.2M", "93.89").ours("hetconv", "parts = 2"),
            row("P = 4", "", "106.0M", "93.93").ours("hetconv", "parts = 4"),
            row("P = 8", "", "71.4M", "93.92").ours("hetconv", "parts = 8"),
            row("P = 16", "", "54.0M", "93.96").ours("hetconv", "parts = 16"),
            row("P = 32", "", "45.4M", "93.73").ours("hetconv", "parts = 32"),
            row("P = 64", "", "41.1M", "93.42").ours("hetconv", "parts = 64"),
        ],
    },
    Paper {
        id: "spconv",
        title: "SPConv (Zhang et al., IJCAI 2020)",
        rows: &[
            row("VGG-16", "16.62M", "349.51M", "94.00").vanilla(),
            row("SPConv (alpha = 1/2)", "5.6M", "118.27M", "94.40").ours("spconv", "alpha = 0.5"),
            row("SPConv (alpha = 1/4)", "3.77M", "79.34M", "93.94").ours("spconv", "alpha = 0.25"),
            row("SPConv (alpha = 1/8)", "2.85M", "59.87M", "93.77").ours("spconv", "alpha = 0.125"),
        ],
    },
];

const RESNET20_CIFAR10: &[Paper] = &[Paper {
    id: "spconv",
    title: "SPConv (Zhang et al., IJCAI 2020)",
    rows: &[
        row("ResNet-20", "0.27M", "41.62M", "92.00").vanilla(),
        row("SPConv (alpha = 1/2)", "0.10M", "17.91M", "92.23").ours("spconv", "alpha = 0.5"),
    ],
}];

const RESNET56_CIFAR10: &[Paper] = &[
    Paper {
        id: "ghost",
        title: GHOSTNET,
        rows: &[
            row("ResNet-56", "0.85M", "125M", "93.0").vanilla(),
            row("CP-ResNet-56", "", "63M", "92.0"),
            row("l1-ResNet-56", "0.73M", "91M", "92.5")
                .ours("pruned", "ratio = [0.6, 0.3, 0.1]\nskip = [16, 18, 20, 34, 38, 54]"),
            row("AMC-ResNet-56", "", "63M", "91.9"),
            row("Ghost-ResNet-56 (s = 2)", "0.43M", "63M", "92.7").ours("ghost", "ratio = 2").disputed(CHEAP),
        ],
    },
    Paper {
        id: "li",
        title: LI,
        rows: &[
            row("ResNet-56", "0.85M", "125M", "93.04").vanilla(),
            row("ResNet-56-pruned-A", "0.77M", "112M", "93.10").ours("pruned", "ratio = 0.1\nskip = [16, 20, 38, 54]"),
            row("ResNet-56-pruned-B", "0.73M", "90.9M", "93.06")
                .ours("pruned", "ratio = [0.6, 0.3, 0.1]\nskip = [16, 18, 20, 34, 38, 54]"),
            row("ResNet-56-pruned-B, from scratch", "0.73M", "90.9M", "91.31")
                .ours("pruned", "ratio = [0.6, 0.3, 0.1]\nskip = [16, 18, 20, 34, 38, 54]\nweights = \"scratch\""),
        ],
    },
    Paper {
        id: "hrank",
        title: HRANK,
        rows: &[
            row("ResNet-56", "0.85M", "125.49M", "93.26").vanilla(),
            row("HRank", "0.71M", "88.72M", "93.52").disputed(HRANK_COUNTS),
            row("HRank", "0.49M", "62.72M", "93.17").disputed(HRANK_COUNTS),
            row("HRank", "0.27M", "32.52M", "90.72").disputed(HRANK_COUNTS),
        ],
    },
    Paper {
        id: "scconv",
        title: "SCConv (Li et al., CVPR 2023), Table 2: drop-ins under one recipe",
        rows: &[
            row("ResNet-56", "0.86M", "126.84M", "93.27").vanilla().disputed(PLACES),
            row("SPConv", "0.58M", "87.95M", "93.49").ours("spconv", "alpha = 0.5").disputed(PLACES),
            row("Ghost (s = 2)", "0.45M", "68.35M", "92.35").ours("ghost", "ratio = 2").disputed(PLACES),
            row("SlimConv", "0.60M", "88.82M", "93.51").disputed(PLACES),
            row("TiedConv", "0.54M", "94.99M", "92.87").ours("tied", "blocks = 2").disputed(PLACES),
            row("SCConv", "0.52M", "79.55M", "94.12").ours("scconv", "").disputed(PLACES),
        ],
    },
    Paper {
        id: "depgraph",
        title: "Torch-Pruning's table (DepGraph, Fang et al., CVPR 2023), after pruning; MACs as a share of the base network's",
        rows: &[
            row("ResNet-56", "", "", "93.53").vanilla().disputed(BEST_EPOCH),
            row("L1", "", "1/2.12", "92.93").disputed(BEST_EPOCH),
            row("network slimming", "", "1/2.12", "93.29").disputed(BEST_EPOCH),
            row("DepGraph", "", "1/2.11", "93.46").disputed(BEST_EPOCH),
            row("DepGraph, with sparse learning", "", "1/2.13", "93.77").disputed(BEST_EPOCH),
        ],
    },
];

const RESNET50_IMAGENET: &[Paper] = &[Paper {
    id: "ghost",
    title: GHOSTNET,
    rows: &[
        row("ResNet-50", "25.6M", "4.1G", "75.3").top5("92.2").vanilla(),
        row("ThiNet", "16.9M", "2.6G", "72.1").top5("90.3"),
        row("NISP-50-B", "14.4M", "2.3G", "").top5("90.8"),
        row("Versatile", "11.0M", "3.0G", "74.5").top5("91.8"),
        row("SSS", "", "2.8G", "74.2").top5("91.9"),
        row("Ghost (s = 2)", "13.0M", "2.2G", "75.0").top5("92.3").ours("ghost", "ratio = 2"),
        row("Ghost (s = 4)", "6.5M", "1.2G", "74.1").top5("91.9").ours("ghost", "ratio = 4"),
        row("Taylor-FO-BN", "7.9M", "1.3G", "71.7"),
        row("MetaPruning", "", "1.0G", "73.4"),
    ],
}];

/// What is known of networks, by backbone and data set.
pub(super) const PUBLISHED: &[(&str, &str, &[Paper])] = &[
    ("vgg16", "cifar10", VGG16_CIFAR10),
    ("resnet20", "cifar10", RESNET20_CIFAR10),
    ("resnet56", "cifar10", RESNET56_CIFAR10),
    ("resnet50", "imagenet", RESNET50_IMAGENET),
];
