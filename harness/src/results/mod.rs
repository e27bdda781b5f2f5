//! The run folder: what a trial leaves behind, and how trials become a frame.

pub mod checksums;
pub mod dictionary;
mod epochs;
mod failure;
mod folder;
mod frame;
mod frozen;
mod measured;
mod measured_columns;
mod predictions;
mod record;
mod reuse;
mod tensorboard;
mod trials;
pub mod verify;

pub use epochs::epoch_frame;
pub use failure::{Failure, FailureKind};
pub use folder::{BASES, FolderLock, Headings, Names, RunFolder, TuneHeading};
pub use frame::{collect, frame, write_frames};
pub use frozen::FrozenTrial;
pub use measured::{Measured, MeasuredNetwork, MeasuredTraining, MeasuredUse, MeasuringClaim};
pub use record::{Measures, NetworkSummary, Outcome, Reporting, TrialRecord};
pub use tensorboard::write_events;
pub use trials::{Claim, Collected, TrialState, WEIGHTS};
