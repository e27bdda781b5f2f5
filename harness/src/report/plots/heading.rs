//! What stands above a plot: title, subtitle, and what a reader needs to judge it.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{DIM, TEXT, style};
use super::{Drawn, Width};
use crate::report::aggregate::{Group, SettingRow};
use crate::report::{caption, conventions};

/// What titles of procedural data say.
const SYNTHETIC: &str = "SYNTHETIC";
/// Pixels from one line of notes to the next.
const LINE: i32 = 25;
/// Pixel row of the first.
const FIRST: i32 = 56;

/// What stands under a figure's title: its own subtitle, then the images trained on and the layers replaced in the rows that
/// are `drawn`, as the table's caption says them.
pub fn notes(group: &Group<'_>, subtitle: String, drawn: impl Fn(&SettingRow<'_>) -> bool) -> Vec<String> {
    let mut parts = Vec::new();
    if !group.cost_only() {
        parts.push(conventions::training_images(group.first()));
    }
    match &caption::replaced_layers(group, drawn)[..] {
        [] => {}
        [(_, replaced)] => parts.push(format!("Replaced layers: {replaced}")),
        several => {
            let each: Vec<_> = several.iter().map(|(methods, replaced)| format!("{replaced} ({methods})")).collect();
            parts.push(format!("Replaced layers: {}", each.join(" | ")));
        }
    }
    vec![subtitle, parts.join(". ")]
}

/// Title and notes on it, top left, where it is as wide as a page; returns the height at which they end. A title that is too long shrinks, a note goes on
/// in a new line.
pub fn heading<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    width: Width,
    title: &str,
    notes: &[String],
) -> Drawn<DB, i32> {
    if width == Width::Column {
        // The paper's caption says the rest, but this is never left to it.
        if !title.contains(SYNTHETIC) {
            return Ok(0);
        }
        area.draw_text("SYNTHETIC data", &style(TEXT, BLACK, HPos::Left, VPos::Top), (24, 8))?;
        return Ok(LINE + 8);
    }
    // An SVG is set in the reader's own font, which may be wider.
    let room = 0.9 * f64::from(area.dim_in_pixel().0);
    let wide = |text: &str, style: &TextStyle<'_>| -> Drawn<DB, f64> {
        Ok(f64::from(area.estimate_text_size(text, style)?.0))
    };
    let large = |size| style(size, BLACK, HPos::Left, VPos::Top);
    let size = (30.0 * room / wide(title, &large(30))?).min(30.0) as u32;
    area.draw_text(title, &large(size), (24, 16))?;

    let small = style(TEXT, DIM, HPos::Left, VPos::Top);
    let mut lines = Vec::new();
    for note in notes.iter().filter(|note| !note.is_empty()) {
        let mut line = String::new();
        for word in note.split_inclusive([' ', '|']) {
            if !line.is_empty() && wide(&format!("{line}{word}"), &small)? > room {
                lines.push(std::mem::take(&mut line));
            }
            line += word;
        }
        lines.push(line);
    }
    let mut y = FIRST;
    for line in lines {
        area.draw_text(line.trim_end(), &small, (24, y))?;
        y += LINE;
    }
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plots::canvas;

    #[test]
    fn long_notes_go_on_in_a_new_line_and_lose_nothing() {
        canvas::register_fonts().unwrap();
        let draw = |note: &str| {
            let mut svg = String::new();
            let area = SVGBackend::with_string(&mut svg, (1200, 800)).into_drawing_area();
            let end = heading(&area, Width::Page, "A title", &[note.to_owned()]).unwrap();
            drop(area);
            let text = svg.split('<').filter_map(|part| Some(part.split_once('>')?.1.trim()));
            (end, text.filter(|text| !text.is_empty()).map(String::from).collect::<Vec<_>>())
        };
        assert_eq!(draw("short"), (FIRST + LINE, vec!["A title".into(), "short".into()]));
        let patterns = vec!["features.10"; 40].join("|");
        let (end, lines) = draw(&patterns);
        assert!(lines.len() > 3 && end == FIRST + LINE * (lines.len() as i32 - 1), "{end} {lines:?}");
        assert_eq!(lines[1..].concat(), patterns);
    }
}
