//! Pickles, read without running anything: lists, dicts, bytes, text, numbers and numpy arrays, and nothing else.
//!
//! Python's own reader calls whatever a file names. This one knows a handful of names, those that numpy and Python write for plain
//! data, and what each stands for; any other is an error that names it. Values lie in one list and refer to each other by place, so
//! that no file, however it refers to itself, makes more of them than it has bytes.

mod calls;
mod letters;
mod machine;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};

use machine::Machine;

/// A value by its place.
type Id = usize;

#[derive(Clone, Debug, PartialEq)]
enum Node {
    None,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Bytes(Vec<u8>),
    Text(String),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Something that is called by name.
    Global(String, String),
    /// A numpy type, such as `u1`, and whether its bytes are the other way round.
    Kind(String, bool),
    /// A numpy array; the first kind of it is empty, until its state is there.
    Array {
        shape: Vec<usize>,
        kind: String,
        bytes: Vec<u8>,
    },
}

/// A pickle that was read.
#[derive(Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

/// One of its values.
#[derive(Clone, Copy, Debug)]
pub struct Value<'p> {
    pickle: &'p Pickle,
    id: Id,
}

/// A numpy array: bytes in the order of its indices, the last one running fastest, numbers little-endian.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'p> {
    /// Its sides.
    pub shape: &'p [usize],
    /// Its numbers, as numpy names them: `u1`, `i8`, `f4`.
    pub kind: &'p str,
    /// All of them.
    pub bytes: &'p [u8],
}

impl Pickle {
    /// Reads a pickle of any protocol up to 5.
    ///
    /// # Errors
    /// What is none, or is cut short; what would call something that makes no plain data, with its name.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut machine = Machine::new(bytes);
        loop {
            let at = bytes.len() - machine.left();
            let done = machine.step().with_context(|| format!("a pickle, at byte {at}"))?;
            if let Some(root) = done {
                return Ok(Self { nodes: machine.into_nodes(), root });
            }
        }
    }

    /// The whole.
    pub fn root(&self) -> Value<'_> {
        Value { pickle: self, id: self.root }
    }
}

impl<'p> Value<'p> {
    fn node(self) -> &'p Node {
        &self.pickle.nodes[self.id]
    }

    fn of(self, id: Id) -> Self {
        Self { id, ..self }
    }

    /// What a dict has under a key, be it bytes or text; none without it, or where this is no dict.
    pub fn get(self, key: &str) -> Option<Self> {
        let Node::Dict(items) = self.node() else { return None };
        // Of a key that comes twice the last counts, as in Python.
        let found = items.iter().rev().find(|(name, _)| self.of(*name).bytes() == Some(key.as_bytes()));
        found.map(|(_, value)| self.of(*value))
    }

    /// Bytes, or text in UTF-8.
    pub fn bytes(self) -> Option<&'p [u8]> {
        match self.node() {
            Node::Bytes(bytes) => Some(bytes),
            Node::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// An integer, or an array of one.
    pub fn integer(self) -> Option<i64> {
        match self.node() {
            Node::Integer(value) => Some(*value),
            Node::Bool(value) => Some(i64::from(*value)),
            Node::Array { shape, .. } if shape.is_empty() => self.array()?.integers()?.first().copied(),
            _ => None,
        }
    }

    /// The values of a list or tuple.
    pub fn items(self) -> Option<Vec<Self>> {
        match self.node() {
            Node::List(items) | Node::Tuple(items) => Some(items.iter().map(|id| self.of(*id)).collect()),
            _ => None,
        }
    }

    /// Integers: a list of them, or an array.
    pub fn integers(self) -> Option<Vec<i64>> {
        match self.items() {
            Some(items) => items.into_iter().map(Self::integer).collect(),
            None => self.array()?.integers(),
        }
    }

    /// A numpy array.
    pub fn array(self) -> Option<Array<'p>> {
        match self.node() {
            Node::Array { shape, kind, bytes } if !kind.is_empty() => Some(Array { shape, kind, bytes }),
            _ => None,
        }
    }

    /// What it is, in a word.
    pub fn name(self) -> &'static str {
        match self.node() {
            Node::None => "nothing",
            Node::Bool(_) => "a truth value",
            Node::Integer(_) | Node::Float(_) => "a number",
            Node::Bytes(_) => "bytes",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Dict(_) => "a dict",
            Node::Global(..) | Node::Kind(..) => "a name",
            Node::Array { .. } => "an array",
        }
    }
}

impl Array<'_> {
    /// Its numbers, where they are integers of up to eight bytes.
    pub fn integers(&self) -> Option<Vec<i64>> {
        let size = self.kind.get(1..)?.parse::<usize>().ok().filter(|size| [1, 2, 4, 8].contains(size))?;
        let number = |bytes: &[u8]| {
            let mut wide = [if self.kind.starts_with('i') && bytes[size - 1] >= 128 { 255 } else { 0 }; 8];
            wide[..size].copy_from_slice(bytes);
            i64::from_le_bytes(wide)
        };
        matches!(self.kind.as_bytes()[0], b'i' | b'u' | b'b')
            .then(|| self.bytes.chunks_exact(size).map(number).collect())
    }
}
