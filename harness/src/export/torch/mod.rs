//! PyTorch: `model.py`, which needs nothing but PyTorch, and `weights.pth`, a state dict that plain `torch.load` reads.
//!
//! The code is made for reading: a class for each distinct unit, a network of them whose `forward` is the graph in its order, and the
//! parameter names of this harness.

mod body;
mod module;
mod pickle;
mod state_dict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::body::{Body, Call};
use self::module::Class;
use super::Exported;
use crate::backbones::LayerKind;
use crate::data::Normalization;
use crate::files::write_atomic;

const HEAD: &str = include_str!("head.py");
/// Functions and classes of which a file holds those that it uses.
const HELPERS: &str = include_str!("helpers.py");
const FOOT: &str = include_str!("foot.py");

/// Writes both files.
///
/// # Errors
/// A file that cannot be written.
pub(super) fn write(exported: &Exported<'_>, folder: &Path) -> Result<Vec<PathBuf>> {
    let (code, weights) = (folder.join("model.py"), folder.join("weights.pth"));
    write_atomic(&code, source(exported)?.as_bytes())?;
    write_atomic(&weights, &state_dict::bytes(&exported.tensors)?)?;
    Ok(vec![code, weights])
}

/// The text of `model.py`.
pub(super) fn source(exported: &Exported<'_>) -> Result<String> {
    let (classes, network) = classes(exported)?;
    let mut text = String::new();
    for (key, value) in exported.metadata() {
        // Labels are anyone's text.
        text += &format!("# {key}: {}\n", value.replace(['\n', '\r'], " "));
    }
    text += HEAD;
    let code = classes.iter().map(|class| class.text() + "\n\n").collect::<String>() + &network.text();
    for helper in HELPERS.split("\n\n\n") {
        let name = helper.split(['(', ' ']).nth(1).unwrap_or_default();
        if code.contains(&format!("{name}(")) {
            text += &format!("{}\n\n\n", helper.trim_end());
        }
    }
    let (c, h, w) = exported.input.geometry.shape;
    Ok(text + &code + &FOOT.replace("SHAPE", &format!("({c}, {h}, {w})")))
}

/// A class for each distinct unit, and that of the network.
fn classes(exported: &Exported<'_>) -> Result<(Vec<Class>, Class)> {
    let graph = exported.network.graph();
    let specs: BTreeMap<String, LayerKind> =
        exported.backbone.layers().into_iter().map(|layer| (layer.name, layer.kind)).collect();
    let mut classes: Vec<Class> = Vec::new();
    let mut network = Body::of_network(exported);
    let mut index = 1;
    while index < graph.ops().len() {
        // Of units within units the outermost.
        let unit =
            graph.units().iter().filter(|(_, places)| places.start == index).max_by_key(|(_, places)| places.end);
        let Some((name, places)) = unit.filter(|(_, places)| !places.is_empty()) else {
            network.op(index).with_context(|| format!("exporting operation {index}"))?;
            index += 1;
            continue;
        };
        let mut body = Body::of_unit(exported, name, places.clone());
        for place in places.clone() {
            body.op(place).with_context(|| format!("exporting `{name}`"))?;
        }
        let call = Call { inputs: body.inputs(), outputs: body.outputs() };
        let mut class = body.into_class(class_name(specs.get(name)));
        let known = classes.iter_mut().find(|known| known.same(&class));
        let class_name = match known {
            Some(known) => {
                known.layers.push(name.clone());
                known.name.clone()
            }
            None => {
                let taken = classes.iter().filter(|known| known.base_name == class.base_name).count();
                if taken > 0 {
                    class.name = format!("{}_{}", class.base_name, taken + 1);
                }
                class.layers.push(name.clone());
                classes.push(class);
                classes[classes.len() - 1].name.clone()
            }
        };
        network.call(name, &class_name, &call, places.end);
        index = places.end;
    }
    Ok((classes, network_class(exported, network)))
}

/// What standardises the images, and calls everything in turn.
fn network_class(exported: &Exported<'_>, body: Body<'_>) -> Class {
    let mut class = body.into_class("Network".to_owned());
    let Normalization { mean, std, .. } = &exported.input.normalization;
    let buffer = |name: &str, values: &[f32]| {
        format!("self.register_buffer(\"{name}\", torch.tensor({values:?}).view(-1, 1, 1), persistent=False)")
    };
    class.setup = vec![buffer("mean", mean), buffer("std", std)];
    class.parameters = vec!["images".to_owned()];
    class.lines.insert(0, "x = (images - self.mean) / self.std".to_owned());
    class.layers = vec!["Images [n, c, h, w] in [0, 1] to logits [n, classes].".to_owned()];
    class
}

/// What a unit is called after what was asked of it.
fn class_name(kind: Option<&LayerKind>) -> String {
    let Some(LayerKind::Unit(unit)) = kind else { return "Unit".to_owned() };
    let conv = &unit.conv;
    let (kernel, inputs, outputs) = (conv.kernel, conv.in_channels, conv.out_channels);
    let mut name = match conv.groups {
        1 => format!("Unit{kernel}x{kernel}_{inputs}_{outputs}"),
        groups if groups == inputs && inputs == outputs => format!("Depthwise{kernel}x{kernel}_{inputs}"),
        groups => format!("Unit{kernel}x{kernel}_{inputs}_{outputs}_groups{groups}"),
    };
    if conv.stride != 1 {
        name += &format!("_stride{}", conv.stride);
    }
    name
}
