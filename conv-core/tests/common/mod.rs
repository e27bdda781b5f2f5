//! Graphs to test the engine with.

use std::ops::Range;

use candle_core::{Device, Tensor};
use conv_core::layers::{BatchNorm2d, Conv2d, GroupNorm, Linear};
use conv_core::{ConvSpec, Graph, Network, ParamStore, Value, normal_stream};

/// Normal noise.
pub fn tensor(shape: &[usize], seed: u64) -> Tensor {
    let values = normal_stream(seed, "x", shape.iter().product()).into_iter().map(|v| v as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A graph under construction, its layers named by a counter.
pub struct Builder {
    pub graph: Graph,
    store: ParamStore,
    count: usize,
}

impl Builder {
    pub fn new() -> Self {
        Self { graph: Graph::new(), store: ParamStore::new(7, &Device::Cpu), count: 0 }
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("layer{}", self.count)
    }

    pub fn conv(&mut self, x: Value, spec: ConvSpec) -> Value {
        let name = self.name();
        let conv = Conv2d::new(spec, self.store.builder().pp(name)).unwrap();
        self.graph.conv(&conv, x).unwrap()
    }

    /// One convolution of each of these values.
    #[allow(dead_code, reason = "not every test that shares this file ties convolutions")]
    pub fn tied(&mut self, spec: ConvSpec, xs: &[Value]) -> Vec<Value> {
        let name = self.name();
        let conv = Conv2d::new(spec, self.store.builder().pp(name)).unwrap();
        xs.iter().map(|&x| self.graph.conv(&conv, x).unwrap()).collect()
    }

    #[allow(dead_code, reason = "not every test that shares this file norms groups")]
    pub fn group_norm(&mut self, x: Value, groups: usize, shares: bool) -> Value {
        let name = self.name();
        let norm = GroupNorm::new(groups, self.graph.channels(x), shares, self.store.builder().pp(name)).unwrap();
        self.graph.group_norm(&norm, x).unwrap()
    }

    pub fn finish(&mut self, x: Value, residual: Option<Value>, relu: bool) -> Value {
        let name = self.name();
        let norm = BatchNorm2d::new(self.graph.channels(x), self.store.builder().pp(name)).unwrap();
        self.graph.finish(x, Some(&norm), residual, relu).unwrap()
    }

    pub fn slice(&mut self, x: Value, channels: Range<usize>) -> Value {
        self.graph.slice(x, channels).unwrap()
    }

    pub fn linear(&mut self, x: Value, outputs: usize) -> Value {
        let name = self.name();
        let linear = Linear::new(self.graph.channels(x), outputs, self.store.builder().pp(name)).unwrap();
        self.graph.linear(&linear, x).unwrap()
    }

    pub fn network(self, output: Value) -> (Network, ParamStore) {
        // Norms off their initial values, so that nothing is multiplied by one.
        for (i, (name, var)) in self.store.named().into_iter().enumerate() {
            if var.rank() == 1 && !name.contains("running_var") {
                let noise = (tensor(var.dims(), i as u64) * 0.3).unwrap();
                var.set(&(var.as_tensor() + noise).unwrap()).unwrap();
            }
        }
        (Network::new(self.graph, output), self.store)
    }
}

/// Each value within `tolerance` of the largest.
pub fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f32) {
    let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (got, want) = (flat(got), flat(want));
    let scale = want.iter().fold(5e-2f32, |scale, value| scale.max(value.abs()));
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert!((got - want).abs() <= tolerance * scale, "{what} at {i}: {got} for {want} (largest {scale})");
    }
}
