//! What the segments of a JPEG tell without decoding it.

const START: u8 = 0xD8;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;

/// Whether a JPEG has its end marker. Phones and editors leave bytes behind it, and thumbnails within its segments have one of their own:
/// so from segment to segment. Decoders fill what is missing with grey instead of failing.
pub(super) fn ends(bytes: &[u8]) -> bool {
    let mut at = 0;
    loop {
        // A marker may have any number of fill bytes before it.
        let Some(&[0xFF, marker]) = bytes.get(at..at + 2) else { return false };
        match marker {
            END => return true,
            0xFF => {
                at += 1;
                continue;
            }
            _ if stands_alone(marker) => at += 2,
            _ => match length(bytes, at) {
                Some(length) => at += 2 + length,
                None => return false,
            },
        }
        if marker == SCAN {
            // Coded values, in which a marker's first byte is followed by a zero.
            let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xD0..=0xD7 | 0xFF);
            match bytes.get(at..).and_then(|rest| rest.windows(2).position(is_marker)) {
                Some(ahead) => at += ahead,
                None => return false,
            }
        }
    }
}

/// A JPEG's frame, as its header has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub height: usize,
    pub width: usize,
    /// 1: grey; 3: colour; 4: for print, CMYK.
    pub components: u8,
}

/// The frame's header, if `bytes` reach that far.
pub(super) fn frame(bytes: &[u8]) -> Option<Frame> {
    let mut at = 0;
    loop {
        let &[0xFF, marker] = bytes.get(at..at + 2)? else { return None };
        match marker {
            0xFF => at += 1,
            END | SCAN => return None,
            _ if stands_alone(marker) => at += 2,
            // All of the kinds of coding; the others of this range are tables.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                let &[h1, h0, w1, w0, components] = bytes.get(at + 5..at + 10)? else { return None };
                let side = |high, low| usize::from(u16::from_be_bytes([high, low]));
                return Some(Frame { height: side(h1, h0), width: side(w1, w0), components });
            }
            _ => at += 2 + length(bytes, at)?,
        }
    }
}

/// Markers without a length: the start, restarts, and one for private use.
fn stands_alone(marker: u8) -> bool {
    matches!(marker, START | 0xD0..=0xD7 | 0x01)
}

fn length(bytes: &[u8], at: usize) -> Option<usize> {
    let &[high, low] = bytes.get(at + 2..at + 4)? else { return None };
    Some(usize::from(u16::from_be_bytes([high, low])))
}
