//! The factors of a trained kernel.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, bail};
use conv_core::{Approximates, ConvSpec, UnitSpec};

use super::eigen::{dot, eigen};
use super::{Factors, LowRank};

/// Refinements of Tucker's factors, at most, and by what share of the kernel's energy one of them has to do better to be worth
/// another.
const REFINEMENTS: usize = 10;
const WORTH: f64 = 1e-6;

/// Weights of the factors, in the order in which they are run.
type Weights = Vec<(&'static str, Tensor)>;

impl Approximates for LowRank {
    fn unit(&self, unit: &UnitSpec, vanilla: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        let Some(weight) = vanilla.get("weight") else { bail!("lowrank: a trained unit without a weight") };
        let factors = factors(self, &unit.conv, weight)?.into_iter();
        let others = vanilla.iter().filter(|(name, _)| *name != "weight");
        let others = others.map(|(name, tensor)| (format!("last.{name}"), tensor.clone()));
        Ok(factors.map(|(name, tensor)| (format!("{name}.weight"), tensor)).chain(others).collect())
    }
}

/// The weights of the factors that stand for a trained convolution of this `weight`.
///
/// # Errors
/// A weight that is not the convolution's, or not finite.
fn factors(method: &LowRank, conv: &ConvSpec, weight: &Tensor) -> Result<Weights> {
    let ConvSpec { in_channels, out_channels, kernel, .. } = *conv;
    if weight.dims() != conv.weight_shape() {
        bail!("lowrank: a trained weight of {:?} where {:?} is expected", weight.dims(), conv.weight_shape());
    }
    let values = weight.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    if values.iter().any(|value| !value.is_finite()) {
        bail!("lowrank: a trained weight is not finite: the network has diverged");
    }
    let (read, made) = method.ranks(conv);
    let tensor = |matrix: &Matrix, shape: [usize; 4]| {
        let values = matrix.values.iter().map(|&value| value as f32).collect();
        Tensor::from_vec(values, &shape, &Device::Cpu)
    };
    let whole = Matrix { values, columns: in_channels * kernel * kernel };
    match method.form {
        Factors::Svd => {
            let (last, core) = whole.halves(made)?;
            Ok(vec![
                ("core", tensor(&core, [made, in_channels, kernel, kernel])?),
                ("last", tensor(&last, [out_channels, made, 1, 1])?),
            ])
        }
        Factors::Tucker2 => {
            let (first, core, last) = tucker(&whole, (in_channels, kernel * kernel), (read, made))?;
            Ok(vec![
                ("first", tensor(&first, [read, in_channels, 1, 1])?),
                ("core", tensor(&core, [made, read, kernel, kernel])?),
                ("last", tensor(&last.transposed(), [out_channels, made, 1, 1])?),
            ])
        }
    }
}

/// The bases of both channel modes (a vector a row) with the core between them: the leading singular vectors of either mode (HOSVD),
/// refined in turns, each on the kernel as the other one leaves it (HOOI), which never does worse.
fn tucker(
    kernel: &Matrix,
    (inputs, taps): (usize, usize),
    (read, made): (usize, usize),
) -> Result<(Matrix, Matrix, Matrix)> {
    let by_input = kernel.swapped(inputs, taps);
    let (mut first, mut energy) = (by_input.leading(read)?, 0.0);
    let mut refinements = 0;
    loop {
        let narrowed = first.times(&by_input).swapped(kernel.rows(), taps);
        let last = narrowed.leading(made)?;
        let core = last.times(&narrowed);
        let now = core.energy();
        if now - energy <= WORTH * now || refinements == REFINEMENTS {
            return Ok((first, core, last));
        }
        (energy, refinements) = (now, refinements + 1);
        first = last.times(kernel).swapped(inputs, taps).leading(read)?;
    }
}

/// Rows of so many values.
#[derive(Clone, Debug, Default)]
struct Matrix {
    values: Vec<f64>,
    columns: usize,
}

impl Matrix {
    fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.columns..(index + 1) * self.columns]
    }

    /// Sum of the squares.
    fn energy(&self) -> f64 {
        dot(&self.values, &self.values)
    }

    fn times(&self, other: &Self) -> Self {
        let mut values = vec![0.0; self.rows() * other.columns];
        for (sums, row) in values.chunks_exact_mut(other.columns).zip(0..) {
            for (factor, other) in self.row(row).iter().zip(other.values.chunks_exact(other.columns)) {
                sums.iter_mut().zip(other).for_each(|(sum, value)| *sum += factor * value);
            }
        }
        Self { values, columns: other.columns }
    }

    fn transposed(&self) -> Self {
        self.swapped(self.columns, 1)
    }

    /// Rows of `inner` groups of `taps` values, as rows for each of the `inner` with a group for each row.
    fn swapped(&self, inner: usize, taps: usize) -> Self {
        let rows = self.rows();
        let group = |inner: usize, row: usize| &self.row(row)[inner * taps..(inner + 1) * taps];
        let values = (0..inner).flat_map(|at| (0..rows).flat_map(move |row| group(at, row))).copied().collect();
        Self { values, columns: rows * taps }
    }

    /// The `rank` leading left singular vectors with their singular values, a vector a row.
    fn singular(&self, rank: usize) -> Result<(Vec<f64>, Self)> {
        let rows = self.rows();
        let mut gram = vec![0.0; rows * rows];
        for a in 0..rows {
            for b in 0..=a {
                let product = dot(self.row(a), self.row(b));
                (gram[a * rows + b], gram[b * rows + a]) = (product, product);
            }
        }
        let (values, vectors): (Vec<f64>, Vec<Vec<f64>>) = eigen(gram, rows)?.into_iter().take(rank).unzip();
        // What is 0 may come out below it.
        let values = values.into_iter().map(|value| value.max(0.0).sqrt()).collect();
        Ok((values, Self { values: vectors.concat(), columns: rows }))
    }

    fn leading(&self, rank: usize) -> Result<Self> {
        Ok(self.singular(rank)?.1)
    }

    /// The best product `a b` of this rank, each factor with the roots of the singular values. The smaller side is decomposed.
    fn halves(&self, rank: usize) -> Result<(Self, Self)> {
        if self.rows() > self.columns {
            let (b, a) = self.transposed().halves(rank)?;
            return Ok((a.transposed(), b.transposed()));
        }
        let (values, mut basis) = self.singular(rank)?;
        let mut projected = basis.times(self);
        let least = values.first().copied().unwrap_or(0.0) * 1e-9;
        for (index, value) in values.into_iter().enumerate() {
            // Where there is nothing to divide, a factor that is not 0 leaves the other one a gradient.
            let root = if value > least { value.sqrt() } else { 1.0 };
            let columns = (basis.columns, projected.columns);
            basis.values[index * columns.0..][..columns.0].iter_mut().for_each(|value| *value *= root);
            projected.values[index * columns.1..][..columns.1].iter_mut().for_each(|value| *value /= root);
        }
        Ok((basis.transposed(), projected))
    }
}
