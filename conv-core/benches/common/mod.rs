//! What the benches share: groups of sides that do the same work, and their ratios, which criterion does not print.

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput};

/// One of the things compared.
pub struct Side {
    name: String,
    elements: u64,
    run: Box<dyn Fn()>,
}

impl Side {
    /// `run` gets through `elements` (images, trials) each time.
    pub fn new(name: impl Into<String>, elements: usize, run: impl Fn() + 'static) -> Self {
        Self { name: name.into(), elements: elements as u64, run: Box::new(run) }
    }
}

/// Sides to be compared; the last one is the peer of all others.
pub type Group = (String, Vec<Side>);

/// Few and short samples: a whole bench takes about a minute.
pub fn short() -> Criterion {
    let second = Duration::from_secs(1);
    Criterion::default().sample_size(10).warm_up_time(second.mul_f64(0.3)).measurement_time(second).without_plots()
}

/// Measures every side of every group, then prints the ratios to the peers.
pub fn compare(criterion: &mut Criterion, groups: &[Group]) {
    for (name, sides) in groups {
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat);
        for side in sides {
            group.throughput(Throughput::Elements(side.elements)).bench_function(&side.name, |b| b.iter(&side.run));
        }
        group.finish();
    }
    // `cargo test --benches` only tries whether everything runs.
    if std::env::args().any(|argument| argument == "--bench") {
        groups.iter().for_each(|(name, sides)| ratios(name, sides));
    }
}

/// The sides take turns, so that whatever else the machine does meets all of them.
fn ratios(name: &str, sides: &[Side]) {
    let mut times = vec![Vec::new(); sides.len()];
    let start = Instant::now();
    while times[0].len() < 7 || start.elapsed() < Duration::from_millis(300) {
        for (side, times) in sides.iter().zip(&mut times) {
            let start = Instant::now();
            (side.run)();
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let runs = times[0].len();
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    if let (Some((peer, others)), Some(base)) = (sides.split_last(), medians.last()) {
        for (side, median) in others.iter().zip(&medians) {
            let ratio = median / base;
            println!("ratio: {name}: {}/{} = {ratio:.2} (medians of {runs} interleaved runs)", side.name, peer.name);
        }
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
