//! What every ResNet is: a stem, residual blocks, a global average and a linear layer. He et al., "Deep Residual Learning
//! for Image Recognition" (arXiv 1512.03385).
//!
//! A block's last convolution gets the block's input (or its shortcut) as the unit's residual, and its ReLU follows the
//! addition. [`super::resnet_cifar`] and [`super::resnet_imagenet`] say which blocks there are.

use std::collections::BTreeMap;
use std::ops::Range;

use baselines::pruning::{Coupling, Place};
use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use conv_core::{ConvSpec, Network, Role, Scope, UnitSpec, Value};

use super::{Assignment, Backbone, Builder, Layer, LayerKind};
use crate::data::Geometry;

/// How a shortcut reaches the shape of its block's output, where that differs from its input's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Widening {
    /// Option A: every other pixel, and zeros for the new channels, half of them before and half behind. No parameters.
    Pad,
    /// Option B: a strided 1 x 1 convolution with batch norm, `downsample`.
    Project,
}

/// One convolution of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockConv {
    pub out_channels: usize,
    pub kernel: usize,
    pub stride: usize,
}

/// A ResNet's architecture.
#[derive(Clone)]
pub(super) struct ResNet {
    name: String,
    /// In execution order: the stem; every block's projection, if it has one, and convolutions; `fc`.
    layers: Vec<Layer>,
    /// 3 x 3 max pooling of stride 2 behind the stem.
    max_pool: bool,
    blocks: Vec<Block>,
}

/// A residual block, as indices into the layers.
#[derive(Clone)]
struct Block {
    /// Counted from 1.
    stage: usize,
    shortcut: Shortcut,
    convs: Range<usize>,
}

/// A block's way around its convolutions.
#[derive(Clone)]
enum Shortcut {
    Identity,
    Pad {
        stride: usize,
    },
    /// Index of the projection.
    Project(usize),
}

impl ResNet {
    /// The stem for images of this geometry, and a network to add blocks to.
    ///
    /// # Errors
    /// Images that the stem does not fit on.
    pub(super) fn new(name: &str, geometry: &Geometry, stem: ConvSpec, max_pool: bool) -> Result<Self> {
        let (_, h, w) = geometry.shape;
        let output = stem.output_size((h, w))?;
        let unit = LayerKind::Unit(UnitSpec::conv_bn_relu(stem, Role::Stem));
        let layers = vec![Layer { name: "conv1".to_owned(), kind: unit, input: (h, w), output }];
        Ok(Self { name: name.to_owned(), layers, max_pool, blocks: Vec::new() })
    }

    /// Appends a block (`layer{stage}.{index}`) of these convolutions; the last one's output meets the shortcut.
    ///
    /// # Errors
    /// An image smaller than a kernel.
    pub(super) fn push_block(
        &mut self,
        (stage, index): (usize, usize),
        convs: &[BlockConv],
        widening: Widening,
    ) -> Result<()> {
        let (in_channels, input) = self.output()?;
        let stride: usize = convs.iter().map(|conv| conv.stride).product();
        let channels = convs.last().map_or(in_channels, |conv| conv.out_channels);
        let shortcut = match widening {
            _ if stride == 1 && channels == in_channels => Shortcut::Identity,
            Widening::Pad => Shortcut::Pad { stride },
            Widening::Project => {
                let conv = ConvSpec::same(in_channels, channels, 1, stride);
                self.layers.push(Layer {
                    name: format!("layer{stage}.{index}.downsample"),
                    input,
                    output: conv.output_size(input)?,
                    kind: LayerKind::Unit(UnitSpec::conv_bn(conv, Role::Shortcut)),
                });
                Shortcut::Project(self.layers.len() - 1)
            }
        };
        let start = self.layers.len();
        let (mut channels, mut size) = (in_channels, input);
        for (number, conv) in convs.iter().enumerate() {
            let spec = ConvSpec::same(channels, conv.out_channels, conv.kernel, conv.stride);
            let role = if conv.kernel == 1 { Role::Pointwise } else { Role::Spatial };
            let input = size;
            (channels, size) = (conv.out_channels, spec.output_size(input)?);
            self.layers.push(Layer {
                name: format!("layer{stage}.{index}.conv{}", number + 1),
                kind: LayerKind::Unit(UnitSpec::conv_bn_relu(spec, role)),
                input,
                output: size,
            });
        }
        self.blocks.push(Block { stage, shortcut, convs: start..self.layers.len() });
        Ok(())
    }

    /// Appends the classifier.
    ///
    /// # Errors
    /// None for a network that [`ResNet::new`] began.
    pub(super) fn finish(mut self, classes: usize) -> Result<Self> {
        let (inputs, _) = self.output()?;
        let kind = LayerKind::Linear { inputs, outputs: classes, norm: false };
        self.layers.push(Layer { name: "fc".to_owned(), kind, input: (1, 1), output: (1, 1) });
        Ok(self)
    }

    fn build_block(&self, network: &mut Builder<'_>, block: &Block, x: Value) -> Result<Value> {
        let shortcut = match block.shortcut {
            Shortcut::Identity => x,
            Shortcut::Pad { stride } => pad(&mut network.net, x, stride, self.width_of(block))?,
            Shortcut::Project(index) => network.unit(&self.layers[index], x, None)?,
        };
        let mut y = x;
        for index in block.convs.clone() {
            let residual = (index + 1 == block.convs.end).then_some(shortcut);
            y = network.unit(&self.layers[index], y, residual)?;
        }
        Ok(y)
    }

    /// The last convolution of a block, whose output meets the shortcut.
    fn last(&self, block: &Block) -> &Layer {
        &self.layers[block.convs.end - 1]
    }

    /// Channels of a block's output.
    fn width_of(&self, block: &Block) -> usize {
        super::outputs(self.last(block))
    }

    /// What residual additions tie together: the stem and all that is added to its output, and what each later projection or
    /// padding begins.
    ///
    /// A padded shortcut (option A) hands its channels on to the middle ones of a wider block: filters of an earlier stage are
    /// tied to their places in all later ones, and the channels that the padding adds are the later stage's own.
    fn residual(&self) -> Vec<Coupling> {
        let stem = &self.layers[0];
        let mut couplings = vec![Coupling::plain(&stem.name, &[], super::outputs(stem), 1, 1)];
        // The couplings whose filters the running sum has, and where.
        let mut sum: Vec<(usize, Vec<usize>)> = vec![(0, (0..super::outputs(stem)).collect())];
        let place =
            |layer: &Layer, channels: &[usize]| Place { layer: layer.name.clone(), channels: channels.to_vec() };
        let mut number = 1;
        for block in &self.blocks {
            number += block.convs.len();
            let projection =
                if let Shortcut::Project(index) = block.shortcut { Some(&self.layers[index]) } else { None };
            for (coupling, channels) in &sum {
                let readers = projection.into_iter().chain([&self.layers[block.convs.start]]);
                couplings[*coupling].consumers.extend(readers.map(|layer| place(layer, channels)));
            }
            let (last, width) = (self.last(block), self.width_of(block));
            let own = match block.shortcut {
                Shortcut::Identity => vec![],
                Shortcut::Project(_) => {
                    sum.clear();
                    (0..width).collect()
                }
                Shortcut::Pad { .. } => {
                    let before: usize = sum.iter().map(|(_, channels)| channels.len()).sum();
                    let front = (width - before) / 2;
                    sum.iter_mut().flat_map(|(_, channels)| channels).for_each(|channel| *channel += front);
                    (0..front).chain(front + before..width).collect()
                }
            };
            if !own.is_empty() {
                let producers = projection.map(|layer| place(layer, &own)).into_iter().collect();
                couplings.push(Coupling { producers, consumers: vec![], number, stage: block.stage });
                sum.push((couplings.len() - 1, own));
            }
            for (coupling, channels) in &sum {
                couplings[*coupling].producers.push(place(last, channels));
            }
        }
        if let Some(classifier) = self.layers.last() {
            for (coupling, channels) in &sum {
                couplings[*coupling].consumers.push(place(classifier, channels));
            }
        }
        couplings
    }

    /// Channels and size of what the network computes so far.
    fn output(&self) -> Result<(usize, (usize, usize))> {
        let Some(Layer { kind: LayerKind::Unit(unit), output: (h, w), .. }) = self.layers.last() else {
            bail!("{}: nothing follows the classifier", self.name)
        };
        let pooled = |size: &usize| if self.max_pool && self.blocks.is_empty() { (size - 1) / 2 + 1 } else { *size };
        Ok((unit.conv.out_channels, (pooled(h), pooled(w))))
    }
}

impl Backbone for ResNet {
    fn name(&self) -> &str {
        &self.name
    }

    fn layers(&self) -> Vec<Layer> {
        self.layers.clone()
    }

    fn build(&self, methods: &dyn Assignment, vb: VarBuilder<'_>) -> Result<Network> {
        let Some(classifier) = self.layers.last() else { bail!("{}: no classifier", self.name) };
        let stem = &self.layers[0];
        Network::build(super::unit_spec(stem)?.conv.in_channels, |graph, images| {
            let mut network = Builder::new(methods, graph, vb);
            let mut x = network.unit(stem, images, None)?;
            if self.max_pool {
                x = network.net.max_pool(x, 3, 2, 1)?;
            }
            for block in &self.blocks {
                x = self.build_block(&mut network, block, x)?;
            }
            let features = network.net.global_avg_pool(x)?;
            network.linear(classifier, features)
        })
    }

    /// Every convolution of a block but the last, whose filters the residual addition ties to other blocks'; then, if asked for,
    /// those. Projections are not counted in the numbers.
    fn prunable(&self, residual: bool) -> Vec<Coupling> {
        let mut number = 1;
        let mut couplings = Vec::new();
        for block in &self.blocks {
            for pair in self.layers[block.convs.clone()].windows(2) {
                number += 1;
                let filters = super::outputs(&pair[0]);
                couplings.push(Coupling::plain(&pair[0].name, &[&pair[1].name], filters, number, block.stage));
            }
            number += 1;
        }
        if residual {
            couplings.extend(self.residual());
        }
        couplings
    }

    fn with_widths(&self, widths: &BTreeMap<String, usize>) -> Result<Box<dyn Backbone>> {
        let layers = super::with_widths(&self.layers, &self.prunable(true), widths)?;
        Ok(Box::new(Self { layers, ..self.clone() }))
    }
}

/// Option A: `[n, c, h, w] -> [n, channels, ceil(h / stride), ceil(w / stride)]`.
fn pad(net: &mut Scope<'_>, x: Value, stride: usize, channels: usize) -> Result<Value> {
    // The average over a 1 x 1 window is the pixel itself: a strided slice, in one pass there and one back.
    let x = net.avg_pool(x, 1, stride, false)?;
    let Some(new) = channels.checked_sub(net.channels(x)) else {
        bail!("a padded shortcut cannot go from {} channels down to {channels}", net.channels(x))
    };
    net.pad_channels(x, new / 2, new - new / 2)
}
