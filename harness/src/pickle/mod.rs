//! Pickles, read without running anything: lists, dicts, bytes, text, numbers, numpy arrays and PyTorch's tensors.
//!
//! Python's own reader calls whatever a file names. This one knows a handful of names, those that numpy, PyTorch and Python write for
//! plain data, and what each stands for. Any other is an error that names it; in a file of PyTorch's, which may hold a training's
//! odds and ends beside its weights, it is a value of which only its name is known. Values lie in one list and refer to each other
//! by place, so that no file, however it refers to itself, makes more of them than it has bytes.

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
    /// A whole number of more than 64 bits: nothing that is read is one.
    Large,
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
    /// What its file keeps outside of the pickle, under this value.
    Persistent(Id),
    /// A part of what is kept outside: numbers from `offset` on, `strides` apart.
    Tensor {
        storage: Id,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    },
    /// What a call of this name would make: nothing was called.
    Unknown(String),
    /// A tensor of PyTorch's whose numbers are not read, and how they are kept.
    Unread(String),
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

/// Whose files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Data sets: plain data alone.
    Data,
    /// PyTorch's: storages outside of the pickle, and unknown values beside the weights.
    Torch,
}

/// A tensor of PyTorch's as its file describes it. Nothing of it is checked yet.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'p> {
    /// What the file calls the storage: a tuple of `storage`, its type, its name and more.
    pub storage: Value<'p>,
    /// Its first number's place there.
    pub offset: usize,
    /// Its sides.
    pub shape: &'p [usize],
    /// How far apart neighbours lie, for each side, in numbers.
    pub strides: &'p [usize],
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
        Ok(Self::first(bytes, Dialect::Data)?.0)
    }

    /// Reads a pickle of PyTorch's that other bytes may follow; returns how many are its own.
    ///
    /// # Errors
    /// What is none, or is cut short.
    pub fn read_torch(bytes: &[u8]) -> Result<(Self, usize)> {
        Self::first(bytes, Dialect::Torch)
    }

    fn first(bytes: &[u8], dialect: Dialect) -> Result<(Self, usize)> {
        let mut machine = Machine::new(bytes, dialect);
        loop {
            let at = bytes.len() - machine.left();
            let done = machine.step().with_context(|| format!("a pickle, at byte {at}"))?;
            if let Some(root) = done {
                let length = bytes.len() - machine.left();
                return Ok((Self { nodes: machine.into_nodes(), root }, length));
            }
        }
    }

    /// All values, also those that are parts of others.
    pub fn values(&self) -> impl Iterator<Item = Value<'_>> {
        (0..self.nodes.len()).map(|id| Value { pickle: self, id })
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

    /// The keys and values of a dict, as they come; of a key that comes twice the last counts.
    pub fn entries(self) -> Option<impl Iterator<Item = (Self, Self)>> {
        let Node::Dict(items) = self.node() else { return None };
        Some(items.iter().map(move |(key, value)| (self.of(*key), self.of(*value))))
    }

    /// A text.
    pub fn text(self) -> Option<&'p str> {
        self.bytes().and_then(|bytes| str::from_utf8(bytes).ok())
    }

    /// A tensor of PyTorch's.
    pub fn tensor(self) -> Option<TensorView<'p>> {
        match self.node() {
            Node::Tensor { storage, offset, shape, strides } => {
                Some(TensorView { storage: self.of(*storage), offset: *offset, shape, strides })
            }
            _ => None,
        }
    }

    /// How a tensor of PyTorch's is kept that is not read, such as `sparse`.
    pub fn unread(self) -> Option<&'p str> {
        match self.node() {
            Node::Unread(kind) => Some(kind),
            _ => None,
        }
    }

    /// What its file keeps outside of the pickle under this value.
    pub fn persistent(self) -> Option<Self> {
        match self.node() {
            Node::Persistent(id) => Some(self.of(*id)),
            _ => None,
        }
    }

    /// The name of something, or of what would make this value.
    pub fn global(self) -> Option<&'p str> {
        match self.node() {
            Node::Global(_, name) | Node::Unknown(name) => Some(name),
            _ => None,
        }
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
            Node::Integer(_) | Node::Large | Node::Float(_) => "a number",
            Node::Bytes(_) => "bytes",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Tuple(_) => "a tuple",
            Node::Dict(_) => "a dict",
            Node::Global(..) | Node::Kind(..) => "a name",
            Node::Persistent(_) => "a storage",
            Node::Tensor { .. } | Node::Unread(_) => "a tensor",
            Node::Unknown(_) => "an object",
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
