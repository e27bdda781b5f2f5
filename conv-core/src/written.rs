//! What a method wrote, in integers: counted, described, never built.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use candle_core::{Result, bail};

use crate::kernels::map::Map;
use crate::kernels::windows::Windows;
use crate::{Activation, ConvSpec, Cost, UnitSpec, Value};

/// A unit as it is written down without parameters: what it costs, and all that shapes its function as text. Made by
/// [`crate::Scope::count`].
#[derive(Clone, Debug)]
pub struct Written {
    operations: Vec<Operation>,
    /// Channels, height and width of every value; the first two are the unit's input and residual.
    shapes: Vec<(usize, (usize, usize))>,
    cost: Cost,
    pub(crate) remarks: Option<Vec<String>>,
    pub(crate) signature: Option<String>,
}

/// How a value comes to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operation {
    Conv { name: String, conv: ConvSpec, norm: bool, residual: Option<Value>, relu: bool, x: Value },
    Finish { norm: Option<String>, residual: Option<Value>, relu: bool, x: Value },
    Bias { name: String, x: Value },
    Slice { x: Value, channels: Range<usize> },
    Concat { parts: Vec<Value> },
    Shuffle { x: Value, groups: usize },
    Pad { x: Value, before: usize, after: usize },
    MaxPool { x: Value, kernel: usize, stride: usize, padding: usize },
    AvgPool { x: Value, kernel: usize, stride: usize, ceil_mode: bool },
    GlobalAvgPool { x: Value },
    Linear { name: String, x: Value, features: (usize, usize) },
    Tied { conv: ConvSpec, to: Value, x: Value },
    Product { x: Value, by: Value },
    Map { x: Value, map: Map },
    CrossedGate { x: Value, gate: Value, threshold: f32 },
    Softmax { x: Value, parts: usize },
    GroupNorm { name: String, groups: usize, shares: bool, x: Value },
    Upsample { x: Value, factor: usize, like: Option<Value> },
    Custom { text: String, names: Vec<String>, inputs: Vec<Value> },
}

/// The unit's input.
pub(crate) const INPUT: Value = Value::from_index(0);
/// What the unit adds, where it adds something.
pub(crate) const RESIDUAL: Value = Value::from_index(1);

impl Written {
    /// Nothing yet, with the input (channels, height and width) and the residual (likewise) that can be read.
    pub(crate) fn new(input: (usize, (usize, usize)), residual: (usize, (usize, usize))) -> Self {
        let shapes = vec![input, residual];
        Self { operations: vec![], shapes, cost: Cost::default(), remarks: None, signature: None }
    }

    /// What it costs for one image.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Every convolution in brackets, in the order they are written in: layer and what follows it, but not what it reads.
    pub fn convs(&self) -> String {
        let convs = self
            .operations
            .iter()
            .filter(|operation| matches!(operation, Operation::Conv { .. } | Operation::Tied { .. }));
        convs.map(|operation| format!("[{operation}]")).collect::<Vec<_>>().join(" ")
    }

    /// All that shapes the function that `output` is of the input: every operation with its parameters' names and what it reads.
    /// A single convolution without a name, which is vanilla's, stands for itself.
    pub(crate) fn text(&self, output: Value) -> String {
        if let [only @ Operation::Conv { name, residual: None, x: INPUT, .. }] = self.operations.as_slice()
            && name.is_empty()
            && self.is_last(output)
        {
            return only.to_string();
        }
        let lines = self.operations.iter().enumerate().map(|(index, operation)| {
            let reads: Vec<String> = operation.reads().into_iter().map(shown).collect();
            let names = operation.names().iter().map(|name| format!(" as {name}")).collect::<String>();
            format!("#{} = {operation} of {}{names}; ", index + 2, reads.join(", "))
        });
        format!("x of {} channels; {}{}", self.channels(INPUT), lines.collect::<String>(), shown(output))
    }

    /// Whether this is the vanilla unit, and nothing else.
    pub(crate) fn is(&self, unit: &UnitSpec) -> bool {
        let operations = match self.operations.as_slice() {
            [unclipped @ .., Operation::Map { map: Map::Relu6, .. }] if unit.is_clipped() => unclipped,
            operations => operations,
        };
        matches!(operations, [Operation::Conv { name, conv, norm, residual: None, relu, x: INPUT }]
            if name.is_empty() && (*conv, *norm, *relu) == (unit.conv, unit.norm, unit.relu()))
    }

    /// Whether a function of candle tensors is among the operations.
    pub(crate) fn is_custom(&self) -> bool {
        self.operations.iter().any(|operation| matches!(operation, Operation::Custom { .. }))
    }

    /// # Errors
    /// A name that two operations give their parameters: they would be the same parameters, or fail to be.
    pub(crate) fn check_names(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for operation in &self.operations {
            let own = operation.names().iter().map(|name| (name.clone(), ""));
            let norm = match operation {
                Operation::Conv { name, norm: true, .. } if name.is_empty() => Some("bn".to_owned()),
                Operation::Conv { name, norm: true, .. } => Some(format!("{name}.bn")),
                _ => None,
            };
            for (name, what) in own.chain(norm.map(|name| (name, " (a convolution's norm has it)"))) {
                if names.contains(&name) {
                    bail!("the name `{name}` is used twice in one unit{what}; accepted: each name once");
                }
                names.insert(name);
            }
        }
        Ok(())
    }

    fn is_last(&self, value: Value) -> bool {
        value.index() + 1 == self.shapes.len()
    }

    /// Whether `self`, which ends in `output`, is `plain` with the residual added to its last value, before the last ReLU.
    pub(crate) fn adds_to(&self, output: Value, plain: &Self, plain_output: Value) -> bool {
        let mut operations = self.operations.clone();
        match operations.last_mut() {
            Some(Operation::Conv { residual, .. } | Operation::Finish { residual, .. })
                if *residual == Some(RESIDUAL) =>
            {
                *residual = None;
            }
            _ => return false,
        }
        // A last operation that did nothing but add is none without a residual.
        if matches!(operations.last(), Some(Operation::Finish { norm: None, relu: false, x, .. }) if x.index() == operations.len())
        {
            operations.pop();
        }
        self.is_last(output) && plain.is_last(plain_output) && operations == plain.operations
    }

    pub(crate) fn channels(&self, x: Value) -> usize {
        self.shapes[x.index()].0
    }

    pub(crate) fn size(&self, x: Value) -> (usize, usize) {
        self.shapes[x.index()].1
    }

    pub(crate) fn push(&mut self, operation: Operation, channels: usize, size: (usize, usize)) -> Value {
        self.operations.push(operation);
        self.shapes.push((channels, size));
        Value::from_index(self.shapes.len() - 1)
    }

    /// Adds to the cost.
    pub(crate) fn pay(&mut self, cost: Cost) -> Result<()> {
        match self.cost.checked_add(cost) {
            Some(sum) => self.cost = sum,
            None => bail!("a cost of more than 64 bits"),
        }
        Ok(())
    }

    pub(crate) fn check_size(&self, x: Value, size: (usize, usize)) -> Result<()> {
        if self.size(x) != size {
            bail!("{size:?} pixels meet {:?}", self.size(x));
        }
        Ok(())
    }

    pub(crate) fn conv(
        &mut self,
        name: String,
        conv: ConvSpec,
        norm: bool,
        residual: Option<Value>,
        relu: bool,
        x: Value,
    ) -> Result<Value> {
        if self.channels(x) != conv.in_channels {
            bail!("a convolution of {} channels was given {}", conv.in_channels, self.channels(x));
        }
        let size = conv.output_size(self.size(x))?;
        self.check_residual(conv.out_channels, size, residual)?;
        self.pay(conv.cost(size)?)?;
        self.pay_norm(norm, conv.out_channels)?;
        Ok(self.push(Operation::Conv { name, conv, norm, residual, relu, x }, conv.out_channels, size))
    }

    /// `x` by the convolution that made `to`, whose parameters are named and counted there.
    pub(crate) fn tied(&mut self, conv: ConvSpec, to: Value, x: Value) -> Result<Value> {
        if self.channels(x) != conv.in_channels {
            bail!("a convolution of {} channels was given {}", conv.in_channels, self.channels(x));
        }
        let size = conv.output_size(self.size(x))?;
        self.pay(Cost { params: 0, ..conv.cost(size)? })?;
        Ok(self.push(Operation::Tied { conv, to, x }, conv.out_channels, size))
    }

    pub(crate) fn finish(
        &mut self,
        norm: Option<String>,
        x: Value,
        residual: Option<Value>,
        relu: bool,
    ) -> Result<Value> {
        let (channels, size) = (self.channels(x), self.size(x));
        self.check_residual(channels, size, residual)?;
        if norm.is_none() && residual.is_none() && !relu {
            return Ok(x);
        }
        self.pay_norm(norm.is_some(), channels)?;
        Ok(self.push(Operation::Finish { norm, residual, relu, x }, channels, size))
    }

    fn check_residual(&self, channels: usize, size: (usize, usize), residual: Option<Value>) -> Result<()> {
        let Some(residual) = residual else { return Ok(()) };
        if self.channels(residual) != channels {
            bail!("{channels} channels meet {}", self.channels(residual));
        }
        self.check_size(residual, size)
    }

    fn pay_norm(&mut self, norm: bool, channels: usize) -> Result<()> {
        self.pay(Cost { params: if norm { 2 * channels as u64 } else { 0 }, ..Cost::default() })
    }

    pub(crate) fn pool(&mut self, operation: Operation) -> Result<Value> {
        let (x, windows) = match operation {
            Operation::MaxPool { x, kernel, stride, padding } => {
                (x, Windows::new(self.size(x), kernel, stride, padding, false)?)
            }
            Operation::AvgPool { x, kernel, stride, ceil_mode } => {
                (x, Windows::new(self.size(x), kernel, stride, 0, ceil_mode)?)
            }
            other => bail!("`{other}` is no pooling"),
        };
        let channels = self.channels(x);
        Ok(self.push(operation, channels, windows.output))
    }
}

fn shown(value: Value) -> String {
    match value {
        INPUT => "x".into(),
        RESIDUAL => "residual".into(),
        value => format!("#{}", value.index()),
    }
}

impl Operation {
    fn reads(&self) -> Vec<Value> {
        match self {
            Self::Conv { x, residual, .. } | Self::Finish { x, residual, .. } => {
                std::iter::once(*x).chain(*residual).collect()
            }
            Self::Concat { parts: inputs } | Self::Custom { inputs, .. } => inputs.clone(),
            Self::Product { x, by } | Self::CrossedGate { x, gate: by, .. } => vec![*x, *by],
            Self::Upsample { x, like, .. } => std::iter::once(*x).chain(*like).collect(),
            Self::Tied { x, .. }
            | Self::Map { x, .. }
            | Self::Softmax { x, .. }
            | Self::GroupNorm { x, .. }
            | Self::Bias { x, .. }
            | Self::Slice { x, .. }
            | Self::Shuffle { x, .. }
            | Self::Pad { x, .. }
            | Self::MaxPool { x, .. }
            | Self::AvgPool { x, .. }
            | Self::GlobalAvgPool { x }
            | Self::Linear { x, .. } => vec![*x],
        }
    }

    /// Of its parameters.
    fn names(&self) -> &[String] {
        match self {
            Self::Conv { name, .. }
            | Self::Bias { name, .. }
            | Self::Linear { name, .. }
            | Self::GroupNorm { name, .. } => std::slice::from_ref(name),
            Self::Finish { norm, .. } => norm.as_slice(),
            Self::Custom { names, .. } => names,
            _ => &[],
        }
    }
}

/// Without what it reads, and without names.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = |relu: &bool| relu.then_some(Activation::Relu);
        match self {
            Self::Conv { conv, norm, relu, .. } => write!(f, "{conv} norm={norm} act={:?}", act(relu)),
            Self::Finish { norm, residual, relu, .. } => {
                write!(f, "finish norm={} add={} act={:?}", norm.is_some(), residual.is_some(), act(relu))
            }
            Self::Bias { .. } => write!(f, "bias"),
            Self::Slice { channels, .. } => write!(f, "slice {}..{}", channels.start, channels.end),
            Self::Concat { .. } => write!(f, "concat"),
            Self::Shuffle { groups, .. } => write!(f, "shuffle {groups}"),
            Self::Pad { before, after, .. } => write!(f, "pad {before} {after}"),
            Self::MaxPool { kernel, stride, padding, .. } => write!(f, "max pool k{kernel} s{stride} p{padding}"),
            Self::AvgPool { kernel, stride, ceil_mode, .. } => {
                write!(f, "average pool k{kernel} s{stride} ceil={ceil_mode}")
            }
            Self::GlobalAvgPool { .. } => write!(f, "global average"),
            Self::Linear { features: (inputs, outputs), .. } => write!(f, "linear {inputs}->{outputs}"),
            Self::Tied { conv, to, .. } => write!(f, "{conv} tied to {}", shown(*to)),
            Self::Product { .. } => write!(f, "product"),
            Self::Map { map: Map::Sigmoid, .. } => write!(f, "sigmoid"),
            Self::Map { map: Map::Relu6, .. } => write!(f, "relu6"),
            Self::CrossedGate { threshold, .. } => write!(f, "crossed gate above {threshold}"),
            Self::Softmax { parts, .. } => write!(f, "softmax of {parts}"),
            Self::GroupNorm { groups, shares, .. } => write!(f, "group norm {groups} shares={shares}"),
            Self::Upsample { factor, .. } => write!(f, "upsample {factor}"),
            Self::Custom { text, .. } => write!(f, "custom `{text}`"),
        }
    }
}
