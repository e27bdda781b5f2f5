//! A `GraphProto` while it is written: nodes in their order, and constants by name, each once.

use std::collections::BTreeSet;

use crate::protobuf::Message;

/// `TensorProto.DataType` of f32.
pub(super) const FLOAT: i64 = 1;
/// That of i64.
const INT64: i64 = 7;

/// What sets how a node computes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attribute<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Float(&'a str, f32),
    Text(&'a str, &'a str),
}

impl Attribute<'_> {
    /// An `AttributeProto`.
    fn message(self) -> Message {
        let (name, value, kind) = match self {
            Self::Float(name, value) => (name, Message::new().float(2, value), 1),
            Self::Int(name, value) => (name, Message::new().int(3, value), 2),
            Self::Text(name, value) => (name, Message::new().text(4, value), 3),
            Self::Ints(name, values) => (name, Message::new().ints(8, values), 7),
        };
        value.text(1, name).int(20, kind)
    }
}

/// Nodes and constants.
#[derive(Default)]
pub(super) struct OnnxGraph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    known: BTreeSet<String>,
    /// The layer that is being written; names begin with it.
    layer: String,
    count: usize,
}

impl OnnxGraph {
    /// What follows is of this layer.
    pub(super) fn enter(&mut self, layer: &str) {
        layer.clone_into(&mut self.layer);
    }

    /// Appends a node with one output, whose name is returned.
    pub(super) fn node(&mut self, kind: &str, inputs: &[&str], attributes: &[Attribute<'_>]) -> String {
        self.count += 1;
        let layer = if self.layer.is_empty() { "network" } else { &self.layer };
        let name = format!("{layer}/{kind}_{}", self.count);
        self.push(kind, inputs, &name, &name.clone(), attributes);
        name
    }

    /// Appends the node whose output has a name of its own.
    pub(super) fn last(&mut self, kind: &str, inputs: &[&str], output: &str) {
        self.push(kind, inputs, output, output, &[]);
    }

    fn push(&mut self, kind: &str, inputs: &[&str], output: &str, name: &str, attributes: &[Attribute<'_>]) {
        let read = inputs.iter().fold(Message::new(), |node, input| node.text(1, input));
        let node = read.text(2, output).text(3, name).text(4, kind);
        self.nodes.push(attributes.iter().fold(node, |node, attribute| node.message(5, &attribute.message())));
    }

    /// A constant of floats, under a name that means the same wherever it is used; the name.
    pub(super) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        self.constant(name, FLOAT, dims, || values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// A list of integers; its name.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        let name = format!("ints{values:?}").replace(' ', "");
        self.constant(&name, INT64, &[values.len()], || values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// A number; its name.
    pub(super) fn float(&mut self, value: f32) -> String {
        self.floats(&format!("float[{value}]"), &[], &[value])
    }

    /// A `TensorProto`.
    fn constant(&mut self, name: &str, kind: i64, dims: &[usize], bytes: impl FnOnce() -> Vec<u8>) -> String {
        if self.known.insert(name.to_owned()) {
            let shaped = dims.iter().fold(Message::new(), |tensor, &dim| tensor.int(1, dim as i64));
            self.constants.push(shaped.int(2, kind).text(8, name).bytes(9, &bytes()));
        }
        name.to_owned()
    }

    /// The `GraphProto`, with its input and output.
    pub(super) fn into_message(self, name: &str, input: &Message, output: &Message) -> Message {
        let nodes = self.nodes.iter().fold(Message::new(), |graph, node| graph.message(1, node)).text(2, name);
        let constants = self.constants.iter().fold(nodes, |graph, constant| graph.message(5, constant));
        constants.message(11, input).message(12, output)
    }
}
