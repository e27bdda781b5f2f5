//! Eigenvectors of symmetric matrices, in double precision and the same bits on every machine.

use candle_core::{Result, bail};

/// Iterations an eigenvalue may take; two are usual.
const MOST: usize = 60;

/// Eigenvalues of the symmetric `matrix`, descending, each with its eigenvector of length 1. The matrix has `n` rows of `n` values;
/// only rounding may make it asymmetric.
///
/// Householder's reflections make it tridiagonal, QL iterations with implicit shifts diagonal (Wilkinson and Reinsch, "Handbook
/// for Automatic Computation", contributions II/2 and II/4). Every loop runs over rows, which are contiguous, in one order.
///
/// # Errors
/// Values that are not finite.
pub(super) fn eigen(mut matrix: Vec<f64>, n: usize) -> Result<Vec<(f64, Vec<f64>)>> {
    // Squares of what is far from 1 would leave the range of numbers.
    let scale = matrix.iter().fold(0f64, |most, value| most.max(value.abs()));
    if matrix.len() != n * n || matrix.iter().any(|value| !value.is_finite()) {
        bail!("no eigenvalues: {} values of a matrix of {n} rows, or some that are not finite", matrix.len());
    }
    if scale > 0.0 {
        matrix.iter_mut().for_each(|value| *value /= scale);
    }
    let (mut diagonal, mut beside, mut rows) = tridiagonal(matrix, n);
    diagonalise(&mut diagonal, &mut beside, &mut rows)?;
    let mut pairs: Vec<(f64, Vec<f64>)> = diagonal.into_iter().map(|value| value * scale).zip(rows).collect();
    pairs.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(pairs)
}

/// The diagonal of a tridiagonal matrix T, what is beside it (from the first row on; last a 0), and the rows of a Q with `Q^T T Q` the
/// matrix that was given.
fn tridiagonal(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
    let mut beside = vec![0.0; n];
    // Reflections `1 - beta v v^T` of what is behind each column.
    let mut reflections = Vec::new();
    for k in 0..n.saturating_sub(2) {
        let mut v: Vec<f64> = (k + 1..n).map(|row| a[row * n + k]).collect();
        let norm = dot(&v, &v).sqrt();
        let to = if v[0] > 0.0 { -norm } else { norm };
        beside[k] = to;
        v[0] -= to;
        let length = dot(&v, &v);
        let beta = if length > 0.0 { 2.0 / length } else { 0.0 };
        let p: Vec<f64> = (k + 1..n).map(|row| beta * dot(&a[row * n + k + 1..(row + 1) * n], &v)).collect();
        let half = 0.5 * beta * dot(&v, &p);
        let w: Vec<f64> = p.iter().zip(&v).map(|(p, v)| p - half * v).collect();
        for (i, row) in (k + 1..n).enumerate() {
            let (vi, wi) = (v[i], w[i]);
            for ((value, v), w) in a[row * n + k + 1..(row + 1) * n].iter_mut().zip(&v).zip(&w) {
                *value -= vi * w + wi * v;
            }
        }
        reflections.push((beta, v));
    }
    if n >= 2 {
        beside[n - 2] = a[(n - 1) * n + n - 2];
    }
    let mut rows: Vec<Vec<f64>> = (0..n).map(|row| (0..n).map(|at| f64::from(u8::from(at == row))).collect()).collect();
    for (k, (beta, v)) in reflections.iter().enumerate().rev() {
        for row in &mut rows[k + 1..] {
            let behind = &mut row[k + 1..];
            let along = beta * dot(behind, v);
            behind.iter_mut().zip(v).for_each(|(value, v)| *value -= along * v);
        }
    }
    ((0..n).map(|row| a[row * n + row]).collect(), beside, rows)
}

/// Turns the tridiagonal matrix into its eigenvalues, and `rows` with it: into eigenvectors.
fn diagonalise(d: &mut [f64], e: &mut [f64], rows: &mut [Vec<f64>]) -> Result<()> {
    let n = d.len();
    for l in 0..n {
        for iteration in 0.. {
            // Where the block that begins at l ends: what is beside it is nothing to its neighbours.
            let ends = |m: &usize| *m + 1 == n || e[*m].abs() <= f64::EPSILON * (d[*m].abs() + d[*m + 1].abs());
            let m = (l..n).find(ends).unwrap_or(n - 1);
            if m == l {
                break;
            }
            if iteration == MOST {
                bail!("no eigenvalues of a matrix of {n} rows after {MOST} iterations for one");
            }
            let shift = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let root = (shift * shift + 1.0).sqrt();
            let mut g = d[m] - d[l] + e[l] / (shift + root.copysign(shift));
            let (mut sine, mut cosine, mut p) = (1.0, 1.0, 0.0);
            let mut vanished = false;
            for i in (l..m).rev() {
                let (f, b) = (sine * e[i], cosine * e[i]);
                let r = (f * f + g * g).sqrt();
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    vanished = true;
                    break;
                }
                (sine, cosine) = (f / r, g / r);
                g = d[i + 1] - p;
                let turn = (d[i] - g) * sine + 2.0 * cosine * b;
                p = sine * turn;
                d[i + 1] = g + p;
                g = cosine * turn - b;
                let (first, second) = rows.split_at_mut(i + 1);
                for (x, y) in first[i].iter_mut().zip(&mut second[0]) {
                    (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
                }
            }
            if !vanished {
                d[l] -= p;
                e[l] = g;
            }
            e[m] = 0.0;
        }
    }
    Ok(())
}

/// Sum of products, in eight strands: one would be bound to the order of a single sum.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    const STRANDS: usize = 8;
    let mut sums = [0.0; STRANDS];
    let (a, b) = (a.chunks_exact(STRANDS), b.chunks_exact(STRANDS));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matrix: &[f64], n: usize) -> Vec<f64> {
        let pairs = eigen(matrix.to_vec(), n).unwrap();
        let scale = matrix.iter().fold(1e-300f64, |most, value| most.max(value.abs())) * n as f64;
        assert_eq!(pairs.len(), n);
        for (index, (value, vector)) in pairs.iter().enumerate() {
            for row in 0..n {
                let made = dot(&matrix[row * n..(row + 1) * n], vector);
                assert!((made - value * vector[row]).abs() < 1e-13 * scale, "{made} is not {value} * {}", vector[row]);
            }
            for (other, (_, second)) in pairs.iter().enumerate() {
                let expected = if index == other { 1.0 } else { 0.0 };
                assert!((dot(vector, second) - expected).abs() < 1e-12, "{index} {other}");
            }
            assert!(index == 0 || pairs[index - 1].0 >= *value);
        }
        pairs.into_iter().map(|(value, _)| value).collect()
    }

    fn symmetric(n: usize, rank: usize) -> Vec<f64> {
        let factor = conv_core::normal_stream(7, &format!("{n}"), n * rank);
        let row = |index: usize| &factor[index * rank..(index + 1) * rank];
        (0..n * n).map(|at| dot(row(at / n), row(at % n))).collect()
    }

    #[test]
    fn eigenvectors_are_orthonormal_and_belong_to_their_values() {
        for n in [1, 2, 3, 5, 17, 64, 100] {
            check(&symmetric(n, n), n);
            let small: Vec<f64> = symmetric(n, n).iter().map(|value| value * 1e-200).collect();
            check(&small, n);
        }
        // Half of the values are 0.
        let values = check(&symmetric(24, 12), 24);
        assert!(values[11] > 0.1 && values[12].abs() < 1e-12 * values[0], "{values:?}");
    }

    #[test]
    fn known_values_come_out() {
        let values = check(&[2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0], 3);
        let root = 2f64.sqrt();
        for (value, expected) in values.iter().zip([2.0 + root, 2.0, 2.0 - root]) {
            assert!((value - expected).abs() < 1e-14, "{value} {expected}");
        }
        assert_eq!(check(&[0.0; 16], 4), [0.0; 4]);
        // Equal ones, and a diagonal in no order.
        let identity: Vec<f64> = (0..36).map(|at| if at % 7 == 0 { 3.0 } else { 0.0 }).collect();
        assert_eq!(check(&identity, 6), [3.0; 6]);
        assert_eq!(check(&[1.0, 0.0, 0.0, 0.0, -5.0, 0.0, 0.0, 0.0, 4.0], 3), [4.0, 1.0, -5.0]);
        assert!(eigen(vec![f64::NAN], 1).is_err());
        assert!(eigen(vec![], 0).unwrap().is_empty());
    }
}
