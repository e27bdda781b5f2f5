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

    /// In the fewest bytes, as Python does.
    pub(super) fn int(&mut self, value: usize) -> &mut Self {
        let bytes = (value as u64).to_le_bytes();
        match value {
            0..=0xff => self.0.extend([b'K', bytes[0]]),
            0x100..=0xffff => self.0.extend([b'M', bytes[0], bytes[1]]),
            0x1_0000..=0x7fff_ffff => {
                self.0.push(b'J');
                self.0.extend(&bytes[..4]);
            }
            _ => {
                // The highest bit is the sign's.
                let length = (u64::BITS - (value as u64).leading_zeros()) / 8 + 1;
                self.0.extend([0x8a, length as u8]);
                self.0.extend(bytes.iter().chain(&[0]).take(length as usize));
            }
        }
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

#[cfg(test)]
mod tests {
    use super::Pickle;

    /// As CPython 3.11's `pickle.dumps(value, 2)` has them.
    #[test]
    fn numbers_are_written_as_python_writes_them() {
        let written: [(usize, &[u8]); 9] = [
            (0, b"K\x00"),
            (255, b"K\xff"),
            (256, b"M\x00\x01"),
            (65_535, b"M\xff\xff"),
            (65_536, b"J\x00\x00\x01\x00"),
            (0x7fff_ffff, b"J\xff\xff\xff\x7f"),
            (0x8000_0000, b"\x8a\x05\x00\x00\x00\x80\x00"),
            (0x7f_ffff_ffff, b"\x8a\x05\xff\xff\xff\xff\x7f"),
            (usize::MAX, b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00"),
        ];
        for (value, expected) in written {
            let mut pickle = Pickle::new();
            pickle.int(value);
            assert_eq!(&pickle.finish()[2..], [expected, b"."].concat(), "{value}");
        }
    }
}
