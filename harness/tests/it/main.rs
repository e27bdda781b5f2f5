//! The harness from outside, one binary: each would link everything anew.

mod backbone_goldens;
mod backbones;
mod bench;
mod budgets;
mod campaign;
mod checkpoint;
mod cli;
mod cli_damage;
mod cli_errors;
mod cli_runs;
mod compare;
mod compressions;
mod data_download;
mod data_formats;
mod data_sources;
mod docs;
mod isolation;
mod kernels;
mod measure;
mod own_rival;
mod published_costs;
mod report;
mod report_conventions;
mod report_files;
mod report_measured;
mod report_published;
mod report_seeds;
mod resume;
mod run;
mod slurm;
mod source_axes;
mod support;
#[cfg(target_os = "linux")]
mod terminal;
mod training_golden;
mod tuning;
