//! `[init]`: which settings start from given weights, and what these are by content.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use baselines::pruning::Weights;

use super::controls::THIN;
use super::network::Network;
use super::resolve::section;
use super::sweep::document::{Document, Entry, find};
use crate::config::InitConfig;
use crate::config::error::{At, Complaint, explain};
use crate::methods::Compression;
use crate::weights::given;

/// The digests of all files of weights that a sweep names, each read once.
#[derive(Debug, Default)]
pub(super) struct Inits(RwLock<HashMap<String, Result<String, String>>>);

impl Inits {
    /// What a setting starts from, the digest filled in.
    ///
    /// # Errors
    /// A file that cannot be read, or whose content is another than the file of the experiment says; a digest of no file.
    pub fn resolve(
        &self,
        document: &Document,
        entries: &[Cow<'_, Entry>],
        network: &Network,
    ) -> anyhow::Result<InitConfig> {
        let mut init: InitConfig = section(entries, "init.")?;
        let fail = |key: &str, complaint| {
            let at = find(entries, key).map_or(&At::File, |entry| &entry.at);
            Err(document.error(at, complaint).into())
        };
        if let (None, Some(digest)) = (&init.file, &init.digest) {
            let what = "`init.digest` is given, and no `init.file` that it could be of";
            let accepted = "init.file = \"...\" beside it, or --init FILE";
            return fail("init.digest", Complaint::new(what, digest, accepted));
        }
        let Some(file) = init.file.as_ref().filter(|_| !begins_fresh(network)) else {
            return Ok(InitConfig::default());
        };
        match (self.digest(file), &init.digest) {
            (Err(why), _) => {
                let accepted = "a file of weights: safetensors, or a state dict that torch.save wrote (.pth, .pt)";
                fail("init.file", Complaint::new("`init.file` cannot be read", why, accepted))
            }
            (Ok(found), Some(said)) if found != *said => {
                let what = "`init.digest` is not that of `init.file`";
                let accepted = format!("{said}, or init.digest without a value for whatever is there");
                fail("init.digest", Complaint::new(what, found, accepted))
            }
            (Ok(found), _) => {
                init.digest = Some(found);
                Ok(init)
            }
        }
    }

    fn digest(&self, file: &str) -> Result<String, String> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(file) {
            return known.clone();
        }
        let found = given::digest(Path::new(file)).map_err(|error| explain(&error));
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(file.to_owned(), found.clone());
        found
    }
}

/// Whether a network is one of those that are trained from fresh weights by what they are: a narrow one, which no given weights
/// fit, and the widths of a cut one where nothing else is taken from it.
fn begins_fresh(network: &Network) -> bool {
    let scratch = match &network.compression {
        // What chooses widths over all layers together looks at weights first.
        Some(Compression::Pruned(pruned)) => pruned.weights() != Weights::Kept && !pruned.is_global(),
        _ => false,
    };
    scratch || network.parts.method.name == THIN
}
