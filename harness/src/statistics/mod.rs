//! The statistics of a comparison: pure functions of numbers, which know nothing of trials, files or tables.
//!
//! Accuracies vary for two reasons that are never added up here. **Seeds**: another seed trains another network; the seed is
//! the unit of replication, and every verdict on methods is over seeds ([`compare`], [`compare_all`]). **Images**: other test
//! images would judge the same two networks otherwise; [`images`] tells of two trained networks, never of two methods.
//!
//! | asked | answer | what is promised |
//! | --- | --- | --- |
//! | is A better than B? | [`compare`]: t test on the differences of common seeds | 5 % false verdicts where differences are normal, at any number of seeds from 2 |
//! | is A not worse than B by more than a margin? | [`Comparison::not_worse_by`]: the same interval | of methods worse by the margin 2.5 % pass |
//! | which of all pairs differ? | [`compare_all`]: t tests that share what the table tells of spreads, with Holm's correction | at most 5 % of tables get any false verdict, where rows vary alike |
//! | how much do seeds vary? | [`Summary`]: n, mean, sample standard deviation, interval | |
//! | and without a normal distribution? | [`bootstrap`] | a description: with few seeds it covers far less than 95 % |
//! | which methods are worth their cost? | [`standings`] | at most 5 % of tables with a point wrongly beaten |
//! | what can so many seeds see? | [`power`], [`detectable`], [`seeds_needed`] | the power of [`compare`]'s verdict |
//! | how sure is one network's accuracy on these images? | [`proportion`]: Wilson's interval | about 95 %, of images, never of trainings |
//! | over several data sets and networks? | [`interquartile_mean`], [`performance_profile`] | |
//! | are these two networks different on these images? | [`images`]: McNemar's exact test | at most 5 % false verdicts |
//!
//! Verdicts come from the t test and not from a bootstrap because three to five seeds are usual: the bootstrap's 95 % interval
//! of three values covers about 75 %. Where methods share no seed there is no verdict: Welch's test would give one, but at two
//! seeds against five of less spread 10 % of them are false, and training the missing seeds is the better remedy.
//!
//! A table's pairs are tested together (`spread.rs`): with three seeds a thousand pairs by themselves would never get a verdict. Shared
//! spreads cost a little where rows do not vary alike: of simulated null tables fewer than 7 % get a verdict where spreads differ eightfold
//! between six rows, and fewer than 11 % where a single one of 24 varies three times as much as all others (`simulations.rs`).
//!
//! What is not promised: differences need not be normal. Methods that are equal in all, also in how they vary, have symmetric ones
//! and get fewer false verdicts. One that has the same mean as another and now and then collapses has lopsided ones, and may
//! get 12 % at three seeds. And looking after every seed to stop at the first verdict gives more than 5 %: decide on the number
//! of seeds before.

mod across;
mod bootstrap;
mod comparison;
mod distributions;
pub mod gate;
pub mod images;
mod pairs;
mod pareto;
mod power;
mod proportion;
mod spread;
mod summary;

#[cfg(test)]
mod simulations;

pub use across::{interquartile_mean, interquartile_mean_interval, performance_profile};
pub use bootstrap::bootstrap;
pub use comparison::{Comparison, Doubt, SeedValue, Verdict, compare, differences};
pub use pairs::{Pair, Tested, compare_all, holm, pair_of, test_together};
pub use pareto::{Standing, standings};
pub use power::{POWER, detectable, detectable_together, power, seeds_needed};
pub use proportion::proportion;
pub use summary::{Interval, Summary, pooled_deviation};

/// Share of false verdicts that is put up with, where there is no difference: two-sided.
pub const FALSE_VERDICTS: f64 = 0.05;
