use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{gradient, on_kernels, output, slice, with_values};
use crate::kernels::flat::pool;
use crate::kernels::windows::Windows;

/// Maximum over `kernel x kernel` windows: `[n, c, h, w] -> [n, c, h', w']`. Padding never wins; of equal values the first
/// (row by row) gets the gradient, as in PyTorch.
///
/// # Errors
/// A window larger than the padded input, or padding above half the kernel.
pub fn max_pool2d(x: &Tensor, kernel: usize, stride: usize, padding: usize) -> Result<Tensor> {
    let windows = Windows::new(size(x)?, kernel, stride, padding, false)?;
    if on_kernels(x) { x.contiguous()?.apply_op1(Pool { windows, max: true }) } else { compose(x, &windows, true) }
}

/// Mean over the existing pixels of `kernel x kernel` windows, without padding: `[n, c, h, w] -> [n, c, h', w']`.
/// `ceil_mode` keeps the windows that the edge cuts.
///
/// # Errors
/// A window larger than the input (unless `ceil_mode`).
pub fn avg_pool2d(x: &Tensor, kernel: usize, stride: usize, ceil_mode: bool) -> Result<Tensor> {
    let windows = Windows::new(size(x)?, kernel, stride, 0, ceil_mode)?;
    if on_kernels(x) { x.contiguous()?.apply_op1(Pool { windows, max: false }) } else { compose(x, &windows, false) }
}

/// Mean over all pixels: `[n, c, h, w] -> [n, c]`.
///
/// # Errors
/// An input that is not of rank 4.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    x.mean((2, 3))
}

fn size(x: &Tensor) -> Result<(usize, usize)> {
    let (_, _, height, width) = x.dims4()?;
    Ok((height, width))
}

struct Pool {
    windows: Windows,
    max: bool,
}

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        if self.max { "max_pool2d" } else { "avg_pool2d" }
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, _, _) = layout.shape().dims4()?;
        let forward = if self.max { pool::max_forward } else { pool::average_forward };
        output(forward(&self.windows, slice(x, layout)?), (n, c, self.windows.output.0, self.windows.output.1))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_values(dy, |dy| {
            if self.max {
                with_values(x, |x| Ok(pool::max_backward(&self.windows, x, dy)))
            } else {
                Ok(pool::average_backward(&self.windows, dy))
            }
        })?;
        Ok(Some(gradient(dx, x)?))
    }
}

/// With candle's ops: window element by window element, as strided slices of the padded input.
fn compose(x: &Tensor, windows: &Windows, max: bool) -> Result<Tensor> {
    let Windows { input, output, kernel, stride, padding } = *windows;
    let reach = |out: usize| (out - 1) * stride + kernel;
    let pad = |x: &Tensor, value: f64| -> Result<Tensor> {
        // What `index_select` reads has to lie in order.
        let mut x = x.contiguous()?;
        for (dim, size, out) in [(2, input.0, output.0), (3, input.1, output.1)] {
            let mut parts = Vec::new();
            let filler = |count: usize, parts: &mut Vec<Tensor>, x: &Tensor| -> Result<()> {
                if count > 0 {
                    let mut dims = x.dims().to_vec();
                    dims[dim] = count;
                    parts.push((Tensor::zeros(dims, x.dtype(), x.device())? + value)?);
                }
                Ok(())
            };
            filler(padding, &mut parts, &x)?;
            parts.push(x.clone());
            filler(reach(out).saturating_sub(size + padding), &mut parts, &x)?;
            x = Tensor::cat(&parts, dim)?;
        }
        Ok(x)
    };
    let indices = |start: usize, out: usize| {
        let indices: Vec<u32> = (0..out).map(|o| (start + o * stride) as u32).collect();
        Tensor::from_vec(indices, out, x.device())
    };
    let padded = pad(x, if max { f64::NEG_INFINITY } else { 0.0 })?;
    let mut result: Option<Tensor> = None;
    for (row, column) in (0..kernel).flat_map(|row| (0..kernel).map(move |column| (row, column))) {
        let element = padded.index_select(&indices(row, output.0)?, 2)?.index_select(&indices(column, output.1)?, 3)?;
        result = Some(match result {
            None => element,
            // Strictly greater: of equal values the first keeps the gradient. The first NaN stays.
            Some(best) if max => {
                let stays = (element.le(&best)? + best.ne(&best)?)?;
                stays.where_cond(&best, &element)?
            }
            Some(sum) => (sum + element)?,
        });
    }
    let Some(result) = result else { bail!("pooling: empty window") };
    if max {
        return Ok(result);
    }
    let counts: Vec<f64> = (0..output.0)
        .flat_map(|y| (0..output.1).map(move |x| (y, x)))
        .map(|(y, x)| {
            let span = |o: usize, size: usize| (o * stride + kernel).min(size) - o * stride;
            (span(y, input.0) * span(x, input.1)) as f64
        })
        .collect();
    result.broadcast_div(&Tensor::from_vec(counts, output, x.device())?.to_dtype(x.dtype())?)
}
