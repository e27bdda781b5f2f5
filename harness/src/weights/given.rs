//! Files of weights from elsewhere: safetensors, and what `torch.save` writes.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::safetensors::SliceSafetensors;
use candle_core::{DType, Device, Tensor};

use super::torch;

/// The types that are read.
pub(super) const READ: &str = "f32, f64, f16 or bf16";

/// Parts of names that wrappers of a network put among them: data parallel ones, and compiled ones.
const WRAPPERS: [&str; 2] = ["module", "_orig_mod"];

/// The tensors of a file, each read when it is asked for: a shape that nobody wants takes no memory.
#[derive(Debug)]
pub struct GivenWeights {
    bytes: Vec<u8>,
    /// By name, without what wrappers put into it.
    tensors: BTreeMap<String, Given>,
    remarks: Vec<String>,
}

/// A tensor of a file.
#[derive(Debug)]
pub struct Given {
    /// Its name, as the file has it.
    pub name: String,
    content: Content,
}

/// What a file keeps under a name.
#[derive(Debug)]
pub(super) enum Content {
    Numbers(Stored),
    /// Numbers that are not read, and of what type: counts and flags, which are never weights, and rarer ones.
    Unread(String),
}

/// Where and how a file keeps a tensor.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub shape: Vec<usize>,
    /// How far apart neighbours lie, for each side, in numbers.
    pub strides: Vec<usize>,
    /// The first number's place among those of the storage.
    pub offset: usize,
    /// The storage's bytes in the file.
    pub storage: Range<usize>,
    /// f32, f64, f16 or bf16.
    pub kind: DType,
}

/// What a file holds, by the names that it has.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub tensors: BTreeMap<String, Content>,
    /// What there is to say of how they were found.
    pub remarks: Vec<String>,
}

impl GivenWeights {
    /// Reads a file, whatever it is called.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or is of no format that is known; names the file, and what would be accepted.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        Self::parse(bytes).with_context(|| path.display().to_string())
    }

    /// The same from a file's bytes.
    ///
    /// # Errors
    /// As of [`GivenWeights::read`], without the file's name.
    pub fn parse(bytes: Vec<u8>) -> Result<Self> {
        let contents = if torch::is_zip(&bytes) {
            torch::read_zip(&bytes).context("a file of torch.save")?
        } else if torch::is_legacy(&bytes) {
            torch::read_legacy(&bytes).context("a file of torch.save before PyTorch 1.6")?
        } else if bytes.get(8) == Some(&b'{') {
            safetensors(&bytes).context("a safetensors file")?
        } else {
            bail!(
                "is no file of weights that is known\n  accepted: safetensors, or a state dict that torch.save wrote (.pth, .pt)"
            )
        };
        ensure!(!contents.tensors.is_empty(), "holds no tensors");
        let mut tensors = BTreeMap::<String, Given>::new();
        for (name, content) in contents.tensors {
            let parts: Vec<&str> = name.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
            if let Some(other) = tensors.insert(parts.join("."), Given { name: name.clone(), content }) {
                bail!("holds both `{}` and `{name}`, which are one name but for a wrapper's part of it", other.name);
            }
        }
        Ok(Self { bytes, tensors, remarks: contents.remarks })
    }

    /// The content's BLAKE3, 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        blake3::hash(&self.bytes).to_hex().to_string()
    }

    /// All tensors by name, sorted; the names are without what wrappers put into them.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.tensors.iter().map(|(name, given)| (name.as_str(), given))
    }

    /// The tensor of a name, without what wrappers put into it.
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.tensors.get(name)
    }

    /// What there is to say of how its tensors were found.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// How its numbers are written, where that is not f32.
    pub fn converted(&self) -> Option<&'static str> {
        let other = |given: &Given| match &given.content {
            Content::Numbers(stored) if stored.kind != DType::F32 => Some(stored.kind.as_str()),
            _ => None,
        };
        self.tensors.values().find_map(other)
    }

    /// A tensor as f32. f64 is rounded to the nearest; f16 and bf16 are exact.
    ///
    /// # Errors
    /// One that is not there or of a type that is not read, or lies outside of its storage.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let given = self.tensors.get(name).with_context(|| format!("`{name}` is not there"))?;
        match &given.content {
            Content::Numbers(stored) => stored.read(&self.bytes).with_context(|| format!("`{}`", given.name)),
            Content::Unread(kind) => bail!("`{}` is {kind}; accepted: {READ}", given.name),
        }
    }
}

impl Given {
    /// Its shape; none where its type is not read.
    pub fn shape(&self) -> Option<&[usize]> {
        match &self.content {
            Content::Numbers(stored) => Some(&stored.shape),
            Content::Unread(_) => None,
        }
    }

    /// Its type, where that is not read.
    pub fn unread(&self) -> Option<&str> {
        match &self.content {
            Content::Numbers(_) => None,
            Content::Unread(kind) => Some(kind),
        }
    }
}

impl Stored {
    fn read(&self, bytes: &[u8]) -> Result<Tensor> {
        let kind = self.kind;
        let size = kind.size_in_bytes();
        let storage = bytes.get(self.storage.clone()).context("lies outside of the file")?;
        let last = self.shape.iter().zip(&self.strides).try_fold(self.offset, |last, (side, stride)| {
            last.checked_add(side.saturating_sub(1).checked_mul(*stride)?)
        });
        let count = self.shape.iter().try_fold(1usize, |count, side| count.checked_mul(*side));
        let (Some(last), Some(count)) = (last, count) else { bail!("is larger than any file") };
        ensure!(
            count == 0 || last < storage.len() / size,
            "reaches to number {last} of a storage of {}",
            storage.len() / size
        );
        if count > 0 && self.strides == contiguous(&self.shape) {
            return decoded(&storage[self.offset * size..][..count * size], kind, &self.shape);
        }
        let mut values = Vec::with_capacity(count * size);
        for place in 0..count {
            // The indices of this place, the last one running fastest.
            let (mut rest, mut from) = (place, self.offset);
            for (side, stride) in self.shape.iter().zip(&self.strides).rev() {
                from += rest % side * stride;
                rest /= side;
            }
            values.extend_from_slice(&storage[from * size..][..size]);
        }
        decoded(&values, kind, &self.shape)
    }
}

fn decoded(bytes: &[u8], kind: DType, shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::from_raw_buffer(bytes, kind, shape, &Device::Cpu)?.to_dtype(DType::F32)?)
}

/// The BLAKE3 of a file's content, 64 hexadecimal digits.
///
/// # Errors
/// A file that cannot be read; names it.
pub fn digest(path: &Path) -> Result<String> {
    let hash = || Ok::<_, std::io::Error>(blake3::Hasher::new().update_reader(fs::File::open(path)?)?.finalize());
    let hash = hash().with_context(|| format!("{}: cannot be read", path.display()))?;
    Ok(hash.to_hex().to_string())
}

/// Strides of numbers that follow each other.
fn contiguous(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for side in (1..shape.len()).rev() {
        strides[side - 1] = strides[side].saturating_mul(shape[side]);
    }
    strides
}

fn safetensors(bytes: &[u8]) -> Result<Contents> {
    let file = SliceSafetensors::new(bytes)?;
    let mut contents = Contents::default();
    for (name, view) in file.tensors() {
        let start = view.data().as_ptr().addr() - bytes.as_ptr().addr();
        let shape = view.shape().to_vec();
        let storage = start..start + view.data().len();
        let content = match DType::try_from(view.dtype()) {
            Ok(kind @ (DType::F32 | DType::F64 | DType::F16 | DType::BF16)) => {
                Content::Numbers(Stored { strides: contiguous(&shape), shape, offset: 0, storage, kind })
            }
            _ => Content::Unread(format!("{:?}", view.dtype()).to_lowercase()),
        };
        contents.tensors.insert(name, content);
    }
    Ok(contents)
}
