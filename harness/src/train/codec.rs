//! A checkpoint as bytes: numbers little-endian, floats as their bits, every length before what it measures.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};

/// Values that are turned into bytes at a time.
const CHUNK: usize = 1 << 14;

/// Hashes what passes through.
pub(super) struct Hashing<W> {
    pub(super) inner: W,
    pub(super) hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

pub(super) struct Encoder<W>(pub(super) W);

impl<W: Write> Encoder<W> {
    pub(super) fn number(&mut self, value: usize) -> Result<()> {
        Ok(self.0.write_all(&(value as u64).to_le_bytes())?)
    }

    pub(super) fn float(&mut self, value: f64) -> Result<()> {
        Ok(self.0.write_all(&value.to_bits().to_le_bytes())?)
    }

    pub(super) fn text(&mut self, text: &str) -> Result<()> {
        self.number(text.len())?;
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// Of f32; other types are an error.
    pub(super) fn tensors(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        self.number(tensors.len())?;
        let mut bytes = vec![0; 4 * CHUNK];
        for (name, tensor) in tensors {
            self.text(name)?;
            self.number(tensor.rank())?;
            for &dim in tensor.dims() {
                self.number(dim)?;
            }
            for values in tensor.flatten_all()?.to_vec1::<f32>()?.chunks(CHUNK) {
                let bytes = &mut bytes[..4 * values.len()];
                for (bytes, value) in bytes.chunks_exact_mut(4).zip(values) {
                    bytes.copy_from_slice(&value.to_bits().to_le_bytes());
                }
                self.0.write_all(bytes)?;
            }
        }
        Ok(())
    }
}

/// Reads what [`Encoder`] wrote. Nothing in the bytes can make it panic, or reserve more memory than they are long.
pub(super) struct Decoder<'a>(pub(super) &'a [u8]);

impl<'a> Decoder<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        ensure!(count <= self.0.len(), "ends too early");
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    fn eight(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn number(&mut self) -> Result<usize> {
        Ok(usize::try_from(self.eight()?)?)
    }

    pub(super) fn float(&mut self) -> Result<f64> {
        Ok(f64::from_bits(self.eight()?))
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let length = self.number()?;
        Ok(std::str::from_utf8(self.take(length)?)?.to_owned())
    }

    /// As many as said, each read by `item`.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.number()?;
        // An item has eight bytes at least.
        ensure!(count <= self.0.len() / 8, "lists more than it holds");
        (0..count).map(|_| item(self)).collect()
    }

    pub(super) fn tensors(&mut self) -> Result<BTreeMap<String, Tensor>> {
        let tensors = self.list(|of| {
            let name = of.text()?;
            let shape = of.list(Self::number)?;
            let size = shape.iter().try_fold(4usize, |size, &dim| size.checked_mul(dim));
            let bytes = of.take(size.unwrap_or(usize::MAX))?;
            let value = |bytes: &[u8]| f32::from_bits(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            let values: Vec<f32> = bytes.chunks_exact(4).map(value).collect();
            Ok((name, Tensor::from_vec(values, shape, &Device::Cpu)?))
        })?;
        Ok(tensors.into_iter().collect())
    }

    pub(super) fn end(&self) -> Result<()> {
        ensure!(self.0.is_empty(), "goes on for {} bytes after its end", self.0.len());
        Ok(())
    }
}
