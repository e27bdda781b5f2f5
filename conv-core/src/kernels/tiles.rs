//! Register tiles: how many rows and how many columns of a matrix product have their sums in registers at a time.
//!
//! Rows are output channels. A tile of `R` rows and `C` vectors a row has `R C` sums, beside which stand the lesser of `R`
//! weights and `C` inputs, and one of the other: together no more than the 32 registers of the widest instruction set or the
//! 16 of the others. Where it can, a tile has eight sums or more, because with fewer the multipliers wait for each other's
//! results. Within that each kernel has a table of widths of its own, beside it.

use super::simd::Isa;

/// Calls the tile of the size that a table has for `$rows`: `tiles!(rows; S; self.tile(simd, at); wide [1 => 8, 2 => 6], ..)`
/// is `self.tile::<_, 2, 6>(simd, at)` for two rows. The sizes are constants, so that sums stay in registers.
macro_rules! tiles {
    ($rows:expr; $isa:ident; $self:ident.$tile:ident $arguments:tt; wide $wide:tt, narrow $narrow:tt) => {
        if $isa::WIDTH == 1 {
            $crate::kernels::tiles::tiles!($rows; $self.$tile $arguments; $wide)
        } else {
            $crate::kernels::tiles::tiles!($rows; $self.$tile $arguments; $narrow)
        }
    };
    ($($size:expr),+; $self:ident.$tile:ident $arguments:tt; [$($($rows:literal)x+ => $columns:literal),+]) => {
        match ($($size,)+) {
            $(($($rows,)+) => $self.$tile::<_, $($rows,)+ $columns>$arguments,)+
            size => unreachable!("no register tile is as high as {size:?}"),
        }
    };
}
pub(crate) use tiles;

/// No tile of [`even_blocks`] has more rows.
pub(crate) const TALLEST: usize = 8;

fn tallest(isa: Isa) -> usize {
    if isa.is_wide() { TALLEST } else { 6 }
}

/// Splits `count` rows into tiles `(first, rows)` of nearly equal height: the fewest tiles, and none much lower than the
/// others.
pub(crate) fn even_blocks(isa: Isa, count: usize) -> Vec<(usize, usize)> {
    let tiles = count.div_ceil(tallest(isa));
    (0..tiles)
        .map(|tile| (count * tile / tiles, count * (tile + 1) / tiles))
        .map(|(from, to)| (from, to - from))
        .collect()
}

/// The same for tiles whose columns are single pixels of 16 images. On the narrow instruction sets four rows are a bad height
/// there, too low to keep the multipliers busy with one pixel and too high for two: 8 rows are 5 and 3.
pub(crate) fn uneven_blocks(isa: Isa, count: usize) -> Vec<(usize, usize)> {
    let mut heights: Vec<usize> = even_blocks(isa, count).into_iter().map(|(_, rows)| rows).collect();
    let pair = |heights: &[usize]| {
        let four = heights.iter().position(|&rows| rows == 4)?;
        let other = (0..heights.len()).find(|&at| at != four && (4..6).contains(&heights[at]))?;
        Some((four, other))
    };
    while !isa.is_wide()
        && let Some((four, other)) = pair(&heights)
    {
        heights[four] -= 1;
        heights[other] += 1;
    }
    let ends = heights.iter().scan(0, |end, &rows| {
        *end += rows;
        Some(*end)
    });
    ends.zip(&heights).map(|(end, &rows)| (end - rows, rows)).collect()
}

/// Splits `count` rows into as many of the tallest tiles of flat planes as fit, then into tiles of 4, 2 and 1: these kernels
/// have few heights, as each is compiled for whole tiles of [`super::flat`]'s fixed number of positions.
pub(crate) fn halving_blocks(isa: Isa, count: usize) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut start = 0;
    let heights: &[usize] = if isa.is_wide() { &[8, 4, 2, 1] } else { &[4, 2, 1] };
    for &rows in heights {
        while count - start >= rows {
            blocks.push((start, rows));
            start += rows;
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_tile_and_no_tile_is_too_tall() {
        for isa in Isa::available() {
            for (split, tallest) in [
                (even_blocks as fn(_, _) -> _, tallest(isa)),
                (uneven_blocks, tallest(isa)),
                (halving_blocks, if isa.is_wide() { 8 } else { 4 }),
            ] {
                for count in 0..200 {
                    let mut next = 0;
                    for (first, rows) in split(isa, count) {
                        assert!(first == next && (1..=tallest).contains(&rows), "{count}");
                        next += rows;
                    }
                    assert_eq!(next, count);
                }
            }
            if isa.is_wide() {
                assert_eq!(uneven_blocks(isa, 8), [(0, 8)]);
                assert_eq!(halving_blocks(isa, 13), [(0, 8), (8, 4), (12, 1)]);
            } else {
                assert_eq!(even_blocks(isa, 8), [(0, 4), (4, 4)]);
                assert_eq!(uneven_blocks(isa, 8), [(0, 3), (3, 5)]);
                assert_eq!(uneven_blocks(isa, 4), [(0, 4)]);
                assert_eq!(halving_blocks(isa, 7), [(0, 4), (4, 2), (6, 1)]);
            }
        }
    }
}
