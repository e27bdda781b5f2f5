//! A context: what the steps of a block of images read, and which function does which step.

use candle_core::Result;

use super::block::{Block, BlockLayout, Chain, Slab};
use super::format::Format;
use super::layers::{Channel, Layers};
use super::memory::Content;
use super::norm::FinishLayer;
use super::program::{FinishStep, Pass, PlainStep, Program, Step};

/// What steps read and never change.
#[derive(Clone, Copy)]
pub(super) struct Context<'a, F: Format> {
    pub(super) layers: &'a Layers<F::Conv, FinishLayer>,
    pub(super) program: &'a Program,
    /// See [`super::parameters`].
    pub(super) parameters: &'a [Vec<f32>],
    pub(super) layout: BlockLayout<'a>,
    pub(super) format: F,
}

impl<F: Format> Context<'_, F> {
    /// One step of one block; gradients of parameters are added to the chain's.
    ///
    /// # Errors
    /// A step that its layer does not have.
    pub(super) fn execute(&self, step: Step, block: &mut Block<F::Line>, chain: &mut Chain) -> Result<()> {
        match step {
            Step::Clear { buffer } => self.clear(buffer, block),
            Step::Conv(id, pass) => {
                let conv = &self.layers[id];
                match pass {
                    Pass::Forward => self.convolve(conv, block),
                    Pass::InputGradient => return self.conv_input_gradient(conv, block),
                    Pass::WeightGradient => return self.weight_gradient(conv.as_ref(), block, chain),
                }
            }
            Step::Finish(id, step) => {
                let finish = &self.layers[id];
                match step {
                    FinishStep::Moments => block.norms[id.0].moments = self.moments(finish, block),
                    FinishStep::Apply => self.apply(finish, block),
                    FinishStep::Sums => block.norms[id.0].sums = self.sums(finish, block, chain),
                    FinishStep::InputGradient => self.finish_input_gradient(finish, block),
                }
            }
            Step::Plain(id, step) => {
                let plain = &self.layers[id];
                match step {
                    PlainStep::Forward => self.plain(plain, block),
                    PlainStep::InputGradient => self.plain_gradient(plain, block, chain),
                }
            }
        }
        Ok(())
    }

    /// The values of these channels.
    pub(super) fn values<'b>(&self, slab: &'b Slab<F::Line>, channels: &[Channel]) -> Vec<&'b [F::Line]> {
        slab.planes(self.layout, channels, Content::Value)
    }

    /// Their gradients.
    pub(super) fn gradients<'b>(&self, slab: &'b Slab<F::Line>, channels: &[Channel]) -> Vec<&'b [F::Line]> {
        let lying: Vec<Channel> = channels.iter().map(|&channel| self.program.gradient(channel)).collect();
        slab.planes(self.layout, &lying, Content::Gradient)
    }
}
