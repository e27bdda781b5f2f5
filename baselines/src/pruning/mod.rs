//! Structured filter pruning: which filters of a trained vanilla network to keep, and the smaller network's weights.
//!
//! The way of Li et al., "Pruning Filters for Efficient ConvNets" (ICLR 2017, arXiv 1608.08710): train, rank the filters by a
//! [`Criterion`], cut the lowest, fine-tune. The cut is real: a convolution loses filters, bias and batch norm entries (running
//! statistics too), and every layer that reads it loses the matching inputs, so that what remains is an ordinary smaller
//! network.
//!
//! The network says what can be cut as a list of [`Coupling`]s: filters that go together, with all that reads them. Outputs that
//! meet in a residual addition are one coupling, and cut only where `residual` says so. Couplings are ranked each by itself
//! (the paper's "independent" strategy: on the trained weights, so that the order of the cuts does not matter) or all
//! together, and cut at once or in several steps with fine-tuning between them. Cost: that of a vanilla network with the widths
//! that [`Pruned::widths`] gives, or, where all are ranked together, that the [`Selection`] came to.

mod coupling;
mod criterion;
mod options;
mod select;
mod surgery;

pub use coupling::{Coupling, Place, widths_of};
pub use criterion::{Criterion, Evidence, Importance};
pub(crate) use options::kept;
pub use options::{Pruned, Ranking, Ratio, Weights};
pub use select::Selection;
