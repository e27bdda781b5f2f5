//! Networks as layers of candle networks: what the engine gives to candle's autograd, against candle's own ops.

mod common;

use candle_core::{DType, Result, Tensor, Var};
use common::{Builder, close, tensor};
use conv_core::{ConvSpec, Network, ParamStore, ops};

/// CompConv's shape: inner convolutions read parts of the input and of each other, the output is made of all, shuffled; of
/// seven input channels the convolution reads six and the identity two, one nobody.
fn compact(normed: bool) -> Result<(Network, ParamStore)> {
    let mut b = Builder::new();
    let x = b.graph.input(7);
    let read = b.slice(x, 0..6);
    let mut top = b.conv(read, ConvSpec::same(6, 3, 3, 2));
    if normed {
        top = b.finish(top, None, true);
    }
    let kept = b.graph.avg_pool(x, 2, 2, true);
    let kept = b.slice(kept, 1..3);
    let level = b.graph.concat(&[top, kept])?;
    let mut bottom = b.conv(level, ConvSpec::same(5, 5, 3, 1));
    if normed {
        bottom = b.finish(bottom, None, false);
    }
    let tail = b.conv(bottom, ConvSpec::same(5, 5, 3, 1).grouped(5));
    // The cut leaves a channel of the tail unread.
    let tail = b.slice(tail, 0..4);
    let y = b.graph.concat(&[level, bottom, tail])?;
    let y = b.graph.shuffle(y, 2)?;
    let y = b.graph.bias(y, &tensor(&[14], 5))?;
    Ok(b.network(y))
}

/// Identity channels: parts of the input are the output.
fn identity() -> Result<(Network, ParamStore)> {
    let mut b = Builder::new();
    let x = b.graph.input(20);
    let y = b.conv(x, ConvSpec::same(20, 16, 3, 1));
    let kept = b.slice(x, 3..7);
    let y = b.graph.concat(&[kept, y])?;
    Ok(b.network(y))
}

/// Sums of what nobody else reads, of such sums, of what is read again, of channels of zeros, and of the input.
fn sums() -> Result<(Network, ParamStore)> {
    let mut b = Builder::new();
    let x = b.graph.input(6);
    let convs = [3, 1, 3, 1].map(|kernel| b.conv(x, ConvSpec::same(6, 6, kernel, 1)));
    let sum = b.graph.finish(convs[0], None, Some(convs[1]), false)?;
    let sum = b.graph.finish(convs[2], None, Some(sum), false)?;
    let again = b.conv(sum, ConvSpec::same(6, 6, 3, 1));
    let again = b.graph.finish(again, None, Some(sum), false)?;
    let padded = b.slice(convs[3], 1..5);
    let padded = b.graph.pad_channels(padded, 1, 1);
    let wide = b.graph.finish(again, None, Some(padded), false)?;
    let y = b.graph.finish(wide, None, Some(x), false)?;
    // A plane of a sum that nobody reads.
    let last = b.conv(y, ConvSpec::same(6, 5, 1, 1));
    let kept = b.slice(y, 0..5);
    let last = b.graph.finish(last, None, Some(kept), false)?;
    let last = b.slice(last, 1..5);
    Ok(b.network(last))
}

/// An output that is no image.
fn head() -> Result<(Network, ParamStore)> {
    let mut b = Builder::new();
    let x = b.graph.input(4);
    let y = b.conv(x, ConvSpec::same(4, 6, 3, 1));
    let pooled = b.graph.global_avg_pool(y);
    let y = b.linear(pooled, 5);
    Ok(b.network(y))
}

/// The output, and the gradients of `x` and of every parameter, for a loss that weighs every output differently.
fn gradients(network: &Network, store: &ParamStore, x: &Var, train: bool) -> Result<Vec<(String, Tensor)>> {
    let y = network.forward_t(x.as_tensor(), train)?;
    let loss = (&y * tensor(y.dims(), 17))?.sum_all()?;
    let gradients = loss.backward()?;
    let mut all = vec![("output".to_owned(), y.detach())];
    for (name, var) in store.trainable().into_iter().chain([("input".to_owned(), x.clone())]) {
        let Some(gradient) = gradients.get(&var) else { panic!("no gradient for {name}") };
        all.push((name, gradient.clone()));
    }
    all.extend(store.named().into_iter().map(|(name, var)| (format!("{name} afterwards"), var.as_tensor().clone())));
    Ok(all)
}

fn compare(label: &str, got: &[(String, Tensor)], want: &[(String, Tensor)]) {
    assert_eq!(got.len(), want.len(), "{label}");
    for ((name, got), (_, want)) in got.iter().zip(want) {
        assert_eq!(got.dims(), want.dims(), "{label}: {name}");
        close(&format!("{label}: {name}"), got, want, 5e-4);
    }
}

fn check(label: &str, (network, store): &(Network, ParamStore), x: &Tensor, train: bool) -> Result<()> {
    let before = store.snapshot()?;
    let x = Var::from_tensor(x)?;
    let want = ops::composed(|| gradients(network, store, &x, train))?;
    // Twice: with an engine that is new, and with one that was used.
    for round in 0..2 {
        store.assign(&before)?;
        compare(&format!("{label}, round {round}"), &gradients(network, store, &x, train)?, &want);
    }
    store.assign(&before)
}

#[test]
fn outputs_and_every_gradient_for_any_batch_and_size() -> Result<()> {
    for normed in [false, true] {
        let network = compact(normed)?;
        for (n, h, w) in [(3, 6, 6), (8, 9, 7), (16, 5, 12), (19, 8, 8), (40, 3, 3)] {
            for train in [true, false] {
                check(&format!("{n} x {h} x {w}, norms {normed}"), &network, &tensor(&[n, 7, h, w], 99), train)?;
            }
        }
    }
    for n in [8, 33] {
        check("identity", &identity()?, &tensor(&[n, 20, 6, 5], 3), false)?;
        check("sums", &sums()?, &tensor(&[n, 6, 7, 5], 3), true)?;
        check("head", &head()?, &tensor(&[n, 4, 3, 5], 3), true)?;
    }
    Ok(())
}

#[test]
fn inputs_that_do_not_lie_in_order() -> Result<()> {
    let (network, _) = compact(false)?;
    let turned = tensor(&[9, 7, 4, 6], 1).transpose(2, 3)?;
    let spread = tensor(&[1, 7, 6, 4], 2).broadcast_as((9, 7, 6, 4))?;
    for x in [turned, spread] {
        let got = network.forward_t(&x, false)?;
        close("any strides", &got, &ops::composed(|| network.forward_t(&x, false))?, 1e-4);
        close("in order", &got, &network.forward_t(&x.contiguous()?, false)?, 0.0);
    }
    Ok(())
}

/// The forward pass's values are used up by the first backward pass; the running statistics move once all the same.
#[test]
fn a_second_backward_pass_gives_the_same() -> Result<()> {
    let (network, store) = compact(true)?;
    let x = Var::from_tensor(&tensor(&[12, 7, 6, 6], 4))?;
    let y = network.forward_t(x.as_tensor(), true)?;
    let statistics = store.snapshot()?;
    let loss = (&y * tensor(y.dims(), 17))?.sum_all()?;
    let (first, second) = (loss.backward()?, loss.backward()?);
    let parameters = store.trainable().into_iter().chain([("input".to_owned(), x.clone())]);
    for (name, var) in parameters {
        let (Some(first), Some(second)) = (first.get(&var), second.get(&var)) else { panic!("{name}") };
        close(&name, second, first, 0.0);
    }
    for (name, var) in store.named() {
        close(&name, var.as_tensor(), &statistics[&name], 0.0);
    }
    Ok(())
}

/// One layer in two places, and a third time before either gradient is asked for.
#[test]
fn a_layer_that_is_used_more_than_once() -> Result<()> {
    let mut b = Builder::new();
    let x = b.graph.input(6);
    let first = b.conv(x, ConvSpec::same(6, 4, 3, 1));
    let kept = b.slice(x, 0..2);
    let y = b.graph.concat(&[kept, first])?;
    let (network, store) = b.network(y);
    let x = Var::from_tensor(&tensor(&[10, 6, 5, 5], 1))?;
    let run = || -> Result<Vec<(String, Tensor)>> {
        let once = network.forward_t(x.as_tensor(), true)?;
        let twice = network.forward_t(&once.relu()?, true)?;
        let beside = network.forward_t(&(x.as_tensor() * 0.5)?, true)?;
        let y = (twice + beside)?;
        let gradients = (&y * tensor(y.dims(), 17))?.sum_all()?.backward()?;
        let gradient = |(name, var): (String, Var)| (name, gradients.get(&var).unwrap().clone());
        Ok(store.trainable().into_iter().chain([("input".to_owned(), x.clone())]).map(gradient).collect())
    };
    let want = ops::composed(run)?;
    for _ in 0..2 {
        compare("twice", &run()?, &want);
    }
    Ok(())
}

#[test]
fn parameters_that_change_between_calls_are_read_again() -> Result<()> {
    let (network, store) = compact(false)?;
    let x = tensor(&[8, 7, 4, 4], 1);
    let before = network.forward_t(&x, false)?;
    for (_, var) in store.trainable() {
        var.set(&(var.as_tensor() * 2.0)?)?;
    }
    let after = network.forward_t(&x, false)?;
    close("after", &after, &ops::composed(|| network.forward_t(&x, false))?, 1e-4);
    let gap = (after - before)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(gap > 0.1, "{gap}");
    Ok(())
}

#[test]
fn what_the_engine_cannot_run_candle_does() -> Result<()> {
    let (network, store) = compact(false)?;
    let error = network.forward_t(&tensor(&[8, 5, 4, 4], 1), false).unwrap_err().to_string();
    assert!(error.contains("7 channels were announced"), "{error}");
    assert!(network.forward_t(&tensor(&[8, 7], 1), false).is_err());
    // An input without gradient: that of the parameters is there.
    let y = network.forward_t(&tensor(&[8, 7, 4, 4], 1), true)?;
    let gradients = y.sum_all()?.backward()?;
    assert!(store.trainable().iter().all(|(_, var)| gradients.get(var).is_some()));
    let double = tensor(&[8, 7, 4, 4], 1).to_dtype(DType::F64)?;
    assert!(network.forward_t(&double, false).is_err(), "parameters are f32");
    Ok(())
}
