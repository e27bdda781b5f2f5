//! Weights as safetensors, with what has to be known to use them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value, json};

use crate::data::{Geometry, Normalization};
use crate::files::write_atomic;

/// Where a header keeps what is no tensor.
const METADATA: &str = "__metadata__";

/// What a network is to be given: images of this geometry, each channel scaled to [0, 1] and then standardised.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpec {
    /// Channels, height and width, and the number of classes.
    pub geometry: Geometry,
    /// What it was trained with.
    pub normalization: Normalization,
}

/// Tensors by name, and texts beside them.
#[derive(Clone, Debug, Default)]
pub struct WeightsFile {
    /// All of f32 where this harness wrote them.
    pub tensors: BTreeMap<String, Tensor>,
    /// As the header has it.
    pub metadata: BTreeMap<String, String>,
}

impl InputSpec {
    /// As metadata: `shape`, `classes`, `mean` and `std`, each as JSON.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let (c, h, w) = self.geometry.shape;
        let Normalization { mean, std, .. } = &self.normalization;
        let texts = [
            ("shape", json!([c, h, w])),
            ("classes", json!(self.geometry.classes)),
            ("mean", json!(mean)),
            ("std", json!(std)),
        ];
        texts.map(|(key, value)| (key.to_owned(), value.to_string())).into()
    }

    /// From metadata; none where it has no such keys, as files from before they were written.
    pub fn of_metadata(metadata: &BTreeMap<String, String>) -> Option<Self> {
        fn read<T: serde::de::DeserializeOwned>(metadata: &BTreeMap<String, String>, key: &str) -> Option<T> {
            serde_json::from_str(metadata.get(key)?).ok()
        }
        let geometry = Geometry { shape: read(metadata, "shape")?, classes: read(metadata, "classes")? };
        let (mean, std) = (read(metadata, "mean")?, read(metadata, "std")?);
        let normalization = Normalization { mean, std, of: "those of the weights' file".to_owned() };
        let channels = geometry.shape.0;
        let fits = normalization.mean.len() == channels && normalization.std.len() == channels;
        fits.then_some(Self { geometry, normalization })
    }
}

impl WeightsFile {
    /// Writes it as safetensors, whole or not at all. Equal contents are equal bytes: the header is in the order of names, which
    /// the `safetensors` crate does not promise of metadata.
    ///
    /// # Errors
    /// A file that cannot be written; names it.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomic(path, &self.bytes().with_context(|| format!("{}: cannot be written", path.display()))?)
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let mut header = Map::new();
        if !self.metadata.is_empty() {
            header.insert(METADATA.to_owned(), json!(self.metadata));
        }
        let mut data = Vec::new();
        for (name, tensor) in &self.tensors {
            let start = data.len();
            data.extend(values(tensor)?.iter().flat_map(|value| value.to_le_bytes()));
            let entry = json!({ "dtype": "F32", "shape": tensor.dims(), "data_offsets": [start, data.len()] });
            header.insert(name.clone(), entry);
        }
        let mut header = serde_json::to_vec(&Value::Object(header))?;
        // Readers that map the file into memory want numbers where numbers can be.
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend(data);
        Ok(bytes)
    }

    /// What a file of safetensors holds.
    ///
    /// # Errors
    /// Bytes that are no such file.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu).context("no safetensors")?;
        let header: Value = serde_json::from_slice(header(bytes).context("no safetensors")?)?;
        let metadata = header.get(METADATA).cloned().unwrap_or_else(|| json!({}));
        Ok(Self { tensors: tensors.into_iter().collect(), metadata: serde_json::from_value(metadata)? })
    }
}

/// The JSON at the head of a file.
fn header(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// A tensor's values in order.
///
/// # Errors
/// Another type than f32: converting would be a silent loss.
pub fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    ensure!(tensor.dtype() == DType::F32, "a tensor of {:?}; accepted: f32", tensor.dtype());
    Ok(tensor.flatten_all()?.to_vec1()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> WeightsFile {
        let tensor = |shape: &[usize]| {
            let values = (0..shape.iter().product()).map(|value: usize| value as f32 - 1.5).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let tensors = [("b.weight", &[2, 3, 1, 1][..]), ("a", &[4]), ("c.scalar", &[])];
        let normalization = Normalization { mean: vec![0.1, 0.2, 0.3], std: vec![1.0, 0.5, 0.25], of: String::new() };
        let input = InputSpec { geometry: Geometry { shape: (3, 5, 7), classes: 4 }, normalization };
        WeightsFile {
            tensors: tensors.map(|(name, shape)| (name.to_owned(), tensor(shape))).into(),
            metadata: input.metadata(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_equal_contents_are_equal_bytes() {
        let (bytes, again) = (file().bytes().unwrap(), file().bytes().unwrap());
        assert!(bytes == again);
        let read = WeightsFile::read(&bytes).unwrap();
        assert_eq!(read.tensors.keys().collect::<Vec<_>>(), ["a", "b.weight", "c.scalar"]);
        for (name, tensor) in &file().tensors {
            assert_eq!(read.tensors[name].dims(), tensor.dims());
            assert_eq!(values(&read.tensors[name]).unwrap(), values(tensor).unwrap());
        }
        let input = InputSpec::of_metadata(&read.metadata).unwrap();
        assert_eq!((input.geometry.shape, input.geometry.classes), ((3, 5, 7), 4));
        assert_eq!(input.normalization.std, [1.0, 0.5, 0.25]);
    }

    #[test]
    fn what_is_no_such_file_is_an_error_wherever_it_is_cut() {
        let bytes = file().bytes().unwrap();
        for cut in 0..bytes.len() {
            assert!(WeightsFile::read(&bytes[..cut]).is_err(), "{cut}");
        }
        assert_eq!(InputSpec::of_metadata(&BTreeMap::new()), None);
    }
}
