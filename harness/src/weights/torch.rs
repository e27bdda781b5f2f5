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
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use super::given::{Content, Contents, READ, Stored};
use crate::pickle::{Pickle, TensorView, Value};

/// How a legacy file begins: a pickle of protocol 2 of one large number.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Under which keys training scripts keep the weights.
const KEYS: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "network", "params"];

/// Where a file keeps the bytes of each storage.
type Storages = BTreeMap<String, Range<usize>>;

pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK")
}

pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

pub(super) fn read_zip(bytes: &[u8]) -> Result<Contents> {
    // The directory is where the end of the file says: a search for it can take its second entry for the first.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    ensure!(has_end(bytes), "is cut short: a zip's directory stands at its end, and there is none");
    let mut archive = ZipArchive::with_config(config, Cursor::new(bytes))?;
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

/// Whether a zip's last record is there; at most a comment of 64 KiB follows its 22 bytes.
fn has_end(bytes: &[u8]) -> bool {
    let last = &bytes[bytes.len().saturating_sub(22 + usize::from(u16::MAX))..];
    last.windows(4).any(|window| window == b"PK\x05\x06")
}

pub(super) fn read_legacy(bytes: &[u8]) -> Result<Contents> {
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
fn tensors(object: &Pickle, storages: &Storages) -> Result<Contents> {
    let (dict, remark) = state_dict(object.root())?;
    let mut contents = Contents { remarks: remark.into_iter().collect(), ..Contents::default() };
    for (name, value) in dict.entries().into_iter().flatten() {
        let Some(name) = name.text() else { continue };
        let content = match (value.tensor(), value.unread()) {
            (Some(view), _) => content(view, storages).with_context(|| format!("`{name}`"))?,
            (None, Some(kind)) => Content::Unread(kind.to_owned()),
            (None, None) => continue,
        };
        contents.tensors.insert(name.to_owned(), content);
    }
    Ok(contents)
}

fn is_tensor(value: Value<'_>) -> bool {
    value.tensor().is_some() || value.unread().is_some()
}

fn holds_tensors(value: Value<'_>) -> bool {
    let named = |(name, value): (Value<'_>, Value<'_>)| name.text().is_some() && is_tensor(value);
    value.entries().is_some_and(|mut entries| entries.any(named))
}

/// The state dict, and what there is to say of the choice. A dict in the dict comes first: what stands beside it, such as a best
/// accuracy or a generator's state, may be a tensor too.
fn state_dict(root: Value<'_>) -> Result<(Value<'_>, Option<String>)> {
    const ACCEPTED: &str =
        "accepted: a state dict, as torch.save(model.state_dict(), FILE) writes it, or a dict with one";
    if let Some(class) = root.global() {
        bail!("holds a whole `{class}`, and not its weights alone\n  {ACCEPTED}");
    }
    let under = || KEYS.iter().filter_map(|key| Some((*key, root.get(key)?)));
    let inside: Vec<_> = under().filter(|(_, value)| holds_tensors(*value)).collect();
    if let [(key, dict), others @ ..] = &inside[..] {
        let others: Vec<String> = others.iter().map(|(key, _)| format!("`{key}`")).collect();
        let remark = || format!("those under `{key}` and not those under {}", others.join(", "));
        return Ok((*dict, (!others.is_empty()).then(remark)));
    }
    if holds_tensors(root) {
        return Ok((root, None));
    }
    if let Some((key, class)) = under().find_map(|(key, value)| Some((key, value.global()?))) {
        bail!("holds a whole `{class}` under `{key}`, and not its weights alone\n  {ACCEPTED}");
    }
    let keys: Vec<&str> = root.entries().into_iter().flatten().filter_map(|(key, _)| key.text()).take(8).collect();
    let keys = if keys.is_empty() { String::new() } else { format!(" with the keys {}", keys.join(", ")) };
    bail!("holds {}{keys}, and no tensors by name\n  {ACCEPTED} under one of {}", root.name(), KEYS.join(", "))
}

/// Numbers of a storage: their type where it is read, its name, and bytes of each.
struct Numbers {
    kind: Option<DType>,
    name: &'static str,
    size: usize,
}

impl Numbers {
    fn of_class(class: &str) -> Option<Self> {
        let (kind, name, size) = match class.rsplit('.').next()? {
            "FloatStorage" => (Some(DType::F32), "f32", 4),
            "DoubleStorage" => (Some(DType::F64), "f64", 8),
            "HalfStorage" => (Some(DType::F16), "f16", 2),
            "BFloat16Storage" => (Some(DType::BF16), "bf16", 2),
            "LongStorage" => (None, "i64", 8),
            "IntStorage" => (None, "i32", 4),
            "ShortStorage" => (None, "i16", 2),
            "CharStorage" => (None, "i8", 1),
            "ByteStorage" => (None, "u8", 1),
            "BoolStorage" => (None, "bool", 1),
            "ComplexFloatStorage" => (None, "complex64", 8),
            "ComplexDoubleStorage" => (None, "complex128", 16),
            "QInt8Storage" => (None, "quantised i8", 1),
            "QUInt8Storage" => (None, "quantised u8", 1),
            "QInt32Storage" => (None, "quantised i32", 4),
            "UntypedStorage" => (None, "bytes", 1),
            _ => return None,
        };
        Some(Self { kind, name, size })
    }
}

/// The class of a storage, and its key.
fn storage(value: Value<'_>) -> Result<(&str, &str)> {
    let described = value.persistent().and_then(Value::items).context("a tensor without a storage")?;
    let [_, class, key, ..] = described[..] else { bail!("a storage without a type and a key") };
    let class = class.global().context("a storage without a type")?;
    Ok((class, key.text().context("a storage without a key")?))
}

fn content(view: TensorView<'_>, storages: &Storages) -> Result<Content> {
    let (class, key) = storage(view.storage)?;
    let numbers = Numbers::of_class(class);
    let Some(kind) = numbers.as_ref().and_then(|numbers| numbers.kind) else {
        return Ok(Content::Unread(numbers.map_or(class, |numbers| numbers.name).to_owned()));
    };
    let range = storages.get(key).with_context(|| format!("its storage `{key}` is missing"))?;
    ensure!(view.shape.len() == view.strides.len(), "{:?} numbers, {:?} apart", view.shape, view.strides);
    let (shape, strides) = (view.shape.to_vec(), view.strides.to_vec());
    Ok(Content::Numbers(Stored { shape, strides, offset: view.offset, storage: range.clone(), kind }))
}

/// The size of a number in each storage that any value refers to.
fn storage_sizes(object: &Pickle) -> Result<BTreeMap<String, usize>> {
    object
        .values()
        .filter(|value| value.persistent().is_some())
        .map(|value| {
            let (class, key) = storage(value)?;
            let numbers = Numbers::of_class(class)
                .with_context(|| format!("numbers of a {class}, which are not read\n  accepted: {READ}"))?;
            Ok((key.to_owned(), numbers.size))
        })
        .collect()
}
