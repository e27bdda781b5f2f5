//! A state dict as `torch.save` writes it: a zip of a pickle, and of each tensor's values beside it.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use anyhow::Result;
use candle_core::Tensor;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::pickle::Pickle;
use crate::weights::values;

/// Where PyTorch wants values to begin, so that it can map them into memory.
const ALIGNMENT: u16 = 64;

/// The file's bytes; the same for the same tensors.
pub(super) fn bytes(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(ALIGNMENT);
    let mut add = |name: &str, bytes: &[u8]| -> Result<()> {
        zip.start_file(format!("archive/{name}"), options)?;
        Ok(zip.write_all(bytes)?)
    };
    add("data.pkl", &pickle(tensors))?;
    add("byteorder", b"little")?;
    for (index, tensor) in tensors.values().enumerate() {
        let bytes: Vec<u8> = values(tensor)?.iter().flat_map(|value| value.to_le_bytes()).collect();
        add(&format!("data/{index}"), &bytes)?;
    }
    add("version", b"3\n")?;
    Ok(zip.finish()?.into_inner())
}

/// An `OrderedDict` of tensors, each over a storage of its own.
fn pickle(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.dictionary().mark();
    for (index, (name, tensor)) in tensors.iter().enumerate() {
        pickle.text(name).global("torch._utils", "_rebuild_tensor_v2").mark();
        pickle.mark().text("storage").global("torch", "FloatStorage").text(&index.to_string()).text("cpu");
        pickle.int(tensor.elem_count()).tuple().outside();
        let dims = tensor.dims();
        let strides = (1..=dims.len()).map(|from| dims[from..].iter().product());
        pickle.int(0).ints(dims.iter().copied()).ints(strides).no().dictionary().tuple().call();
    }
    pickle.set_items();
    pickle.finish()
}
