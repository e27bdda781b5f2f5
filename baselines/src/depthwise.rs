//! Depthwise separable convolution.

use candle_core::{ModuleT, Result, Tensor};
use candle_nn::VarBuilder;
use conv_core::layers::DenseUnit;
use conv_core::{Activation, ConvMethod, ConvSpec, ConvUnit, Cost, Graph, Layout, Network, Role, UnitSpec, Value};
use serde::{Deserialize, Serialize};

use crate::vanilla::{above_vanilla, stays_vanilla};

/// Depthwise separable convolution (MobileNet, arXiv 1704.04861, section 3.1): a `k x k` depthwise convolution with the
/// stride, batch norm and ReLU, then a 1 x 1 convolution over all channels. No options.
///
/// Conventions:
/// - the unit's own batch norm, residual addition and activation follow the 1 x 1 convolution;
/// - the inner ReLU is always there; the inner batch norm where the unit has one (a network without normalisation stays
///   without);
/// - a bias goes to the 1 x 1 convolution, and to the depthwise one too where no batch norm follows it;
/// - a 1 x 1 convolution stays vanilla (a 1 x 1 depthwise convolution before it would only rescale its input), and so
///   does a grouped one.
///
/// Cost for an output of `h x w`: `h w C_in (k^2 + C_out)` MACs, `h w (C_in + C_out)` activations; parameters are the
/// MACs without `h w`, plus `2 (C_in + C_out)` for batch norms, or `C_in + C_out` for biases without them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depthwise {}

impl Depthwise {
    /// Nothing can be out of range.
    ///
    /// # Errors
    /// None.
    pub fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// Why a unit is left as it is, if it is.
    fn declines(spec: &UnitSpec) -> Option<&'static str> {
        if spec.conv.groups > 1 {
            Some("it is grouped already")
        } else if spec.conv.kernel == 1 {
            Some("a 1 x 1 convolution has no spatial part to separate")
        } else {
            None
        }
    }
}

impl ConvMethod for Depthwise {
    fn name(&self) -> &str {
        "depthwise"
    }

    fn build(&self, spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Box<dyn ConvUnit>> {
        match Self::declines(spec) {
            Some(_) => Ok(Box::new(DenseUnit::new(spec, vb)?)),
            None => Ok(Box::new(SeparableUnit::new(spec, vb)?)),
        }
    }

    fn cost(&self, spec: &UnitSpec, out: (usize, usize)) -> Result<Cost> {
        spec.conv.validate()?;
        if Self::declines(spec).is_some() {
            return Ok(DenseUnit::cost(spec, out));
        }
        let (depthwise, pointwise) = parts(spec);
        Ok(DenseUnit::cost(&depthwise, out) + DenseUnit::cost(&pointwise, out))
    }

    fn layout(&self, spec: &UnitSpec) -> Result<Layout> {
        spec.conv.validate()?;
        if let Some(why) = Self::declines(spec) {
            return Ok(stays_vanilla(spec, why));
        }
        let (depthwise, pointwise) = parts(spec);
        let signature =
            format!("separable [{}] [{}]", DenseUnit::signature(&depthwise), DenseUnit::signature(&pointwise));
        let remarks = above_vanilla(spec, self.cost(spec, (1, 1))?).into_iter().collect();
        Ok(Layout { remarks, ..Layout::plain(signature) })
    }
}

/// The two units that a separable one consists of.
fn parts(spec: &UnitSpec) -> (UnitSpec, UnitSpec) {
    let channels = spec.conv.in_channels;
    let depthwise = UnitSpec {
        conv: ConvSpec { out_channels: channels, groups: channels, bias: spec.conv.bias && !spec.norm, ..spec.conv },
        activation: Some(Activation::Relu),
        ..*spec
    };
    let pointwise = UnitSpec {
        conv: ConvSpec { bias: spec.conv.bias, ..ConvSpec::same(channels, spec.conv.out_channels, 1, 1) },
        ..*spec
    };
    (depthwise, pointwise)
}

/// A depthwise separable convolution as a layer. Parameters: `depthwise.weight`, `depthwise.bn.*`, `pointwise.weight`
/// and, where the 1 x 1 convolution is followed by a batch norm, `pointwise.bn.*`.
pub struct DepthwiseConv2d(Network);

impl DepthwiseConv2d {
    /// In place of `conv`, its last convolution followed by batch norm and ReLU, as MobileNet has it.
    ///
    /// # Errors
    /// An impossible or grouped specification; those of `vb`.
    pub fn new(conv: ConvSpec, vb: VarBuilder<'_>) -> Result<Self> {
        if conv.groups != 1 {
            candle_core::bail!("depthwise separable: groups = {}; accepted: 1", conv.groups);
        }
        let unit = SeparableUnit::new(&UnitSpec::conv_bn_relu(conv, Role::Spatial), vb)?;
        Network::build(conv.in_channels, |graph, x| unit.emit(graph, x, None)).map(Self)
    }
}

struct SeparableUnit {
    depthwise: DenseUnit,
    pointwise: DenseUnit,
}

impl SeparableUnit {
    fn new(spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Self> {
        spec.conv.validate()?;
        let (depthwise, pointwise) = parts(spec);
        Ok(Self {
            depthwise: DenseUnit::new(&depthwise, vb.pp("depthwise"))?,
            pointwise: DenseUnit::new(&pointwise, vb.pp("pointwise"))?,
        })
    }
}

impl ConvUnit for SeparableUnit {
    fn emit(&self, graph: &mut Graph, x: Value, residual: Option<Value>) -> Result<Value> {
        let y = self.depthwise.emit(graph, x, None)?;
        self.pointwise.emit(graph, y, residual)
    }
}

impl ModuleT for DepthwiseConv2d {
    /// `[n, in_channels, h, w] -> [n, out_channels, h', w']`.
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.0.forward_t(x, train)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use conv_core::ParamStore;

    #[test]
    fn cost_is_the_documented_closed_form() {
        let spec = UnitSpec::conv_bn_relu(ConvSpec::same(5, 7, 3, 2), Role::Spatial);
        let cost = Depthwise {}.cost(&spec, (4, 3)).unwrap();
        assert_eq!(cost, Cost { params: 5 * (9 + 7) + 2 * (5 + 7), macs: 12 * 5 * (9 + 7), activations: 12 * (5 + 7) });
        let plain = UnitSpec { conv: ConvSpec { bias: true, ..spec.conv }, norm: false, ..spec };
        assert_eq!(Depthwise {}.cost(&plain, (4, 3)).unwrap().params, 5 * (9 + 7) + (5 + 7));
    }

    #[test]
    fn pointwise_and_grouped_convolutions_stay_vanilla_and_say_so() {
        for conv in [ConvSpec::same(8, 8, 1, 1), ConvSpec::same(8, 8, 3, 1).grouped(2)] {
            let spec = UnitSpec::conv_bn(conv, Role::Spatial);
            let layout = Depthwise {}.layout(&spec).unwrap();
            assert_eq!(layout.signature, DenseUnit::signature(&spec));
            assert!(layout.remarks[0].starts_with("stays vanilla"), "{:?}", layout.remarks);
            assert_eq!(Depthwise {}.cost(&spec, (4, 4)).unwrap(), DenseUnit::cost(&spec, (4, 4)));
        }
    }

    #[test]
    fn a_narrow_output_costs_more_than_vanilla_and_is_remarked() {
        // 4 -> 1 at 3 x 3: vanilla 36, separable 36 + 4.
        let spec = UnitSpec::conv_bn(ConvSpec::same(4, 1, 3, 1), Role::Spatial);
        assert_eq!(Depthwise {}.layout(&spec).unwrap().remarks, ["costs more than vanilla: 111 % of its MACs"]);
    }

    #[test]
    fn the_bare_layer_is_the_unit_and_refuses_groups() {
        let store = ParamStore::new(0, &Device::Cpu);
        let conv = ConvSpec::same(4, 7, 3, 2);
        let layer = DepthwiseConv2d::new(conv, store.builder()).unwrap();
        let spec = UnitSpec::conv_bn_relu(conv, Role::Spatial);
        let module = Depthwise {}.build(&spec, store.builder()).unwrap();
        let x = Tensor::arange(0f32, 200.0, &Device::Cpu).unwrap().sin().unwrap().reshape((2, 4, 5, 5)).unwrap();
        let flat = |y: Tensor| y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let y = flat(ModuleT::forward_t(&layer, &x, true).unwrap());
        assert_eq!(y, flat(module.forward_t(&x, None, true).unwrap()));
        assert!(y.iter().any(|&value| value > 0.0));
        assert!(DepthwiseConv2d::new(ConvSpec::same(4, 8, 3, 1).grouped(2), store.builder()).is_err());
    }
}
