//! The instructions of a pickle.

use std::cell::Cell;
use std::num::IntErrorKind;

use anyhow::{Context, Result, bail, ensure};

use super::letters::{unescaped, unquoted};
use super::{Dialect, Id, Node};

/// What a pickle is a program for: a stack of values, marks on it, and a memory.
pub(super) struct Machine<'b> {
    rest: &'b [u8],
    pub(super) dialect: Dialect,
    pub(super) nodes: Vec<Node>,
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
    pub fn new(bytes: &'b [u8], dialect: Dialect) -> Self {
        Self {
            rest: bytes,
            dialect,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            copies_left: Cell::new(4 * bytes.len()),
            most_places: bytes.len(),
        }
    }

    /// Bytes that are still to be read.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// All values that were made.
    pub fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// One instruction; the value, where it was the last.
    ///
    /// # Errors
    /// What plain data does not need, or a stack that does not fit it.
    pub fn step(&mut self) -> Result<Option<Id>> {
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
                    number => whole(number)?,
                });
            }
            b'L' => {
                let line = self.line()?;
                self.push(whole(line.trim_end_matches('L'))?);
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
            _ if self.dialect == Dialect::Torch => self.torch_step(code)?,
            other => bail!(
                "instruction {other:#04x} ({}), which plain data does not need",
                char::from(other).escape_default()
            ),
        }
        Ok(None)
    }

    /// An instruction that only PyTorch's files need.
    fn torch_step(&mut self, code: u8) -> Result<()> {
        match code {
            b'Q' => {
                let name = self.pop()?;
                let node = self.module_class(name).unwrap_or(Node::Persistent(name));
                self.push(node);
            }
            0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                let made = self.call(class, arguments)?;
                self.push(made);
            }
            0x8f => self.push(Node::List(Vec::new())),
            0x90 => {
                let items = self.above()?;
                self.list()?.extend(items);
            }
            0x91 => {
                let items = self.above()?;
                self.push(Node::List(items));
            }
            other => {
                bail!("instruction {other:#04x} ({}), which weights do not need", char::from(other).escape_default())
            }
        }
        Ok(())
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
    pub(super) fn copy(&self, bytes: usize) -> Result<()> {
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
        let sign = if bytes.last().is_some_and(|byte| *byte >= 128) { 255 } else { 0 };
        let mut wide = [sign; 8];
        let (low, high) = bytes.split_at(size.min(8));
        wide[..low.len()].copy_from_slice(low);
        // More bytes than eight that only repeat the sign are some writers' way.
        let fits = high.iter().all(|byte| *byte == sign) && (high.is_empty() || (wide[7] >= 128) == (sign == 255));
        self.push(if fits { Node::Integer(i64::from_le_bytes(wide)) } else { Node::Large });
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
}

/// A whole number in digits.
fn whole(digits: &str) -> Result<Node> {
    match digits.parse() {
        Ok(number) => Ok(Node::Integer(number)),
        Err(error) if matches!(error.kind(), IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => Ok(Node::Large),
        Err(_) => bail!("no whole number"),
    }
}

/// Items that are keys and values in turns.
fn pairs(items: Vec<Id>) -> Result<Vec<(Id, Id)>> {
    ensure!(items.len().is_multiple_of(2), "a key without a value");
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
