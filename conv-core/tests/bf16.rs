//! Inference in bfloat16, against f32.

#[allow(dead_code, reason = "other tests share this file")]
mod common;

use candle_core::{Result, Tensor};
use common::{Builder, tensor};
use conv_core::{Backend, ConvSpec, Network, Precision};

fn infer(network: &Network, x: &Tensor, precision: Precision) -> Result<Vec<f32>> {
    network.inference_in(Backend::default(), precision)?.forward(x)?.flatten_all()?.to_vec1()
}

/// Slices at odd channels, a shuffle, groups, depthwise, a residual, poolings, upsampling, padded channels.
fn network() -> Result<Network> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 17, 3, 1));
    let x = b.finish(x, None, true);
    let cut = b.slice(x, 3..8);
    let rest = b.slice(x, 9..16);
    let deep = b.conv(cut, ConvSpec::same(5, 5, 3, 1).grouped(5));
    let deep = b.finish(deep, None, true);
    let y = b.graph.concat(&[rest, deep])?;
    let y = b.graph.shuffle(y, 3)?;
    let y = b.conv(y, ConvSpec::same(12, 21, 1, 1));
    let y = b.finish(y, None, false);
    let shortcut = b.graph.pad_channels(x, 1, 3);
    let y = b.finish(y, Some(shortcut), true);
    let y = b.conv(y, ConvSpec { bias: true, ..ConvSpec::same(21, 6, 3, 2).grouped(3) });
    let y = b.graph.max_pool(y, 3, 2, 1);
    let y = b.graph.avg_pool(y, 2, 2, true);
    let pooled = b.graph.global_avg_pool(y);
    let output = b.linear(pooled, 4);
    Ok(b.network(output).0)
}

#[test]
fn it_is_f32_but_for_rounding_and_the_same_for_any_number_of_threads() -> Result<()> {
    let network = network()?;
    for images in [1, 7, 16, 37] {
        let x = tensor(&[images, 3, 13, 9], 5);
        let want = infer(&network, &x, Precision::F32)?;
        let got = infer(&network, &x, Precision::Bf16)?;
        let largest = want.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 0.02 * largest, "{images} images: {got} for {want} of {largest}");
        }
        assert!(got != want, "it was not rounded");
        assert!(got.iter().all(|value| value.to_bits() & 0xffff == 0), "outputs are bf16");
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(candle_core::Error::wrap)?;
        assert_eq!(alone.install(|| infer(&network, &x, Precision::Bf16))?, got, "{images} images by one thread");
    }
    Ok(())
}

#[test]
fn what_has_no_kernel_is_refused_by_name() -> Result<()> {
    let network = Network::build(4, |graph, x| {
        let pooled = graph.global_avg_pool(x);
        let share = graph.sigmoid(pooled);
        graph.product(x, share)
    })?;
    let x = tensor(&[8, 4, 5, 5], 1);
    let refused = infer(&network, &x, Precision::Bf16).unwrap_err().to_string();
    assert!(refused.contains("\"sigmoid\"") && refused.contains("bf16"), "{refused}");
    // Operation by operation it would be f32.
    let candle = network.inference_in(Backend::Candle, Precision::Bf16)?.forward(&x).unwrap_err().to_string();
    assert!(candle.contains("candle's own operations were asked for"), "{candle}");
    let doubles = x.to_dtype(candle_core::DType::F64)?;
    assert!(infer(&network, &doubles, Precision::Bf16).is_err());
    Ok(())
}

/// ResNet-20 for images of 32 x 32, its shortcuts padded.
fn resnet20() -> Result<Network> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 16, 3, 1));
    let mut x = b.finish(x, None, true);
    let mut inputs = 16;
    for (width, stride) in [(16, 1), (16, 1), (16, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)] {
        let y = b.conv(x, ConvSpec::same(inputs, width, 3, stride));
        let y = b.finish(y, None, true);
        let y = b.conv(y, ConvSpec::same(width, width, 3, 1));
        let mut shortcut = x;
        if stride > 1 {
            shortcut = b.graph.avg_pool(shortcut, 1, 2, false);
            shortcut = b.graph.pad_channels(shortcut, (width - inputs) / 2, (width - inputs) / 2);
        }
        x = b.finish(y, Some(shortcut), true);
        inputs = width;
    }
    let pooled = b.graph.global_avg_pool(x);
    let output = b.linear(pooled, 10);
    Ok(b.network(output).0)
}

/// `cargo test -p conv-core --test bf16 -- --ignored --nocapture`, with `CONV_PATH` for another path than the fastest.
#[test]
#[ignore = "measures: prints medians of both precisions in turns"]
fn times() -> Result<()> {
    let network = resnet20()?;
    let x = tensor(&[128, 3, 32, 32], 1);
    let mut sessions = [Precision::F32, Precision::Bf16].map(|precision| {
        let session = network.inference_in(Backend::default(), precision);
        (precision, session, Vec::new())
    });
    for _ in 0..41 {
        for (_, session, times) in &mut sessions {
            let started = std::time::Instant::now();
            session.as_mut().unwrap().forward(&x)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    for (precision, session, times) in &mut sessions {
        times.sort_by(f64::total_cmp);
        println!("{precision:?} on {}: {:.2} ms", session.as_ref().unwrap().kernel_path(), times[times.len() / 2]);
    }
    Ok(())
}
