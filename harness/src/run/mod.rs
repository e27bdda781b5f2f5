//! Executing trials.
