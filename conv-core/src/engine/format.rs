//! What an engine of batches stores values as, and which kernels it convolves them with. All else is the same for every format.

use super::layers::Conv;
use super::norm::FinishLayer;
use super::packed::Direction;
use super::program::Pass;
use crate::kernels::Isa;
use crate::kernels::batch16::Line;
use crate::kernels::batch16::weight::Planes;
use crate::kernels::stored::Stored;

/// Where an output goes: its plane, and what is added to it.
pub(super) type Target<'a, L> = (&'a mut [L], Option<&'a [L]>);

/// A floating-point format, with the instructions that convolve it.
pub(crate) trait Format: Copy + Send + Sync + 'static {
    /// A pixel of a channel in memory.
    type Line: Stored;
    /// A convolution with its weights, of one direction at a time, as the kernels read them.
    type Conv: AsRef<Conv> + Send + Sync;

    /// The vectors of everything but convolutions.
    fn isa(self) -> Isa;

    /// The kernel of a convolution's pass, for surveys.
    fn kernel(conv: &Conv, pass: Pass) -> &'static str;

    /// Bytes of a convolution's weights as the kernels read them: of the direction that takes more, as one is there at a time.
    fn packed_bytes(conv: &Conv) -> usize;

    /// Without weights.
    fn conv(self, plan: Conv) -> Self::Conv;

    /// Fills in the weights of this direction, from `w[o][c / groups][tap]`; see [`super::packed::ConvLayer::pack`].
    fn pack(conv: &mut Self::Conv, direction: Direction, w: &[f32], finishes: &[FinishLayer], parameters: &[Vec<f32>]);

    /// Forward, with what the plan says that follows.
    fn convolve(self, conv: &Self::Conv, from: &[&[Self::Line]], to: Vec<Target<'_, Self::Line>>);

    /// The inputs' gradient from the outputs': each plane is stored or, where it says so, added to.
    fn input_gradient(self, conv: &Self::Conv, dy: &[&[Self::Line]], to: Vec<(&mut [Self::Line], bool)>);

    /// Adds a block's to the weights' gradient, of a convolution whose plan does not want all blocks at once.
    fn weight_gradient(self, conv: &Conv, planes: &Planes<'_, Self::Line>, dw: &mut [f32]);

    /// Adds that of all blocks.
    fn weight_gradient_of_all(self, conv: &Conv, blocks: Vec<Planes<'_, Self::Line>>, dw: &mut [f32]);

    /// Planes as f32; where that takes memory it is `memory`.
    fn widened<'a>(planes: Vec<&'a [Self::Line]>, memory: &'a mut Vec<Line>) -> Vec<&'a [Line]>;

    /// Calls `work` with planes of f32 to be written, in the place of these, which it finds in them; then they are these.
    fn writing(planes: Vec<Option<&mut [Self::Line]>>, work: impl FnOnce(Vec<Option<&mut [Line]>>));
}
