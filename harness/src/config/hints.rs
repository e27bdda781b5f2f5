//! What people write, as other tools and languages have it, and what would be written here.

/// Names that other frameworks have for keys.
const SYNONYMS: [(&str, &str); 15] = [
    ("learningrate", "lr"),
    ("batchsize", "batch"),
    ("numepochs", "epochs"),
    ("nepochs", "epochs"),
    ("maxepochs", "epochs"),
    ("wd", "weight_decay"),
    ("optim", "optimizer"),
    ("betas", "beta1"),
    ("epsilon", "eps"),
    ("warmup", "warmup_epochs"),
    ("ema", "average"),
    ("path", "sources"),
    ("root", "sources"),
    ("imagesize", "size"),
    ("val", "validation"),
];

/// A name without what people write in different ways: capitals, hyphens, underscores, spaces.
fn folded(name: &str) -> String {
    name.chars().filter(|c| !"-_ ".contains(*c)).flat_map(char::to_lowercase).collect()
}

/// Whether two names are the same but for capitals and hyphens, or by another framework's word for the last part.
pub(super) fn same_name(written: &str, name: &str) -> bool {
    let (written, folded_name) = (folded(written), folded(name));
    let (section, last) = written.rsplit_once('.').map_or(("", &*written), |(section, last)| (section, last));
    let usual = SYNONYMS.iter().find(|(other, _)| *other == last).map(|(_, usual)| folded(usual));
    let with = |last: &str| if section.is_empty() { last.to_owned() } else { format!("{section}.{last}") };
    written == folded_name || usual.is_some_and(|usual| with(&usual) == folded_name)
}

/// What to write in place of a text that was meant as a number; none where it was not.
pub fn number(text: &str) -> Option<String> {
    let text = text.trim();
    let whole = text.trim_start_matches(['+', '-']);
    if !whole.is_empty() && whole.bytes().all(|c| c.is_ascii_digit() || c == b'_') && beyond(text) {
        return Some(format!("{text} is beyond all whole numbers there are; the largest is {}", i64::MAX));
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(format!("write {number}"));
    }
    if let Ok(number) = text.parse::<f64>() {
        let digits = text.trim_start_matches(['+', '-']);
        return match text {
            _ if number.is_nan() => None,
            _ if number.is_infinite() && digits.starts_with(|c: char| c.is_ascii_digit()) => {
                Some(format!("{text} is beyond all numbers there are; the largest is {:e}", f64::MAX))
            }
            _ if number.is_infinite() => None,
            // As TOML wants it: digits on both sides of the point, and no quotes.
            _ => Some(format!("write {}", shortest(number, text))),
        };
    }
    // Thousands set apart, which begin with no 0.
    let groups: Vec<&str> = text.split(',').collect();
    let digits = |group: &&str| group.bytes().all(|c| c.is_ascii_digit());
    let thousands = groups.len() > 1 && groups.iter().all(digits) && groups[1..].iter().all(|group| group.len() == 3);
    if thousands && (1..=3).contains(&groups[0].len()) && !groups[0].starts_with('0') {
        return Some(format!("write {}", groups.concat()));
    }
    let point = text.replacen(',', ".", 1);
    let number = point.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some(format!("write {}, with a point", shortest(number, &point)))
}

/// Whether digits make a number that no whole number of TOML is.
fn beyond(digits: &str) -> bool {
    let digits = digits.replace('_', "");
    digits.parse::<i64>().is_err() && digits.parse::<f64>().is_ok()
}

/// The number as TOML has it, with digits on both sides of its point; with an exponent or a point where it was written so.
fn shortest(number: f64, text: &str) -> String {
    let plain = number.to_string();
    match text {
        _ if text.contains(['e', 'E']) => format!("{number:e}"),
        _ if text.contains('.') && !plain.contains('.') => plain + ".0",
        _ => plain,
    }
}

/// The same for a line of a file that is no TOML: `KEY = VALUE` with a number as others write it.
pub fn line(line: &str) -> Option<String> {
    let (_, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or_default().trim();
    if let Some(list) = value.strip_prefix('[') {
        // Between commas no comma is a point; what begins or ends with a point is what TOML does not take.
        let mut items = list.trim_end_matches(']').split(',').map(|item| item.trim().trim_start_matches(['+', '-']));
        return items.find(|item| item.starts_with('.') || item.ends_with('.')).and_then(number);
    }
    // TOML's own numbers are no reason for a complaint, infinite ones aside.
    value.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)).then(|| number(value)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_others_write_them() {
        for (text, expected) in [
            (".1", Some("write 0.1")),
            ("-.5", Some("write -0.5")),
            ("1.", Some("write 1.0")),
            ("0,1", Some("write 0.1, with a point")),
            ("0,125", Some("write 0.125, with a point")),
            ("1,000", Some("write 1000")),
            ("12,000,000", Some("write 12000000")),
            (".1e-3", Some("write 1e-4")),
            ("0.1", Some("write 0.1")),
            ("+3", Some("write 3")),
            ("010", Some("write 10")),
            ("ten", None),
            ("inf", None),
            ("nan", None),
            ("1,2,3", None),
            ("", None),
        ] {
            assert_eq!(number(text).as_deref(), expected, "{text}");
        }
        assert!(number("1e400").unwrap().contains("largest is 1.79"));
        for large in ["9223372036854775808", "99999999999999999999", "-1_000_000_000_000_000_000_000"] {
            assert!(number(large).unwrap().contains("largest is 9223372036854775807"), "{large}");
        }
        assert_eq!(number("9223372036854775807").as_deref(), Some("write 9223372036854775807"));
        assert_eq!(line("lr = [0.2, .1]").as_deref(), Some("write 0.1"));
        assert_eq!(line("milestones = [1., 2]").as_deref(), Some("write 1.0"));
        assert_eq!(line("lr = [0.2, 0.1"), None);
        assert_eq!(line("lr = .1  # rate").as_deref(), Some("write 0.1"));
        assert_eq!(line("name = 'x"), None);
    }

    #[test]
    fn names_as_others_write_them() {
        for (written, name) in [
            ("recipe.learning_rate", "recipe.lr"),
            ("recipe.batch-size", "recipe.batch"),
            ("ResNet-20", "resnet20"),
            ("CIFAR10", "cifar10"),
            ("mobilenetv2", "mobilenet_v2"),
        ] {
            assert!(same_name(written, name), "{written}");
        }
        assert!(!same_name("resnet21", "resnet20") && !same_name("lr", "epochs"));
    }
}
