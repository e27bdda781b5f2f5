//! Pickles (protocol 2) while they are written: as much as a state dict is made of.

/// A pickle, instruction by instruction.
pub(super) struct Pickle(Vec<u8>);

impl Pickle {
    pub(super) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    /// A function or class.
    pub(super) fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
        self
    }

    /// Begins what [`Pickle::tuple`] or [`Pickle::set_items`] ends.
    pub(super) fn mark(&mut self) -> &mut Self {
        self.0.push(b'(');
        self
    }

    /// All since the mark, as a tuple.
    pub(super) fn tuple(&mut self) -> &mut Self {
        self.0.push(b't');
        self
    }

    /// Calls the function with the tuple on top of it.
    pub(super) fn call(&mut self) -> &mut Self {
        self.0.push(b'R');
        self
    }

    /// All since the mark, by turns keys and values, into the dictionary below it.
    pub(super) fn set_items(&mut self) -> &mut Self {
        self.0.push(b'u');
        self
    }

    /// What lies outside of the pickle, by the tuple that names it.
    pub(super) fn outside(&mut self) -> &mut Self {
        self.0.push(b'Q');
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
        self
    }

    pub(super) fn int(&mut self, value: usize) -> &mut Self {
        // A long of nine bytes: room for a sign.
        self.0.extend([0x8a, 9]);
        self.0.extend((value as u64).to_le_bytes());
        self.0.push(0);
        self
    }

    pub(super) fn ints(&mut self, values: impl IntoIterator<Item = usize>) -> &mut Self {
        self.mark();
        for value in values {
            self.int(value);
        }
        self.tuple()
    }

    pub(super) fn no(&mut self) -> &mut Self {
        self.0.push(0x89);
        self
    }

    /// An empty `OrderedDict`.
    pub(super) fn dictionary(&mut self) -> &mut Self {
        self.global("collections", "OrderedDict").mark().tuple().call()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }
}
