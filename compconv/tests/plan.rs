//! The integer layout against the definition.

use compconv::plan::{Half, Infeasible, Source, widths};
use compconv::{CompConvOptions, Downsample, InnerNorm, MAX_DEPTH, Plan, Tail};
use conv_core::ConvSpec;

fn plan(c_in: usize, c_out: usize, options: CompConvOptions) -> Plan {
    Plan::new(&ConvSpec::same(c_in, c_out, 3, 1), &options).unwrap()
}

/// Where a channel of the concatenated parts is after the shuffle.
fn place(plan: &Plan, channel: usize) -> usize {
    let block = plan.spec.out_channels / plan.shuffle;
    (channel % block) * plan.shuffle + channel / block
}

#[test]
fn the_papers_figure_range_by_range() {
    let plan = plan(28, 28, CompConvOptions::fixed(3));
    assert_eq!((plan.unit, plan.surplus, plan.shuffle), (2, 0, 2));
    let rows: Vec<_> = plan
        .parts
        .iter()
        .map(|part| (part.half, part.level, part.channels, part.source.clone(), part.emitted.clone().unwrap()))
        .collect();
    assert_eq!(
        rows,
        [
            (Half::B, 2, 2, Source::Input(0..28), 0..2),
            (Half::A, 2, 2, Source::Input(0..2), 2..4),
            (Half::B, 1, 4, Source::LevelAbove, 4..8),
            (Half::A, 1, 4, Source::Input(2..6), 8..12),
            (Half::B, 0, 8, Source::LevelAbove, 12..20),
            (Half::A, 0, 8, Source::B(0..8), 20..28),
        ]
    );
    let convs: Vec<_> = plan.parts.iter().map(|part| part.conv).collect();
    assert_eq!(
        convs,
        [
            Some(ConvSpec::same(28, 2, 3, 1)),
            None,
            Some(ConvSpec::same(4, 4, 3, 1)),
            None,
            Some(ConvSpec::same(8, 8, 3, 1)),
            Some(ConvSpec::same(8, 8, 3, 1).grouped(8)),
        ]
    );
    // Two blocks of 14, interleaved.
    assert_eq!([0, 1, 13, 14, 15, 27].map(|channel| place(&plan, channel)), [0, 2, 26, 1, 3, 27]);
    assert_eq!(plan.cost((1, 1)).macs, 9 * (28 * 2 + 16 + 64 + 8));
}

#[test]
fn depth_one_has_no_identity() {
    let plan = plan(5, 7, CompConvOptions::fixed(1));
    assert_eq!((plan.unit, plan.surplus, plan.identity_channels(), plan.parts.len()), (4, 1, 0, 2));
    assert_eq!(plan.parts[1].source, Source::B(0..3));
}

/// Every width up to 600, every depth, both layouts: no part of the output is missing or written twice, identity slices
/// do not overlap and exist, and a depth is only lowered past depths that do not fit.
#[test]
fn every_layout_up_to_600_channels() {
    let mut lowered = 0;
    for integration in [true, false] {
        for c_out in 1..=600 {
            for depth in 0..=MAX_DEPTH {
                let options = CompConvOptions { integration, ..CompConvOptions::fixed(depth) };
                // The output's layout depends on the input only through the effective depth: check each of them once in
                // full, and that it stays the same for every input width.
                let mut emitted: [Option<Vec<(usize, usize)>>; MAX_DEPTH + 1] = Default::default();
                for c_in in 1..=600 {
                    let plan = plan(c_in, c_out, options);
                    let effective = plan.depth.effective;
                    assert_eq!(plan.depth.requested, depth);
                    lowered += usize::from(effective < depth);
                    for between in effective + 1..=depth {
                        assert!(independent_widths(c_in, c_out, between, integration).is_none());
                        assert!(widths(c_in, c_out, between, &options).is_err());
                    }
                    if effective == 0 {
                        assert!(plan.parts.is_empty() && plan.unit == 0);
                        continue;
                    }
                    let (unit, a_0) = independent_widths(c_in, c_out, effective, integration).unwrap();
                    assert_eq!((plan.unit, plan.parts[2 * effective - 1].channels), (unit, a_0));
                    assert_eq!(plan.surplus, (1 << (effective - 1)) * unit - a_0);
                    check_identity(&plan);
                    let ranges = plan.parts.iter().filter_map(|part| part.emitted.clone());
                    match &emitted[effective] {
                        Some(first) => assert!(ranges.map(|r| (r.start, r.end)).eq(first.iter().copied())),
                        None => {
                            check_permutation(&plan);
                            emitted[effective] = Some(ranges.map(|r| (r.start, r.end)).collect());
                        }
                    }
                }
            }
        }
    }
    // The loop above would be idle if nothing was ever lowered.
    assert!(lowered > 100_000, "{lowered}");
}

/// C_p and a_0 where the definition allows the depth, summed level by level.
fn independent_widths(c_in: usize, c_out: usize, depth: usize, integration: bool) -> Option<(usize, usize)> {
    let total = |unit: usize| match integration {
        true => (1..=depth).map(|i| unit * 2usize.pow(i as u32)).sum::<usize>(),
        false => unit * 2usize.pow(depth as u32),
    };
    let mut unit = c_out / total(1);
    if total(unit) < c_out {
        unit += 1;
    }
    let b_0 = unit << (depth - 1);
    let a_0 = (c_out + b_0).checked_sub(total(unit)).filter(|a_0| *a_0 >= 1)?;
    let identity: usize = (1..depth).map(|i| unit << (depth - 1 - i)).sum();
    (identity <= c_in).then_some((unit, a_0))
}

fn check_identity(plan: &Plan) {
    let mut end = 0;
    for part in plan.parts.iter().filter(|part| part.half == Half::A && part.level > 0) {
        let Source::Input(range) = &part.source else { panic!("{plan}") };
        assert!(range.start == end && range.len() == part.channels && part.channels > 0, "{plan}");
        end = range.end;
    }
    assert!(end <= plan.spec.in_channels && end == plan.identity_channels(), "{plan}");
}

fn check_permutation(plan: &Plan) {
    for groups in [1, 2, 3, 5, 8] {
        let options = CompConvOptions { shuffle: groups, ..CompConvOptions::fixed(plan.depth.effective) };
        let mut shuffled = plan.clone();
        shuffled.shuffle = Plan::new(&plan.spec, &options).unwrap().shuffle;
        let mut taken = [false; 600];
        for part in &plan.parts {
            let Some(range) = part.emitted.clone() else { continue };
            assert_eq!(range.len(), part.channels);
            for channel in range {
                let at = place(&shuffled, channel);
                assert!(at < plan.spec.out_channels && !std::mem::replace(&mut taken[at], true), "{plan}");
            }
        }
        assert!(taken[..plan.spec.out_channels].iter().all(|taken| *taken), "{plan}");
    }
}

#[test]
fn feasibility_is_not_monotone() {
    let options = CompConvOptions::default();
    assert_eq!(widths(7, 29, 3, &options), Err(Infeasible::NoTail));
    assert_eq!(widths(7, 29, 4, &options), Ok((1, 7)));
    assert_eq!(plan(7, 29, CompConvOptions::fixed(4)).depth.effective, 4);
    assert_eq!(plan(7, 29, CompConvOptions::fixed(3)).depth.effective, 2);
    // 16 output channels: d = 3 becomes 2.
    let narrow = plan(16, 16, CompConvOptions::fixed(3));
    assert_eq!((narrow.depth.requested, narrow.depth.effective), (3, 2));
    assert_eq!(narrow.remarks(), ["depth lowered from 3 to 2: A_0 would have no channel"]);
    // The slices of 64 outputs are 3 units of 5 channels.
    assert_eq!(widths(14, 64, 3, &options), Err(Infeasible::Identity { needed: 15, available: 14 }));
    assert!(widths(15, 64, 3, &options).is_ok());
    // Without identity there is nothing to fit.
    assert!(widths(1, 64, 3, &CompConvOptions { identity: false, ..options }).is_ok());
}

#[test]
fn costs_follow_the_papers_formula() {
    for (c_in, c_out) in [(64, 64), (64, 256), (256, 64), (3, 13), (57, 91)] {
        for depth in 1..=4 {
            let plan = plan(c_in, c_out, CompConvOptions::fixed(depth));
            let d = plan.depth.effective;
            let levels: u64 = (1..d as u32).map(|i| (2u64.pow(i) * plan.unit as u64).pow(2)).sum();
            let a_0 = plan.parts[2 * d - 1].channels as u64;
            let weights = 9 * (c_in as u64 * plan.unit as u64 + levels + a_0);
            let cost = plan.cost((5, 7));
            assert_eq!((cost.params, cost.macs), (weights, 35 * weights), "{plan}");
        }
    }
}

#[test]
fn published_percentages() {
    let percent = |c_in, c_out, depth| {
        let plan = plan(c_in, c_out, CompConvOptions::fixed(depth));
        assert_eq!(plan.depth.effective, depth);
        100.0 * plan.cost((1, 1)).macs as f64 / plan.spec.macs((1, 1)) as f64
    };
    let rounded = |c_in, c_out, depth| percent(c_in, c_out, depth).round();
    // Equal widths, without the tail's part, which vanishes with the width.
    assert_eq!([1, 2, 3].map(|d| rounded(1 << 14, 1 << 14, d)), [50.0, 28.0, 17.0]);
    assert_eq!([1, 2, 3].map(|d| rounded(64, 256, d)), [51.0, 62.0, 52.0]);
    assert_eq!(rounded(3, 13, 2), 118.0);
    // Both are reported.
    let dear = plan(3, 13, CompConvOptions::fixed(2)).remarks();
    assert_eq!(
        dear,
        [
            "shuffle off: 2 groups do not divide 13 channels",
            "costs more than vanilla: 117.9 % of its multiplications",
            "costs more than depth 1: 117.9 % instead of 69.2 % of vanilla's multiplications",
        ]
    );
    let wide = plan(64, 256, CompConvOptions::fixed(3)).remarks();
    assert_eq!(wide, ["costs more than depth 1: 51.9 % instead of 50.8 % of vanilla's multiplications"]);
    assert!(plan(64, 64, CompConvOptions::fixed(2)).remarks().is_empty());
}

#[test]
fn the_cost_of_every_switch() {
    // d = 3, C_p = 2, widths 2 4 8, tail 8; without integration C_p = 4, widths 4 8 16, tail 12.
    let base = CompConvOptions::fixed(3);
    let conv = |bias| ConvSpec { bias, ..ConvSpec::same(28, 28, 3, 1) };
    let check = |options: CompConvOptions, bias: bool, weights: u64, extra_params: u64, channels: u64| {
        let cost = Plan::new(&conv(bias), &options).unwrap().cost((2, 3));
        assert_eq!((cost.params, cost.macs, cost.activations), (weights + extra_params, 6 * weights, 6 * channels));
    };
    let inner = 9 * (28 * 2 + 16 + 64);
    check(base, false, inner + 9 * 8, 0, 22);
    check(base, true, inner + 9 * 8, 28, 22);
    check(CompConvOptions { shuffle: 1, ..base }, false, inner + 9 * 8, 0, 22);
    check(CompConvOptions { tail: Tail::Full, ..base }, false, inner + 9 * 64, 0, 22);
    check(CompConvOptions { tail: Tail::Pointwise, ..base }, false, inner + 64, 0, 22);
    check(CompConvOptions { tail_kernel: Some(5), ..base }, false, inner + 25 * 8, 0, 22);
    check(CompConvOptions { inner_norm: InnerNorm::Bn, ..base }, false, inner + 9 * 8, 2 * 14, 22);
    let side = 9 * (2 + 4);
    check(CompConvOptions { identity: false, ..base }, false, inner + 9 * 8 + side, 0, 28);
    let both = CompConvOptions { identity: false, inner_norm: InnerNorm::BnRelu, ..base };
    check(both, false, inner + 9 * 8 + side, 2 * 20, 28);
    let wide = 9 * (28 * 4 + 64 + 256 + 12);
    check(CompConvOptions { integration: false, ..base }, false, wide, 0, 4 + 8 + 16 + 12);
    check(CompConvOptions::fixed(0), true, 9 * 28 * 28, 28, 28);
}

#[test]
fn what_cannot_be_replaced() {
    let fixed = CompConvOptions::fixed(2);
    let message = |spec: ConvSpec| Plan::new(&spec, &fixed).unwrap_err().to_string();
    let spec = ConvSpec::same(16, 16, 3, 1);
    assert!(message(ConvSpec { padding: 0, ..spec }).contains("3 x 3 kernel with padding 0"));
    assert!(message(ConvSpec { kernel: 2, padding: 1, ..spec }).contains("odd kernels"));
    assert!(message(ConvSpec { out_channels: 0, ..spec }).contains("at least 1"));
    assert!(Plan::new(&ConvSpec { kernel: 2, padding: 0, ..spec }, &CompConvOptions::fixed(0)).is_ok());
    assert!(Plan::new(&spec, &CompConvOptions { shuffle: 0, ..fixed }).unwrap_err().to_string().contains("shuffle"));

    let grouped = Plan::new(&ConvSpec { padding: 0, ..spec.grouped(4) }, &fixed).unwrap();
    assert_eq!((grouped.depth.requested, grouped.depth.effective), (2, 0));
    assert_eq!(grouped.remarks(), ["depth lowered from 2 to 0: a convolution in 4 groups stays vanilla"]);
    assert_eq!(grouped.cost((2, 2)).macs, 4 * 9 * 4 * 16);
    let single = Plan::new(&ConvSpec::same(8, 1, 3, 1), &fixed).unwrap();
    assert_eq!(single.remarks(), ["depth lowered from 2 to 0: A_0 would have no channel"]);
}

#[test]
fn a_pointwise_tail_that_only_rescales_is_reported() {
    let remarks = |kernel, options| Plan::new(&ConvSpec::same(64, 64, kernel, 1), &options).unwrap().remarks();
    let base = CompConvOptions::fixed(2);
    let warning = "the 1 x 1 depthwise tail only rescales B_0";
    assert_eq!(remarks(1, base), [warning]);
    assert_eq!(remarks(3, CompConvOptions { tail_kernel: Some(1), ..base }), [warning]);
    assert!(remarks(1, CompConvOptions { tail_kernel: Some(3), ..base }).is_empty());
    assert!(remarks(1, CompConvOptions { tail: Tail::Full, ..base }).is_empty());
    assert!(remarks(3, base).is_empty());
}

#[test]
fn downsampling_only_where_identity_meets_stride() {
    let of = |stride, options| Plan::new(&ConvSpec::same(32, 32, 3, stride), &options).unwrap().downsample;
    let slice = CompConvOptions { downsample: Downsample::Slice, ..CompConvOptions::fixed(2) };
    assert_eq!(of(2, slice), Some(Downsample::Slice));
    assert_eq!(of(1, slice), None);
    assert_eq!(of(2, CompConvOptions { identity: false, ..slice }), None);
    assert_eq!(of(2, CompConvOptions { depth: Some(1), ..slice }), None);
}
