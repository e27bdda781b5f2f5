//! The page of a report, `index.html`: one file that holds all it shows and asks nothing of any network.

mod data;
mod finding;
mod rows;

use std::path::Path;

use anyhow::{Context, Result};

use super::aggregate::Group;
use super::sources::Sources;
use super::{caption, markup, plots};
use data::{Data, Files, GroupData, Speed};

const PAGE: &str = include_str!("page.html");
/// A page of text and tables alone.
const DOCUMENT: &str = include_str!("document.html");
const STYLE: &str = include_str!("page.css");
/// One after the other, in one scope.
const SCRIPTS: [&str; 19] = [
    include_str!("format.js"),
    include_str!("dom.js"),
    include_str!("rows.js"),
    include_str!("state.js"),
    include_str!("tooltip.js"),
    include_str!("columns.js"),
    include_str!("detail.js"),
    include_str!("ranking.js"),
    include_str!("filters.js"),
    include_str!("axes.js"),
    include_str!("labels.js"),
    include_str!("marks.js"),
    include_str!("scatter.js"),
    include_str!("costs.js"),
    include_str!("options.js"),
    include_str!("curves.js"),
    include_str!("layers.js"),
    include_str!("group.js"),
    include_str!("page.js"),
];

/// What the page is made of beside the groups.
pub(super) struct Around<'r> {
    pub title: &'r str,
    pub name: &'r str,
    /// The folder that it is written into.
    pub root: &'r Path,
    /// Title, description and warnings, as Markdown.
    pub lead: &'r str,
    /// What follows, as Markdown.
    pub notes: &'r str,
    /// Trials without a result.
    pub failed: usize,
}

/// The page.
///
/// # Errors
/// Logs and costs that cannot be read; names the file.
pub(super) fn html(sources: &Sources<'_>, groups: &[(String, Group<'_>)], around: &Around<'_>) -> Result<String> {
    let place = (sources, around.root);
    let groups = groups.iter().map(|(name, group)| group_data(place, name, group)).collect::<Result<Vec<_>>>()?;
    let files = Files { csv: "results.csv", parquet: "results.parquet", readme: "README.md" };
    let data = Data { title: around.title, name: around.name, files, groups, failed: around.failed };
    // Within a script, nothing may look like its end.
    let json = serde_json::to_string(&data).context("the page's data as JSON")?.replace('<', "\\u003c");
    let lead = markup::html(around.lead).replace("<blockquote>", "<blockquote class=\"warning\">");
    let parts = [
        ("{{title}}", markup::html_text(around.title)),
        ("{{style}}", STYLE.to_owned()),
        ("{{script}}", SCRIPTS.concat()),
        ("{{data}}", json),
        ("{{lead}}", lead),
        ("{{notes}}", scrolling(&markup::html(around.notes))),
    ];
    Ok(filled(PAGE, &parts))
}

/// Markdown as a page of its own, in the style of a report's.
pub(super) fn document(title: &str, markdown: &str) -> String {
    let parts = [
        ("{{title}}", markup::html_text(title)),
        ("{{style}}", STYLE.to_owned()),
        ("{{text}}", scrolling(&markup::html(markdown))),
    ];
    filled(DOCUMENT, &parts)
}

/// Tables in boxes of their own, so that on a narrow screen a wide one scrolls, and not the page.
fn scrolling(html: &str) -> String {
    html.replace("<table>", "<div class=\"scroll\"><table>").replace("</table>", "</table></div>")
}

/// The template with its places filled; what fills one is not looked into.
fn filled(template: &str, parts: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    let next = |rest: &str| {
        let found = parts.iter().filter_map(|(place, text)| Some((rest.find(place)?, *place, text)));
        found.map(|(at, place, text)| (at, place.len(), text.clone())).min_by_key(|(at, ..)| *at)
    };
    while let Some((at, length, text)) = next(rest) {
        out += &rest[..at];
        out += &text;
        rest = &rest[at + length..];
    }
    out + rest
}

fn group_data<'r>(place: (&Sources<'_>, &Path), name: &'r str, group: &'r Group<'r>) -> Result<GroupData<'r>> {
    let (rows, layer_names) = rows::rows(place, group)?;
    let speed = group.measured.and_then(|measured| {
        let network =
            group.rows.iter().flat_map(|row| &row.trials).find_map(|trial| measured.network(&trial.trial.key))?;
        let note = format!(
            "Median inference in fresh processes after training, {} round{}, {}.",
            measured.rounds,
            if measured.rounds == 1 { "" } else { "s" },
            markup::html_text(&caption::stamp_of(&measured.environment, false))
        );
        Some(Speed { images: network.images, reference: &measured.reference, note })
    });
    Ok(GroupData {
        id: name,
        title: group.title(),
        backbone: group.backbone(),
        data: group.data(),
        split: group.split().name(),
        cost_only: group.cost_only(),
        finding: finding::sentences(group),
        captions: caption::lines(group).iter().map(|line| markup::html_line(line)).collect(),
        vanilla: group.rows.iter().position(|row| row.is_vanilla()),
        speed,
        options: plots::options(group),
        rows,
        layer_names,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_a_place_is_not_looked_into() {
        let parts = [("{{a}}", "{{b}}".to_owned()), ("{{b}}", "two".to_owned())];
        assert_eq!(filled("x {{a}} y {{b}} z", &parts), "x {{b}} y two z");
    }

    #[test]
    fn the_template_has_every_place_once() {
        for place in ["title", "style", "script", "data", "lead", "notes"] {
            assert_eq!(PAGE.matches(&format!("{{{{{place}}}}}")).count(), 1, "{place}");
        }
    }
}
