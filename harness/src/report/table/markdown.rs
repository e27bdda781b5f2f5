//! Tables as Markdown.

use super::{Cell, Table};
use crate::report::markup::escaped;

impl Table {
    /// The table alone; every column but the first is flush right.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = (0..self.columns.len()).map(|column| if column == 0 { "---" } else { "---:" }.to_owned()).collect();
        let mut text = line(self.columns.iter().map(|column| escaped(&column.title)).collect()) + &line(rule);
        text.extend(self.lines().map(|cells| line(cells.map(cell).collect())));
        text
    }

    /// What stands under it, as a list.
    pub fn markdown_notes(&self) -> String {
        self.notes.iter().map(|note| format!("- {note}\n")).collect()
    }
}

fn cell(cell: &Cell) -> String {
    let text = escaped(&cell.text);
    if cell.bold && !text.is_empty() { format!("**{text}**") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::Value;

    #[test]
    fn what_a_cell_says_is_never_taken_for_markdown() {
        let mut table = Table::new("x", "X");
        table.column("Method", ["method"], [Cell::text("a|b * layer1.*_x_ <i>"), Cell::text("two\nlines")]);
        table.column("Δ", ["delta"], [Cell::number(1.5, 1).bold(true), Cell::missing()]);
        table.column("t", ["t"], [Cell::shown("1 [2]", [Value::Missing]), Cell::empty().bold(true)]);
        assert_eq!(
            table.markdown(),
            "| Method | Δ | t |\n| --- | ---: | ---: |\n| a\\|b \\* layer1.\\*\\_x\\_ &lt;i> | **1.5** | 1 [2] |\n| two lines | – |  |\n"
        );
    }
}
