//! TIFF with a palette, which the decoder of the other kinds does not read: decoded as if its indices were greys, then looked up.

/// Tags of a directory, as the standard numbers them.
const BITS: u16 = 258;
const INTERPRETATION: u16 = 262;
const PALETTE: u16 = 320;
/// What the interpretation is: grey where zero is black, or a palette.
const GREY: u8 = 1;
const LOOKED_UP: usize = 3;

/// A palette: the red, green and blue of each index.
pub(super) type Colours = Vec<[u8; 3]>;

/// The same image with its indices as greys, and its palette, where it has one of 8 bits an index.
pub(super) fn as_grey(bytes: &[u8]) -> Option<(Vec<u8>, Colours)> {
    let little = match bytes.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    // A number of so many bytes.
    let number = |at: usize, size: usize| -> Option<usize> {
        let place = |value: usize, byte: &u8| value << 8 | usize::from(*byte);
        let own = bytes.get(at..at.checked_add(size)?)?;
        Some(if little { own.iter().rev().fold(0, place) } else { own.iter().fold(0, place) })
    };
    let directory = number(4, 4)?;
    let entries = (0..number(directory, 2)?).map(|entry| directory + 2 + 12 * entry);
    let find = |tag: u16| entries.clone().find(|&at| number(at, 2) == Some(tag.into()));
    let interpretation = find(INTERPRETATION)? + 8;
    if number(interpretation, 2)? != LOOKED_UP || number(find(BITS)? + 8, 2)? != 8 {
        return None;
    }
    let palette = find(PALETTE)?;
    let (count, offset) = (number(palette + 4, 4)?, number(palette + 8, 4)?);
    // All reds, then all greens, then all blues, of 16 bits each.
    let colour =
        |index: usize, channel: usize| number(offset + 2 * (channel * 256 + index), 2).map(|value| (value >> 8) as u8);
    let colours: Option<Colours> =
        (0..256).map(|index| Some([colour(index, 0)?, colour(index, 1)?, colour(index, 2)?])).collect();
    let colours = colours.filter(|_| count == 3 * 256)?;
    let mut grey = bytes.to_vec();
    grey[interpretation..interpretation + 2].copy_from_slice(if little { &[GREY, 0] } else { &[0, GREY] });
    Some((grey, colours))
}
