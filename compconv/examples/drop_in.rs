//! A small candle network before and after: every `candle_nn::Conv2d` but the first becomes a [`CompConv2d`].
//!
//! `cargo run -p compconv --example drop_in`

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Optimizer, SGD, VarBuilder, VarMap, conv2d, linear, loss};
use compconv::{CompConv2d, CompConvOptions, compconv2d};

struct Net {
    stem: Conv2d,
    // Was: block1: Conv2d, block2: Conv2d.
    block1: CompConv2d,
    block2: CompConv2d,
    head: Linear,
}

impl Net {
    fn new(vb: VarBuilder<'_>) -> Result<Self> {
        let same = Conv2dConfig { padding: 1, ..Conv2dConfig::default() };
        let half = Conv2dConfig { stride: 2, ..same };
        let options = CompConvOptions::fixed(3);
        Ok(Self {
            stem: conv2d(3, 32, 3, same, vb.pp("stem"))?,
            // Was: conv2d(32, 64, 3, half, vb.pp("block1"))?, and so on.
            block1: compconv2d(32, 64, 3, half, &options, vb.pp("block1"))?,
            block2: compconv2d(64, 64, 3, same, &options, vb.pp("block2"))?,
            head: linear(64, 10, vb.pp("head"))?,
        })
    }
}

impl Module for Net {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.stem.forward(x)?.relu()?;
        let x = self.block1.forward(&x)?.relu()?;
        let x = self.block2.forward(&x)?.relu()?;
        self.head.forward(&x.mean((2, 3))?)
    }
}

fn main() -> Result<()> {
    let device = Device::Cpu;
    let variables = VarMap::new();
    let net = Net::new(VarBuilder::from_varmap(&variables, DType::F32, &device))?;

    for (name, conv) in [("block1", &net.block1), ("block2", &net.block2)] {
        let (plan, out) = (conv.plan(), (16, 16));
        let (cost, vanilla) = (plan.cost(out), plan.spec.macs(out));
        println!("{name}: {plan}");
        println!("  {} parameters, {} of {vanilla} multiply-accumulates a 16 x 16 output", cost.params, cost.macs);
    }
    let mut parameters: Vec<(String, Var)> = match variables.data().lock() {
        Ok(data) => data.iter().map(|(name, var)| (name.clone(), var.clone())).collect(),
        Err(_) => candle_core::bail!("the variables are poisoned"),
    };
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, var) in &parameters {
        println!("{name}: {:?}", var.dims());
    }

    let images = Tensor::randn(0f32, 1f32, (8, 3, 32, 32), &device)?;
    let labels = Tensor::new(&[0u32, 1, 2, 3, 4, 5, 6, 7], &device)?;
    let mut optimizer = SGD::new(variables.all_vars(), 0.01)?;
    let before = loss::cross_entropy(&net.forward(&images)?, &labels)?;
    optimizer.backward_step(&before)?;
    let after = loss::cross_entropy(&net.forward(&images)?, &labels)?;
    println!("loss before and after one step: {:.4}, {:.4}", before.to_scalar::<f32>()?, after.to_scalar::<f32>()?);
    Ok(())
}
