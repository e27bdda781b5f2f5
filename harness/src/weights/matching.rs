//! Which tensor of a file is which of a network's, by name.

use std::collections::BTreeMap;

use super::given::GivenWeights;
use super::names::TorchNames;
use crate::backbones::Backbone;

/// How implementations of the same networks differ from torchvision's names: the CIFAR ones call the classifier `linear`, and a
/// projection `shortcut`.
const ALIASES: [(&str, &str); 2] = [("fc.", "linear."), (".downsample.", ".shortcut.")];

/// One scheme of names for a whole file, by this harness's names or by PyTorch's, whichever fit more of the network: the second
/// convolution of a VGG is `features.1` here, where PyTorch's first norm is.
pub(super) struct Matching {
    /// Where the names are PyTorch's.
    torch: Option<TorchNames>,
    /// Parts of names, and what the file has in their place.
    aliases: Vec<(&'static str, &'static str)>,
    /// What all names begin with that the network knows nothing of, with its dot: scripts keep a network as `self.model`, or as
    /// `self.backbone`, in an object of their own.
    pub prefix: String,
}

impl Matching {
    /// The scheme of a file, for a network of these tensors.
    pub fn of(file: &GivenWeights, wanted: &[(String, Vec<usize>)], backbone: &dyn Backbone) -> Self {
        let mut prefix = String::new();
        loop {
            let shapes = file.tensors().filter_map(|(name, given)| Some((name.strip_prefix(&prefix)?, given.shape())));
            let shapes: BTreeMap<&str, Option<&[usize]>> = shapes.collect();
            let schemes = [TorchNames::of(backbone), None].map(|torch| {
                let aliases = ALIASES.into_iter().filter(|(usual, other)| has(&shapes, other) && !has(&shapes, usual));
                Self { torch, aliases: aliases.collect(), prefix: String::new() }
            });
            let fitting = schemes.each_ref().map(|scheme| {
                let fits = |(ours, shape): &&(String, Vec<usize>)| {
                    shapes.get(&*scheme.bare(ours)).is_some_and(|given| *given == Some(shape))
                };
                wanted.iter().filter(fits).count()
            });
            let [torch, own] = schemes;
            let scheme = if fitting[0] >= fitting[1] { torch } else { own };
            if fitting != [0, 0] {
                return Self { prefix, ..scheme };
            }
            match common_part(shapes.keys().copied()) {
                Some(part) => prefix += &format!("{part}."),
                // Nothing fits, and the names are told as they are.
                None => return scheme,
            }
        }
    }

    /// The file's name of a tensor that the network calls `ours`, whether it has one of that name or not.
    pub fn theirs(&self, ours: &str) -> String {
        format!("{}{}", self.prefix, self.bare(ours))
    }

    fn bare(&self, ours: &str) -> String {
        let torch = self.torch.as_ref().and_then(|torch| torch.theirs(ours));
        let replaced = |name: String, (usual, other): &(&str, &str)| match is_in(&name, usual) {
            true => name.replacen(usual, other, 1),
            false => name,
        };
        torch.map_or_else(|| ours.to_owned(), |name| self.aliases.iter().fold(name, replaced))
    }
}

fn is_in(name: &str, part: &str) -> bool {
    if part.starts_with('.') { name.contains(part) } else { name.starts_with(part) }
}

fn has<T>(names: &BTreeMap<&str, T>, part: &str) -> bool {
    names.keys().any(|name| is_in(name, part))
}

/// The part before the first dot, where all names have the same.
fn common_part<'n>(mut names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let part = |name: &'n str| name.split_once('.').map(|(part, _)| part);
    let first = part(names.next()?)?;
    names.all(|name| part(name) == Some(first)).then_some(first)
}
