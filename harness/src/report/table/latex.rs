//! Tables as LaTeX, in the style of `booktabs`.

use super::{Cell, Table};
use crate::report::markup::{latex, latex_text};

/// More columns than this take the width of both columns of a page.
const NARROW: usize = 6;

impl Table {
    /// A floating table with its caption and what stands under it. It asks for the packages `booktabs` and `graphicx`, fits one
    /// column of a page if it is narrow, and shrinks only where it is wider than its place.
    pub fn latex(&self) -> String {
        let (float, room) = match self.columns.len() {
            ..=NARROW => ("table", "\\columnwidth"),
            _ => ("table*", "\\textwidth"),
        };
        let line = |cells: Vec<String>| format!("    {} \\\\\n", cells.join(" & "));
        let align: String = (0..self.columns.len()).map(|column| if column == 0 { 'l' } else { 'r' }).collect();
        let mut rows = line(self.columns.iter().map(|column| latex_text(&column.title)).collect()) + "    \\midrule\n";
        rows.extend(self.lines().map(|cells| line(cells.map(cell).collect())));
        let notes = match &self.notes[..] {
            [] => String::new(),
            notes => format!(
                "\n  \\par\\smallskip\\raggedright\\scriptsize\n{}",
                notes.iter().map(|note| format!("  {}\\par\n", latex(note))).collect::<String>()
            ),
        };
        format!(
            "% Needs \\usepackage{{booktabs,graphicx}}.\n\
             \\begin{{{float}}}\n  \\centering\n  \\footnotesize\n  \\caption{{{}}}\n  \\label{{tab:{}}}\n  \
             \\resizebox{{\\ifdim\\width>{room}{room}\\else\\width\\fi}}{{!}}{{%\n  \\begin{{tabular}}{{@{{}}{align}@{{}}}}\n    \
             \\toprule\n{rows}    \\bottomrule\n  \\end{{tabular}}}}{notes}\n\\end{{{float}}}\n",
            latex_text(&self.title),
            self.name,
        )
    }
}

fn cell(cell: &Cell) -> String {
    let text = latex_text(&cell.text);
    if cell.bold && !text.is_empty() { format!("\\textbf{{{text}}}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_written_in_booktabs_and_escapes_what_latex_reads() {
        let mut table = Table::new("x-y", "50 % & more");
        table.column("Method", ["method"], [Cell::text("a_b {c} \\ ~^")]);
        table.column("Δ", ["delta"], [Cell::shown("1.00 ± 0.10", [1.0.into()]).bold(true)]);
        table.notes.push("**Data**: `train_x`, see [there](x.csv).".into());
        let text = table.latex();
        assert!(text.contains("\\caption{50 \\% \\& more}\n  \\label{tab:x-y}"), "{text}");
        assert!(
            text.contains("\\begin{tabular}{@{}lr@{}}\n    \\toprule\n    Method & $\\Delta$ \\\\\n    \\midrule\n"),
            "{text}"
        );
        assert!(
            text.contains("a\\_b \\{c\\} \\textbackslash{} \\textasciitilde{}\\textasciicircum{} & \\textbf{1.00 $\\pm$ 0.10} \\\\"),
            "{text}"
        );
        assert!(text.contains("\\textbf{Data}: \\texttt{train\\_x}, see there.\\par"), "{text}");
        assert!(text.contains("\\begin{table}") && text.ends_with("\\end{table}\n"), "{text}");
    }
}
