//! `harness bench`, as a user types it, on networks and batches that take a moment. No time is judged.

use std::collections::BTreeSet;
use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

const HEADER: &str = "backbone,method,params,macs,train_step_ms,train_step_ms_p10,train_step_ms_p90,train_step_ms_p99,\
    infer_b1_ms,infer_b1_ms_p10,infer_b1_ms_p90,infer_b1_ms_p99,infer_b8_ms,infer_b8_ms_p10,infer_b8_ms_p90,infer_b8_ms_p99,\
    peak_mib,train_gflop_per_s,infer_gflop_per_s,theoretical_speedup,train_speedup,infer_b1_speedup,infer_b8_speedup,kernels,noisy,remark";

const SMALL: [&str; 7] = ["bench", "--backbone", "resnet20", "--batch", "8", "--rounds", "1"];

fn harness(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_harness")).current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What it prints, taken apart: the header, and the rows.
fn csv(arguments: &[&str]) -> (Vec<String>, Vec<Vec<String>>) {
    let folder = TempDir::new().unwrap();
    let (code, out, err) = harness(folder.path(), &[arguments, &["--format", "csv"]].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
    let mut rows = out.lines().map(|line| line.split(',').map(String::from).collect());
    (rows.next().unwrap(), rows.collect())
}

#[test]
fn a_row_a_method_beside_vanilla_with_the_costs_that_cost_tells() {
    let methods = ["compconv,depth=2", "ghost", "pruned,ratio=0.3", "lowrank,from=trained", "magnitude"];
    let asked = methods.iter().flat_map(|method| ["--method", method]).collect::<Vec<_>>();
    let (header, rows) = csv(&[&SMALL[..], &asked].concat());
    assert_eq!(header.join(","), HEADER);
    let labels: Vec<&str> = rows.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(
        labels,
        ["vanilla", "compconv depth=2", "ghost", "pruned ratio=0.3", "lowrank from=trained", "magnitude"]
    );
    for (row, spec) in rows.iter().zip(["vanilla"].iter().chain(&methods)) {
        assert_eq!((row.len(), row[0].as_str()), (header.len(), "resnet20"), "{row:?}");
        let (name, option) = spec.split_once(',').unwrap_or((spec, ""));
        let set = format!("method.{option}");
        let mut cost = vec!["cost", "--backbone", "resnet20", "--method", name];
        cost.extend(["--set", &set].iter().take(if option.is_empty() { 0 } else { 2 }));
        let (_, layers) = csv(&cost);
        assert_eq!(row[2..4], layers.last().unwrap()[1..3], "{spec}");
        let value = |column: usize| row[column].parse::<f64>().unwrap_or_else(|_| panic!("{spec}: {row:?}"));
        for median in [4, 8, 12] {
            let (low, high, highest) = (value(median + 1), value(median + 2), value(median + 3));
            assert!(0.0 < low && low <= value(median) && value(median) <= high && high <= highest, "{spec}: {row:?}");
            assert!(highest.is_finite(), "{spec}: {row:?}");
        }
        assert!((17..23).all(|column| value(column) > 0.0 && value(column).is_finite()), "{spec}: {row:?}");
        assert!(row[16].is_empty() || value(16) > 1.0, "{spec}: {row:?}");
        assert_eq!((&*row[23], &*row[24]), (conv_core::kernel_path(), ""), "one round tells nothing of noise");
        if *spec == "vanilla" {
            assert!((19..23).all(|column| value(column) == 1.0), "{row:?}");
        }
    }
}

#[test]
fn networks_train_and_infer_in_bf16() {
    let half = ["--set", "recipe.precision=bf16"];
    let (header, rows) = csv(&[&SMALL[..], &half, &["--method", "compconv,depth=2"]].concat());
    assert_eq!((header.join(",").as_str(), rows.len()), (HEADER, 2));
    for row in rows {
        let measured = [4, 8, 12, 17, 18, 20, 21, 22].map(|column| row[column].parse::<f64>().unwrap_or(0.0));
        assert!(measured.iter().all(|&value| value > 0.0), "{row:?}");
        assert_eq!(row[23], conv_core::kernel_path_in(conv_core::Precision::Bf16).unwrap());
    }
    // However few images, nothing falls off the engine.
    let one = ["bench", "--backbone", "resnet20", "--batch", "1", "--rounds", "1", "--method", "ghost", "--no-memory"];
    let (_, rows) = csv(&[&one[..], &half].concat());
    assert!(rows.iter().all(|row| row[20..].concat().is_empty()), "{rows:?}");
    let folder = TempDir::new().unwrap();
    let (_, rows) = csv(&[&SMALL[..], &half, &["--method", "vanilla", "--layers"]].concat());
    for purpose in ["train", "infer", "infer_b1"] {
        let of = |row: &&Vec<String>| row[1] == purpose && row[2] == "layer1.0.conv1";
        let forward = rows.iter().find(of).unwrap_or_else(|| panic!("{purpose}: {rows:?}"));
        assert_eq!(forward[5], "bf16 product", "{purpose}");
        assert!(forward[6].parse::<f64>().unwrap() > 0.0 && forward[12].is_empty(), "{forward:?}");
    }
    let (code, _, err) =
        harness(folder.path(), &[&SMALL[..], &half, &["--method", "ghost", "--set", "recipe.kernels=candle"]].concat());
    assert!(code != 0 && err.contains("`recipe.precision` is \"bf16\""), "{code}: {err}");
}

#[test]
fn options_that_are_set_are_the_methods_and_not_vanillas() {
    let set = ["--method", "compconv", "--set", "method.depth=2", "--no-memory"];
    let (_, rows) = csv(&[&SMALL[..], &set].concat());
    let labels: Vec<&str> = rows.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(labels, ["vanilla", "compconv depth=2"]);
}

#[test]
fn vanilla_is_measured_once_and_rows_have_every_format() {
    let folder = TempDir::new().unwrap();
    let arguments = [&SMALL[..], &["--method", "vanilla", "--set", "recipe.kernels=candle", "--no-memory"]].concat();
    let (code, out, err) = harness(folder.path(), &[&arguments[..], &["--format", "json"]].concat());
    assert_eq!(code, 0, "{err}");
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["method"]), (1, &"vanilla".into()));
    assert!(rows[0]["train_step_ms"].is_number() && rows[0]["peak_mib"].is_null(), "{out}");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "measuring leaves nothing behind");
}

/// Inference of a batch of one image is inference of one image: one set of columns, and no key twice.
#[test]
fn a_batch_of_one_image_has_one_inference_and_says_that_it_trains_off_the_engine() {
    let arguments =
        ["bench", "--backbone", "resnet20", "--batch", "1", "--rounds", "1", "--method", "ghost", "--no-memory"];
    let (header, rows) = csv(&arguments);
    let columns: BTreeSet<&String> = header.iter().collect();
    assert_eq!((columns.len(), header.len()), (21, 21), "{header:?}");
    for row in rows {
        let remark = row[20..].join(",");
        assert!(remark.contains("operation by operation") && remark.contains("1 image at a time"), "{row:?}");
    }
    // For people every figure of training is marked, and none of inference; programs get numbers.
    let (_, marked, _) = harness(std::path::Path::new("."), &arguments);
    for line in marked.lines().filter(|line| line.starts_with("resnet20")) {
        assert_eq!(line.matches(" †").count(), 4 + 1 + 1 + 1, "four times, a rate, a speed-up, the remark: {line}");
    }
}

#[test]
fn layers_have_a_row_for_every_pass_with_its_kernel_time_and_bound() {
    let arguments = ["--method", "vanilla", "--layers", "--threads", "1"];
    let (header, rows) = csv(&[&SMALL[..], &arguments].concat());
    let columns = "method,use,layer,kind,pass,kernel,ms,share,gflop_per_s,peak_share,gb_per_s,bound,remark";
    assert_eq!(header.join(","), columns);
    let of = |purpose: &str, layer: &str| -> Vec<&Vec<String>> {
        rows.iter().filter(|row| row[1] == purpose && row[2] == layer).collect()
    };
    let kernels = |rows: &[&Vec<String>]| rows.iter().map(|row| row[5].clone()).collect::<Vec<_>>();
    assert_eq!(kernels(&of("train", "layer1.0.conv1")), ["winograd", "winograd", "each block"]);
    assert_eq!(kernels(&of("train", "conv1")), ["direct", "each block"], "images want no gradient");
    assert_eq!(of("train", "layer1.0.conv1.bn").len(), 2);
    assert!(of("infer", "layer1.0.conv1.bn").is_empty(), "it is done on the way");
    assert_eq!(of("infer_b1", "layer3.2.conv2").len(), 1);
    for purpose in ["train", "infer", "infer_b1"] {
        let rest = of(purpose, "everything else");
        assert_eq!(rest.len(), 1);
        let all: f64 = rows.iter().filter(|row| row[1] == purpose).map(|row| row[7].parse::<f64>().unwrap()).sum();
        assert!((all - 1.0).abs() < 0.01 || rest[0][6] == "0.0000", "{purpose}: shares come to {all}");
    }
    for row in rows.iter().filter(|row| row[2] != "everything else") {
        assert!(row[6].parse::<f64>().unwrap() > 0.0 && row[10].parse::<f64>().unwrap() > 0.0, "{row:?}");
        assert!(["compute", "memory"].contains(&row[11].as_str()), "{row:?}");
    }
}

#[test]
fn peak_has_a_row_for_every_path_of_this_processor_and_one_for_copies() {
    let (header, rows) = csv(&["bench", "peak", "--threads", "1"]);
    assert_eq!(header, ["name", "threads", "value", "unit"]);
    let paths = conv_core::Isa::available();
    let mut expected: Vec<[String; 2]> =
        paths.map(|path| [format!("fma {}", path.name()), "GFLOP/s".to_owned()]).collect();
    let half = conv_core::kernel_path_in(conv_core::Precision::Bf16).unwrap();
    expected.push([format!("bf16 {half}"), "GFLOP/s".to_owned()]);
    expected.push(["copy (read + write)".to_owned(), "GB/s".to_owned()]);
    let found: Vec<[String; 2]> = rows.iter().map(|row| [row[0].clone(), row[3].clone()]).collect();
    assert_eq!(found, expected);
    for row in &rows {
        let value: f64 = row[2].parse().unwrap();
        assert!(row[1] == "1" && value > 0.0 && value.is_finite(), "{row:?}");
    }
}

#[test]
fn slips_are_refused_before_anything_is_measured() {
    let folder = TempDir::new().unwrap();
    for (arguments, parts) in [
        (&["--method", "ghost"][..], &["--backbone"][..]),
        (&["--backbone", "resnet20"], &["--method"]),
        (&["--backbone", "resnet21", "--method", "ghost"], &["--backbone resnet21", "did you mean \"resnet20\"?"]),
        (&["--backbone", "resnet20", "--method", "gost"], &["--method gost", "did you mean \"ghost\"?"]),
        (
            &["--backbone", "resnet20", "--method", "compconv,dept=1"],
            &["--method compconv,dept=1", "did you mean `depth`?"],
        ),
        (
            &["--backbone", "resnet20", "--method", "compconv,depth=9"],
            &["--method compconv,depth=9", "9 (an integer)", "from 0 to 6"],
        ),
        (&["--backbone", "resnet20", "--method", "compconv,depth"], &["--method compconv,depth", "no `=` found"]),
        (&["--backbone", "resnet20", "--method", "compconv,depth=[1,2]"], &["2 networks", "one is measured at a time"]),
        (
            &["--backbone", "resnet20", "--method", "ghost", "--set", "recipe.kernels=fast"],
            &["own, direct, candle", "fast"],
        ),
        (&["--backbone", "resnet20", "--method", "ghost", "--batch", "0"], &["'0' for '--batch", "from 1 to"]),
        (&["--backbone", "resnet20", "--method", "ghost", "--rounds", "0"], &["'0' for '--rounds", "from 1 to"]),
        (&["--backbone", "resnet20", "--method", "ghost", "--threads", "0"], &["'0' for '--threads", "1..=1024"]),
        (&[], &["--backbone", "--method"]),
        (&["peek"], &["peek", "peak"]),
        (&["peak", "--threads", "0"], &["'0' for '--threads", "1..=1024"]),
        (&["peak", "--backbone", "resnet20"], &["--backbone"]),
    ] {
        let (code, out, err) = harness(folder.path(), &[&["bench"], arguments].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(!err.contains("panicked") && err.lines().count() <= 12, "{err}");
        for part in parts {
            assert!(err.contains(part), "{arguments:?} should say {part:?}:\n{err}");
        }
    }
}
