//! Ranges that values are drawn from: `{ uniform = [0.5, 0.95] }`, `{ log_uniform = [1e-3, 1.0] }`.
//!
//! A draw depends on the block's seed, the name of its key and its number, and on nothing else: raising the count or adding
//! another key leaves the draws there were as they are.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use toml::Value;

use crate::config::error::Complaint;
use crate::config::field::{Check, Field, Kind, describe};

/// Numbers between two ends, either of which may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Whether factors are equally likely, rather than differences.
    log: bool,
    ends: Ends,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Real(f64, f64),
    /// And the distance of one value to the next.
    Whole(i64, i64, i64),
}

const FORMS: &str = "{ uniform = [LOW, HIGH] } or { log_uniform = [LOW, HIGH] }";

impl Range {
    /// Reads a range of values that `field` accepts; `shown` is how messages call the key.
    ///
    /// # Errors
    /// What is no range; a key whose values are no numbers; ends that the key does not accept or that are not in order.
    pub fn read(value: &Value, field: &Field, shown: &str) -> Result<Self, Complaint> {
        let wrong = || Complaint::new(format!("`{shown}` has the wrong type"), describe(value), FORMS);
        let mut pairs = value.as_table().ok_or_else(wrong)?.iter();
        let (Some((form, ends)), None) = (pairs.next(), pairs.next()) else { return Err(wrong()) };
        let log = match form.as_str() {
            "uniform" => false,
            "log_uniform" => true,
            other => return Err(Complaint::unknown("way to draw", other, &["uniform", "log_uniform"])),
        };
        if !field.kind.is_number() {
            let what = format!("`{shown}` takes no numbers, so no range to draw from");
            return Err(Complaint::new(
                what,
                describe(value),
                format!("{}; an array of such is drawn from", field.kind),
            ));
        }
        let Some([low, high]) = ends.as_array().map(Vec::as_slice) else {
            return Err(Complaint::new(format!("`{shown}` needs two ends"), describe(ends), FORMS));
        };
        for end in [low, high] {
            if end.is_array() {
                return Err(Complaint::new(format!("`{shown}` needs two ends"), describe(end), FORMS));
            }
            field.check(shown, end).map_err(|complaint| Complaint {
                what: format!("{}, at an end of its range", complaint.what),
                ..complaint
            })?;
        }
        let step = if matches!(field.kind, Kind::Odd) { 2 } else { 1 };
        let real = |value: &Value| value.as_float().or_else(|| value.as_integer().map(|n| n as f64)).ok_or_else(wrong);
        let ends = match (&field.kind, low, high) {
            (Kind::Integer(..) | Kind::Odd, Value::Integer(low), Value::Integer(high)) => {
                Ends::Whole(*low, *high, step)
            }
            _ => Ends::Real(real(low)?, real(high)?),
        };
        let ordered = match ends {
            Ends::Real(low, high) => low < high,
            Ends::Whole(low, high, _) => low < high,
        };
        if !ordered {
            let what = format!("the range of `{shown}` is not in order");
            return Err(Complaint::new(what, describe(value), "the lower end first, and another one above it"));
        }
        if log && real(low)? <= 0.0 {
            let what = format!("`{shown}` cannot be drawn log_uniform from {low}");
            return Err(Complaint::new(what, describe(value), "a lower end above 0, or { uniform = .. }"));
        }
        Ok(Self { log, ends })
    }

    /// One of its numbers; those that are no integers rounded to four digits, so that labels stay readable.
    pub fn draw(&self, stream: &mut ChaCha8Rng) -> Value {
        match self.ends {
            Ends::Real(low, high) => {
                let u = unit(stream);
                let drawn = match self.log {
                    true => (low.ln() * (1.0 - u) + high.ln() * u).exp(),
                    false => low * (1.0 - u) + high * u,
                };
                Value::Float(format!("{drawn:.3e}").parse().unwrap_or(drawn).clamp(low, high))
            }
            Ends::Whole(low, high, step) => {
                let count = (i128::from(high) - i128::from(low)) / i128::from(step) + 1;
                let chosen = match self.log {
                    // Each integer has the interval up to the next one for its own.
                    true => {
                        let (first, end) = ((low as f64).ln(), (high as f64 + step as f64).ln());
                        let drawn = (first + (end - first) * unit(stream)).exp();
                        ((drawn - low as f64) / step as f64).floor() as i128
                    }
                    false => below(stream, count as u128) as i128,
                };
                let offset = chosen.clamp(0, count - 1) * i128::from(step);
                Value::Integer(i64::try_from(i128::from(low) + offset).unwrap_or(high))
            }
        }
    }
}

/// The draws of one key in a block.
#[derive(Clone, Copy, Debug)]
pub struct Draws([u8; 32]);

impl Draws {
    /// Of a block with this seed.
    pub fn new(seed: u64, key: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("harness: a key's draws in a [[draw]] block");
        Self(*hasher.update(&seed.to_le_bytes()).update(key.as_bytes()).finalize().as_bytes())
    }

    /// The stream of one draw.
    pub fn stream(&self, index: u64) -> ChaCha8Rng {
        let mut stream = ChaCha8Rng::from_seed(self.0);
        stream.set_stream(index);
        stream
    }
}

/// Which of `count` elements is drawn.
pub fn choice(stream: &mut ChaCha8Rng, count: usize) -> usize {
    below(stream, count as u128) as usize
}

/// Uniform in `0..n`, for n up to 2^64; the bias of the multiplication is below `n / 2^64`.
fn below(stream: &mut ChaCha8Rng, n: u128) -> u128 {
    (u128::from(stream.next_u64()) * n) >> 64
}

/// Uniform in `[0, 1)`.
fn unit(stream: &mut ChaCha8Rng) -> f64 {
    (stream.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn range(key: &str, text: &str) -> Result<Range, Complaint> {
        let field = sample::keys().lookup(key, &["ghost"])?;
        Range::read(&text.parse::<Value>().unwrap(), field, key)
    }

    fn draws(key: &str, text: &str) -> Vec<Value> {
        let range = range(key, text).unwrap();
        (0..4000).map(|index| range.draw(&mut Draws::new(7, key).stream(index))).collect()
    }

    #[test]
    fn numbers_keep_to_their_ends_and_to_four_digits() {
        let rates = draws("recipe.lr", "{ log_uniform = [1e-3, 1.0] }");
        let rates: Vec<f64> = rates.iter().map(|rate| rate.as_float().unwrap()).collect();
        assert!(rates.iter().all(|rate| (1e-3..=1.0).contains(rate) && format!("{rate:.3e}").parse() == Ok(*rate)));
        // A third to each decade, within six standard deviations.
        for decade in [1e-3, 1e-2, 1e-1] {
            let share = rates.iter().filter(|rate| (decade..decade * 10.0).contains(*rate)).count();
            assert!((1150..=1520).contains(&share), "{share} in {decade}");
        }
        let uniform = draws("recipe.lr", "{ uniform = [0.12345, 0.12346] }");
        assert!(uniform.iter().all(|rate| (0.12345..=0.12346).contains(&rate.as_float().unwrap())), "rounded within");
    }

    #[test]
    fn integers_include_both_ends() {
        let counts = |key, text, values: &[i64]| -> Vec<usize> {
            let draws = draws(key, text);
            let counts = values.iter().map(|n| draws.iter().filter(|draw| draw.as_integer() == Some(*n)).count());
            let counts: Vec<usize> = counts.collect();
            assert_eq!(counts.iter().sum::<usize>(), draws.len(), "{text}: nothing else");
            counts
        };
        let even = counts("recipe.batch", "{ uniform = [3, 6] }", &[3, 4, 5, 6]);
        assert!(even.iter().all(|n| (830..=1170).contains(n)), "{even:?}");
        let log = counts("recipe.batch", "{ log_uniform = [1, 3] }", &[1, 2, 3]);
        // ln 2, ln 3/2 and ln 4/3 of ln 4.
        assert!((1810..=2190).contains(&log[0]) && (1000..=1340).contains(&log[1]), "{log:?}");
        let odd = counts("method.cheap_kernel", "{ uniform = [1, 7] }", &[1, 3, 5, 7]);
        assert!(odd.iter().all(|n| (830..=1170).contains(n)), "{odd:?}");
        let all = counts(
            "recipe.batch",
            "{ uniform = [9223372036854775806, 9223372036854775807] }",
            &[i64::MAX - 1, i64::MAX],
        );
        assert!(all.iter().all(|n| *n > 1500), "{all:?}");
    }

    #[test]
    fn slips_name_the_bounds() {
        for (key, text, part) in [
            ("recipe.lr", "{ uniform = [0, 1] }", "a number above 0"),
            ("recipe.momentum", "{ uniform = [0.5, 1.0] }", "a number in [0, 1)"),
            ("recipe.batch", "{ uniform = [1.0, 4.0] }", "an integer of at least 1"),
            ("recipe.lr", "{ uniform = [1.0, 0.1] }", "not in order"),
            ("recipe.lr", "{ uniform = [1.0] }", "needs two ends"),
            ("recipe.lr", "{ loguniform = [0.1, 1.0] }", "did you mean `log_uniform`?"),
            ("recipe.lr", "{ uniform = [0.1, 1.0], log_uniform = [0.1, 1.0] }", "wrong type"),
            ("recipe.weight_decay", "{ log_uniform = [0.0, 1.0] }", "a lower end above 0"),
            ("recipe.schedule", "{ uniform = [0, 1] }", "takes no numbers"),
            ("recipe.milestones", "{ uniform = [0.1, 0.5] }", "takes no numbers"),
        ] {
            let complaint = range(key, text).unwrap_err().to_string();
            assert!(complaint.contains(part), "{key} = {text}: {complaint}");
        }
    }

    #[test]
    fn draws_are_pinned() {
        // Another generator would make another experiment of the same file.
        let range = range("recipe.lr", "{ log_uniform = [1e-3, 1.0] }").unwrap();
        let drawn: Vec<String> =
            (0..3).map(|i| range.draw(&mut Draws::new(0, "recipe.lr").stream(i)).to_string()).collect();
        assert_eq!(drawn, ["0.03766", "0.02303", "0.3258"]);
    }
}
