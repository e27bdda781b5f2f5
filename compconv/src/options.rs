//! The switches of the module, as an experiment or a program writes them.

use candle_core::{Result, bail};
use conv_core::options::{Kind, at_least};
use conv_core::{choice, options};

/// Deepest recursion that may be asked for. At depth 6 the first convolution already makes 1/126 of the output.
pub const MAX_DEPTH: usize = 6;

options! {
    /// The method `compconv`: every switch of the module, with the paper's setting as default where it states one.
    ///
    /// Depth comes from `depth` and `c0` together: `c0` alone is the adaptive rule capped at 3, `depth` alone is fixed, both
    /// together make `depth` the cap of the adaptive rule, and neither is the paper's CompConv128 (`c0 = 128`).
    #[derive(Copy, Eq, Hash)]
    CompConvOptions = "compconv", "CompConv: recursive divide and conquer over channels, input channels handed on" {
        /// Fixed depth, 0 is vanilla; beside c0: cap of the adaptive rule.
        depth: Option<usize> = None, Kind::Integer(0, MAX_DEPTH as i64);
        /// C_0 of the adaptive rule (cap 3): larger, lighter compression; without depth: 128.
        c0: Option<usize> = None, at_least(1);
        /// Groups of the channel shuffle at the end; 1 is off. Also off where it does not divide the output.
        shuffle: usize = 2, at_least(1);
        /// How A_0 is derived from B_0.
        tail: Tail = Tail::Depthwise, Kind::Choice(Tail::names);
        /// Kernel of the tail; the layer's own when absent.
        tail_kernel: Option<usize> = None, Kind::Odd;
        /// How identity channels reach the output size of a strided layer.
        downsample: Downsample = Downsample::Average, Kind::Choice(Downsample::names);
        /// What follows each inner convolution.
        inner_norm: InnerNorm = InnerNorm::None, Kind::Choice(InnerNorm::names);
        /// Whether A_i (i > 0) are input channels handed on; otherwise they are a depthwise convolution of B_i.
        identity: bool = true, Kind::Flag;
        /// Whether every intermediate result is part of the output; otherwise only B_0 and A_0 are.
        integration: bool = true, Kind::Flag;
    }
    knob = depth, c0
    check = CompConvOptions::check_tail
}

choice! {
    /// The convolution that derives A_0 from B_0.
    Tail {
        /// Depthwise over the first channels of B_0, as many as A_0 has (the paper's cost, Eq. 8).
        Depthwise = "depthwise",
        /// Dense over all of B_0.
        Full = "full",
        /// Dense 1 x 1 over all of B_0.
        Pointwise = "pointwise",
    }
}

choice! {
    /// How identity channels are brought to the output size; both give `ceil(size / stride)`.
    Downsample {
        /// Mean of each `stride x stride` window, at the edge over the pixels there are.
        Average = "average",
        /// Every `stride`-th pixel.
        Slice = "slice",
    }
}

choice! {
    /// What follows every inner convolution that feeds another one, before it is read and emitted.
    ///
    /// That is every B_i, and A_i (i > 0) without identity. The tail feeds nothing but the output, whose own normalisation
    /// follows at once, so it gets none.
    InnerNorm {
        /// Nothing.
        None = "none",
        /// Batch normalisation.
        Bn = "bn",
        /// Batch normalisation and ReLU.
        BnRelu = "bn_relu",
    }
}

/// How the depth of a layer is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepthRule {
    /// The same everywhere.
    Fixed(usize),
    /// `min(floor(log2(max(1, C_in / c0))) + 1, cap)`.
    Adaptive {
        /// The paper's C_0.
        c0: usize,
        /// Deepest result.
        cap: usize,
    },
}

impl DepthRule {
    /// The depth for a layer of `in_channels`, before feasibility is looked at.
    pub fn depth(self, in_channels: usize) -> usize {
        match self {
            Self::Fixed(depth) => depth,
            // The floor of a logarithm does not change when its argument is floored first.
            Self::Adaptive { c0, cap } => ((in_channels / c0.max(1)).max(1).ilog2() as usize + 1).min(cap),
        }
    }
}

impl CompConvOptions {
    /// Options with a fixed depth, everything else as by default.
    pub fn fixed(depth: usize) -> Self {
        Self { depth: Some(depth), ..Self::default() }
    }

    /// Options with adaptive depth (CompConv`c0` in the paper's notation), everything else as by default.
    pub fn adaptive(c0: usize) -> Self {
        Self { c0: Some(c0), ..Self::default() }
    }

    /// The rule that `depth` and `c0` make together.
    pub fn depth_rule(&self) -> DepthRule {
        match (self.depth, self.c0) {
            (Some(depth), None) => DepthRule::Fixed(depth),
            (cap, c0) => DepthRule::Adaptive { c0: c0.unwrap_or(128), cap: cap.unwrap_or(3) },
        }
    }

    /// A 1 x 1 tail has no kernel to choose.
    fn check_tail(&self) -> Result<()> {
        match self.tail_kernel {
            Some(kernel) if kernel != 1 && self.tail == Tail::Pointwise => bail!(
                "compconv: tail_kernel = {kernel} contradicts tail = \"pointwise\", which is 1 x 1; \
                 leave it out or use tail = \"full\""
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conv_core::options::Described;

    fn parse(json: &str) -> serde_json::Result<CompConvOptions> {
        serde_json::from_str(json)
    }

    #[test]
    fn depth_and_c0_make_the_rule() {
        let rule = |json| parse(json).unwrap().depth_rule();
        assert_eq!(rule("{}"), DepthRule::Adaptive { c0: 128, cap: 3 });
        assert_eq!(rule(r#"{"c0": 64}"#), DepthRule::Adaptive { c0: 64, cap: 3 });
        assert_eq!(rule(r#"{"depth": 5}"#), DepthRule::Fixed(5));
        assert_eq!(rule(r#"{"depth": 2, "c0": 32}"#), DepthRule::Adaptive { c0: 32, cap: 2 });
    }

    #[test]
    fn adaptive_depth_is_the_capped_floor_of_the_logarithm() {
        for c0 in 1..=40 {
            for c_in in 1..=700 {
                let ratio = f64::max(1.0, c_in as f64 / c0 as f64);
                // A hair up: log2 of an exact power must not fall below its integer.
                let exact = (ratio.log2() + 1e-12).floor() as usize + 1;
                for cap in 0..=MAX_DEPTH {
                    assert_eq!(DepthRule::Adaptive { c0, cap }.depth(c_in), exact.min(cap), "{c_in} / {c0}");
                }
            }
        }
        let compconv128 = CompConvOptions::default().depth_rule();
        assert_eq!([64, 128, 255, 256, 511, 512, 2048].map(|c| compconv128.depth(c)), [1, 1, 1, 2, 2, 3, 3]);
    }

    #[test]
    fn every_key_is_read_and_unknown_ones_are_refused() {
        let all = r#"{"depth": 2, "c0": 8, "shuffle": 4, "tail": "full", "tail_kernel": 5, "downsample": "slice",
            "inner_norm": "bn_relu", "identity": false, "integration": false}"#;
        let expected = CompConvOptions {
            depth: Some(2),
            c0: Some(8),
            shuffle: 4,
            tail: Tail::Full,
            tail_kernel: Some(5),
            downsample: Downsample::Slice,
            inner_norm: InnerNorm::BnRelu,
            identity: false,
            integration: false,
        };
        assert_eq!(parse(all).unwrap(), expected);
        assert_eq!(parse(&serde_json::to_string(&expected).unwrap()).unwrap(), expected);
        assert!(parse(r#"{"deth": 2}"#).unwrap_err().to_string().contains("unknown field `deth`"));
        assert!(parse(r#"{"tail": "half"}"#).unwrap_err().to_string().contains("`depthwise`, `full`, `pointwise`"));
    }

    #[test]
    fn ranges_are_checked() {
        let refused = |options: CompConvOptions, word: &str| {
            let message = options.check_options().unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
            assert!(message.contains("accepted") || message.contains("leave it out"), "{message}");
        };
        refused(CompConvOptions::fixed(7), "depth = 7");
        refused(CompConvOptions::adaptive(0), "c0 = 0");
        let default = CompConvOptions::default();
        refused(CompConvOptions { shuffle: 0, ..default }, "shuffle = 0");
        refused(CompConvOptions { tail_kernel: Some(4), ..default }, "tail_kernel = 4");
        refused(CompConvOptions { tail_kernel: Some(0), ..default }, "tail_kernel = 0");
        refused(CompConvOptions { tail_kernel: Some(3), tail: Tail::Pointwise, ..default }, "pointwise");
        assert!(default.check_options().is_ok());
        assert!(CompConvOptions { tail_kernel: Some(1), tail: Tail::Pointwise, ..default }.check_options().is_ok());
        assert!(CompConvOptions::fixed(0).check_options().is_ok() && CompConvOptions::fixed(6).check_options().is_ok());
    }
}
