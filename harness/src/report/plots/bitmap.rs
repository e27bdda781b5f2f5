//! A bitmap with well-set text: plotters 0.3 leaves out the side bearings of glyphs and rounds every one to a whole pixel,
//! so that words fall apart. Everything but text goes to plotters' own backend.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use plotters::prelude::BitMapBackend;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};

/// What drawing gives on plotters' bitmap.
type Drawn<'a> = Result<(), DrawingErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>>;

/// The bitmap and the one font that is used on it.
pub struct Bitmap<'a> {
    pub pixels: BitMapBackend<'a>,
    pub font: FontRef<'static>,
}

impl<'a> DrawingBackend for Bitmap<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.pixels.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn<'a> {
        self.pixels.ensure_prepared()
    }

    fn present(&mut self) -> Drawn<'a> {
        self.pixels.present()
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Drawn<'a> {
        self.pixels.draw_pixel(at, color)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn<'a> {
        self.pixels.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S, fill: bool) -> Drawn<'a> {
        self.pixels.draw_rect(from, to, style, fill)
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn<'a> {
        let (font, size) = (self.font.clone(), style.size() as f32);
        let scaled = font.as_scaled(PxScale::from(size));
        let mut glyphs = Vec::new();
        let mut width = 0.0;
        for letter in text.chars() {
            let mut glyph = scaled.scaled_glyph(letter);
            if let Some((before, _)) = glyphs.last() {
                width += scaled.kern(*before, glyph.id);
            }
            let id = glyph.id;
            glyph.position = point(width, 0.0);
            width += scaled.h_advance(id);
            glyphs.push((id, glyph));
        }
        let left = at.0 as f32
            - match style.anchor().h_pos {
                HPos::Left => 0.0,
                HPos::Center => width / 2.0,
                HPos::Right => width,
            };
        // Capitals are 0.62 of the line height tall.
        let baseline = at.1 as f32
            + match style.anchor().v_pos {
                VPos::Top => 0.68 * size,
                VPos::Center => 0.29 * size,
                VPos::Bottom => -0.12 * size,
            };
        let color = style.color();
        let mut drawn = Ok(());
        for (_, mut glyph) in glyphs {
            glyph.position.x += left;
            glyph.position.y = baseline.round();
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|x, y, cover| {
                let at = (corner.x as i32 + x as i32, corner.y as i32 + y as i32);
                let (width, height) = self.pixels.get_size();
                if drawn.is_ok() && at.0 >= 0 && at.1 >= 0 && at.0 < width as i32 && at.1 < height as i32 {
                    // Ubuntu Light is thin on screens: cover a little more.
                    let alpha = color.alpha * f64::from(cover.min(1.0)).powf(0.8);
                    drawn = self.pixels.draw_pixel(at, BackendColor { alpha, rgb: color.rgb });
                }
            });
        }
        drawn
    }
}
