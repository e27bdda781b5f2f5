//! A rival that lives in a crate of its own, and the `harness` command that knows it: `cargo run -p harness --example own_rival
//! -- methods`, and every other command.

use std::process::ExitCode;

use candle_core::Result;
use conv_core::options::at_least;
use conv_core::{Method, Scope, UnitSpec, Value, options};

options! {
    /// A convolution in groups and a channel shuffle behind it.
    Shuffled = "shuffled", "a convolution in groups, then a channel shuffle (ShuffleNet's way)" {
        /// Groups of channels convolved apart.
        groups: usize = 2, at_least(2);
    }
}

impl Method for Shuffled {
    fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
        let fits = |channels: usize| channels.is_multiple_of(self.groups);
        let fits = unit.conv.groups == 1 && fits(unit.conv.in_channels) && fits(unit.conv.out_channels);
        (!fits).then_some("the groups do not divide its channels")
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let y = net.conv("grouped", unit.conv.grouped(self.groups), false, false, x)?;
        let y = net.shuffle(y, self.groups)?;
        net.finish(unit, y, residual)
    }
}

fn main() -> ExitCode {
    harness::main_with(&[harness::entry::<Shuffled>()])
}
