//! Text in the forms that reports are written in: Markdown, HTML, LaTeX.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

/// Plain text as Markdown that shows just that, in one line.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        // Within a word an underscore emphasizes nothing, and options' names are full of them.
        let within = before.is_alphanumeric() && chars.peek().is_some_and(|after| after.is_alphanumeric());
        match c {
            '\n' => out.push(' '),
            // Before a space it begins no tag.
            '<' if chars.peek().is_some_and(|after| !after.is_whitespace()) => out.push_str("&lt;"),
            '_' if within => out.push(c),
            // What would begin an entity.
            '&' if chars.peek().is_some_and(|after| after.is_alphanumeric() || *after == '#') => out.push_str("&amp;"),
            // What would end the text of a link.
            ']' if chars.peek().is_some_and(|after| "([:".contains(*after)) => out.extend(['\\', c]),
            '\\' | '|' | '*' | '_' | '`' | '~' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// Plain text as code in Markdown, in one line: between more backticks than it has in a row.
pub fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A blank on either side is not part of the code.
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}", text.replace('\n', " "))
}

fn parser(markdown: &str) -> Parser<'_> {
    Parser::new_ext(markdown, Options::ENABLE_TABLES)
}

/// Markdown as HTML.
pub fn html(markdown: &str) -> String {
    let mut out = String::new();
    html::push_html(&mut out, parser(markdown));
    out
}

/// A paragraph of Markdown as HTML, without the paragraph.
pub fn html_line(markdown: &str) -> String {
    let text = html(markdown);
    let text = text.trim();
    text.strip_prefix("<p>").and_then(|text| text.strip_suffix("</p>")).unwrap_or(text).to_owned()
}

/// Plain text as HTML.
pub fn html_text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A paragraph of Markdown as LaTeX; links are left out, and their text stays.
pub fn latex(markdown: &str) -> String {
    let mut out = String::new();
    for event in parser(markdown) {
        match event {
            Event::Start(Tag::Strong) => out.push_str("\\textbf{"),
            Event::Start(Tag::Emphasis) => out.push_str("\\emph{"),
            Event::End(TagEnd::Strong | TagEnd::Emphasis) => out.push('}'),
            Event::Code(code) => out.push_str(&format!("\\texttt{{{}}}", latex_text(&code))),
            Event::Text(text) => out.push_str(&latex_text(&text)),
            Event::SoftBreak | Event::HardBreak => out.push(' '),
            _ => {}
        }
    }
    out
}

/// Plain text as LaTeX that shows just that.
pub fn latex_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '<' | '>' | '|' => out.extend(['$', c, '$']),
            '±' => out.push_str("$\\pm$"),
            '×' => out.push_str("$\\times$"),
            'Δ' => out.push_str("$\\Delta$"),
            '−' => out.push_str("$-$"),
            '≤' => out.push_str("$\\le$"),
            '≥' => out.push_str("$\\ge$"),
            '–' => out.push_str("--"),
            '†' => out.push_str("\\dag{}"),
            '‡' => out.push_str("\\ddag{}"),
            '§' => out.push_str("\\S{}"),
            '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_is_what_markdown_shows() {
        for text in [
            "layer1.*|layer2.0.*",
            "<i>a</i> & b",
            "<img src=x onerror=alert(1)> a*b*c &amp; &#60;",
            "a_b_c `d` \\ **x**",
            "P = 1 (VGG-16)",
            "[x](y) [2,4] ~~s~~ $m$ [x][y]",
        ] {
            assert_eq!(html_line(&escaped(text)), html_text(text).replace("&quot;", "\""), "{text}");
        }
    }

    #[test]
    fn code_may_have_backticks() {
        for text in ["data/cifar10", "a`b", "``a", "<i> | x"] {
            assert_eq!(html_line(&code(text)), format!("<code>{}</code>", html_text(text)), "{text}");
        }
    }

    #[test]
    fn html_of_a_line_has_no_paragraph() {
        assert_eq!(html_line("**a** `b<c` *d*"), "<strong>a</strong> <code>b&lt;c</code> <em>d</em>");
    }
}
