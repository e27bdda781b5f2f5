//! Operations without parameters: channels are chosen, joined, moved and pooled.

use std::ops::Range;

use candle_core::{Result, bail};

use super::{Scope, Sheet};
use crate::Value;
use crate::written::Operation;

impl Scope<'_> {
    /// These channels of `x`.
    ///
    /// # Errors
    /// A range that is empty or not inside.
    pub fn slice(&mut self, x: Value, channels: Range<usize>) -> Result<Value> {
        match &mut self.sheet {
            Sheet::Build { graph, .. } => graph.slice(x, channels),
            Sheet::Count(written) => {
                let (all, size) = (written.channels(x), written.size(x));
                if channels.is_empty() || channels.end > all {
                    bail!("channels {channels:?} of {all}");
                }
                let count = channels.len();
                Ok(if count == all { x } else { written.push(Operation::Slice { x, channels }, count, size) })
            }
        }
    }

    /// One after the other, along the channels.
    ///
    /// # Errors
    /// No parts; sizes that differ.
    pub fn concat(&mut self, parts: &[Value]) -> Result<Value> {
        match (&mut self.sheet, parts) {
            (Sheet::Build { graph, .. }, _) => graph.concat(parts),
            (Sheet::Count(_), []) => bail!("nothing to concatenate"),
            (Sheet::Count(_), [only]) => Ok(*only),
            (Sheet::Count(written), [first, ..]) => {
                let size = written.size(*first);
                let mut channels = 0;
                for &part in parts {
                    written.check_size(part, size)?;
                    channels += written.channels(part);
                }
                Ok(written.push(Operation::Concat { parts: parts.to_vec() }, channels, size))
            }
        }
    }

    /// As [`crate::ops::channel_shuffle`].
    ///
    /// # Errors
    /// Groups that do not divide the channels.
    pub fn shuffle(&mut self, x: Value, groups: usize) -> Result<Value> {
        match &mut self.sheet {
            Sheet::Build { graph, .. } => graph.shuffle(x, groups),
            Sheet::Count(written) => {
                let (channels, size) = (written.channels(x), written.size(x));
                if groups == 0 || !channels.is_multiple_of(groups) {
                    bail!("channel shuffle: {groups} groups do not divide {channels} channels");
                }
                Ok(if groups == 1 { x } else { written.push(Operation::Shuffle { x, groups }, channels, size) })
            }
        }
    }

    /// So many channels of zeros before and after.
    ///
    /// # Errors
    /// More channels than can be counted.
    pub fn pad_channels(&mut self, x: Value, before: usize, after: usize) -> Result<Value> {
        let padded = before.checked_add(after).and_then(|added| added.checked_add(self.channels(x)));
        let Some(channels) = padded else { bail!("{before} and {after} channels of zeros are too many") };
        Ok(match &mut self.sheet {
            Sheet::Build { graph, .. } => graph.pad_channels(x, before, after),
            Sheet::Count(_) if before + after == 0 => x,
            Sheet::Count(written) => {
                let size = written.size(x);
                written.push(Operation::Pad { x, before, after }, channels, size)
            }
        })
    }

    /// As [`crate::ops::max_pool2d`].
    ///
    /// # Errors
    /// A window that does not fit.
    pub fn max_pool(&mut self, x: Value, kernel: usize, stride: usize, padding: usize) -> Result<Value> {
        match &mut self.sheet {
            Sheet::Build { graph, .. } => Ok(graph.max_pool(x, kernel, stride, padding)),
            Sheet::Count(written) => written.pool(Operation::MaxPool { x, kernel, stride, padding }),
        }
    }

    /// As [`crate::ops::avg_pool2d`]; with a kernel of 1, every `stride`-th pixel.
    ///
    /// # Errors
    /// A window that does not fit.
    pub fn avg_pool(&mut self, x: Value, kernel: usize, stride: usize, ceil_mode: bool) -> Result<Value> {
        match &mut self.sheet {
            Sheet::Build { graph, .. } => Ok(graph.avg_pool(x, kernel, stride, ceil_mode)),
            Sheet::Count(_) if (kernel, stride) == (1, 1) => Ok(x),
            Sheet::Count(written) => written.pool(Operation::AvgPool { x, kernel, stride, ceil_mode }),
        }
    }

    /// The mean over all pixels: `[n, channels]`.
    ///
    /// # Errors
    /// None yet.
    pub fn global_avg_pool(&mut self, x: Value) -> Result<Value> {
        match &mut self.sheet {
            Sheet::Build { graph, .. } => Ok(graph.global_avg_pool(x)),
            Sheet::Count(written) => {
                let channels = written.channels(x);
                Ok(written.push(Operation::GlobalAvgPool { x }, channels, (1, 1)))
            }
        }
    }
}
