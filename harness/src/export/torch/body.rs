//! A `forward` while it is written: operations as Python, on variables that are used again once their value is not read any more.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use candle_core::Tensor;
use conv_core::graph::{Map, Op};
use conv_core::layers::{BatchNorm2d, Conv2d, GroupNorm};
use conv_core::{ConvSpec, Value};

use super::super::Exported;
use super::module::{Class, Made, Modules};

/// The epsilon that PyTorch's norms have unless told otherwise.
const EPS: f64 = 1e-5;

/// The operations of a unit, or of the network around units.
pub(super) struct Body<'b> {
    exported: &'b Exported<'b>,
    /// What the names of its parameters begin with.
    prefix: String,
    places: Range<usize>,
    /// For each value the last of these operations that reads it; never, for what is made here and read later.
    last_read: Vec<usize>,
    /// Values that are made elsewhere, and what `forward` calls them.
    inputs: Vec<(usize, String)>,
    /// Values that are still read, and the variables that hold them.
    held: Vec<(usize, String)>,
    /// What a class derives from that is itself a convolution.
    base: Option<String>,
    modules: Modules,
    /// Between two `\0` stands the path of a module: how it is accessed is known once all modules are.
    lines: Vec<String>,
}

/// How a network calls a unit: values, by their places.
pub(super) struct Call {
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

impl<'b> Body<'b> {
    /// Of everything; the images are standardised already.
    pub(super) fn of_network(exported: &'b Exported<'b>) -> Self {
        let places = 0..exported.network.graph().ops().len();
        Self { held: vec![(0, "x".to_owned())], ..Self::new(exported, "", places) }
    }

    /// Of a unit: its operations.
    pub(super) fn of_unit(exported: &'b Exported<'b>, name: &str, places: Range<usize>) -> Self {
        let mut body = Self::new(exported, name, places);
        let ops = &exported.network.graph().ops()[body.places.clone()];
        let mut read: Vec<usize> = ops.iter().flat_map(Op::reads).map(Value::index).collect();
        read.retain(|read| *read < body.places.start);
        let is_residual = |input: usize| {
            ops.iter().all(|op| match op {
                Op::Finish { x, .. } => x.index() != input,
                op => op.reads().iter().all(|read| read.index() != input),
            })
        };
        for input in read {
            let name = match body.inputs.len() {
                _ if body.inputs.iter().any(|(known, _)| *known == input) => continue,
                0 => "x".to_owned(),
                1 if is_residual(input) => "residual".to_owned(),
                number => format!("x{}", number + 1),
            };
            body.inputs.push((input, name.clone()));
            body.held.push((input, name));
        }
        body
    }

    fn new(exported: &'b Exported<'b>, prefix: &str, places: Range<usize>) -> Self {
        let (here, after) = exported.network.graph().ops().split_at(places.end);
        let mut last_read: Vec<usize> = (0..here.len()).collect();
        for (index, op) in here.iter().enumerate() {
            op.reads().iter().for_each(|read| last_read[read.index()] = index);
        }
        let read_after = after.iter().flat_map(Op::reads).chain([exported.network.output()]).map(Value::index);
        read_after.filter(|read| places.contains(read)).for_each(|read| last_read[read] = usize::MAX);
        Self {
            exported,
            prefix: prefix.to_owned(),
            places,
            last_read,
            inputs: vec![],
            held: vec![],
            base: None,
            modules: Modules::default(),
            lines: vec![],
        }
    }

    /// Values that are read and made elsewhere.
    pub(super) fn inputs(&self) -> Vec<usize> {
        self.inputs.iter().map(|(input, _)| *input).collect()
    }

    /// Values that are made here and read elsewhere.
    pub(super) fn outputs(&self) -> Vec<usize> {
        self.places.clone().filter(|&index| self.last_read[index] == usize::MAX).collect()
    }

    /// A variable for a value that is made by what ends before `end`.
    fn hold(&mut self, value: usize, end: usize) -> String {
        self.held.retain(|(held, _)| self.last_read[*held] >= end);
        let free = (1..).map(|number| if number == 1 { "x".to_owned() } else { format!("x{number}") });
        let name = free.into_iter().find(|name| !self.held.iter().any(|(_, held)| held == name)).unwrap_or_default();
        self.held.push((value, name.clone()));
        name
    }

    fn variable(&self, value: usize) -> Result<&str> {
        let held = self.held.iter().find(|(held, _)| *held == value);
        held.map(|(_, name)| &**name).with_context(|| format!("value {value} is not there any more"))
    }

    /// Writes one operation.
    pub(super) fn op(&mut self, index: usize) -> Result<()> {
        let exported = self.exported;
        let expression = self.expression(&exported.network.graph().ops()[index])?;
        let name = self.hold(index, index + 1);
        self.lines.push(format!("{name} = {expression}"));
        Ok(())
    }

    /// Writes the call of a unit that ends before `end`.
    pub(super) fn call(&mut self, name: &str, class: &str, call: &Call, end: usize) {
        self.modules.add(name, Made::Module(format!("{class}()")));
        let inputs: Vec<String> =
            call.inputs.iter().map(|&input| self.variable(input).unwrap_or("None").to_owned()).collect();
        let outputs: Vec<String> = call.outputs.iter().map(|&output| self.hold(output, end)).collect();
        self.lines.push(format!("{} = \0{name}\0({})", outputs.join(", "), inputs.join(", ")));
    }

    fn expression(&mut self, op: &Op) -> Result<String> {
        let get = |value: &Value| self.variable(value.index()).map(str::to_owned);
        let flat = |value: &Value| self.exported.network.graph().is_flat(*value);
        Ok(match op {
            Op::Input | Op::Custom { .. } => bail!("an operation that no module can be"),
            Op::Conv { x, conv } => {
                let x = get(x)?;
                format!("{}({x})", self.conv(conv)?)
            }
            Op::Bias { x, bias } => {
                let (shape, x) = (if flat(x) { "" } else { "[:, None, None]" }, get(x)?);
                let path = self.path(bias, "")?;
                if path == "bias" && self.base.is_some() {
                    bail!("a bias of its own beside that of a convolution");
                }
                self.modules.add(&path, Made::Parameter(format!("torch.zeros({})", bias.elem_count())));
                format!("{x} + \0{path}\0{shape}")
            }
            Op::Finish { x, norm, residual, relu } => {
                let (flat, residual, mut y) = (flat(x), residual.as_ref().map(get).transpose()?, get(x)?);
                if let Some(norm) = norm {
                    y = format!("{}({y})", self.norm(norm, flat)?);
                }
                if let Some(residual) = residual {
                    y = format!("{y} + {residual}");
                }
                if *relu { format!("F.relu({y})") } else { y }
            }
            Op::Slice { x, channels } => format!("{}[:, {}:{}]", get(x)?, channels.start, channels.end),
            Op::Concat { parts } => {
                let parts: Vec<String> = parts.iter().map(get).collect::<Result<_>>()?;
                format!("torch.cat([{}], 1)", parts.join(", "))
            }
            Op::Shuffle { x, groups } => format!("channel_shuffle({}, {groups})", get(x)?),
            Op::Softmax { x, parts } => format!("softmax_between({}, {parts})", get(x)?),
            Op::Pad { x, before, after } if flat(x) => format!("F.pad({}, ({before}, {after}))", get(x)?),
            Op::Pad { x, before, after } => format!("F.pad({}, (0, 0, 0, 0, {before}, {after}))", get(x)?),
            Op::MaxPool { x, kernel, stride, padding } => {
                format!("F.max_pool2d({}, {kernel}, {stride}, {padding})", get(x)?)
            }
            Op::AvgPool { x, kernel: 1, stride, .. } => format!("{}[:, :, ::{stride}, ::{stride}]", get(x)?),
            Op::AvgPool { x, kernel, stride, ceil_mode } => {
                let ceil = if *ceil_mode { ", ceil_mode=True" } else { "" };
                format!("F.avg_pool2d({}, {kernel}, {stride}{ceil})", get(x)?)
            }
            Op::GlobalAvgPool { x } => format!("{}.mean((2, 3))", get(x)?),
            Op::Linear { x, linear } => {
                let (x, path, (inputs, outputs)) = (get(x)?, self.path(linear.weight(), "weight")?, linear.features());
                self.modules.add(&path, Made::Module(format!("nn.Linear({inputs}, {outputs})")));
                format!("\0{path}\0({x})")
            }
            Op::Product { x, by } => {
                let shape = if flat(by) && !flat(x) { "[:, :, None, None]" } else { "" };
                format!("{} * {}{shape}", get(x)?, get(by)?)
            }
            Op::Map { x, map: Map::Sigmoid } => format!("torch.sigmoid({})", get(x)?),
            Op::Map { x, map: Map::Relu6 } => format!("F.relu6({})", get(x)?),
            Op::CrossedGate { x, gate, threshold } => {
                format!("crossed_gate({}, {}, {threshold})", get(x)?, get(gate)?)
            }
            Op::GroupNorm { x, norm } => {
                let x = get(x)?;
                format!("{}({x})", self.group_norm(norm)?)
            }
            Op::Upsample { x, factor, like } => match like {
                Some(like) => format!("upsample({}, {factor}, {})", get(x)?, get(like)?),
                None => format!("upsample({}, {factor})", get(x)?),
            },
        })
    }

    /// The path of the module that a parameter is the `own` of, from this body's `self`.
    fn path(&self, tensor: &Tensor, own: &str) -> Result<String> {
        let name = self.exported.name(tensor)?;
        let within = match self.prefix.as_str() {
            "" => Some(name),
            prefix => name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')),
        };
        let within = within.with_context(|| format!("`{name}` is no parameter of `{}`", self.prefix))?;
        let path = if own.is_empty() { Some(within) } else { within.strip_suffix(own) };
        let path = path.with_context(|| format!("`{name}` is called otherwise than `{own}`"))?;
        Ok(path.trim_end_matches('.').to_owned())
    }

    fn conv(&mut self, conv: &Conv2d) -> Result<String> {
        let ConvSpec { in_channels, out_channels, kernel, stride, padding, groups, bias } = *conv.spec();
        let mut made_with = format!("{in_channels}, {out_channels}, {kernel}");
        for (key, value, usual) in [("stride", stride, 1), ("padding", padding, 0), ("groups", groups, 1)] {
            if value != usual {
                made_with += &format!(", {key}={value}");
            }
        }
        if !bias {
            made_with += ", bias=False";
        }
        let path = self.path(conv.weight(), "weight")?;
        if path.is_empty() {
            self.base = Some(made_with);
            return Ok("super().forward".to_owned());
        }
        self.modules.add(&path, Made::Module(format!("nn.Conv2d({made_with})")));
        Ok(format!("\0{path}\0"))
    }

    fn norm(&mut self, norm: &BatchNorm2d, flat: bool) -> Result<String> {
        let path = self.path(norm.parameters()[0], "weight")?;
        let (kind, eps) = (if flat { "BatchNorm1d" } else { "BatchNorm2d" }, eps(norm.eps()));
        self.modules.add(&path, Made::Module(format!("nn.{kind}({}{eps})", norm.channels())));
        Ok(format!("\0{path}\0"))
    }

    fn group_norm(&mut self, norm: &GroupNorm) -> Result<String> {
        let path = self.path(norm.parameters()[0], "weight")?;
        let kind = if norm.has_shares() { "SharedGroupNorm" } else { "nn.GroupNorm" };
        let made = format!("{kind}({}, {}{})", norm.groups(), norm.channels(), eps(norm.eps()));
        self.modules.add(&path, Made::Module(made));
        Ok(format!("\0{path}\0"))
    }

    /// The lines, with accesses to modules in place of their paths.
    fn finished_lines(&self) -> Vec<String> {
        let finished = |line: &String| {
            let parts = line.split('\0').enumerate();
            parts
                .map(|(place, part)| if place % 2 == 1 { self.modules.access(part) } else { part.to_owned() })
                .collect()
        };
        self.lines.iter().map(finished).collect()
    }

    /// The class that it makes.
    pub(super) fn into_class(self, name: String) -> Class {
        let returned: Vec<&str> = self.outputs().iter().filter_map(|&output| self.variable(output).ok()).collect();
        let mut lines = self.finished_lines();
        lines.push(format!("return {}", returned.join(", ")));
        let base = match self.base {
            Some(made_with) => ("nn.Conv2d".to_owned(), made_with),
            None => ("nn.Module".to_owned(), String::new()),
        };
        let parameters = self.inputs.into_iter().map(|(_, name)| name).collect();
        Class {
            base_name: name.clone(),
            name,
            base,
            setup: vec![],
            modules: self.modules,
            parameters,
            lines,
            layers: vec![],
        }
    }
}

fn eps(eps: f64) -> String {
    if eps == EPS { String::new() } else { format!(", eps={eps}") }
}
