//! What gates are made of.

use candle_core::{Result, bail};

use super::{Graph, Op, Value};
use crate::kernels::map::Map;
use crate::layers::GroupNorm;
use crate::ops::check_halves;

impl Graph {
    /// `x by`, where `by` has the size of `x`, or one value for each of its channels ([`Graph::global_avg_pool`]), which meets
    /// every pixel.
    ///
    /// # Errors
    /// Channels that differ.
    pub fn product(&mut self, x: Value, by: Value) -> Result<Value> {
        let channels = self.channels(x);
        if self.channels(by) != channels {
            bail!("graph: {channels} channels are multiplied by {}", self.channels(by));
        }
        Ok(self.push(Op::Product { x, by }, channels))
    }

    /// As [`crate::ops::sigmoid`].
    pub fn sigmoid(&mut self, x: Value) -> Value {
        self.push(Op::Map { x, map: Map::Sigmoid }, self.channels(x))
    }

    /// As [`crate::ops::relu6`].
    pub fn relu6(&mut self, x: Value) -> Value {
        self.push(Op::Map { x, map: Map::Relu6 }, self.channels(x))
    }

    /// As [`crate::ops::crossed_gate`]. A network where `x` and `gate` have a channel in common does not run on the engine.
    ///
    /// # Errors
    /// Channels that differ, or that have no half.
    pub fn crossed_gate(&mut self, x: Value, gate: Value, threshold: f32) -> Result<Value> {
        let channels = self.channels(x);
        if self.channels(gate) != channels {
            bail!("graph: {channels} channels are gated by {}", self.channels(gate));
        }
        check_halves(channels)?;
        Ok(self.push(Op::CrossedGate { x, gate, threshold }, channels))
    }

    /// As [`crate::ops::softmax_between`].
    ///
    /// # Errors
    /// Parts that do not divide the channels.
    pub fn softmax_between(&mut self, x: Value, parts: usize) -> Result<Value> {
        let channels = self.channels(x);
        if parts == 0 || !channels.is_multiple_of(parts) {
            bail!("softmax: {parts} parts do not divide {channels} channels");
        }
        Ok(self.push(Op::Softmax { x, parts }, channels))
    }

    /// `norm(x)`.
    ///
    /// # Errors
    /// Channels that are not those of the norm.
    pub fn group_norm(&mut self, norm: &GroupNorm, x: Value) -> Result<Value> {
        let channels = self.channels(x);
        if norm.channels() != channels {
            bail!("graph: {channels} channels meet a group norm of {}", norm.channels());
        }
        Ok(self.push(Op::GroupNorm { x, norm: norm.clone() }, channels))
    }

    /// Nearest upsampling: every pixel `factor` times along rows and columns, cut to the size of `like` where one is given.
    pub fn upsample(&mut self, x: Value, factor: usize, like: Option<Value>) -> Value {
        if factor == 1 && like.is_none() {
            return x;
        }
        self.push(Op::Upsample { x, factor, like }, self.channels(x))
    }
}
