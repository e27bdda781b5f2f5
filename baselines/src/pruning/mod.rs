//! Pruning: which filters to keep, and a smaller network made of them.

/// A convolution whose filters can be removed, with everything that reads its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupling {
    /// Name of the convolution that loses filters (and of its batch norm, `NAME.bn`).
    pub producer: String,
    /// Names of the convolutions or linear layers that lose the matching inputs.
    pub consumers: Vec<String>,
    /// Layer number as Li et al. count: the stem is 1, convolutions in execution order.
    pub number: usize,
    /// Stage of the network, counted from 1 (for ratios per stage).
    pub stage: usize,
}
