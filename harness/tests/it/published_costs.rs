//! What networks cost here, as exact integers, beside what papers print. `-- --nocapture` shows the table.
//!
//! Convention of our figures: parameters are weights, biases and the scale and shift of batch norms; MACs are the
//! multiply-accumulates of convolutions and linear layers, padded taps included, for one image (32 x 32 for CIFAR, 224 x 224
//! for ImageNet, 10 and 1000 classes). Convolutions have no biases, linear layers do. Papers call MACs "FLOPs".
//!
//! A printed figure either is ours, rounded to its digits, or differs for a reason that is written here and checked: the
//! figure under the paper's own convention, derived from ours, must be the printed one.

use baselines::pruning::{Pruned, Ratio};
use baselines::{Ghost, Vanilla};
use conv_core::{Cost, Method, Role, UnitSpec};
use harness::backbones::{Assignment, Backbone, LayerKind, by_name, network_cost};
use harness::config::{BackboneConfig, Head};
use harness::data::Geometry;

const GHOST: &str = "GhostNet, arXiv 1911.11907";
const LI: &str = "Li et al., ICLR 2017, Table 1";
const HRANK: &str = "HRank, arXiv 2002.10179";

/// How a printed figure relates to ours.
enum Relation {
    /// Ours, rounded.
    Rounded,
    /// Ours, with the further digits cut off where rounding would go up.
    CutOff,
    /// Another way of counting, which gives `theirs`.
    Counted { theirs: u64, how: &'static str },
}
use Relation::{Counted, CutOff, Rounded};

/// `313M`, `0.85M`, `4.1G`, `1.25e8` -> (value of the last printed digit, number of those).
fn digits(printed: &str) -> (u64, u64) {
    let (number, exponent) = match printed.split_once('e') {
        Some((number, exponent)) => (number, exponent.parse::<u32>().unwrap()),
        None => (&printed[..printed.len() - 1], if printed.ends_with('G') { 9 } else { 6 }),
    };
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len() as u32);
    (10u64.pow(exponent - decimals), number.replace('.', "").parse().unwrap())
}

fn rounds_to(figure: u64, printed: &str) -> bool {
    let (unit, count) = digits(printed);
    (figure + unit / 2) / unit == count
}

/// Asserts our figure and its relation to each printed one, and prints a row for each.
fn check(network: &str, quantity: &str, ours: u64, exact: u64, published: &[(&str, &str, Relation)]) {
    assert_eq!(ours, exact, "{network}, {quantity}");
    for (paper, printed, relation) in published {
        let (unit, count) = digits(printed);
        let difference = ours as i64 - (count * unit) as i64;
        let reason = match relation {
            Rounded => {
                assert!(rounds_to(ours, printed), "{network}, {quantity}: {ours} is not {printed} ({paper})");
                "rounded".to_owned()
            }
            CutOff => {
                assert!(!rounds_to(ours, printed) && ours / unit == count, "{network}, {quantity}: {ours}, {printed}");
                "cut off, not rounded".to_owned()
            }
            Counted { theirs, how } => {
                assert!(!rounds_to(ours, printed), "{network}, {quantity}: {ours} needs no reason to be {printed}");
                assert!(rounds_to(*theirs, printed), "{network}, {quantity}: {theirs} is not {printed} ({paper})");
                format!("{how}: {theirs}")
            }
        };
        println!("{network:<32} {quantity:<6} {ours:>10}  {printed:>7}  {difference:>+9}  {reason}; {paper}");
    }
}

fn backbone(name: &str, head: Head) -> Box<dyn Backbone> {
    let config = BackboneConfig { name: name.to_owned(), head, ..Default::default() };
    let geometry = match name {
        "resnet50" | "mobilenet_v1" | "mobilenet_v2" => Geometry { shape: (3, 224, 224), classes: 1000 },
        _ => Geometry { shape: (3, 32, 32), classes: 10 },
    };
    by_name(&config, &geometry, 1.0).unwrap()
}

fn vanilla(backbone: &dyn Backbone) -> Cost {
    network_cost(backbone, &Vanilla {}).unwrap()
}

/// Parameters of the batch norms behind convolutions.
fn norm_params(backbone: &dyn Backbone) -> u64 {
    let of = |kind| if let LayerKind::Unit(unit) = kind { unit.norm_params() } else { 0 };
    backbone.layers().into_iter().map(|layer| of(layer.kind)).sum()
}

#[test]
fn vgg16() {
    let linear = backbone("vgg16", Head::Linear);
    let cost = vanilla(&*linear);
    let params = [(GHOST, "15M", Rounded), (LI, "1.5e7", Rounded)];
    check("VGG-16, linear head", "params", cost.params, 14_724_042, &params);
    let macs = [(GHOST, "313M", Rounded), (LI, "3.13e8", Rounded)];
    check("VGG-16, linear head", "MACs", cost.macs, 313_201_664, &macs);

    let mlp = backbone("vgg16", Head::Mlp);
    let cost = vanilla(&*mlp);
    let without_norms = cost.params - norm_params(&*mlp) - 2 * 512;
    assert_eq!(without_norms, 14_978_250);
    let params = [(HRANK, "14.98M", Counted { theirs: without_norms, how: "batch norms left out" })];
    check("VGG-16, mlp head", "params", cost.params, 14_987_722, &params);
    let head_twice = cost.macs + 512 * 512 + 512 * 10;
    let macs = [(HRANK, "313.73M", Counted { theirs: head_twice, how: "as if linear layers counted twice" })];
    check("VGG-16, mlp head", "MACs", cost.macs, 313_463_808, &macs);
}

#[test]
fn resnets() {
    let cost = vanilla(&*backbone("resnet56", Head::Linear));
    let params = [(GHOST, "0.85M", Rounded), (LI, "8.5e5", Rounded), (HRANK, "0.85M", Rounded)];
    check("ResNet-56", "params", cost.params, 853_018, &params);
    let macs = [(GHOST, "125M", Rounded), (LI, "1.25e8", Rounded), (HRANK, "125.49M", Rounded)];
    check("ResNet-56", "MACs", cost.macs, 125_485_696, &macs);

    let cost = vanilla(&*backbone("resnet50", Head::Linear));
    check("ResNet-50 (v1.5)", "params", cost.params, 25_557_032, &[(GHOST, "25.6M", Rounded)]);
    check("ResNet-50 (v1.5)", "MACs", cost.macs, 4_089_184_256, &[(GHOST, "4.1G", Rounded)]);
}

/// He et al., arXiv 1512.03385, Table 6 (parameters), and torchvision's counts of its ImageNet networks.
#[test]
fn other_resnets() {
    let he = "He et al., arXiv 1512.03385, Table 6";
    for (name, params, macs, printed) in [
        ("resnet20", 269_722, 40_551_040, "0.27M"),
        ("resnet32", 464_154, 68_862_592, "0.46M"),
        ("resnet44", 658_586, 97_174_144, "0.66M"),
        ("resnet110", 1_727_962, 252_887_680, "1.7M"),
    ] {
        let cost = vanilla(&*backbone(name, Head::Linear));
        check(name, "params", cost.params, params, &[(he, printed, Rounded)]);
        assert_eq!(cost.macs, macs, "{name}");
    }
    for (name, params, macs) in [("resnet18", 11_689_512, 1_814_073_344), ("resnet34", 21_797_672, 3_663_761_408)] {
        let config = BackboneConfig { name: name.to_owned(), head: Head::Linear, ..Default::default() };
        let imagenet = by_name(&config, &Geometry { shape: (3, 224, 224), classes: 1000 }, 1.0).unwrap();
        let cost = vanilla(&*imagenet);
        assert_eq!((cost.params, cost.macs), (params, macs), "{name}");
    }
}

/// Ghost everywhere, or everywhere but in the stem.
struct Ghosts {
    ghost: Ghost,
    stem: bool,
}

impl Assignment for Ghosts {
    fn method(&self, _name: &str, spec: &UnitSpec) -> &dyn Method {
        if spec.role == Role::Stem && !self.stem { &Vanilla {} } else { &self.ghost }
    }
}

/// The GhostNet paper's Table 6: its MACs are those of the linear head, its parameters those of the mlp head; the stem is
/// a Ghost module too.
#[test]
fn ghost_vgg16() {
    let (linear, mlp) = (backbone("vgg16", Head::Linear), backbone("vgg16", Head::Mlp));
    for (ratio, params, printed_params, macs, printed_macs) in [
        (2, 7_651_498, "7.7M", 157_847_552, "158M"),
        (3, 5_219_500, "5.2M", 106_977_896, "107M"),
        (4, 3_983_386, "4.0M", 80_170_496, "80M"),
        (5, 3_270_721, "3.3M", 65_403_152, "65M"),
    ] {
        let ghosts = Ghosts { ghost: Ghost { ratio, ..Ghost::default() }, stem: true };
        let network = format!("Ghost-VGG-16 (s={ratio})");
        let cost = network_cost(&*mlp, &ghosts).unwrap();
        check(&format!("{network}, mlp head"), "params", cost.params, params, &[(GHOST, printed_params, Rounded)]);
        let cost = network_cost(&*linear, &ghosts).unwrap();
        check(&format!("{network}, linear head"), "MACs", cost.macs, macs, &[(GHOST, printed_macs, Rounded)]);
    }
}

/// The stem stays vanilla. The printed figures leave out the cheap convolutions.
#[test]
fn ghost_resnet56() {
    let network = backbone("resnet56", Head::Linear);
    let cost = network_cost(&*network, &Ghosts { ghost: Ghost::default(), stem: false }).unwrap();
    // A cheap convolution: 3 x 3 depthwise to half of the output channels.
    let (mut cheap_macs, mut cheap_params) = (0, 0);
    for layer in network.layers() {
        if let LayerKind::Unit(unit) = layer.kind
            && unit.role != Role::Stem
        {
            let weights = 9 * unit.conv.out_channels as u64 / 2;
            cheap_params += weights;
            cheap_macs += weights * (layer.output.0 * layer.output.1) as u64;
        }
    }
    let how = "cheap convolutions left out";
    let macs = [(GHOST, "63M", Counted { theirs: cost.macs - cheap_macs, how })];
    check("Ghost-ResNet-56 (s=2)", "MACs", cost.macs, 65_286_784, &macs);
    let params = [(GHOST, "0.43M", Counted { theirs: cost.params - cheap_params, how })];
    check("Ghost-ResNet-56 (s=2)", "params", cost.params, 438_154, &params);
}

/// The vanilla cost of a backbone with the widths that pruning leaves.
fn pruned(backbone: &dyn Backbone, pruned: &Pruned) -> Cost {
    let couplings = backbone.prunable(pruned.residual());
    pruned.check(&couplings).unwrap();
    vanilla(&*backbone.with_widths(&pruned.widths(&couplings, 1)).unwrap())
}

/// Li et al.: floor(n (1 - p)) filters stay, layers numbered from the stem = 1.
#[test]
fn filter_pruning() {
    let half = Pruned { ratio: Ratio::Uniform(0.5), only: vec![1, 8, 9, 10, 11, 12, 13], ..Pruned::default() };
    let cost = pruned(&*backbone("vgg16", Head::Mlp), &half);
    let params = [(LI, "5.4e6", Rounded), (GHOST, "5.4M", Rounded)];
    check("VGG-16-pruned-A, mlp head", "params", cost.params, 5_397_034, &params);
    let macs = [(LI, "2.06e8", Rounded), (GHOST, "206M", Rounded)];
    check("VGG-16-pruned-A, mlp head", "MACs", cost.macs, 206_279_680, &macs);
    let cost = pruned(&*backbone("vgg16", Head::Linear), &half);
    let with_mlp_head = cost.params + 256 * 512 + 512 + 2 * 512 + (512 - 256) * 10;
    let params = [(LI, "5.4e6", Counted { theirs: with_mlp_head, how: "mlp head" })];
    check("VGG-16-pruned-A, linear head", "params", cost.params, 5_261_866, &params);
    check("VGG-16-pruned-A, linear head", "MACs", cost.macs, 206_146_048, &[(LI, "2.06e8", Rounded)]);

    let resnet = backbone("resnet56", Head::Linear);
    let a = Pruned { ratio: Ratio::Uniform(0.1), skip: vec![16, 20, 38, 54], ..Pruned::default() };
    let cost = pruned(&*resnet, &a);
    check("ResNet-56-pruned-A", "params", cost.params, 773_336, &[(LI, "7.7e5", Rounded)]);
    check("ResNet-56-pruned-A", "MACs", cost.macs, 112_435_840, &[(LI, "1.12e8", Rounded)]);
    let ratio = Ratio::PerStage(vec![0.6, 0.3, 0.1]);
    let b = Pruned { ratio, skip: vec![16, 18, 20, 34, 38, 54], ..Pruned::default() };
    let cost = pruned(&*resnet, &b);
    check("ResNet-56-pruned-B", "params", cost.params, 735_712, &[(LI, "7.3e5", CutOff), (GHOST, "0.73M", CutOff)]);
    check("ResNet-56-pruned-B", "MACs", cost.macs, 90_907_264, &[(LI, "9.09e7", Rounded), (GHOST, "91M", Rounded)]);
}

/// Howard et al., Table 4 (V1); Sandler et al., Table 4, and torchvision's count (V2); pytorch-cifar's networks for small images.
#[test]
fn mobilenets() {
    let (howard, sandler) = ("Howard et al., arXiv 1704.04861, Table 4", "Sandler et al., arXiv 1801.04381, Table 4");
    let torchvision = "torchvision's mobilenet_v2";
    let cost = vanilla(&*backbone("mobilenet_v1", Head::Linear));
    check("MobileNetV1", "params", cost.params, 4_231_976, &[(howard, "4.2M", Rounded)]);
    check("MobileNetV1", "MACs", cost.macs, 568_740_352, &[(howard, "569M", Rounded)]);
    let cost = vanilla(&*backbone("mobilenet_v2", Head::Linear));
    let without_norms = cost.params - norm_params(&*backbone("mobilenet_v2", Head::Linear));
    check("MobileNetV2", "params", cost.params, 3_504_872, &[(torchvision, "3.504872M", Rounded)]);
    // The paper's 3.4M: batch norms left out, and cut off instead of rounded.
    assert_eq!((without_norms, without_norms / 100_000), (3_470_760, 34));
    check("MobileNetV2", "MACs", cost.macs, 300_774_272, &[(sandler, "300M", CutOff)]);

    let kuangliu = "pytorch-cifar (kuangliu)";
    let cost = vanilla(&*backbone("mobilenet_v1_cifar", Head::Linear));
    check("MobileNetV1, CIFAR form", "params", cost.params, 3_217_226, &[(kuangliu, "3.217226M", Rounded)]);
    assert_eq!(cost.macs, 46_354_432);
    let cost = vanilla(&*backbone("mobilenet_v2_cifar", Head::Linear));
    // A 1 x 1 convolution and its norm: the first block's, and shortcuts that change channels.
    let further: u64 =
        [(32, 32), (32, 16), (16, 24), (64, 96), (160, 320)].map(|(from, to)| from * to + 2 * to).iter().sum();
    let how = "with a widening in its first block and projected shortcuts";
    let params = [(kuangliu, "2.296922M", Counted { theirs: cost.params + further, how })];
    check("MobileNetV2, CIFAR form", "params", cost.params, 2_236_682, &params);
    assert_eq!(cost.macs, 87_976_448);
}
