//! `harness keys`: every key of an experiment with its type, range, default and meaning.

use super::table::{Cell, Format, Table};
use crate::config::error::Complaint;
use crate::config::field::Field;
use crate::experiment::keys::{KEYS, LAYER_KEYS, keys};

const COLUMNS: &[&str] = &["key", "default", "accepted", "meaning"];

/// What stands before the first section: keys that belong to none.
const TOP: &str = "experiment";
/// The block of exceptions.
const LAYER: &str = "layer";

/// All keys, or those of one section.
///
/// # Errors
/// A section that there is not.
pub fn list(section: Option<&str>, format: Format) -> anyhow::Result<String> {
    let sections = sections();
    let shown: Vec<&(&str, Vec<Field>)> = sections
        .iter()
        .filter(|(name, _)| section.is_none_or(|section| section.trim_matches(['[', ']']) == *name))
        .collect();
    if let (Some(name), []) = (section, &shown[..]) {
        let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
        anyhow::bail!("{}", Complaint::unknown("section", name, &names));
    }
    if format != Format::Table {
        let mut table = Table::new(COLUMNS);
        shown
            .iter()
            .flat_map(|(name, fields)| fields.iter().map(move |field| row(name, field)))
            .for_each(|row| table.push(row));
        return Ok(table.render(format));
    }
    let mut text = String::new();
    for (name, fields) in shown {
        text += &match *name {
            TOP => "At the top of the file\n".to_owned(),
            LAYER => "[[layer]], once for each exception\n".to_owned(),
            name => format!("[{name}]\n"),
        };
        let mut table = Table::new(COLUMNS);
        fields.iter().for_each(|field| table.push(row(name, field)));
        table.render(format).lines().for_each(|line| text += &format!("  {line}\n"));
        text.push('\n');
    }
    Ok(text + "A method's own options: harness methods. Blocks that make many settings of few lines: docs/sweeps.md.\n")
}

/// Sections in the order of a file, each with its keys.
fn sections() -> Vec<(&'static str, Vec<Field>)> {
    let mut sections: Vec<(&str, Vec<Field>)> = Vec::new();
    for field in KEYS.iter() {
        let section = field.key.split_once('.').map_or(TOP, |(section, _)| section);
        match sections.iter_mut().find(|(known, _)| *known == section) {
            Some((_, fields)) => fields.push(*field),
            None => sections.push((section, vec![*field])),
        }
    }
    sections.push((LAYER, LAYER_KEYS.to_vec()));
    sections
}

fn row(section: &str, field: &Field) -> Vec<Cell> {
    let default = if section == LAYER { None } else { keys().default_of(field.key) };
    // A name is asked for: an empty one is none.
    let default = default.map(ToString::to_string).filter(|value| value != "\"\"");
    let accepted = match field.key {
        // They are many, and each brings options of its own.
        "method.name" => "a name that `harness methods` lists".to_owned(),
        _ => field.kind.to_string(),
    };
    vec![
        Cell::text(field.key),
        Cell::text(default.unwrap_or_else(|| "-".into())),
        Cell::text(accepted),
        Cell::text(field.meaning),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_told_in_its_section() {
        let text = list(None, Format::Table).unwrap();
        for field in KEYS.iter() {
            assert!(text.lines().any(|line| line.trim().starts_with(&format!("{} ", field.key))), "{}", field.key);
        }
        let recipe = list(Some("[recipe]"), Format::Csv).unwrap();
        assert!(recipe.lines().skip(1).all(|line| line.starts_with("recipe.")), "{recipe}");
        let error = list(Some("recipes"), Format::Table).unwrap_err().to_string();
        assert!(error.contains("did you mean `recipe`?"), "{error}");
    }
}
