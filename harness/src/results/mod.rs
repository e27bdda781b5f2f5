//! The run folder: what a trial leaves behind, and how trials become a frame.

pub mod checksums;
mod epochs;
mod failure;
mod folder;
mod frame;
mod frozen;
mod predictions;
mod record;
mod reuse;
mod trials;
pub mod verify;

pub use epochs::epoch_frame;
pub use failure::{Failure, FailureKind};
pub use folder::{FolderLock, Headings, Names, RunFolder};
pub use frame::{collect, frame, write_frames};
pub use frozen::FrozenTrial;
pub use record::{Measures, NetworkSummary, Outcome, TrialRecord};
pub use trials::{Claim, Collected, TrialState};
