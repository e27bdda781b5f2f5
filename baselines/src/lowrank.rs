//! Low-rank convolutions: a kernel that is a product of smaller ones.

mod choices;
mod eigen;
mod trained;

use candle_core::Result;
use conv_core::options::{FACTOR, Kind};
use conv_core::{Approximates, ConvSpec, Method, Scope, UnitSpec, Value, options};

pub use choices::{Factors, Origin};

options! {
    /// A convolution of low rank, trained in its factored form, from scratch or from a trained convolution.
    ///
    /// Conventions:
    /// - nothing stands between the factors, as in both papers, where they stand for one trained convolution; the unit's own
    ///   batch norm, residual addition and activation follow the last;
    /// - the `k x k` factor takes stride and padding, the last one the bias;
    /// - ranks are a fixed share of the full ones, in place of the papers' choice by a trained kernel's spectrum;
    /// - from a trained convolution, `svd` is the best approximation there is (Eckart and Young), the singular values' roots in
    ///   either factor; `tucker2` takes the leading singular vectors of both channel modes (HOSVD) and refines them in turns
    ///   (HOOI), up to ten times; what followed the convolution follows the last factor unchanged;
    /// - a 1 x 1 convolution stays vanilla under `tucker2` (it is a matrix, and has no core), and a grouped one always.
    ///
    /// Cost with ranks R_in and R_out for an input of `H x W` and an output of `h x w`, in MACs: `tucker2`
    /// `H W C_in R_in + h w R_out (k^2 R_in + C_out)`, `svd` `h w R_out (k^2 C_in + C_out)`; parameters are these without `H W` and
    /// `h w`, plus `2 C_out` for a batch norm and `C_out` for a bias.
    LowRank = "lowrank", "a convolution of low rank, as factors one after the other (Tucker-2, SVD)" {
        /// How the convolution is factored.
        form: Factors = Factors::Tucker2, Kind::Choice(Factors::names);
        /// Share of the full rank.
        ratio: f64 = 0.5, FACTOR;
        /// What the factors begin with: fresh values, or the factors of a trained vanilla network, to be fine-tuned.
        from: Origin = Origin::Scratch, Kind::Choice(Origin::names);
    }
    knob = ratio
}

impl LowRank {
    /// Channels that the `k x k` factor reads and makes: (R_in, R_out). Both at least 1.
    pub fn ranks(&self, conv: &ConvSpec) -> (usize, usize) {
        let ConvSpec { in_channels, out_channels, kernel, .. } = *conv;
        let share = |full: usize| ((self.ratio * full as f64).round() as usize).max(1);
        match self.form {
            Factors::Tucker2 => (share(in_channels), share(out_channels)),
            Factors::Svd => {
                (in_channels, share(out_channels.min(in_channels.saturating_mul(kernel).saturating_mul(kernel))))
            }
        }
    }
}

impl Method for LowRank {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        match (unit.conv.groups, unit.conv.kernel, self.form) {
            (2.., ..) => Some("it is grouped already"),
            (_, 1, Factors::Tucker2) => Some("a 1 x 1 convolution is a matrix, without a core to factor"),
            _ => None,
        }
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let ConvSpec { in_channels, out_channels, bias, .. } = unit.conv;
        let (read, made) = self.ranks(&unit.conv);
        let x = match self.form {
            Factors::Tucker2 => net.conv("first", ConvSpec::same(in_channels, read, 1, 1), false, false, x)?,
            Factors::Svd => x,
        };
        let core = ConvSpec { in_channels: read, out_channels: made, bias: false, ..unit.conv };
        let y = net.conv("core", core, false, false, x)?;
        let last = ConvSpec { bias, ..ConvSpec::same(made, out_channels, 1, 1) };
        net.unit("last", &UnitSpec { conv: last, ..*unit }, y, residual)
    }

    fn approximates(&self) -> Option<&dyn Approximates> {
        (self.from == Origin::Trained).then_some(self)
    }
}
