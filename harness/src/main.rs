//! The `harness` command.

#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Keeps its pages: a fresh large tensor costs no page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    harness::cli::main()
}
