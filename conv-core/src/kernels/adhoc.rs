use super::Path;
use super::conv::*;
use super::norm::*;
use std::time::Instant;
fn med(mut f: impl FnMut()) -> f64 {
    f();
    let mut t: Vec<f64> = (0..9)
        .map(|_| {
            let s = Instant::now();
            f();
            s.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    t.sort_by(f64::total_cmp);
    t[4]
}
#[test]
#[ignore]
fn adhoc() {
    for (c, o, hw, k, s, g) in [
        (3, 16, 32, 3, 1, 1),
        (16, 16, 32, 3, 1, 1),
        (16, 32, 32, 3, 2, 1),
        (32, 32, 16, 3, 1, 1),
        (64, 64, 8, 3, 1, 1),
        (256, 256, 8, 3, 1, 1),
        (512, 512, 4, 3, 1, 1),
        (512, 512, 2, 3, 1, 1),
        (16, 16, 32, 3, 1, 16),
        (64, 64, 8, 3, 1, 64),
        (64, 64, 16, 1, 1, 1),
    ] {
        let sh = Shape::new(&[128, c, hw, hw], &[o, c / g, k, k], s, k / 2, g).unwrap();
        let x = vec![0.5f32; sh.x_len()];
        let w = vec![0.1f32; sh.w_len()];
        let dy = vec![0.3f32; sh.y_len()];
        let gf = 2e-9 * sh.y_len() as f64 * (sh.w_len() / sh.out_channels) as f64;
        let p = Path::best();
        let f = med(|| {
            std::hint::black_box(forward(p, &sh, &x, &w));
        });
        let d = med(|| {
            std::hint::black_box(data_gradient(p, &sh, &dy, &w));
        });
        let wg = med(|| {
            std::hint::black_box(weight_gradient(p, &sh, &x, &dy));
        });
        println!(
            "{c}->{o} {hw} k{k} s{s} g{g}: fwd {f:.2} ms {:.0} GF/s, dgrad {d:.2} ms {:.0}, wgrad {wg:.2} ms {:.0}",
            gf / f * 1e3,
            gf / d * 1e3,
            gf / wg * 1e3
        );
    }
    let pl = Planes { batch: 128, channels: 16, pixels: 1024 };
    let x = vec![0.5f32; 128 * 16 * 1024];
    let one = vec![1f32; 16];
    let m = med(|| {
        std::hint::black_box(moments(Path::best(), &pl, &x));
    });
    let a = med(|| {
        std::hint::black_box(affine(Path::best(), &pl, &x, &one, &one, None, true));
    });
    let sv = Saved { x: &x, y: Some(&x), mean: &one, inv_std: &one, gamma: &one };
    let b = med(|| {
        std::hint::black_box(backward(Path::best(), &pl, &sv, &x, false));
    });
    println!("bn moments {m:.2} affine {a:.2} backward {b:.2}");
    let z = med(|| {
        std::hint::black_box(vec![0f32; x.len()]);
    });
    println!("zero vec {z:.2}");
}
