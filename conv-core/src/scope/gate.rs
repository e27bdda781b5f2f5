//! What gates are made of, and convolutions that share their parameters. Of all these only the convolutions are counted as
//! multiplications, as the papers do: see [`Cost`].

use candle_core::{Result, bail};

use super::{Scope, Sheet, at};
use crate::kernels::map::Map;
use crate::kernels::windows::Windows;
use crate::layers::{Conv2d, GroupNorm, check_groups};
use crate::ops::check_halves;
use crate::written::Operation;
use crate::{ConvSpec, Cost, Value};

impl Scope<'_> {
    /// `x by`, where `by` has the size of `x`, or one value for each of its channels ([`Scope::global_avg_pool`]), which meets
    /// every pixel.
    ///
    /// # Errors
    /// Channels or sizes that do not fit.
    pub fn product(&mut self, x: Value, by: Value) -> Result<Value> {
        match &mut self.sheet {
            Sheet::Build { graph, .. } => graph.product(x, by),
            Sheet::Count(written) => {
                let (channels, size) = (written.channels(x), written.size(x));
                if written.channels(by) != channels {
                    bail!("{channels} channels are multiplied by {}", written.channels(by));
                }
                if written.size(by) != (1, 1) {
                    written.check_size(by, size)?;
                }
                Ok(written.push(Operation::Product { x, by }, channels, size))
            }
        }
    }

    /// As [`crate::ops::sigmoid`].
    ///
    /// # Errors
    /// None yet.
    pub fn sigmoid(&mut self, x: Value) -> Result<Value> {
        self.map(x, Map::Sigmoid)
    }

    /// As [`crate::ops::relu6`].
    ///
    /// # Errors
    /// None yet.
    pub fn relu6(&mut self, x: Value) -> Result<Value> {
        self.map(x, Map::Relu6)
    }

    /// As [`crate::ops::crossed_gate`]. A network where `x` and `gate` have a channel in common does not run on the engine.
    ///
    /// # Errors
    /// Channels or sizes that differ; channels that have no half.
    pub fn crossed_gate(&mut self, x: Value, gate: Value, threshold: f32) -> Result<Value> {
        match &mut self.sheet {
            Sheet::Build { graph, .. } => graph.crossed_gate(x, gate, threshold),
            Sheet::Count(written) => {
                let (channels, size) = (written.channels(x), written.size(x));
                if written.channels(gate) != channels {
                    bail!("{channels} channels are gated by {}", written.channels(gate));
                }
                check_halves(channels)?;
                written.check_size(gate, size)?;
                Ok(written.push(Operation::CrossedGate { x, gate, threshold }, channels, size))
            }
        }
    }

    fn map(&mut self, x: Value, map: Map) -> Result<Value> {
        Ok(match (&mut self.sheet, map) {
            (Sheet::Build { graph, .. }, Map::Sigmoid) => graph.sigmoid(x),
            (Sheet::Build { graph, .. }, Map::Relu6) => graph.relu6(x),
            (Sheet::Count(written), map) => {
                let (channels, size) = (written.channels(x), written.size(x));
                written.push(Operation::Map { x, map }, channels, size)
            }
        })
    }

    /// Softmax between these values, for each channel and pixel by itself: as many values, which sum up to one.
    ///
    /// # Errors
    /// No parts; channels or sizes that differ.
    pub fn softmax_between(&mut self, parts: &[Value]) -> Result<Vec<Value>> {
        let Some(&first) = parts.first() else { bail!("a softmax between no values") };
        let channels = self.channels(first);
        if let Some(&other) = parts.iter().find(|&&part| self.channels(part) != channels) {
            bail!("a softmax between {channels} and {} channels", self.channels(other));
        }
        let x = self.concat(parts)?;
        let y = match &mut self.sheet {
            Sheet::Build { graph, .. } => graph.softmax_between(x, parts.len())?,
            Sheet::Count(written) => {
                let (channels, size) = (written.channels(x), written.size(x));
                written.push(Operation::Softmax { x, parts: parts.len() }, channels, size)
            }
        };
        (0..parts.len()).map(|part| self.slice(y, part * channels..(part + 1) * channels)).collect()
    }

    /// Group norm of `x`, every image by its own statistics, in training as in inference: `NAME.weight`, `NAME.bias`. With
    /// `shares` each channel of the result is multiplied by its share of the weights, `weight / sum(weight)`.
    ///
    /// # Errors
    /// Groups that do not divide the channels; those of the `VarBuilder`.
    pub fn group_norm(&mut self, name: &str, groups: usize, shares: bool, x: Value) -> Result<Value> {
        let (path, channels) = (self.path_of(name), self.channels(x));
        match &mut self.sheet {
            Sheet::Build { graph, vb } => {
                graph.group_norm(&GroupNorm::new(groups, channels, shares, at(vb, &path))?, x)
            }
            Sheet::Count(written) => {
                check_groups(groups, channels)?;
                written.pay(Cost { params: 2 * channels as u64, ..Cost::default() })?;
                let size = written.size(x);
                Ok(written.push(Operation::GroupNorm { name: path, groups, shares, x }, channels, size))
            }
        }
    }

    /// Nearest upsampling: every pixel `factor` times along rows and columns, cut to the size of `like` where one is given:
    /// so what was pooled of an odd size comes back to it.
    ///
    /// # Errors
    /// A factor of 0, or one that does not lead to that size.
    pub fn upsample(&mut self, x: Value, factor: usize, like: Option<Value>) -> Result<Value> {
        match &mut self.sheet {
            Sheet::Build { graph, .. } => Ok(graph.upsample(x, factor, like)),
            Sheet::Count(_) if factor == 1 && like.is_none() => Ok(x),
            Sheet::Count(written) => {
                let size = like.map(|like| written.size(like));
                let windows = Windows::repeating(written.size(x), factor, size)?;
                let channels = written.channels(x);
                Ok(written.push(Operation::Upsample { x, factor, like }, channels, windows.input))
            }
        }
    }

    /// One convolution of each of these values, the parameters of all of them the same: `NAME.weight`, `NAME.bias`. They are
    /// counted once, their multiplications every time; their gradient is the sum. What follows (norms, ReLU) each has apart.
    ///
    /// # Errors
    /// No values; an impossible specification; channels that do not fit; those of the `VarBuilder`.
    pub fn tied_conv(&mut self, name: &str, conv: ConvSpec, xs: &[Value]) -> Result<Vec<Value>> {
        let [first, others @ ..] = xs else { bail!("a convolution of no values") };
        let path = self.path_of(name);
        conv.validate()?;
        match &mut self.sheet {
            Sheet::Build { graph, vb } => {
                let conv = Conv2d::new(conv, at(vb, &path))?;
                xs.iter().map(|&x| graph.conv(&conv, x)).collect()
            }
            Sheet::Count(written) => {
                let to = written.conv(path, conv, false, None, false, *first)?;
                let again = others.iter().map(|&x| written.tied(conv, to, x));
                std::iter::once(Ok(to)).chain(again).collect()
            }
        }
    }
}
