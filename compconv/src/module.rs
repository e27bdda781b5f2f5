//! The layer: a [`Plan`] with parameters.

use candle_core::{Module, ModuleT, Result, Tensor, bail};
use candle_nn::{Conv2dConfig, VarBuilder};
use conv_core::{ConvSpec, Network, Scope};

use crate::{CompConvOptions, InnerNorm, Plan};

/// CompConv for networks that tell training from inference, which inner norms need: `[n, C_in, h, w] -> [n, C_out, h', w']`.
/// Parameters have the names that [`Plan::write`] gives them.
pub struct CompConv2dT {
    plan: Plan,
    network: Network,
}

impl CompConv2dT {
    /// The replacement of `spec`, with its parameters from `vb`.
    ///
    /// # Errors
    /// Those of [`Plan::new`] and of `vb`; a convolution in groups or one that no depth fits, which would stay what it is.
    pub fn new(spec: &ConvSpec, options: &CompConvOptions, vb: VarBuilder<'_>) -> Result<Self> {
        Self::from_plan(Plan::new(spec, options)?, vb)
    }

    /// The layer that `plan` describes, with its parameters from `vb`.
    ///
    /// # Errors
    /// A convolution in groups or one that no depth fits, which would stay what it is; those of `vb`.
    pub fn from_plan(plan: Plan, vb: VarBuilder<'_>) -> Result<Self> {
        if let (0, Some(why)) = (plan.depth.effective, plan.remarks().first()) {
            bail!("compconv does not replace {}: {why}", plan.spec);
        }
        let network = Network::build(plan.spec.in_channels, |graph, x| plan.write(&mut Scope::build(graph, vb), x))?;
        Ok(Self { plan, network })
    }

    /// The layout.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl ModuleT for CompConv2dT {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        self.network.forward_t(x, train)
    }
}

/// CompConv where a `candle_nn::Conv2d` stood: `[n, C_in, h, w] -> [n, C_out, h', w']`. Made by [`compconv2d`].
///
/// A candle `Module` (and so a `ModuleT`, whose flag it has no use for). It has no inner norms, which would have to know
/// whether they train; [`CompConv2dT`] has. Parameters are named as there.
pub struct CompConv2d(CompConv2dT);

impl CompConv2d {
    /// The replacement of `spec`, with its parameters from `vb`.
    ///
    /// # Errors
    /// Those of [`CompConv2dT::new`]; inner norms.
    pub fn new(spec: &ConvSpec, options: &CompConvOptions, vb: VarBuilder<'_>) -> Result<Self> {
        if options.inner_norm != InnerNorm::None {
            bail!("compconv: a CompConv2d has no inner norms, which must know whether they train; use CompConv2dT");
        }
        CompConv2dT::new(spec, options, vb).map(Self)
    }

    /// The layout.
    pub fn plan(&self) -> &Plan {
        self.0.plan()
    }
}

impl Module for CompConv2d {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.forward_t(x, false)
    }
}

/// A CompConv with bias, called as `candle_nn::conv2d` is.
///
/// # Errors
/// Those of [`CompConv2d::new`]; a dilation other than 1.
pub fn compconv2d(
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    config: Conv2dConfig,
    options: &CompConvOptions,
    vb: VarBuilder<'_>,
) -> Result<CompConv2d> {
    CompConv2d::new(&ConvSpec { bias: true, ..spec_of((in_channels, out_channels), kernel, config)? }, options, vb)
}

/// A CompConv without bias, called as `candle_nn::conv2d_no_bias` is.
///
/// # Errors
/// Those of [`CompConv2d::new`]; a dilation other than 1.
pub fn compconv2d_no_bias(
    in_channels: usize,
    out_channels: usize,
    kernel: usize,
    config: Conv2dConfig,
    options: &CompConvOptions,
    vb: VarBuilder<'_>,
) -> Result<CompConv2d> {
    CompConv2d::new(&spec_of((in_channels, out_channels), kernel, config)?, options, vb)
}

fn spec_of((in_channels, out_channels): (usize, usize), kernel: usize, config: Conv2dConfig) -> Result<ConvSpec> {
    let Conv2dConfig { padding, stride, dilation, groups, .. } = config;
    if dilation != 1 {
        bail!("compconv: dilation = {dilation} is not supported, 1 is");
    }
    Ok(ConvSpec { in_channels, out_channels, kernel, stride, padding, groups, bias: false })
}
