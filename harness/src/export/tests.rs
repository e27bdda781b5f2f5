//! What files are made of, without the programs that they are for: those hold them in `tests/it/export.rs`.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::Init;
use conv_core::{ConvSpec, Cost, Custom, Graph, ParamStore, Scope, Value};

use super::*;
use crate::backbones;
use crate::config::BackboneConfig;
use crate::data::{Geometry, Normalization};

const SHAPE: (usize, usize, usize) = (3, 9, 7);

/// What is written down on an image of [`SHAPE`], and how it is exported.
struct Written {
    network: Network,
    store: ParamStore,
    backbone: Box<dyn Backbone>,
    input: InputSpec,
}

impl Written {
    fn new(write: impl FnOnce(&mut Scope<'_>, Value) -> candle_core::Result<Value>) -> Self {
        let store = ParamStore::new(3, &Device::Cpu);
        let (mut graph, vb) = (Graph::new(), store.builder());
        let images = graph.input(SHAPE.0);
        let output = write(&mut Scope::build(&mut graph, vb), images).unwrap();
        let geometry = Geometry { shape: SHAPE, classes: 4 };
        let normalization =
            Normalization { mean: vec![0.5, 0.25, 0.125], std: vec![0.25, 0.5, 1.0], of: String::new() };
        let config = BackboneConfig { name: "resnet20".into(), ..BackboneConfig::default() };
        let backbone = backbones::by_name(&config, &geometry, 1.0).unwrap();
        Self { network: Network::new(graph, output), store, backbone, input: InputSpec { geometry, normalization } }
    }

    fn exported(&self) -> Result<Exported<'_>> {
        let tensors = self.store.named().into_iter().map(|(name, var)| (name, var.as_tensor().clone())).collect();
        let facts = [("label".to_owned(), "a label\nof two lines".to_owned())].into();
        Exported::new(&self.network, &*self.backbone, &self.input, tensors, facts)
    }
}

/// Every operation that a method can write, but for one that no file can hold.
fn everything() -> Written {
    Written::new(|net, images| {
        let x = net.conv("stem", ConvSpec::same(3, 8, 3, 2), true, true, images)?;
        let x = net.bias("stem.shift", x)?;
        let tied =
            net.within("blocks.0", |net| net.tied_conv("conv", ConvSpec::same(8, 8, 1, 1).grouped(2), &[x, x]))?;
        let gate = net.group_norm("gate", 4, true, tied[0])?;
        let gated = net.crossed_gate(tied[1], gate, 0.5)?;
        let shuffled = net.shuffle(gated, 2)?;
        let low = net.avg_pool(shuffled, 2, 2, true)?;
        let high = net.upsample(low, 2, Some(shuffled))?;
        let means = [net.global_avg_pool(high)?, net.global_avg_pool(x)?];
        let shares = net.softmax_between(&means)?;
        let weighted = net.product(high, shares[0])?;
        let normed = net.group_norm("norm", 2, false, weighted)?;
        let clipped = net.relu6(normed)?;
        let share = net.sigmoid(clipped)?;
        let y = net.product(clipped, share)?;
        let y = net.avg_pool(y, 1, 2, false)?;
        let y = net.pad_channels(y, 1, 2)?;
        let part = net.slice(y, 1..9)?;
        let y = net.concat(&[part, y])?;
        let y = net.max_pool(y, 3, 2, 1)?;
        let y = net.global_avg_pool(y)?;
        let y = net.linear("fc", 4, y)?;
        net.norm("fc.bn", true, y)
    })
}

/// Number and content of each field of a message: enough to read what was written here.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = bytes.split_first().unwrap();
            (value, *bytes) = (value | u64::from(byte & 0x7f) << shift, rest);
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                varint(&mut bytes);
                0
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            _ => 4,
        };
        let (content, rest) = bytes.split_at(length);
        found.push((key >> 3, content));
        bytes = rest;
    }
    found
}

fn texts(message: &[u8], field: u64) -> Vec<String> {
    let of_field = fields(message).into_iter().filter(|(number, _)| *number == field);
    of_field.map(|(_, content)| String::from_utf8(content.to_vec()).unwrap()).collect()
}

#[test]
fn onnx_has_a_node_for_what_every_operation_does() {
    let dir = tempfile::tempdir().unwrap();
    let written = everything();
    let paths = written.exported().unwrap().write(Format::Onnx, dir.path()).unwrap();
    let bytes = fs::read(&paths[0]).unwrap();
    let model = fields(&bytes);
    let graph = model.iter().find(|(number, _)| *number == 7).unwrap().1;
    let nodes: Vec<&[u8]> =
        fields(graph).into_iter().filter(|(number, _)| *number == 1).map(|(_, node)| node).collect();
    let kinds: Vec<String> = nodes.iter().flat_map(|node| texts(node, 4)).collect();
    let expected = "Sub Div Conv BatchNormalization Relu Add Conv Conv \
                    Shape Reshape InstanceNormalization Reshape Mul Add \
                    Sigmoid Greater Where Mul Where Mul Slice Slice Concat Add \
                    Shape Reshape Transpose Reshape AveragePool Resize Shape Slice \
                    GlobalAveragePool Flatten GlobalAveragePool Flatten \
                    Concat Shape Reshape Softmax Reshape Slice Slice Unsqueeze Mul \
                    Shape Reshape InstanceNormalization Reshape Mul Add Clip Sigmoid Mul \
                    AveragePool Pad Slice Concat MaxPool GlobalAveragePool Flatten Gemm BatchNormalization Relu Identity";
    assert_eq!(kinds.join(" "), expected);
    // Constants are there once, and every input of a node is there before it.
    let constants: Vec<String> = fields(graph)
        .into_iter()
        .filter(|(number, _)| *number == 5)
        .flat_map(|(_, constant)| texts(constant, 8))
        .collect();
    let mut known: std::collections::BTreeSet<String> = constants.iter().cloned().collect();
    assert_eq!(known.len(), constants.len());
    known.extend(["images".to_owned(), String::new()]);
    for node in nodes {
        for input in texts(node, 1) {
            assert!(known.contains(&input), "{input}");
        }
        known.extend(texts(node, 2));
    }
    assert!(known.contains("logits"));
}

#[test]
fn pytorch_code_can_be_read() {
    let written = everything();
    let source = torch::source(&written.exported().unwrap()).unwrap();
    let network = &source[source.find("class Network").unwrap()..source.find("def load").unwrap()];
    insta::assert_snapshot!(network);
    assert!(source.contains("# label: a label of two lines\n"));
}

#[test]
fn equal_networks_are_equal_files() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for format in [Format::Onnx, Format::Pytorch, Format::Safetensors] {
        let write = |dir: &Path| everything().exported().unwrap().write(format, dir).unwrap();
        for (one, other) in write(first.path()).iter().zip(write(second.path())) {
            assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{}", one.display());
        }
    }
}

#[test]
fn a_custom_operation_is_named_by_its_layer() {
    let written = Written::new(|net, x| {
        let custom = Custom {
            text: "twice",
            parameters: &[("scale", &[1], Init::Const(2.0))],
            channels: 3,
            size: &|size| size,
            cost: &|_| Cost::default(),
            run: Arc::new(|inputs: &[Tensor], parameters: &[Tensor], _| inputs[0].broadcast_mul(&parameters[0])),
        };
        net.custom(&[x], &custom)
    });
    let error = written.exported().err().unwrap().to_string();
    assert!(error.contains("which no file can hold"), "{error}");
    assert_eq!(DType::F32, written.store.named()[0].1.dtype());
}
