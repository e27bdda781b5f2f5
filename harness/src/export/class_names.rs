//! What the classes of data sets are called.

use crate::config::DatasetConfig;
use crate::data;

const CIFAR10: &str = "airplane automobile bird cat deer dog frog horse ship truck";

/// The fine labels.
const CIFAR100: &str = "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can \
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish \
    forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain \
    mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit \
    raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper \
    table tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm";

const FASHION_MNIST: &str = "t-shirt/top trouser pullover dress coat sandal shirt sneaker bag ankle_boot";

const STL10: &str = "airplane bird car cat deer dog horse monkey ship truck";

/// The names of a data set's classes, in the order of their numbers; none where nobody knows so many. Those of an image folder are
/// the names of its folders, if it is there, and those of Parquet files what their metadata calls them.
pub fn class_names(config: &DatasetConfig, classes: usize) -> Option<Vec<String>> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<String>>();
    let names = match config.name.as_str() {
        "cifar10" => words(CIFAR10),
        "cifar100" => words(CIFAR100),
        "fashion-mnist" => words(FASHION_MNIST),
        "stl10" => words(STL10),
        "svhn" => (0..10).map(|digit| digit.to_string()).collect(),
        "images" | "imagenet" => data::class_names(config)?,
        _ => return None,
    };
    (names.len() == classes).then_some(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn there_are_as_many_names_as_classes() {
        for (name, classes) in [("cifar10", 10), ("cifar100", 100), ("fashion-mnist", 10), ("stl10", 10), ("svhn", 10)]
        {
            let config = DatasetConfig { name: name.to_owned(), ..DatasetConfig::default() };
            let names = class_names(&config, classes).unwrap();
            let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
            assert_eq!(distinct.len(), classes, "{name}");
            assert_eq!(class_names(&config, classes + 1), None);
        }
    }

    #[test]
    fn an_image_folder_names_its_classes() {
        let dir = tempfile::tempdir().unwrap();
        for class in ["b", "a", ".hidden"] {
            fs::create_dir_all(dir.path().join("train").join(class)).unwrap();
        }
        assert_eq!(data::folder::layout::classes(dir.path()).unwrap(), ["a", "b"]);
        assert!(data::folder::layout::classes(&dir.path().join("no")).is_err());
    }
}
