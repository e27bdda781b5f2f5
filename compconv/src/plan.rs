//! The channel layout of a CompConv, in integers: which channels every part reads, makes and becomes.
//!
//! Depth d and unit C_p. Levels i = d-1 ... 0 have a computed part B_i and a part A_i, each of 2^(d-1-i) C_p channels:
//!
//! ```text
//! B_(d-1) = conv_k(x)                       C_in -> C_p
//! A_i     = a slice of x, for i > 0         disjoint slices from the start of x, A_(d-1) first
//! B_(i-1) = conv_k(concat(B_i, A_i))        2^(d-i) C_p -> 2^(d-i) C_p
//! A_0     = tail(B_0)                       its last channels left out where the sum exceeds C_out
//! y       = shuffle(concat(B_(d-1), A_(d-1), ..., B_0, A_0))
//! ```

use std::fmt;
use std::ops::Range;

use candle_core::{Result, bail};
use conv_core::options::Described;
use conv_core::{ConvSpec, Cost, Depth};

use crate::options::{CompConvOptions, Downsample, InnerNorm, Tail};

/// Raised whenever the same options come to mean another layer, so that results never mix.
pub const LAYOUT_VERSION: u32 = 1;

/// The two halves of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// B_i, computed by a dense convolution.
    B,
    /// A_i: input channels, or a cheap convolution of B_i.
    A,
}

/// What a part reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// These channels of the layer's input.
    Input(Range<usize>),
    /// All of B and A of the level one above, concatenated.
    LevelAbove,
    /// These channels of the same level's B.
    B(Range<usize>),
}

/// One part of the layout: B_i or A_i.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Which half of its level.
    pub half: Half,
    /// i of B_i or A_i: d-1 for the first part, 0 for the last.
    pub level: usize,
    /// Channels it has.
    pub channels: usize,
    /// Channels it reads.
    pub source: Source,
    /// The convolution between; none where input channels are handed on.
    pub conv: Option<ConvSpec>,
    /// Its channels in the output before the shuffle; none where it is no part of the output (integration off).
    pub emitted: Option<Range<usize>>,
}

/// The layout of one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The convolution that is replaced.
    pub spec: ConvSpec,
    /// Depth as asked for and as feasible. At an effective depth of 0 the layer is a vanilla convolution and has no parts.
    pub depth: Depth,
    /// C_p, the width of the first convolution; 0 at depth 0.
    pub unit: usize,
    /// In the order of computation and output: B_(d-1), A_(d-1), ..., B_0, A_0.
    pub parts: Vec<Part>,
    /// Channels of A_0 that are left out, for the output to have the width asked for.
    pub surplus: usize,
    /// Groups of the channel shuffle as applied; 1 where it is off or would move nothing.
    pub shuffle: usize,
    /// How identity channels reach the output size; none where there is nothing to bring there.
    pub downsample: Option<Downsample>,
    /// What follows every convolution of `parts` but the tail.
    pub inner_norm: InnerNorm,
    options: CompConvOptions,
}

/// Why a depth does not fit a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Infeasible {
    /// The other parts fill the output.
    #[error("A_0 would have no channel")]
    NoTail,
    /// The input is too narrow.
    #[error("the identity slices would need {needed} of {available} input channels")]
    Identity {
        /// Channels that the slices take together.
        needed: usize,
        /// Channels of the input.
        available: usize,
    },
}

/// C_p and the width of A_0 at `depth` (1 or more), if it is feasible: A_0 keeps a channel, and the identity slices fit.
///
/// # Errors
/// The reason why it is not.
pub fn widths(
    in_channels: usize,
    out_channels: usize,
    depth: usize,
    options: &CompConvOptions,
) -> std::result::Result<(usize, usize), Infeasible> {
    // In units of C_p: the whole output with A_0 complete, and the identity slices together.
    let whole = if options.integration { 2 * ((1 << depth) - 1) } else { 1 << depth };
    let identity = if options.identity { (1 << (depth - 1)) - 1 } else { 0 };
    let unit = out_channels.div_ceil(whole);
    let others = (whole - (1 << (depth - 1))) * unit;
    if others >= out_channels {
        Err(Infeasible::NoTail)
    } else if identity * unit > in_channels {
        Err(Infeasible::Identity { needed: identity * unit, available: in_channels })
    } else {
        Ok((unit, out_channels - others))
    }
}

impl Plan {
    /// Lays out the replacement of `spec`.
    ///
    /// # Errors
    /// Options out of range; an impossible specification; at an effective depth of 1 or more, an even kernel or a padding
    /// that does not keep the size.
    pub fn new(spec: &ConvSpec, options: &CompConvOptions) -> Result<Self> {
        options.check_options()?;
        spec.validate()?;
        let requested = options.depth_rule().depth(spec.in_channels);
        // Feasibility is not monotone in depth: look at every one from the deepest down.
        let deepest = if spec.groups > 1 { 0 } else { requested };
        let mut plan = match (1..=deepest).rev().find_map(|depth| Self::at(spec, options, depth)) {
            Some(plan) => plan,
            None => Self::vanilla(spec, options),
        };
        plan.depth.requested = requested;
        // A kernel of the tail may be any odd number.
        plan.parts.iter().filter_map(|part| part.conv).try_for_each(|conv| conv.validate())?;
        let (ConvSpec { kernel, padding, .. }, depth) = (*spec, plan.depth.effective);
        if depth > 0 && !spec.is_centred() {
            bail!(
                "compconv: a {kernel} x {kernel} kernel with padding {padding} cannot be replaced at depth {depth}; \
                 odd kernels with padding (kernel - 1) / 2 are accepted, any others at depth 0"
            );
        }
        Ok(plan)
    }

    fn vanilla(spec: &ConvSpec, options: &CompConvOptions) -> Self {
        Self {
            spec: *spec,
            depth: Depth { requested: 0, effective: 0 },
            unit: 0,
            parts: Vec::new(),
            surplus: 0,
            shuffle: 1,
            downsample: None,
            inner_norm: InnerNorm::None,
            options: *options,
        }
    }

    /// The layout at exactly this depth, 1 or more, if it is feasible.
    fn at(spec: &ConvSpec, options: &CompConvOptions, depth: usize) -> Option<Self> {
        let ConvSpec { in_channels, out_channels, kernel, stride, .. } = *spec;
        let (unit, tail) = widths(in_channels, out_channels, depth, options).ok()?;
        let mut parts = Vec::with_capacity(2 * depth);
        let mut next = 0;
        let mut emit = |level: usize, channels: usize| {
            (options.integration || level == 0).then(|| {
                next += channels;
                next - channels..next
            })
        };
        for level in (0..depth).rev() {
            let width = unit << (depth - 1 - level);
            let (source, conv) = match level == depth - 1 {
                true => (Source::Input(0..in_channels), ConvSpec::same(in_channels, unit, kernel, stride)),
                false => (Source::LevelAbove, ConvSpec::same(width, width, kernel, 1)),
            };
            let emitted = emit(level, width);
            parts.push(Part { half: Half::B, level, channels: width, source, conv: Some(conv), emitted });

            let (channels, source, conv) = if level == 0 {
                let (source, conv) = tail_of(options, kernel, width, tail);
                (tail, source, Some(conv))
            } else if options.identity {
                // The slices before this one are 1 + 2 + ... units wide: one unit less than it is itself.
                (width, Source::Input(width - unit..2 * width - unit), None)
            } else {
                (width, Source::B(0..width), Some(ConvSpec::same(width, width, kernel, 1).grouped(width)))
            };
            let emitted = emit(level, channels);
            parts.push(Part { half: Half::A, level, channels, source, conv, emitted });
        }
        // With as many groups as channels, the shuffle is the identity.
        let moves = out_channels % options.shuffle == 0 && options.shuffle != out_channels;
        Some(Self {
            spec: *spec,
            depth: Depth { requested: depth, effective: depth },
            unit,
            parts,
            surplus: (unit << (depth - 1)) - tail,
            shuffle: if moves { options.shuffle } else { 1 },
            downsample: (stride > 1 && options.identity && depth > 1).then_some(options.downsample),
            inner_norm: options.inner_norm,
            options: *options,
        })
    }

    /// Input channels that are handed on, always the first ones: all slices together.
    pub fn identity_channels(&self) -> usize {
        self.parts.iter().filter(|part| part.conv.is_none()).map(|part| part.channels).sum()
    }

    /// Closed-form cost for an output of `(height, width)`, per image, bias and inner norms included.
    pub fn cost(&self, out: (usize, usize)) -> Cost {
        let ConvSpec { out_channels, bias, .. } = self.spec;
        if self.parts.is_empty() {
            return Cost {
                params: self.spec.params(),
                macs: self.spec.macs(out),
                activations: self.spec.activations(out),
            };
        }
        let bias = Cost { params: if bias { out_channels as u64 } else { 0 }, ..Cost::default() };
        bias + self.parts.iter().map(|part| self.part_cost(part, out)).sum()
    }

    /// What one part of the layout adds to [`Plan::cost`], its inner norm included; nothing for identity channels.
    pub fn part_cost(&self, part: &Part, out: (usize, usize)) -> Cost {
        let Some(conv) = part.conv else { return Cost::default() };
        let norm = if self.has_norm(part) { 2 * part.channels as u64 } else { 0 };
        Cost { params: conv.params() + norm, macs: conv.macs(out), activations: conv.activations(out) }
    }

    /// Whether the inner norm follows this part: every convolution that feeds another one has it.
    pub fn has_norm(&self, part: &Part) -> bool {
        self.inner_norm != InnerNorm::None && part.conv.is_some() && (part.half == Half::B || part.level > 0)
    }

    /// What a reader of the report should know about this layer.
    pub fn remarks(&self) -> Vec<String> {
        let Self { spec, depth: Depth { requested, effective }, options, .. } = self;
        let mut remarks = Vec::new();
        if requested > effective {
            let reason = match widths(spec.in_channels, spec.out_channels, *requested, options) {
                Err(infeasible) if spec.groups == 1 => infeasible.to_string(),
                _ => format!("a convolution in {} groups stays vanilla", spec.groups),
            };
            remarks.push(format!("depth lowered from {requested} to {effective}: {reason}"));
        }
        if *effective == 0 {
            return remarks;
        }
        if spec.out_channels % options.shuffle != 0 {
            remarks
                .push(format!("shuffle off: {} groups do not divide {} channels", options.shuffle, spec.out_channels));
        }
        let vanilla = spec.macs((1, 1));
        let macs = self.cost((1, 1)).macs;
        let percent = |macs: u64| format!("{:.1} %", 100.0 * macs as f64 / vanilla as f64);
        if macs > vanilla {
            remarks.push(format!("costs more than vanilla: {} of its multiplications", percent(macs)));
        }
        let shallower =
            (1..*effective).filter_map(|depth| Some((Self::at(spec, options, depth)?.cost((1, 1)).macs, depth))).min();
        if let Some((less, depth)) = shallower.filter(|(less, _)| *less < macs) {
            remarks.push(format!(
                "costs more than depth {depth}: {} instead of {} of vanilla's multiplications",
                percent(macs),
                percent(less)
            ));
        }
        let tail = self.parts.last().and_then(|part| part.conv);
        if tail.is_some_and(|conv| conv.kernel == 1 && conv.in_channels == conv.groups) {
            remarks.push("the 1 x 1 depthwise tail only rescales B_0".to_owned());
        }
        remarks
    }
}

/// What A_0 reads of B_0 (`width` channels), and the convolution that makes its `channels`.
fn tail_of(options: &CompConvOptions, kernel: usize, width: usize, channels: usize) -> (Source, ConvSpec) {
    let kernel = match options.tail {
        Tail::Pointwise => 1,
        _ => options.tail_kernel.unwrap_or(kernel),
    };
    match options.tail {
        Tail::Depthwise => (Source::B(0..channels), ConvSpec::same(channels, channels, kernel, 1).grouped(channels)),
        Tail::Full | Tail::Pointwise => (Source::B(0..width), ConvSpec::same(width, channels, kernel, 1)),
    }
}

/// The layout in one line: equal lines, equal layers (up to what the caller adds after the convolution).
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConvSpec { in_channels, out_channels, kernel, stride, bias, .. } = self.spec;
        if self.parts.is_empty() {
            return write!(f, "{}", self.spec);
        }
        write!(f, "compconv layout {LAYOUT_VERSION} {in_channels}->{out_channels} k{kernel} s{stride} bias={bias}:")?;
        for part in &self.parts {
            write!(f, " {:?}{}", part.half, part.level)?;
            if let Some(Range { start, end }) = part.emitted {
                write!(f, "[{start}..{end}]")?;
            }
            let source = match &part.source {
                Source::Input(channels) => format!("x[{}..{}]", channels.start, channels.end),
                Source::LevelAbove => format!("B{0}, A{0}", part.level + 1),
                Source::B(channels) => format!("B{}[{}..{}]", part.level, channels.start, channels.end),
            };
            match (part.conv, self.downsample) {
                (Some(ConvSpec { kernel, stride, groups, .. }), _) => {
                    write!(f, " = conv k{kernel} s{stride} g{groups} ({source});")?;
                }
                (None, Some(Downsample::Average)) => write!(f, " = average {stride} ({source});")?,
                (None, Some(Downsample::Slice)) => write!(f, " = slice {stride} ({source});")?,
                (None, None) => write!(f, " = {source};")?,
            }
        }
        write!(f, " shuffle {}, inner norm {:?}", self.shuffle, self.inner_norm)
    }
}
