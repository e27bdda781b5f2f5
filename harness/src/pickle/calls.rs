//! What the names that a pickle may call stand for.

use anyhow::{Context, Result, bail, ensure};

use super::machine::Machine;
use super::{Dialect, Id, Node};

/// No numpy array has more dimensions.
const MOST_SIDES: usize = 64;

impl Machine<'_> {
    fn text(&self, id: Id) -> Result<&str> {
        match &self.nodes[id] {
            Node::Text(text) => Ok(text),
            Node::Bytes(bytes) => str::from_utf8(bytes).context("a text that is not UTF-8"),
            _ => bail!("a text is missing"),
        }
    }

    fn items(&self, id: Id) -> Result<&[Id]> {
        match &self.nodes[id] {
            Node::Tuple(items) | Node::List(items) => Ok(items),
            _ => bail!("a tuple is missing"),
        }
    }

    fn sides(&self, id: Id) -> Result<Vec<usize>> {
        let side = |id: &Id| match self.nodes[*id] {
            Node::Integer(side) => usize::try_from(side).context("a negative side"),
            _ => bail!("a side that is no number"),
        };
        let items = self.items(id)?;
        ensure!(items.len() <= MOST_SIDES, "an array of {} dimensions", items.len());
        items.iter().map(side).collect()
    }

    /// What one of the names makes that plain data is made by.
    pub(super) fn call(&self, function: Id, arguments: Id) -> Result<Node> {
        let torch = self.dialect == Dialect::Torch;
        let (module, name) = match &self.nodes[function] {
            Node::Global(module, name) => (module, name),
            Node::Unknown(name) if torch => return self.unknown(name),
            _ => bail!("a call of what is no name"),
        };
        let arguments = self.items(arguments)?;
        // Newer versions of numpy have moved them.
        let module = module.replace("numpy._core", "numpy.core");
        Ok(match (&*module, &**name, arguments) {
            ("numpy.core.multiarray", "_reconstruct", _) => {
                Node::Array { shape: Vec::new(), kind: String::new(), bytes: Vec::new() }
            }
            ("numpy", "dtype", [kind, ..]) => {
                let kind = self.text(*kind)?;
                self.copy(kind.len())?;
                Node::Kind(kind.to_owned(), false)
            }
            ("numpy.core.multiarray", "scalar", [kind, bytes]) => self.array(*kind, Vec::new(), *bytes, false)?,
            ("numpy.core.numeric", "_frombuffer", [bytes, kind, shape, order]) => {
                self.array(*kind, self.sides(*shape)?, *bytes, self.text(*order)? == "F")?
            }
            // Python 3 writes bytes so for Python 2.
            ("_codecs", "encode", [text, _]) => {
                let byte = |letter: char| u8::try_from(u32::from(letter)).context("a letter that is no byte");
                let text = self.text(*text)?;
                self.copy(text.len())?;
                Node::Bytes(text.chars().map(byte).collect::<Result<_>>()?)
            }
            ("__builtin__" | "builtins", "bytes", []) => Node::Bytes(Vec::new()),
            ("__builtin__" | "builtins", "bytearray", [bytes]) => match &self.nodes[*bytes] {
                Node::Bytes(bytes) => {
                    self.copy(bytes.len())?;
                    Node::Bytes(bytes.clone())
                }
                _ => bail!("bytes are missing"),
            },
            ("collections", "OrderedDict", []) => Node::Dict(Vec::new()),
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor", [storage, offset, shape, strides, ..])
                if torch =>
            {
                let Node::Integer(offset) = self.nodes[*offset] else { bail!("a tensor without a place") };
                let offset = usize::try_from(offset).context("a tensor of a negative place")?;
                Node::Tensor { storage: *storage, offset, shape: self.sides(*shape)?, strides: self.sides(*strides)? }
            }
            // A parameter is a tensor, and whether it is trained.
            ("torch._utils", "_rebuild_parameter", [tensor, ..]) if torch => match &self.nodes[*tensor] {
                Node::Tensor { storage, offset, shape, strides } => {
                    Node::Tensor { storage: *storage, offset: *offset, shape: shape.clone(), strides: strides.clone() }
                }
                Node::Unread(kind) => {
                    self.copy(kind.len())?;
                    Node::Unread(kind.clone())
                }
                _ => bail!("a parameter that is no tensor"),
            },
            ("torch._utils" | "torch._tensor", name, arguments) if torch && name.starts_with("_rebuild_") => {
                self.unread(name, arguments)?
            }
            ("torch", "Size", [sides]) if torch => {
                let sides = self.items(*sides)?;
                self.copy(size_of_val(sides))?;
                Node::Tuple(sides.to_vec())
            }
            _ if torch => return self.unknown(&format!("{module}.{name}")),
            _ => bail!(
                "it would call `{module}.{name}`: pickles are read without running anything, and only lists, dicts, bytes, text, \
                 numbers and numpy arrays are known"
            ),
        })
    }

    /// What a call that is not made would give.
    fn unknown(&self, name: &str) -> Result<Node> {
        self.copy(name.len())?;
        Ok(Node::Unknown(name.to_owned()))
    }

    /// A tensor that one of PyTorch's other functions would make.
    fn unread(&self, name: &str, arguments: &[Id]) -> Result<Node> {
        // Types that came after storages had types of their own stand last.
        let last = arguments.last().map(|last| &self.nodes[*last]);
        let kind = match (name, last) {
            ("_rebuild_qtensor", _) => "quantised",
            ("_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor", _) => "sparse",
            ("_rebuild_meta_tensor_no_storage", _) => "meta, without values",
            ("_rebuild_tensor_v3", Some(Node::Global(_, kind))) => kind,
            (other, _) => other,
        };
        self.copy(kind.len())?;
        Ok(Node::Unread(kind.to_owned()))
    }

    /// The class of a module: the oldest form keeps it outside of the pickle, with its source.
    pub(super) fn module_class(&self, outside: Id) -> Option<Node> {
        let Node::Tuple(described) = &self.nodes[outside] else { return None };
        let [kind, class, ..] = described[..] else { return None };
        let Node::Global(module, name) = &self.nodes[class] else { return None };
        let is_module = self.text(kind).ok()? == "module" && self.copy(module.len() + name.len()).is_ok();
        is_module.then(|| Node::Global(module.clone(), name.clone()))
    }

    pub(super) fn build(&mut self, object: Id, state: Id) -> Result<()> {
        let made = match &self.nodes[object] {
            // Version, shape, type, whether columns come first, bytes.
            Node::Array { kind, .. } if kind.is_empty() => match *self.items(state)? {
                [_, shape, kind, columns, bytes] => {
                    let columns = matches!(self.nodes[columns], Node::Bool(true) | Node::Integer(1));
                    self.array(kind, self.sides(shape)?, bytes, columns)?
                }
                _ => bail!("an array whose state is none"),
            },
            Node::Kind(kind, _) => match self.items(state)? {
                [_, order, ..] => Node::Kind(kind.clone(), self.text(*order)? == ">"),
                _ => bail!("a numpy type whose state is none"),
            },
            // Notes on modules beside a dict of weights; what an object would be given.
            Node::Dict(_) | Node::Unknown(_) if self.dialect == Dialect::Torch => return Ok(()),
            _ => bail!("a state for what has none"),
        };
        self.nodes[object] = made;
        Ok(())
    }

    fn array(&self, kind: Id, shape: Vec<usize>, bytes: Id, columns_first: bool) -> Result<Node> {
        let Node::Kind(kind, swapped) = &self.nodes[kind] else { bail!("an array without a type") };
        let size: usize = kind
            .get(1..)
            .and_then(|size| size.parse().ok())
            .filter(|size| (1..=16).contains(size))
            .with_context(|| format!("an array of `{kind}`, where numbers are expected"))?;
        ensure!(kind.starts_with(['b', 'i', 'u', 'f']), "an array of `{kind}`, where numbers are expected");
        let mut bytes = match &self.nodes[bytes] {
            Node::Bytes(bytes) => {
                self.copy(bytes.len())?;
                bytes.clone()
            }
            // As texts of Python 2 are read, which had no bytes.
            Node::Text(text) if self.copy(text.len()).is_ok() => {
                text.chars().map(|letter| u8::try_from(u32::from(letter))).collect::<Result<_, _>>()?
            }
            _ => bail!("an array without bytes"),
        };
        let wanted = shape.iter().try_fold(size, |all, side| all.checked_mul(*side));
        ensure!(wanted == Some(bytes.len()), "an array of {shape:?} numbers of {size} bytes in {} bytes", bytes.len());
        if *swapped && size > 1 {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        if columns_first && shape.len() > 1 {
            bytes = rows_first(&bytes, &shape, size);
        }
        Ok(Node::Array { shape, kind: kind.clone(), bytes })
    }
}

/// Numbers whose first index runs fastest, in the order in which the last one does.
fn rows_first(bytes: &[u8], shape: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for place in 0..bytes.len() / size {
        // The indices of this place, the last one running fastest, and where they lie if the first one does.
        let (mut rest, mut from) = (place, 0);
        for (axis, side) in shape.iter().enumerate().rev() {
            from += rest % side * shape[..axis].iter().product::<usize>();
            rest /= side;
        }
        out.extend_from_slice(&bytes[from * size..][..size]);
    }
    out
}
