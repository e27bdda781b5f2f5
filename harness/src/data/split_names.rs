//! What splits are called in the names of folders and files, whatever the case: one list for all formats.

/// Of training images.
pub const TRAIN: [&str; 2] = ["train", "training"];
/// Of images that can be judged on, the preferred ones first.
pub const TESTS: [&str; 8] = ["test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation"];

/// The split that this name is.
pub fn split_of(name: &str) -> Option<&'static str> {
    TRAIN.into_iter().chain(TESTS).find(|split| split.eq_ignore_ascii_case(name))
}

/// The first of `splits` that one of `names` is, and that name: `val` of `VAL`. The spelling in small letters goes before others.
pub fn find<'a>(splits: &[&'static str], names: &'a [String]) -> Option<(&'static str, &'a String)> {
    let spelled = |split: &'static str| {
        let exactly = names.iter().find(|name| *name == split);
        exactly.or_else(|| names.iter().find(|name| name.eq_ignore_ascii_case(split))).map(|name| (split, name))
    };
    splits.iter().find_map(|split| spelled(split))
}

/// The splits that the words of a file's name tell, each once: of `x_train.parquet` that is `train`.
pub fn words(name: &str) -> Vec<&'static str> {
    let mut splits = Vec::new();
    for split in name.split(|letter: char| !letter.is_alphanumeric()).filter_map(split_of) {
        if !splits.contains(&split) {
            splits.push(split);
        }
    }
    splits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_told_by_a_word_of_a_name_in_any_case() {
        assert_eq!(words("x_Train-00000-of-00002.parquet"), ["train"]);
        assert_eq!(words("cifar.TEST.parquet"), ["test"]);
        assert_eq!(words("latest_trainee.parquet"), Vec::<&str>::new());
        assert_eq!(words("train_test.parquet"), ["train", "test"]);
        let names = ["VAL", "Test", "test", "other"].map(String::from);
        assert_eq!(find(&TESTS, &names), Some(("test", &names[2])));
        assert_eq!(find(&TESTS[2..], &names), Some(("val", &names[0])));
        assert_eq!(find(&TRAIN, &names), None);
    }
}
