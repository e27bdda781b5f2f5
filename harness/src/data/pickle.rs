//! Pickles, read without running anything: lists, dicts, bytes, text, numbers and numpy arrays, and nothing else.
//!
//! Python's own reader calls whatever a file names. This one knows a handful of names, those that numpy and Python write for plain
//! data, and what each stands for; any other is an error that names it. Values lie in one list and refer to each other by place, so
//! that no file, however it refers to itself, makes more of them than it has bytes.

use std::cell::Cell;

use anyhow::{Context, Result, bail, ensure};

/// No numpy array has more dimensions.
const MOST_SIDES: usize = 64;

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
        let mut machine = Machine {
            rest: bytes,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            copies_left: Cell::new(4 * bytes.len()),
            most_places: bytes.len(),
        };
        loop {
            let at = bytes.len() - machine.rest.len();
            let done = machine.step().with_context(|| format!("a pickle, at byte {at}"))?;
            if let Some(root) = done {
                return Ok(Self { nodes: machine.nodes, root });
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

/// What a pickle is a program for: a stack of values, marks on it, and a memory.
struct Machine<'b> {
    rest: &'b [u8],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Option<Id>>,
    /// Bytes that may still be copied of values that are there: honest files need each of them once or twice.
    copies_left: Cell<usize>,
    /// Each value that is remembered takes a byte at least.
    most_places: usize,
}

impl<'b> Machine<'b> {
    /// One instruction; the value, where it was the last.
    fn step(&mut self) -> Result<Option<Id>> {
        let code = self.take(1)?[0];
        match code {
            b'.' => return Ok(Some(self.pop()?)),
            0x80 => {
                let protocol = self.take(1)?[0];
                ensure!(protocol <= 5, "protocol {protocol}, of which only 0 to 5 are known");
            }
            // A frame only says how much follows.
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.above()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'I' => {
                let line = self.line()?;
                self.push(match line {
                    "00" => Node::Bool(false),
                    "01" => Node::Bool(true),
                    number => Node::Integer(number.parse().context("no whole number")?),
                });
            }
            b'L' => {
                let line = self.line()?;
                self.push(Node::Integer(line.trim_end_matches('L').parse().context("no whole number of 64 bits")?));
            }
            b'J' => {
                let bytes = self.fixed::<4>()?;
                self.push(Node::Integer(i64::from(i32::from_le_bytes(bytes))));
            }
            b'K' => {
                let byte = self.take(1)?[0];
                self.push(Node::Integer(i64::from(byte)));
            }
            b'M' => {
                let bytes = self.fixed::<2>()?;
                self.push(Node::Integer(i64::from(u16::from_le_bytes(bytes))));
            }
            0x8a => self.long::<1>()?,
            0x8b => self.long::<4>()?,
            b'F' => {
                let line = self.line()?;
                self.push(Node::Float(line.parse().context("no number")?));
            }
            b'G' => {
                let bytes = self.fixed::<8>()?;
                self.push(Node::Float(f64::from_be_bytes(bytes)));
            }
            b'S' => {
                let line = self.line()?;
                self.push(Node::Bytes(unquoted(line)?));
            }
            b'V' => {
                let text = unescaped(self.raw_line()?)?;
                self.push(Node::Text(text));
            }
            b'U' | b'C' => self.sized::<1>(false)?,
            b'T' | b'B' => self.sized::<4>(false)?,
            0x8e | 0x96 => self.sized::<8>(false)?,
            0x8c => self.sized::<1>(true)?,
            b'X' => self.sized::<4>(true)?,
            0x8d => self.sized::<8>(true)?,
            b')' => self.push(Node::Tuple(Vec::new())),
            b't' => {
                let items = self.above()?;
                self.push(Node::Tuple(items));
            }
            0x85..=0x87 => {
                let from = self.stack.len().checked_sub(usize::from(code - 0x84)).context("a tuple of nothing")?;
                self.check_floor(from)?;
                let items = self.stack.split_off(from);
                self.push(Node::Tuple(items));
            }
            b']' => self.push(Node::List(Vec::new())),
            b'l' => {
                let items = self.above()?;
                self.push(Node::List(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.list()?.push(item);
            }
            b'e' => {
                let items = self.above()?;
                self.list()?.extend(items);
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b'd' => {
                let items = pairs(self.above()?)?;
                self.push(Node::Dict(items));
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.dict()?.push((key, value));
            }
            b'u' => {
                let items = pairs(self.above()?)?;
                self.dict()?.extend(items);
            }
            b'p' => {
                let place = self.line()?.parse().context("no place")?;
                self.remember(place)?;
            }
            b'q' => {
                let place = usize::from(self.take(1)?[0]);
                self.remember(place)?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.fixed()?) as usize;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'g' => {
                let place = self.line()?.parse().context("no place")?;
                self.recall(place)?;
            }
            b'h' => {
                let place = usize::from(self.take(1)?[0]);
                self.recall(place)?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.fixed()?) as usize;
                self.recall(place)?;
            }
            b'c' => {
                let (module, name) = (self.line()?.to_owned(), self.line()?.to_owned());
                self.push(Node::Global(module, name));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(module), Node::Text(name)) = (&self.nodes[module], &self.nodes[name]) else {
                    bail!("a name that is no text")
                };
                self.copy(module.len() + name.len())?;
                let global = Node::Global(module.clone(), name.clone());
                self.push(global);
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.call(function, arguments)?;
                self.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                self.build(object, state)?;
            }
            other => bail!(
                "instruction {other:#04x} ({}), which plain data does not need",
                char::from(other).escape_default()
            ),
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).context("cut short")?;
        self.rest = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn raw_line(&mut self) -> Result<&'b [u8]> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').context("cut short")?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn line(&mut self) -> Result<&'b str> {
        str::from_utf8(self.raw_line()?).context("a line that is no text")
    }

    /// Allows for a copy of so many bytes: a few of them can ask for many copies of one large value.
    fn copy(&self, bytes: usize) -> Result<()> {
        let left = self.copies_left.get().checked_sub(bytes).context("the same bytes again and again")?;
        self.copies_left.set(left);
        Ok(())
    }

    /// A number of `N` bytes.
    fn size<const N: usize>(&mut self) -> Result<usize> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.take(N)?);
        usize::try_from(u64::from_le_bytes(wide)).context("cut short")
    }

    fn sized<const N: usize>(&mut self, text: bool) -> Result<()> {
        let size = self.size::<N>()?;
        let bytes = self.take(size)?;
        let node = match text {
            true => Node::Text(str::from_utf8(bytes).context("a text that is not UTF-8")?.to_owned()),
            false => Node::Bytes(bytes.to_vec()),
        };
        self.push(node);
        Ok(())
    }

    fn long<const N: usize>(&mut self) -> Result<()> {
        let size = self.size::<N>()?;
        let bytes = self.take(size)?;
        ensure!(size <= 8, "a whole number of more than 64 bits");
        let mut wide = [if bytes.last().is_some_and(|byte| *byte >= 128) { 255 } else { 0 }; 8];
        wide[..size].copy_from_slice(bytes);
        self.push(Node::Integer(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    /// What lies below a mark belongs to what was begun before it.
    fn check_floor(&self, height: usize) -> Result<()> {
        ensure!(self.marks.last().is_none_or(|mark| height >= *mark), "a value from beyond a mark");
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        self.check_floor(self.stack.len().saturating_sub(1))?;
        self.stack.pop().context("a value that is not there")
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().context("a value that is not there")
    }

    /// Everything above the last mark.
    fn above(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().context("a mark that is not there")?;
        ensure!(mark <= self.stack.len(), "a mark that is not there");
        Ok(self.stack.split_off(mark))
    }

    fn list(&mut self) -> Result<&mut Vec<Id>> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(items) => Ok(items),
            _ => bail!("items for what is no list"),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Id, Id)>> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(items) => Ok(items),
            _ => bail!("keys for what is no dict"),
        }
    }

    fn remember(&mut self, place: usize) -> Result<()> {
        let top = self.top()?;
        ensure!(place < self.most_places, "a place in the memory beyond all that there can be");
        if place >= self.memo.len() {
            self.memo.resize(place + 1, None);
        }
        self.memo[place] = Some(top);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<()> {
        let id = self.memo.get(place).copied().flatten().context("a place in the memory where nothing is")?;
        self.stack.push(id);
        Ok(())
    }

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
    fn call(&self, function: Id, arguments: Id) -> Result<Node> {
        let Node::Global(module, name) = &self.nodes[function] else { bail!("a call of what is no name") };
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
            _ => bail!(
                "it would call `{module}.{name}`: pickles are read without running anything, and only lists, dicts, bytes, text, \
                 numbers and numpy arrays are known"
            ),
        })
    }

    fn build(&mut self, object: Id, state: Id) -> Result<()> {
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

/// Items that are keys and values in turns.
fn pairs(items: Vec<Id>) -> Result<Vec<(Id, Id)>> {
    ensure!(items.len().is_multiple_of(2), "a key without a value");
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
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

/// Latin-1 with `\\uXXXX` and `\\UXXXXXXXX` for all other letters.
fn unescaped(line: &[u8]) -> Result<String> {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let [byte, tail @ ..] = rest {
        let digits = match (byte, tail.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                out.push(char::from(*byte));
                rest = tail;
                continue;
            }
        };
        let code = tail.get(1..1 + digits).and_then(|code| u32::from_str_radix(str::from_utf8(code).ok()?, 16).ok());
        out.push(code.and_then(char::from_u32).context("an escape that is no letter")?);
        rest = &tail[1 + digits..];
    }
    Ok(out)
}

/// A text in Python's quotes.
fn unquoted(line: &str) -> Result<Vec<u8>> {
    let quoted = |quote: char| line.strip_prefix(quote)?.strip_suffix(quote);
    let inside = quoted('\'').or_else(|| quoted('"')).context("a text without quotes")?;
    let (mut out, mut letters) = (Vec::new(), inside.chars());
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match letters.next().context("an escape without a letter")? {
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'x' => {
                let digits: String = letters.by_ref().take(2).collect();
                out.push(u8::from_str_radix(&digits, 16).context("an escape that is no byte")?);
            }
            other => out.extend(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{'data': arange(6, dtype='u1').reshape(2, 3), 'fine_labels': [1, 300], b'x': b'\xff\n'}` by CPython 3.11 and numpy 2, in each
    /// protocol, as hexadecimal digits.
    const PROTOCOLS: [&str; 6] = [
        "286470300a56646174610a70310a636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a70320a28\
         636e756d70790a6e6461727261790a70330a2849300a7470340a635f636f646563730a656e636f64650a70350a2856620a70360a566c61\
         74696e310a70370a7470380a5270390a747031300a527031310a2849310a2849320a49330a747031320a636e756d70790a64747970650a\
         7031330a285675310a7031340a4930300a4930310a747031350a527031360a2849330a567c0a7031370a4e4e4e492d310a492d310a4930\
         0a747031380a624930300a67350a28565c753030303001020304050a7031390a67370a747032300a527032310a747032320a6273566669\
         6e655f6c6162656c730a7032330a286c7032340a49310a61493330300a617367350a2856780a7032350a67370a747032360a527032370a\
         67350a2856ff5c75303030610a7032380a67370a747032390a527033300a732e",
        "7d7100285804000000646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a710228\
         636e756d70790a6e6461727261790a7103284b00747104635f636f646563730a656e636f64650a71052858010000006271065806000000\
         6c6174696e31710774710852710974710a52710b284b01284b024b0374710c636e756d70790a64747970650a710d285802000000753171\
         0e4930300a4930310a74710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b00747112624930300a680528580600\
         00000001020304057113680774711452711574711662580b00000066696e655f6c6162656c7371175d7118284b014d2c01656805285801\
         000000787119680774711a52711b6805285803000000c3bf0a711c680774711d52711e752e",
        "80027d7100285804000000646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a71\
         02636e756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c\
         6174696e31710786710852710987710a52710b284b014b024b0386710c636e756d70790a64747970650a710d58020000007531710e8988\
         87710f527110284b0358010000007c71114e4e4e4affffffff4affffffff4b007471126289680558060000000001020304057113680786\
         711452711574711662580b00000066696e655f6c6162656c7371175d7118284b014d2c016568055801000000787119680786711a52711b\
         68055803000000c3bf0a711c680786711d52711e752e",
        "80037d7100285804000000646174617101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a71\
         02636e756d70790a6e6461727261790a71034b008571044301627105877106527107284b014b024b03867108636e756d70790a64747970\
         650a710958020000007531710a898887710b52710c284b0358010000007c710d4e4e4e4affffffff4affffffff4b0074710e6289430600\
         0102030405710f74711062580b00000066696e655f6c6162656c7371115d7112284b014d2c016543017871134302ff0a7114752e",
        "800495bc000000000000007d94288c0464617461948c166e756d70792e5f636f72652e6d756c74696172726179948c0c5f7265636f6e73\
         74727563749493948c056e756d7079948c076e6461727261799493944b0085944301629487945294284b014b024b03869468058c056474\
         7970659493948c02753194898887945294284b038c017c944e4e4e4affffffff4affffffff4b0074946289430600010203040594749462\
         8c0b66696e655f6c6162656c73945d94284b014d2c0165430178944302ff0a94752e",
        "800595a7000000000000007d94288c0464617461948c136e756d70792e5f636f72652e6e756d65726963948c0b5f66726f6d6275666665\
         7294939428960600000000000000000102030405948c056e756d7079948c0564747970659493948c02753194898887945294284b038c01\
         7c944e4e4e4affffffff4affffffff4b007494624b024b0386948c014394749452948c0b66696e655f6c6162656c73945d94284b014d2c\
         0165430178944302ff0a94752e",
    ];
    /// `{'f': asfortranarray(array([[1, 2], [3, -4]], dtype='>i4')), 's': int64(7)}` in protocol 2.
    const COLUMNS: &str = "80027d7100285801000000667101636e756d70792e5f636f72652e6d756c746961727261790a5f7265636f6e7374727563740a7102636e\
         756d70790a6e6461727261790a71034b00857104635f636f646563730a656e636f64650a7105580100000062710658060000006c617469\
         6e31710786710852710987710a52710b284b014b024b0286710c636e756d70790a64747970650a710d58020000006934710e898887710f\
         527110284b0358010000003e71114e4e4e4affffffff4affffffff4b00747112628868055814000000000000010000000300000002c3bf\
         c3bfc3bfc3bc71136807867114527115747116625801000000737117636e756d70792e5f636f72652e6d756c746961727261790a736361\
         6c61720a7118680d580200000069387119898887711a52711b284b0358010000003c711c4e4e4e4affffffff4affffffff4b0074711d62\
         680558080000000700000000000000711e680786711f527120867121527122752e";

    fn bytes(digits: &str) -> Vec<u8> {
        digits.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    fn error(pickle: &[u8]) -> String {
        format!("{:#}", Pickle::read(pickle).unwrap_err())
    }

    #[test]
    fn every_protocol_gives_the_same() {
        for digits in PROTOCOLS {
            let pickle = Pickle::read(&bytes(digits)).unwrap();
            let root = pickle.root();
            let data = root.get("data").unwrap().array().unwrap();
            assert_eq!(data, Array { shape: &[2, 3], kind: "u1", bytes: &[0, 1, 2, 3, 4, 5] });
            assert_eq!(root.get("fine_labels").unwrap().integers().unwrap(), [1, 300]);
            assert_eq!(root.get("x").unwrap().bytes().unwrap(), [255, b'\n']);
            assert!(root.get("labels").is_none() && root.get("data").unwrap().get("x").is_none());
        }
    }

    #[test]
    fn arrays_by_columns_and_with_large_ends_first_are_put_in_order() {
        let pickle = Pickle::read(&bytes(COLUMNS)).unwrap();
        let array = pickle.root().get("f").unwrap().array().unwrap();
        assert_eq!((array.shape, array.integers().unwrap()), (&[2, 2][..], vec![1, 2, 3, -4]));
        assert_eq!(pickle.root().get("s").unwrap().integer(), Some(7));
    }

    #[test]
    fn nothing_is_called() {
        let text = error(b"cposix\nsystem\n(S'echo hacked'\ntR.");
        assert!(text.contains("it would call `posix.system`") && text.contains("byte 31"), "{text}");
        assert!(error(b"\x80\x02cbuiltins\neval\nU\x031+1\x85R.").contains("`builtins.eval`"));
        // An instance of any class.
        assert!(error(b"(i__main__\nEvil\np0\n.").contains("plain data does not need"));
    }

    #[test]
    fn cut_or_flipped_anywhere_it_is_an_error_or_something_else_and_never_a_panic() {
        for digits in PROTOCOLS.iter().chain([&COLUMNS]) {
            let whole = bytes(digits);
            for length in 0..whole.len() {
                assert!(Pickle::read(&whole[..length]).is_err(), "cut to {length}");
            }
            for bit in 0..8 * whole.len() {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let Ok(pickle) = Pickle::read(&flipped) else { continue };
                let values = ["data", "fine_labels", "f", "s"].map(|key| pickle.root().get(key));
                values.into_iter().flatten().for_each(|value| drop((value.integers(), value.integer(), value.name())));
            }
        }
    }

    #[test]
    fn a_few_bytes_do_not_ask_for_all_of_memory() {
        // A large text that is copied again and again.
        let mut copies = b"\x80\x02X\x10\x27\x00\x00".to_vec();
        copies.extend([b'a'; 10_000]);
        copies.extend(b"q\x000c_codecs\nencode\nq\x010");
        for _ in 0..10_000 {
            copies.extend(b"h\x01h\x00h\x00\x86R0");
        }
        assert!(error(&copies).contains("again and again"), "{}", error(&copies));
        assert!(error(b"\x80\x02Nr\xff\xff\xff\xff.").contains("beyond all that there can be"));
        assert!(error(b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\xff.").contains("cut short"));
        // A list in itself is read, and whoever looks into it comes to no end that is not asked for.
        let pickle = Pickle::read(b"]q\x00h\x00a.").unwrap();
        assert_eq!(pickle.root().items().unwrap().len(), 1);
        assert_eq!(pickle.root().integers(), None);
    }
}
