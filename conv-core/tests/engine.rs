//! The engine against the same graph by candle's own ops: logits, loss, every gradient, running statistics.

mod common;

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use common::{Builder, close, tensor};
use conv_core::{Backend, ConvSpec, EngineLayer, Network, OffEngine, ParamStore};

/// One training step and inference after it, both ways, from the same parameters.
fn check(label: &str, network: &Network, store: &ParamStore, images: &[usize]) -> Result<()> {
    let x = tensor(images, 99);
    let labels = Tensor::from_iter((0..images[0]).map(|i| (i % 3) as u32), &Device::Cpu)?;
    let before = store.snapshot()?;
    let want = network.training(Backend::Candle).step(&x, &labels, 0.1)?;
    let after = store.snapshot()?;
    for backend in [Backend::Engine { winograd: false }, Backend::default()] {
        let label = format!("{label}, {backend:?}");
        store.assign(&before)?;
        let got = network.training(backend).step(&x, &labels, 0.1)?;
        close(&format!("{label}: logits"), &got.logits, &want.logits, 1e-4);
        assert!((got.loss - want.loss).abs() < 1e-5 * want.loss.abs().max(1.0), "{label}: {} {}", got.loss, want.loss);
        for (name, var) in store.trainable() {
            let (Some(got), Some(want)) = (got.gradients.get(&var), want.gradients.get(&var)) else {
                panic!("{label}: no gradient for {name}");
            };
            close(&format!("{label}: gradient of {name}"), got, want, 5e-4);
        }
        for (name, var) in store.named() {
            close(&format!("{label}: {name} afterwards"), &var, &after[&name], 1e-5);
        }
        let got = network.inference(backend).forward(&x)?;
        close(&format!("{label}: inference"), &got, &network.inference(Backend::Candle).forward(&x)?, 1e-4);
    }
    let few = x.narrow(0, 0, 3)?;
    let got = network.inference(Backend::default()).forward(&few)?;
    close(&format!("{label}: inference of few"), &got, &network.forward_t(&few, false)?, 1e-4);
    Ok(())
}

#[test]
fn a_residual_network_with_a_padded_shortcut() -> Result<()> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let stem = b.conv(x, ConvSpec::same(3, 5, 3, 1));
    let stem = b.finish(stem, None, true);
    let y = b.conv(stem, ConvSpec::same(5, 9, 3, 2));
    let y = b.finish(y, None, true);
    let y = b.conv(y, ConvSpec::same(9, 9, 3, 1));
    let shortcut = b.graph.avg_pool(stem, 1, 2, false);
    let shortcut = b.graph.pad_channels(shortcut, 2, 2);
    let y = b.finish(y, Some(shortcut), true);
    let z = b.conv(y, ConvSpec::same(9, 9, 3, 1));
    let y = b.finish(z, Some(y), false);
    let pooled = b.graph.global_avg_pool(y);
    let output = b.linear(pooled, 4);
    let (network, store) = b.network(output);
    for n in [8, 16, 19, 40] {
        check(&format!("batch {n}"), &network, &store, &[n, 3, 9, 7])?;
    }
    Ok(())
}

#[test]
fn slices_shuffles_and_parts_that_are_read_twice() -> Result<()> {
    let mut b = Builder::new();
    let x = b.graph.input(4);
    let x = b.conv(x, ConvSpec::same(4, 12, 3, 1));
    let x = b.finish(x, None, true);
    let b1 = b.conv(x, ConvSpec::same(12, 3, 3, 1));
    let a1 = b.slice(x, 2..5);
    let level = b.graph.concat(&[b1, a1])?;
    let b0 = b.conv(level, ConvSpec::same(6, 6, 3, 1));
    let first = b.slice(b0, 0..5);
    let tail = b.conv(first, ConvSpec::same(5, 5, 3, 1).grouped(5));
    let y = b.graph.concat(&[level, b0, tail])?;
    let y = b.slice(y, 0..16);
    // The cut leaves a channel of the tail unread.
    let y = b.graph.shuffle(y, 2)?;
    let y = b.finish(y, None, true);
    let y = b.graph.max_pool(y, 3, 2, 1);
    let y = b.graph.avg_pool(y, 2, 2, true);
    let pooled = b.graph.global_avg_pool(y);
    let output = b.linear(pooled, 3);
    let (network, store) = b.network(output);
    for n in [16, 21] {
        check(&format!("batch {n}"), &network, &store, &[n, 4, 7, 11])?;
    }
    Ok(())
}

#[test]
fn biases_groups_large_kernels_and_a_norm_over_features() -> Result<()> {
    let mut b = Builder::new();
    let x = b.graph.input(2);
    let x = b.conv(x, ConvSpec { bias: true, ..ConvSpec::same(2, 6, 5, 3) });
    let x = b.graph.finish(x, None, None, true)?;
    let y = b.conv(x, ConvSpec { bias: true, ..ConvSpec::same(6, 9, 3, 1).grouped(3) });
    let y = b.graph.bias(y, &tensor(&[9], 5))?;
    let y = b.conv(y, ConvSpec { padding: 2, ..ConvSpec::same(9, 18, 2, 2).grouped(9) });
    let y = b.graph.finish(y, None, None, true)?;
    let y = b.conv(y, ConvSpec::same(18, 6, 1, 1));
    let pooled = b.graph.global_avg_pool(y);
    let hidden = b.linear(pooled, 10);
    let hidden = b.finish(hidden, None, true);
    let output = b.linear(hidden, 3);
    let (network, store) = b.network(output);
    check("groups", &network, &store, &[24, 2, 13, 8])
}

/// Too few images for the engine: both sides run operation by operation, and only the operations differ.
#[test]
fn whose_operations_run_is_the_choice_of_each_session() -> Result<()> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 8, 3, 1));
    let x = b.finish(x, None, true);
    let x = b.graph.max_pool(x, 2, 2, 0);
    let pooled = b.graph.global_avg_pool(x);
    let output = b.linear(pooled, 3);
    let (network, store) = b.network(output);
    let (x, labels) = (tensor(&[4, 3, 8, 8], 1), Tensor::new(&[0u32, 1, 2, 0], &Device::Cpu)?);
    let before = store.snapshot()?;
    let run = |backend: Backend| -> Result<[Tensor; 2]> {
        store.assign(&before)?;
        let trained = network.training(backend).step(&x, &labels, 0.0)?.logits;
        Ok([trained, network.inference(backend).forward(&x)?])
    };
    let bits = |outputs: &[Tensor; 2]| -> Result<Vec<u32>> {
        let values = Tensor::cat(outputs, 0)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    };
    let (own, candle, again) = (run(Backend::default())?, run(Backend::Candle)?, run(Backend::default())?);
    for (what, own, candle) in [("training", &own[0], &candle[0]), ("inference", &own[1], &candle[1])] {
        close(what, own, candle, 1e-4);
    }
    assert_ne!(bits(&own)?, bits(&candle)?, "operations of two makes do not round alike");
    assert_eq!(bits(&own)?, bits(&again)?, "candle's were left behind");
    Ok(())
}

#[test]
fn channels_enough_for_winograd() -> Result<()> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 21, 3, 1));
    let x = b.finish(x, None, true);
    let y = b.conv(x, ConvSpec::same(21, 26, 3, 1));
    let y = b.finish(y, None, true);
    let y = b.conv(y, ConvSpec::same(26, 21, 3, 1));
    let y = b.finish(y, Some(x), true);
    let pooled = b.graph.global_avg_pool(y);
    let output = b.linear(pooled, 3);
    let (network, store) = b.network(output);
    check("winograd", &network, &store, &[18, 3, 7, 10])
}

#[test]
fn bits_do_not_depend_on_threads() -> Result<()> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 8, 3, 1));
    let x = b.finish(x, None, true);
    let y = b.conv(x, ConvSpec::same(8, 8, 3, 1).grouped(8));
    let y = b.finish(y, Some(x), true);
    let pooled = b.graph.global_avg_pool(y);
    let output = b.linear(pooled, 3);
    let (network, store) = b.network(output);
    let (x, labels) = (tensor(&[70, 3, 6, 6], 1), Tensor::from_iter((0..70).map(|i| i % 3), &Device::Cpu)?);
    let before = store.snapshot()?;
    let run = |threads: usize| -> Result<Vec<Vec<f32>>> {
        store.assign(&before)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let step = pool.install(|| network.training(Backend::default()).step(&x, &labels, 0.0))?;
        let gradients = store.trainable().into_iter().map(|(_, var)| step.gradients.get(&var).unwrap().clone());
        let all =
            gradients.chain([step.logits]).chain(store.named().into_iter().map(|(_, var)| var.as_tensor().clone()));
        all.map(|tensor| tensor.flatten_all()?.to_vec1()).collect()
    };
    let one = run(1)?;
    assert_eq!(one, run(2)?);
    assert_eq!(one, run(5)?);
    Ok(())
}

#[test]
fn what_keeps_a_network_off_the_engine_is_said() -> Result<()> {
    let network = |custom: bool| -> Result<Network> {
        let mut b = Builder::new();
        let x = b.graph.input(3);
        let x = b.conv(x, ConvSpec::same(3, 8, 3, 1));
        let x = b.finish(x, None, true);
        let x = match custom {
            true => b.graph.custom(&[x], &[], 8, Arc::new(|inputs: &[Tensor], _| &inputs[0] * 2.0)),
            false => x,
        };
        let pooled = b.graph.global_avg_pool(x);
        let output = b.linear(pooled, 3);
        Ok(b.network(output).0)
    };
    let (plain, custom) = (network(false)?, network(true)?);
    let off = |network: &Network, backend: Backend, images: usize, train: bool| -> Result<Option<OffEngine>> {
        Ok(network.engine_layers(backend, [images, 3, 6, 6], train)?.err())
    };
    let engine = Backend::default();
    for (images, train, why) in [
        (8, true, None),
        (7, true, Some(OffEngine::FewImages { images: 7 })),
        (7, false, None),
        (1, false, None),
        (128, false, None),
    ] {
        assert_eq!(off(&plain, engine, images, train)?, why, "{images} images, training: {train}");
        let expected = why.or(Some(OffEngine::Custom));
        assert_eq!(off(&custom, engine, images, train)?, expected, "custom: {images} images, training: {train}");
        assert_eq!(off(&plain, Backend::Candle, images, train)?, Some(OffEngine::CandleAsked));
    }
    // A session says the same: it has layers where it ran on the engine.
    let (x, labels) = (tensor(&[8, 3, 6, 6], 1), Tensor::from_iter((0..8).map(|i| i % 3), &Device::Cpu)?);
    for (network, on_engine) in [(&plain, true), (&custom, false)] {
        let (mut training, mut inference) = (network.training(engine), network.inference(engine));
        training.step(&x, &labels, 0.0)?;
        inference.forward(&x)?;
        assert_eq!((training.layers().is_some(), inference.layers().is_some()), (on_engine, on_engine));
        inference.forward(&x.narrow(0, 0, 2)?)?;
        assert_eq!(inference.image_layers().is_some(), on_engine);
    }
    // A value that gates itself is read twice by one operation.
    let own_gate = Network::build(4, |graph, x| graph.crossed_gate(x, x, 0.5))?;
    let why = own_gate.engine_layers(engine, [8, 4, 6, 6], true)?.err();
    assert_eq!(why, Some(OffEngine::RepeatedChannel));
    Ok(())
}

/// Layers are timed where that is asked for, every pass that is done of each, and nothing else changes by it.
#[test]
fn layers_are_timed_where_that_is_asked_for() -> Result<()> {
    let mut b = Builder::new();
    let x = b.graph.input(3);
    let x = b.conv(x, ConvSpec::same(3, 24, 3, 1));
    let x = b.finish(x, None, true);
    let y = b.conv(x, ConvSpec::same(24, 24, 3, 1));
    let y = b.finish(y, Some(x), true);
    let y = b.graph.max_pool(y, 2, 2, 0);
    let pooled = b.graph.global_avg_pool(y);
    let output = b.linear(pooled, 3);
    let (network, store) = b.network(output);
    let (x, labels) = (tensor(&[20, 3, 12, 12], 1), Tensor::from_iter((0..20).map(|i| i % 3), &Device::Cpu)?);
    let before = store.snapshot()?;
    let mut training = network.training(Backend::default());
    let plain = training.step(&x, &labels, 0.0)?.logits.to_vec2::<f32>()?;
    store.assign(&before)?;
    training.time_layers();
    let timed = training.step(&x, &labels, 0.0)?.logits.to_vec2::<f32>()?;
    assert_eq!(plain, timed, "bits do not depend on a clock");
    let passes = |layers: &[EngineLayer]| -> Vec<String> {
        let names =
            |layer: &EngineLayer| layer.passes.iter().map(|work| work.pass.name()).collect::<Vec<_>>().join(", ");
        layers.iter().map(|layer| format!("{}: {}", layer.kind, names(layer))).collect()
    };
    let layers = training.layers().unwrap();
    assert_eq!(
        passes(&layers),
        [
            "conv 3x3: forward, weight gradient",
            "norm + relu: forward, input gradient",
            "conv 3x3: forward, input gradient, weight gradient",
            "norm + residual + relu: forward, input gradient",
            "max pool 2x2 / 2: forward, input gradient",
            "global average pool: forward, input gradient",
            "linear: forward, input gradient, weight gradient",
        ]
    );
    let times = layers.iter().flat_map(|layer| &layer.passes).map(|work| work.time.unwrap());
    assert!(times.clone().all(|time| !time.is_zero()), "{:?}", times.collect::<Vec<_>>());
    assert_eq!(layers[2].passes[0].macs, 24 * 24 * 9 * 144);

    let mut inference = network.inference(Backend::default());
    inference.time_layers();
    inference.forward(&x)?;
    inference.forward(&x.narrow(0, 0, 1)?)?;
    for layers in [inference.layers().unwrap(), inference.image_layers().unwrap()] {
        assert!(layers[1].passes.is_empty() && layers[3].passes.is_empty(), "norms are done on the way");
        assert_eq!(layers.iter().map(|layer| layer.passes.len()).sum::<usize>(), 5);
        assert!(
            layers.iter().flat_map(|layer| &layer.passes).all(|work| work.time.is_some_and(|time| !time.is_zero()))
        );
    }
    assert!(network.inference(Backend::default()).layers().is_none(), "nothing was computed yet");
    Ok(())
}
