//! An idea tried out as a function of candle tensors, before anybody writes it down as operations: every command works, and
//! all that it runs is marked, as it does not run on the engine. `cargo run -p harness --example own_idea -- methods`.

use std::process::ExitCode;
use std::sync::Arc;

use candle_core::Result;
use conv_core::options::POSITIVE;
use conv_core::{Cost, Custom, Method, Scope, UnitSpec, Value, options};

options! {
    /// The convolution, and behind it a soft clipping of each channel, `limit tanh(y / limit)`.
    Clipped = "clipped", "a convolution whose outputs are softly clipped" {
        /// What no output exceeds.
        limit: f64 = 4.0, POSITIVE;
    }
}

impl Method for Clipped {
    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        let y = net.conv("conv", unit.conv, false, false, x)?;
        let limit = self.limit;
        let clipping = Custom {
            text: &format!("clip {limit}"),
            parameters: &[],
            channels: unit.conv.out_channels,
            size: &|size| size,
            cost: &|_| Cost::default(),
            run: Arc::new(move |inputs, _, _| inputs[0].affine(1.0 / limit, 0.0)?.tanh()? * limit),
        };
        let y = net.custom(&[y], &clipping)?;
        net.finish(unit, y, residual)
    }
}

fn main() -> ExitCode {
    harness::main_with(&[harness::entry::<Clipped>()])
}
