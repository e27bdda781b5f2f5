//! Parts of a report under their own headings, from which its forms are made.

use super::table::Table;

/// A part of a report under its own heading.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// 2 for what is of the report, 3 for what is of a group.
    level: usize,
    title: String,
    parts: Vec<Part>,
    is_drawn: bool,
}

/// What stands under a heading.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Markdown.
    Text(String),
    /// A table with its notes.
    Table(Table),
    /// A table that is folded under a line, with its notes outside.
    Folded(String, Table),
    /// A plot by its file name without the ending, and what it shows.
    Plot(String, String),
}

impl Section {
    /// A section of a group.
    pub fn of_group(title: impl Into<String>, parts: Vec<Part>) -> Self {
        Self { level: 3, title: title.into(), parts, is_drawn: false }
    }

    /// A section of the report.
    pub fn of_report(title: impl Into<String>, parts: Vec<Part>) -> Self {
        Self { level: 2, title: title.into(), parts, is_drawn: false }
    }

    /// A table that the page draws itself, in the place of its own.
    pub fn drawn(self) -> Self {
        Self { is_drawn: true, ..self }
    }

    /// Whether the page of a report draws by itself what it shows.
    pub fn is_drawn(&self) -> bool {
        self.is_drawn || self.parts.iter().any(|part| matches!(part, Part::Plot(..)))
    }

    /// Its tables.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.parts.iter().filter_map(|part| match part {
            Part::Table(table) | Part::Folded(_, table) => Some(table),
            Part::Text(_) | Part::Plot(..) => None,
        })
    }

    /// As Markdown, with an empty line before it.
    pub fn markdown(&self) -> String {
        format!("\n{} {}\n\n{}", "#".repeat(self.level), self.title, self.body())
    }

    /// What stands under its heading, as Markdown.
    pub fn body(&self) -> String {
        self.parts.iter().map(Part::markdown).collect::<Vec<_>>().join("\n")
    }
}

impl Part {
    fn markdown(&self) -> String {
        let with_notes = |body: String, table: &Table| match table.markdown_notes() {
            notes if notes.is_empty() => body,
            notes => format!("{body}\n{notes}"),
        };
        match self {
            Self::Text(text) => format!("{}\n", text.trim_end()),
            Self::Table(table) => with_notes(table.markdown(), table),
            Self::Folded(summary, table) => {
                let body = table.markdown();
                with_notes(format!("<details><summary>{summary}</summary>\n\n{body}\n</details>\n"), table)
            }
            Self::Plot(name, title) => format!("[![{title}](plots/{name}.png)](plots/{name}.svg)\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::Cell;

    #[test]
    fn parts_stand_under_their_heading_with_an_empty_line_between() {
        let mut table = Table::new("t", "T");
        table.column("A", ["a"], [Cell::count(1)]);
        let plain = Part::Table(table.clone());
        table.notes.push("**Note**: n.".into());
        let parts = vec![Part::Text("Words.".into()), plain, Part::Folded("1 row".into(), table)];
        let section = Section::of_group("Title", parts);
        let rows = "| A |\n| --- |\n| 1 |\n";
        assert_eq!(
            section.markdown(),
            format!(
                "\n### Title\n\nWords.\n\n{rows}\n<details><summary>1 row</summary>\n\n{rows}\n</details>\n\n- **Note**: n.\n"
            )
        );
        assert_eq!(section.tables().count(), 2);
    }
}
