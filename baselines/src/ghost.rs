//! Ghost module.

use candle_core::{ModuleT, Result, Tensor, bail};
use candle_nn::VarBuilder;
use conv_core::layers::{BatchNorm2d, Conv2d, DenseUnit};
use conv_core::{Activation, ConvMethod, ConvSpec, ConvUnit, Cost, Graph, Layout, Network, Role, UnitSpec, Value};
use serde::{Deserialize, Serialize};

use crate::vanilla::{above_vanilla, stays_vanilla};

/// Ghost module (GhostNet, arXiv 1911.11907, section 3.1, with the choices of its released code): a primary `k x k`
/// convolution, which takes the stride, makes `m = ceil(C_out / s)` channels; a cheap depthwise convolution makes
/// `m (s - 1)` more of them; both are concatenated and the first `C_out` channels are the output.
///
/// Conventions, where batch norm and ReLU stand:
/// - The module's inner batch norms and ReLUs serve as the unit's own; nothing follows the concatenation.
/// - Unit with activation, no residual (VGG; first convolution of a block): batch norm and ReLU after the primary and after
///   the cheap convolution.
/// - Unit without activation (shortcut projections): batch norms only, as `relu=False` in the released code.
/// - Unit with a residual (last convolution of a block): batch norms only, both convolutions; then the addition, then the
///   unit's activation. The unit learns of the residual when it is written into a graph; parameters and cost are the same.
/// - Unit without norm: no inner batch norms either. A bias goes to both inner convolutions, `m s` values.
///
/// Channels beyond `C_out` (where `s` does not divide it) are computed and cut, as in the released code, and counted:
/// for an output of `h x w`, `h w m (k^2 C_in + (s - 1) q^2)` MACs with the cheap kernel `q`, `h w m s` activations;
/// parameters are the MACs without `h w`, plus `2 m s` for batch norms and `m s` for biases. A grouped convolution stays
/// vanilla.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ghost {
    /// s: output channels per primary one, at least 2; default 2.
    pub ratio: usize,
    /// Side of the cheap depthwise kernel, odd; default 3.
    pub cheap_kernel: usize,
}

impl Default for Ghost {
    fn default() -> Self {
        Self { ratio: 2, cheap_kernel: 3 }
    }
}

impl Ghost {
    /// Checks the options.
    ///
    /// # Errors
    /// A ratio below 2, an even cheap kernel.
    pub fn validate(&self) -> Result<()> {
        if self.ratio < 2 {
            bail!("ghost: ratio = {} is out of range; accepted: 2 or more", self.ratio);
        }
        if self.cheap_kernel.is_multiple_of(2) {
            bail!("ghost: cheap_kernel = {} is out of range; accepted: odd numbers", self.cheap_kernel);
        }
        Ok(())
    }

    /// The primary and the cheap convolution, with the norm and activation that follow each where no residual is added.
    fn parts(&self, spec: &UnitSpec) -> Result<(UnitSpec, UnitSpec)> {
        self.validate()?;
        spec.conv.validate()?;
        let primary = spec.conv.out_channels.div_ceil(self.ratio);
        let Some(ghosts) = primary.checked_mul(self.ratio - 1) else {
            bail!("ghost: ratio = {} is out of range", self.ratio);
        };
        let cheap = ConvSpec { bias: spec.conv.bias, ..ConvSpec::same(primary, ghosts, self.cheap_kernel, 1) };
        let unit = |conv| UnitSpec { conv, ..*spec };
        Ok((unit(ConvSpec { out_channels: primary, ..spec.conv }), unit(cheap.grouped(primary))))
    }
}

impl ConvMethod for Ghost {
    fn name(&self) -> &str {
        "ghost"
    }

    fn build(&self, spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Box<dyn ConvUnit>> {
        self.validate()?;
        match spec.conv.groups {
            1 => Ok(Box::new(GhostUnit::new(spec, self, vb)?)),
            _ => Ok(Box::new(DenseUnit::new(spec, vb)?)),
        }
    }

    fn cost(&self, spec: &UnitSpec, out: (usize, usize)) -> Result<Cost> {
        let (primary, cheap) = self.parts(spec)?;
        match spec.conv.groups {
            1 => Ok(DenseUnit::cost(&primary, out) + DenseUnit::cost(&cheap, out)),
            _ => Ok(DenseUnit::cost(spec, out)),
        }
    }

    fn layout(&self, spec: &UnitSpec) -> Result<Layout> {
        let (primary, cheap) = self.parts(spec)?;
        if spec.conv.groups > 1 {
            return Ok(stays_vanilla(spec, "it is grouped already"));
        }
        let signature = format!(
            "ghost [{}] [{}] first {}",
            DenseUnit::signature(&primary),
            DenseUnit::signature(&cheap),
            spec.conv.out_channels
        );
        let remarks = above_vanilla(spec, self.cost(spec, (1, 1))?).into_iter().collect();
        Ok(Layout { remarks, ..Layout::plain(signature) })
    }
}

/// A Ghost module as a layer. Parameters: `primary.weight: [m, C_in, k, k]`, `cheap.weight: [m (s - 1), 1, q, q]` and for
/// each its `bn.*`.
pub struct GhostConv2d(Network);

impl GhostConv2d {
    /// In place of `conv` and the batch norm after it; `relu` (both convolutions' or neither's) in place of the ReLU.
    ///
    /// # Errors
    /// Options out of range, an impossible or grouped specification; those of `vb`.
    pub fn new(conv: ConvSpec, options: &Ghost, relu: bool, vb: VarBuilder<'_>) -> Result<Self> {
        if conv.groups != 1 {
            bail!("ghost: groups = {}; accepted: 1", conv.groups);
        }
        let activation = relu.then_some(Activation::Relu);
        let unit = GhostUnit::new(&UnitSpec { conv, role: Role::Spatial, norm: true, activation }, options, vb)?;
        Network::build(conv.in_channels, |graph, x| unit.emit(graph, x, None)).map(Self)
    }
}

struct GhostUnit {
    primary: Part,
    cheap: Part,
    out_channels: usize,
    relu: bool,
}

impl GhostUnit {
    fn new(spec: &UnitSpec, options: &Ghost, vb: VarBuilder<'_>) -> Result<Self> {
        let (primary, cheap) = options.parts(spec)?;
        Ok(Self {
            primary: Part::new(&primary, vb.pp("primary"))?,
            cheap: Part::new(&cheap, vb.pp("cheap"))?,
            out_channels: spec.conv.out_channels,
            relu: spec.activation == Some(Activation::Relu),
        })
    }
}

impl ConvUnit for GhostUnit {
    fn emit(&self, graph: &mut Graph, x: Value, residual: Option<Value>) -> Result<Value> {
        // With a residual, ReLU follows the addition instead.
        let inner_relu = self.relu && residual.is_none();
        let primary = self.primary.emit(graph, x, inner_relu)?;
        let ghosts = self.cheap.emit(graph, primary, inner_relu)?;
        let all = graph.concat(&[primary, ghosts])?;
        let y = graph.slice(all, 0..self.out_channels)?;
        graph.finish(y, None, residual, self.relu && residual.is_some())
    }
}

impl ModuleT for GhostConv2d {
    /// `[n, in_channels, h, w] -> [n, out_channels, h', w']`.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.0.forward_t(x, train)
    }
}

/// A convolution and its batch norm; whether ReLU follows depends on the residual, so each call says it.
struct Part {
    conv: Conv2d,
    norm: Option<BatchNorm2d>,
}

impl Part {
    fn new(spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Self> {
        let norm = match spec.norm {
            true => Some(BatchNorm2d::new(spec.conv.out_channels, vb.pp("bn"))?),
            false => None,
        };
        Ok(Self { conv: Conv2d::new(spec.conv, vb)?, norm })
    }

    fn emit(&self, graph: &mut Graph, x: Value, relu: bool) -> Result<Value> {
        let y = graph.conv(&self.conv, x)?;
        graph.finish(y, self.norm.as_ref(), None, relu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use conv_core::ParamStore;

    fn unit(conv: ConvSpec) -> UnitSpec {
        UnitSpec::conv_bn_relu(conv, Role::Spatial)
    }

    #[test]
    fn options_are_checked() {
        assert_eq!(serde_json::from_str::<Ghost>("{}").unwrap(), Ghost { ratio: 2, cheap_kernel: 3 });
        assert!(serde_json::from_str::<Ghost>(r#"{"s": 2}"#).is_err());
        for (ratio, cheap_kernel) in [(1, 3), (0, 3), (2, 4), (2, 0)] {
            let ghost = Ghost { ratio, cheap_kernel };
            assert!(ghost.validate().unwrap_err().to_string().contains("out of range; accepted"));
            assert!(ghost.cost(&unit(ConvSpec::same(4, 4, 3, 1)), (1, 1)).is_err());
        }
    }

    #[test]
    fn cost_is_the_documented_closed_form_with_cut_channels_counted() {
        // s = 3 of 13 channels: m = 5, 10 ghosts, 15 made, 13 used.
        let spec = unit(ConvSpec { bias: true, ..ConvSpec::same(7, 13, 5, 2) });
        let cost = Ghost { ratio: 3, cheap_kernel: 3 }.cost(&spec, (2, 3)).unwrap();
        let weights = 5 * (25 * 7 + 2 * 9);
        assert_eq!(cost, Cost { params: weights + 2 * 15 + 15, macs: 6 * weights, activations: 6 * 15 });
    }

    /// `(in, out, output side)` of VGG-16's convolutions on CIFAR.
    const VGG16: [(usize, usize, usize); 13] = [
        (3, 64, 32),
        (64, 64, 32),
        (64, 128, 16),
        (128, 128, 16),
        (128, 256, 8),
        (256, 256, 8),
        (256, 256, 8),
        (256, 512, 4),
        (512, 512, 4),
        (512, 512, 4),
        (512, 512, 2),
        (512, 512, 2),
        (512, 512, 2),
    ];

    #[test]
    fn ghost_vgg16_costs_what_the_paper_prints() {
        // The paper prints 158 / 107 / 80 / 65 M for s = 2..5 on CIFAR-10: exact when the stem is replaced too and the head
        // is linear, 512 -> 10.
        for (ratio, exact, printed) in
            [(2, 157_847_552, 158), (3, 106_977_896, 107), (4, 80_170_496, 80), (5, 65_403_152, 65)]
        {
            let ghost = Ghost { ratio, ..Ghost::default() };
            let convolutions: Cost = VGG16
                .iter()
                .map(|&(i, o, side)| ghost.cost(&unit(ConvSpec::same(i, o, 3, 1)), (side, side)).unwrap())
                .sum();
            let macs = convolutions.macs + 512 * 10;
            assert_eq!(macs, exact, "s = {ratio}");
            assert_eq!((macs as f64 / 1e6).round() as u64, printed, "s = {ratio}");
        }
    }

    #[test]
    fn ghost_resnet56_costs_what_its_definition_says() {
        // The paper prints 63M / 0.43M. Its MACs leave the cheap operations out; by the definition it is 65.29M / 0.438M,
        // with a vanilla stem, option A shortcuts and the linear layer 64 -> 10.
        let mut total = DenseUnit::cost(&unit(ConvSpec::same(3, 16, 3, 1)), (32, 32));
        total += conv_core::layers::Linear::cost(64, 10);
        let mut inputs = 16;
        for (width, side) in [(16, 32), (32, 16), (64, 8)] {
            for _ in 0..18 {
                total += Ghost::default().cost(&unit(ConvSpec::same(inputs, width, 3, 1)), (side, side)).unwrap();
                inputs = width;
            }
        }
        assert_eq!((total.params, total.macs), (438_154, 65_286_784));
    }

    #[test]
    fn grouped_convolutions_stay_vanilla_and_say_so() {
        let spec = unit(ConvSpec::same(8, 8, 3, 1).grouped(4));
        let layout = Ghost::default().layout(&spec).unwrap();
        assert_eq!(layout.signature, DenseUnit::signature(&spec));
        assert_eq!(layout.remarks, ["stays vanilla: it is grouped already"]);
    }

    #[test]
    fn the_bare_layer_is_the_unit_and_refuses_groups() {
        let store = ParamStore::new(0, &Device::Cpu);
        let conv = ConvSpec::same(4, 7, 3, 2);
        let layer = GhostConv2d::new(conv, &Ghost::default(), true, store.builder()).unwrap();
        let module = Ghost::default().build(&unit(conv), store.builder()).unwrap();
        let x = Tensor::arange(0f32, 200.0, &Device::Cpu).unwrap().sin().unwrap().reshape((2, 4, 5, 5)).unwrap();
        let flat = |y: Tensor| y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let y = flat(ModuleT::forward_t(&layer, &x, true).unwrap());
        assert_eq!(y, flat(module.forward_t(&x, None, true).unwrap()));
        assert!(y.iter().any(|&value| value > 0.0));
        let grouped = ConvSpec::same(4, 8, 3, 1).grouped(2);
        assert!(GhostConv2d::new(grouped, &Ghost::default(), true, store.builder()).is_err());
    }
}
