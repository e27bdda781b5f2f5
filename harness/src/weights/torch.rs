//! What `torch.save` writes: a pickle that describes tensors, and the storages that their numbers lie in.
//!
//! Since PyTorch 1.6 both are entries of a zip, `NAME/data.pkl` and `NAME/data/KEY`, not compressed. Before, five pickles came first (a
//! magic number, the version, the machine, the object, the storages' keys) and then each storage behind its length. Nothing is
//! unpacked to a disk, and nothing that a file names is run.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;
use zip::{CompressionMethod, ZipArchive};

use super::given::{Element, Stored};
use crate::pickle::{Pickle, TensorView, Value};

/// How a legacy file begins: a pickle of protocol 2 of one large number.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Under which keys training scripts keep the weights.
const KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "network", "params"];

/// A prefix that wrappers of a network put before all of its names: data parallel ones, and compiled ones.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Where a file keeps the bytes of each storage.
type Storages = BTreeMap<String, Range<usize>>;

pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK")
}

pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

pub(super) fn read_zip(bytes: &[u8]) -> Result<BTreeMap<String, Stored>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let (mut pickle, mut storages) = (None, Storages::new());
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name()?.into_owned();
        let Some((_, inside)) = name.split_once('/') else { continue };
        let key = inside.strip_prefix("data/");
        if key.is_none() && !["data.pkl", "byteorder"].contains(&inside) {
            continue;
        }
        ensure!(entry.compression() == CompressionMethod::Stored, "`{name}` is compressed, which PyTorch never does");
        // Reading an entry to its end compares its checksum.
        let length = io::copy(&mut entry, &mut io::sink()).with_context(|| format!("`{name}`"))?;
        let start = usize::try_from(entry.data_start().context("an entry without a place")?)?;
        let range = start..start + usize::try_from(length)?;
        let content = bytes.get(range.clone()).context("an entry beyond the end")?;
        match key {
            Some(key) => drop(storages.insert(key.to_owned(), range)),
            None if inside == "data.pkl" => pickle = Some(content),
            None => ensure!(content == b"little", "its numbers have their large ends first, which is not read"),
        }
    }
    let pickle = pickle.context("holds no NAME/data.pkl\n  accepted: a state dict that torch.save wrote")?;
    tensors(&Pickle::read_torch(pickle)?.0, &storages)
}

pub(super) fn read_legacy(bytes: &[u8]) -> Result<BTreeMap<String, Stored>> {
    let mut rest = &bytes[MAGIC.len()..];
    let mut next = || -> Result<Pickle> {
        let (pickle, length) = Pickle::read_torch(rest)?;
        rest = &rest[length..];
        Ok(pickle)
    };
    let (_version, _machine, object, keys) = (next()?, next()?, next()?, next()?);
    // Sizes of numbers stand with the tensors, lengths in numbers before each storage.
    let sizes = storage_sizes(&object)?;
    let mut storages = Storages::new();
    for key in keys.root().items().context("a list of storages is missing")? {
        let key = key.text().context("a storage without a key")?;
        let (head, data) = rest.split_at_checked(8).context("cut short")?;
        let count = usize::try_from(u64::from_le_bytes(head.try_into()?))?;
        let size = *sizes.get(key).with_context(|| format!("a storage `{key}` that no tensor has"))?;
        let length = count.checked_mul(size).context("a storage larger than any file")?;
        let start = bytes.len() - data.len();
        rest = data.get(length..).context("cut short")?;
        storages.insert(key.to_owned(), start..start + length);
    }
    tensors(&object, &storages)
}

/// The tensors of the state dict, wherever the object keeps it.
fn tensors(object: &Pickle, storages: &Storages) -> Result<BTreeMap<String, Stored>> {
    let dict = state_dict(object.root())?;
    let mut tensors = BTreeMap::new();
    for (name, value) in dict.entries().into_iter().flatten() {
        let (Some(name), Some(view)) = (name.text(), value.tensor()) else { continue };
        let stored = stored(view, storages).with_context(|| format!("`{name}`"))?;
        let bare = WRAPPERS.iter().fold(name, |name, wrapper| name.strip_prefix(wrapper).unwrap_or(name));
        tensors.insert(bare.to_owned(), stored);
    }
    Ok(tensors)
}

fn holds_tensors(value: Value<'_>) -> bool {
    value
        .entries()
        .is_some_and(|mut entries| entries.any(|(name, value)| name.text().is_some() && value.tensor().is_some()))
}

fn state_dict(root: Value<'_>) -> Result<Value<'_>> {
    const ACCEPTED: &str =
        "accepted: a state dict, as torch.save(model.state_dict(), FILE) writes it, or a dict with one";
    if let Some(class) = root.global() {
        bail!("holds a whole `{class}`, and not its weights alone\n  {ACCEPTED}");
    }
    let inside = || KEYS.iter().filter_map(|key| root.get(key)).find(|value| holds_tensors(*value));
    if holds_tensors(root) {
        return Ok(root);
    }
    match inside() {
        Some(dict) => Ok(dict),
        None => {
            let keys: Vec<&str> =
                root.entries().into_iter().flatten().filter_map(|(key, _)| key.text()).take(8).collect();
            let keys = if keys.is_empty() { String::new() } else { format!(" with the keys {}", keys.join(", ")) };
            bail!("holds {}{keys}, and no tensors by name\n  {ACCEPTED} under one of {}", root.name(), KEYS.join(", "))
        }
    }
}

/// A storage's type and key.
fn storage(value: Value<'_>) -> Result<(Element, usize, &str)> {
    let described = value.persistent().and_then(Value::items).context("a tensor without a storage")?;
    let [_, class, key, ..] = described[..] else { bail!("a storage without a type and a key") };
    let class = class.global().context("a storage without a type")?;
    let (element, size) = match class.rsplit('.').next().unwrap_or(class) {
        "FloatStorage" => (Element::Float(DType::F32, "f32"), 4),
        "DoubleStorage" => (Element::Float(DType::F64, "f64"), 8),
        "HalfStorage" => (Element::Float(DType::F16, "f16"), 2),
        "BFloat16Storage" => (Element::Float(DType::BF16, "bf16"), 2),
        "LongStorage" => (Element::Other, 8),
        "IntStorage" => (Element::Other, 4),
        "ShortStorage" => (Element::Other, 2),
        "CharStorage" | "ByteStorage" | "BoolStorage" => (Element::Other, 1),
        other => bail!("numbers of a {other}, which are not read; accepted: f32, f64, f16 or bf16"),
    };
    Ok((element, size, key.text().context("a storage without a key")?))
}

fn stored(view: TensorView<'_>, storages: &Storages) -> Result<Stored> {
    let (element, _, key) = storage(view.storage)?;
    let range = storages.get(key).with_context(|| format!("its storage `{key}` is missing"))?;
    ensure!(view.shape.len() == view.strides.len(), "{:?} numbers, {:?} apart", view.shape, view.strides);
    let (shape, strides) = (view.shape.to_vec(), view.strides.to_vec());
    Ok(Stored { shape, strides, offset: view.offset, storage: range.clone(), element })
}

/// The size of a number in each storage that any value refers to.
fn storage_sizes(object: &Pickle) -> Result<BTreeMap<String, usize>> {
    object
        .values()
        .filter(|value| value.persistent().is_some())
        .map(|value| {
            let (_, size, key) = storage(value)?;
            Ok((key.to_owned(), size))
        })
        .collect()
}
