//! A curve in bounded memory.

/// Most points that are kept: more than the dots of a wide terminal.
const MOST: usize = 512;

/// Beyond it, differences would not be finite.
const FAR: f64 = 1e100;

/// A curve of which any length can be told. Once it is full, neighbours are averaged, and from then on twice as many values
/// make a point.
#[derive(Clone, Debug)]
pub struct Series {
    points: Vec<(f64, f64)>,
    /// Values that make a point.
    each: usize,
    /// Values that are no point yet: their number and sums.
    open: (usize, f64, f64),
}

impl Default for Series {
    fn default() -> Self {
        Self { points: Vec::new(), each: 1, open: (0, 0.0, 0.0) }
    }
}

impl Series {
    /// Goes on at `x` with `y`. What is no number, or of no size that can be drawn, is left out.
    pub fn push(&mut self, x: f64, y: f64) {
        if !(x.abs() < FAR && y.abs() < FAR) {
            return;
        }
        let (count, xs, ys) = self.open;
        self.open = (count + 1, xs + x, ys + y);
        if self.open.0 < self.each {
            return;
        }
        let (count, xs, ys) = std::mem::take(&mut self.open);
        self.points.push((xs / count as f64, ys / count as f64));
        if self.points.len() == MOST {
            self.points = self.points.chunks(2).map(|p| ((p[0].0 + p[1].0) / 2.0, (p[0].1 + p[1].1) / 2.0)).collect();
            self.each *= 2;
        }
    }

    /// What there is to draw.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_curves_are_kept_and_long_ones_keep_their_shape() {
        let mut series = Series::default();
        series.push(0.0, f64::NAN);
        series.push(0.0, f64::MAX);
        series.push(1.0, 2.0);
        assert_eq!(series.points(), [(1.0, 2.0)]);

        let mut series = Series::default();
        for step in 0..100_000 {
            series.push(f64::from(step), 3.0 * f64::from(step));
        }
        let points = series.points();
        assert!((MOST / 2..MOST).contains(&points.len()), "{}", points.len());
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(points.iter().all(|&(x, y)| (y - 3.0 * x).abs() < 1e-6 * (1.0 + x)));
        assert!(points[points.len() - 1].0 > 99_000.0);
    }
}
