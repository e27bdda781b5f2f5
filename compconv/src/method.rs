//! CompConv as a way to make a network's convolutions: a [`Plan`], written down.

use candle_core::{Result, bail};
use conv_core::{Method, Scope, UnitSpec, Value};

use crate::options::{CompConvOptions, Downsample, InnerNorm};
use crate::plan::{LAYOUT_VERSION, Part, Plan, Source};

/// Layers that no depth fits stay vanilla, and so do convolutions in groups. The signature is that of older trials' keys.
impl Method for CompConvOptions {
    fn version(&self) -> u32 {
        LAYOUT_VERSION
    }

    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        (unit.conv.groups > 1).then_some("it is grouped already")
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let plan = Plan::new(&unit.conv, self)?;
        net.depth(plan.depth);
        net.remarks(|| plan.remarks());
        if plan.parts.is_empty() {
            return net.unit("", unit, x, residual);
        }
        net.signature(|_| format!("{plan} norm={} act={:?}", unit.norm, unit.activation));
        let y = plan.write(net, x)?;
        net.finish(unit, y, residual)
    }
}

impl Plan {
    /// Writes the layer down: `x: [n, C_in, h, w]` to `[n, C_out, h', w']`.
    ///
    /// Parameters, where d is the effective depth: `inner.0` to `inner.{d-1}` are the convolutions that make B_(d-1) to B_0 (in
    /// the order of computation), `tail` makes A_0, and without identity `side.0` to `side.{d-2}` make A_(d-1) to A_1. Each has
    /// `weight`, those but the tail also `bn.*` where inner norms are on. The layer's own `bias: [C_out]` adds to the shuffled
    /// output. At depth 0 there are `weight` and `bias` only, as in `candle_nn::Conv2d`.
    ///
    /// # Errors
    /// Channels that are not those of the specification; those of the parameters' source.
    pub fn write(&self, net: &mut Scope<'_>, x: Value) -> Result<Value> {
        if self.parts.is_empty() {
            return net.conv("", self.spec, false, false, x);
        }
        // Identity channels at the size of the output.
        let kept = match self.downsample {
            None => x,
            Some(how) => {
                // The average over a single pixel is the pixel.
                let (side, stride) = (if how == Downsample::Slice { 1 } else { self.spec.stride }, self.spec.stride);
                let identity = net.slice(x, 0..self.identity_channels())?;
                net.avg_pool(identity, side, stride, how == Downsample::Average)?
            }
        };
        let (mut input, mut output) = (x, Vec::with_capacity(self.depth.effective));
        for (step, level) in self.parts.chunks_exact(2).enumerate() {
            let [part_b, part_a] = level else { bail!("compconv: a level has a B and an A") };
            let b = self.write_part(part_b, &format!("inner.{step}"), net, input)?;
            let a = match &part_a.source {
                Source::Input(channels) => net.slice(kept, channels.clone())?,
                Source::B(channels) => {
                    let name = if part_a.level == 0 { "tail".to_owned() } else { format!("side.{step}") };
                    let first = net.slice(b, channels.clone())?;
                    self.write_part(part_a, &name, net, first)?
                }
                Source::LevelAbove => bail!("compconv: A{} cannot read a level above", part_a.level),
            };
            // What the next level reads is also what this one adds to the output.
            input = net.concat(&[b, a])?;
            output.extend(part_b.emitted.is_some().then_some(input));
        }
        let y = net.concat(&output)?;
        let y = net.shuffle(y, self.shuffle)?;
        if self.spec.bias { net.bias("bias", y) } else { Ok(y) }
    }

    /// An inner convolution with what follows it.
    fn write_part(&self, part: &Part, name: &str, net: &mut Scope<'_>, x: Value) -> Result<Value> {
        let Some(conv) = part.conv else { bail!("compconv: {:?}{} has no convolution", part.half, part.level) };
        let norm = self.has_norm(part);
        net.conv(name, conv, norm, norm && self.inner_norm == InnerNorm::BnRelu, x)
    }
}
