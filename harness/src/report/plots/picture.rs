//! A drawing as SVG, and what is made of it: PNG for screens, PDF for papers.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, Family, Source};
use resvg::usvg::{self, Tree};
use svg2pdf::{ConversionOptions, PageOptions};

use super::canvas::{FAMILY, FONT};

/// Pixels to the inch of a page: a drawing of 1,200 pixels is as wide as the two columns of a paper, and its text of 20 pixels is
/// set in 8.4 points.
const DPI: f32 = 1200.0 / 7.0;

/// A drawing in the formats that have to be made of it.
pub struct Rendered {
    pub png: Vec<u8>,
    pub pdf: Vec<u8>,
    /// Letters that no font here has; the SVG is set in the reader's.
    pub lacking: BTreeSet<char>,
}

/// Renders a drawing with the font that comes with the binary, and letters that it lacks with those of the machine.
///
/// # Errors
/// What is no SVG.
pub fn render(svg: &str) -> Result<Rendered> {
    let (fonts, lacking) = fonts(svg);
    let options = usvg::Options { fontdb: fonts, font_family: FAMILY.into(), ..usvg::Options::default() };
    let tree = Tree::from_str(svg, &options).context("a drawing that is no SVG")?;
    let size = tree.size().to_int_size();
    let mut pixels = Pixmap::new(size.width(), size.height()).context("a drawing without a size")?;
    resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
    let pdf = svg2pdf::to_pdf(&tree, ConversionOptions::default(), PageOptions { dpi: DPI })
        .map_err(|error| anyhow!("a drawing as PDF: {error}"))?;
    Ok(Rendered { png: pixels.encode_png().context("a drawing as PNG")?, pdf, lacking })
}

/// The fonts that a drawing is to be set in, and the letters that none of them has.
fn fonts(svg: &str) -> (Arc<Database>, BTreeSet<char>) {
    static OWN: OnceLock<Arc<Database>> = OnceLock::new();
    static ALL: OnceLock<Arc<Database>> = OnceLock::new();
    let own = OWN.get_or_init(|| Arc::new(own()));
    let letters: BTreeSet<char> = text(svg).filter(|letter| !letter.is_whitespace()).collect();
    if lacking(own, &letters).is_empty() {
        return (own.clone(), BTreeSet::new());
    }
    // To look through all fonts of a machine takes a while, and is seldom needed.
    let all = ALL.get_or_init(|| {
        let mut all = Database::clone(own);
        all.load_system_fonts();
        // A system's settings may name a family for it that is not there; then no text would be set at all.
        all.set_sans_serif_family(own.family_name(&Family::SansSerif));
        Arc::new(all)
    });
    (all.clone(), lacking(all, &letters))
}

fn own() -> Database {
    let mut fonts = Database::new();
    let ids = fonts.load_font_source(Source::Binary(Arc::new(FONT)));
    let family = ids.first().and_then(|id| fonts.face(*id)?.families.first().map(|(name, _)| name.clone()));
    fonts.set_sans_serif_family(family.unwrap_or_default());
    fonts
}

/// Those of the letters that no face has.
fn lacking(fonts: &Database, letters: &BTreeSet<char>) -> BTreeSet<char> {
    let mut lacking = letters.clone();
    for face in fonts.faces() {
        if lacking.is_empty() {
            break;
        }
        fonts.with_face_data(face.id, |data, index| {
            if let Ok(face) = ttf_parser::Face::parse(data, index) {
                lacking.retain(|letter| face.glyph_index(*letter).is_none());
            }
        });
    }
    lacking
}

/// What stands between the tags of an SVG, letter by letter; entities are ASCII, which every font has.
fn text(svg: &str) -> impl Iterator<Item = char> + '_ {
    svg.split('<').filter_map(|part| Some(part.split_once('>')?.1)).flat_map(str::chars)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(text: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"120\" height=\"40\"><rect width=\"120\" height=\"40\" fill=\"white\"/>\
             <text x=\"5\" y=\"25\" font-family=\"sans-serif\" font-size=\"20\">{text}</text></svg>"
        )
    }

    #[test]
    fn text_is_set_in_both_formats_and_a_page_is_as_wide_as_asked() {
        let Rendered { png, pdf, lacking } = render(&drawing("Top-1 ± Δ")).unwrap();
        assert!(lacking.is_empty(), "{lacking:?}");
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (120, 40));
        let dark = picture.pixels().filter(|pixel| pixel.0[0] < 128).count();
        assert!(dark > 40, "{dark} pixels of text");
        assert!(pdf.starts_with(b"%PDF"));
        // 120 pixels are 0.7 inches, 50.4 points.
        let text = String::from_utf8_lossy(&pdf);
        let (_, size) = text.split_once("/MediaBox [0 0 ").unwrap();
        let width: f64 = size.split(' ').next().unwrap().parse().unwrap();
        assert!((width - 50.4).abs() < 1e-3, "{width}");
    }

    #[test]
    fn letters_that_no_font_has_are_told() {
        // Private use: no font for people has it.
        let Rendered { lacking, png, .. } = render(&drawing("Top-1 \u{10fffd}")).unwrap();
        assert_eq!(lacking, BTreeSet::from(['\u{10fffd}']));
        // All others are set as they are without it.
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        assert!(picture.pixels().filter(|pixel| pixel.0[0] < 128).count() > 40);
    }
}
