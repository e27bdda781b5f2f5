//! Puts labels beside points so that they cover neither each other nor the marks.

/// A box of pixels: left, top, right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    /// The box of half-widths `(w, h)` around a pixel.
    pub fn around((x, y): (f64, f64), w: f64, h: f64) -> Self {
        Self { left: x - w, top: y - h, right: x + w, bottom: y + h }
    }

    /// Shared area in pixels.
    pub fn overlap(&self, other: &Self) -> f64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }

    /// The pixel of the box nearest to `(x, y)`.
    pub fn nearest(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (x.clamp(self.left, self.right), y.clamp(self.top, self.bottom))
    }

    fn inside(&self, bounds: &Self) -> bool {
        self.left >= bounds.left && self.right <= bounds.right && self.top >= bounds.top && self.bottom <= bounds.bottom
    }
}

/// Places one label of size `sizes[i]` at each of `points`, inside `bounds`, clear of `obstacles`.
///
/// Each label in turn takes the cheapest of some places around its point, given where the others are; a few rounds settle.
pub fn place(points: &[(f64, f64)], sizes: &[(f64, f64)], obstacles: &[Rect], bounds: &Rect) -> Vec<Rect> {
    let mut placed: Vec<Option<Rect>> = vec![None; points.len()];
    for _round in 0..6 {
        for (label, (point, size)) in points.iter().zip(sizes).enumerate() {
            let area = size.0 * size.1;
            let mut best: Option<(f64, Rect)> = None;
            for (rect, distance) in candidates(*point, *size).filter(|(rect, _)| rect.inside(bounds)) {
                let leader = (*point, rect.nearest(*point));
                let mut price = distance;
                for obstacle in obstacles {
                    price += 800.0 * rect.overlap(obstacle) / area.min(400.0);
                }
                for (other, theirs) in placed.iter().enumerate().filter(|(other, _)| *other != label) {
                    let Some(theirs) = theirs else { continue };
                    price += 2000.0 * rect.overlap(theirs) / area;
                    price += if crosses(leader, theirs) { 150.0 } else { 0.0 };
                    price += if crosses((points[other], theirs.nearest(points[other])), &rect) { 150.0 } else { 0.0 };
                }
                if best.is_none_or(|(least, _)| price < least) {
                    best = Some((price, rect));
                }
            }
            // Bounds smaller than the label: over the point it is at least near.
            placed[label] = Some(best.map_or(Rect::around(*point, size.0 / 2.0, size.1 / 2.0), |(_, rect)| rect));
        }
    }
    placed.into_iter().flatten().collect()
}

/// Labels that would have to go so that no other covers another label or an obstacle, and no line from a label to its point goes
/// through another point: those that do most of it first.
pub fn covering(points: &[(f64, f64)], placed: &[Rect], obstacles: &[Rect]) -> Vec<usize> {
    let covered = |own: &Rect, other: &Rect| Some(own.overlap(other)).filter(|area| *area > 1.0).unwrap_or(0.0);
    let of_obstacles = |label: usize| -> f64 { obstacles.iter().map(|other| covered(&placed[label], other)).sum() };
    let leader = |label: usize| (points[label], placed[label].nearest(points[label]));
    let through = |label: usize| -> f64 {
        let others = points.iter().enumerate().filter(|(other, _)| *other != label);
        let hit = |point: &(f64, f64)| crosses(leader(label), &Rect::around(*point, 6.0, 6.0));
        200.0 * others.filter(|(_, point)| hit(point)).count() as f64
    };
    let alone: Vec<f64> = (0..placed.len()).map(|label| of_obstacles(label) + through(label)).collect();
    let mut gone: Vec<usize> = Vec::new();
    loop {
        let kept = || (0..placed.len()).filter(|label| !gone.contains(label));
        let price = |label: usize| -> f64 {
            let others = kept().filter(|other| *other != label);
            alone[label] + others.map(|other| covered(&placed[label], &placed[other])).sum::<f64>()
        };
        match kept().map(|label| (label, price(label))).max_by(|a, b| a.1.total_cmp(&b.1)) {
            Some((label, price)) if price > 0.0 => gone.push(label),
            _ => return gone,
        }
    }
}

/// Boxes around a point, with a price for distance: right and left first.
fn candidates((x, y): (f64, f64), (w, h): (f64, f64)) -> impl Iterator<Item = (Rect, f64)> {
    [16.0, 26.0, 40.0, 58.0, 80.0, 110.0, 150.0].into_iter().flat_map(move |radius| {
        (0..24).map(move |step| {
            let angle = f64::from(step) * std::f64::consts::TAU / 24.0;
            let (sin, cos) = angle.sin_cos();
            let center = (x + cos * (radius + w / 2.0), y + sin * (radius + h / 2.0));
            (Rect::around(center, w / 2.0, h / 2.0), radius + 6.0 * sin.abs() + if cos < 0.0 { 2.0 } else { 0.0 })
        })
    })
}

/// Whether a line goes through a box, looked at every few pixels.
fn crosses(((ax, ay), (bx, by)): ((f64, f64), (f64, f64)), rect: &Rect) -> bool {
    let steps = ((bx - ax).hypot(by - ay) / 4.0).ceil().max(1.0) as usize;
    (0..=steps).any(|step| {
        let share = step as f64 / steps as f64;
        let (x, y) = (ax + (bx - ax) * share, ay + (by - ay) * share);
        x > rect.left && x < rect.right && y > rect.top && y < rect.bottom
    })
}

/// Moves the heights of labels apart to at least `gap`, in their order, within `low..=high` and as near to where they want
/// to be as that allows.
pub fn spread(wanted: &[f64], gap: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    // Neighbours that touch share one block, centred on the mean of what its members want.
    let mut blocks: Vec<(f64, Vec<usize>)> = Vec::new();
    for label in order {
        blocks.push((wanted[label].max(low).min(high.max(low)), vec![label]));
        while let [.., (upper, first), (lower, second)] = &blocks[..] {
            let room = gap * (first.len() + second.len()) as f64 / 2.0;
            if lower - upper >= room {
                break;
            }
            let members: Vec<usize> = first.iter().chain(second).copied().collect();
            let center = members.iter().map(|label| wanted[*label]).sum::<f64>() / members.len() as f64;
            let half = gap * (members.len() - 1) as f64 / 2.0;
            let center = center.max(low + half).min((high - half).max(low + half));
            blocks.truncate(blocks.len() - 2);
            blocks.push((center, members));
        }
    }
    let mut heights = vec![0.0; wanted.len()];
    for (center, members) in blocks {
        let top = center - gap * (members.len() - 1) as f64 / 2.0;
        for (place, label) in members.into_iter().enumerate() {
            heights[label] = top + gap * place as f64;
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_a_crowd_do_not_overlap() {
        let points: Vec<(f64, f64)> =
            (0..12).map(|n| (400.0 + 9.0 * f64::from(n), 300.0 + f64::from(n % 4) * 13.0)).collect();
        let sizes = vec![(130.0, 20.0); points.len()];
        let marks: Vec<Rect> = points.iter().map(|point| Rect::around(*point, 9.0, 9.0)).collect();
        let bounds = Rect { left: 0.0, top: 0.0, right: 1000.0, bottom: 700.0 };
        let placed = place(&points, &sizes, &marks, &bounds);
        for (n, one) in placed.iter().enumerate() {
            assert!(one.inside(&bounds));
            assert!(placed[..n].iter().all(|other| one.overlap(other) == 0.0), "label {n} covers another");
            assert!(marks.iter().all(|mark| one.overlap(mark) == 0.0), "label {n} covers a mark");
        }
    }

    #[test]
    fn only_labels_that_cover_something_go() {
        let at = |x: f64| Rect::around((x, 0.0), 5.0, 5.0);
        let beside = |xs: &[f64], obstacles: &[Rect]| {
            let points: Vec<(f64, f64)> = xs.iter().map(|x| (*x, 30.0)).collect();
            covering(&points, &xs.iter().map(|x| at(*x)).collect::<Vec<_>>(), obstacles)
        };
        // The second covers both others, which are clear of one another.
        assert_eq!(beside(&[0.0, 8.0, 16.0, 50.0], &[]), [1]);
        assert_eq!(beside(&[0.0, 50.0], &[at(4.0)]), [0]);
        assert!(beside(&[0.0, 10.0], &[]).is_empty());
        // From the first point to its label, the line goes through the second.
        let [label, other] = [Rect::around((60.0, 0.0), 5.0, 5.0), Rect::around((30.0, 40.0), 5.0, 5.0)];
        assert_eq!(covering(&[(0.0, 0.0), (30.0, 0.0)], &[label, other], &[]), [0]);
    }

    #[test]
    fn spread_keeps_order_gap_and_bounds() {
        let heights = spread(&[100.0, 101.0, 102.0, 300.0], 20.0, (90.0, 400.0));
        assert_eq!(heights, [90.0, 110.0, 130.0, 300.0]);
        assert_eq!(spread(&[50.0, 80.0], 20.0, (0.0, 100.0)), [50.0, 80.0]);
    }
}
