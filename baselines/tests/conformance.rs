//! Every rival holds what a method promises, and the suite notices one that does not.

use std::sync::Arc;

use baselines::{Depthwise, Ghost, Thin, Vanilla, conformance};
use candle_core::Result;
use candle_nn::VarBuilder;
use conv_core::layers::Conv2d;
use conv_core::{ConvMethod, ConvUnit, Cost, Graph, Layout, UnitSpec, Value};

/// A new rival is tested by a line here.
fn rivals() -> Vec<(&'static str, Box<dyn ConvMethod>)> {
    vec![
        ("vanilla", Box::new(Vanilla {})),
        ("thin", Box::new(Thin::default())),
        ("depthwise", Box::new(Depthwise {})),
        ("ghost", Box::new(Ghost::default())),
        ("ghost s=3", Box::new(Ghost { ratio: 3, ..Ghost::default() })),
        ("ghost s=4, 5 x 5", Box::new(Ghost { ratio: 4, cheap_kernel: 5 })),
    ]
}

#[test]
fn every_rival_conforms() {
    for (label, method) in rivals() {
        conformance::check(&*method).unwrap_or_else(|error| panic!("{label}: {error}"));
    }
}

/// Vanilla with one promise broken.
#[derive(Debug)]
enum Broken {
    Cost,
    Layout,
    Refusal,
    Residual,
    Detached,
}

struct BrokenUnit {
    inner: Box<dyn ConvUnit>,
    detach: bool,
}

impl ConvUnit for BrokenUnit {
    fn emit(&self, graph: &mut Graph, x: Value, residual: Option<Value>) -> Result<Value> {
        let (x, residual) = match self.detach {
            true => (detached(graph, x), residual),
            false => (x, residual.map(|residual| detached(graph, residual))),
        };
        self.inner.emit(graph, x, residual)
    }
}

fn detached(graph: &mut Graph, x: Value) -> Value {
    graph.custom(&[x], &[], graph.channels(x), Arc::new(|inputs, _| Ok(inputs[0].detach())))
}

impl ConvMethod for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn build(&self, spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Box<dyn ConvUnit>> {
        let detach = matches!(self, Self::Detached);
        let inner = Vanilla {}.build(spec, vb)?;
        match self {
            Self::Residual | Self::Detached => Ok(Box::new(BrokenUnit { inner, detach })),
            _ => Ok(inner),
        }
    }

    fn cost(&self, spec: &UnitSpec, out: (usize, usize)) -> Result<Cost> {
        let mut cost = Vanilla {}.cost(spec, out)?;
        if matches!(self, Self::Cost) && spec.conv.stride == 2 {
            cost.macs += 1;
        }
        Ok(cost)
    }

    fn layout(&self, spec: &UnitSpec) -> Result<Layout> {
        match self {
            Self::Refusal if spec.conv.groups > 1 => candle_core::bail!("no groups"),
            Self::Layout => Ok(Layout::plain(format!("{} channels", spec.conv.out_channels))),
            _ => Vanilla {}.layout(spec),
        }
    }
}

#[test]
fn broken_promises_are_noticed() {
    let broken = [
        (Broken::Cost, "the closed form says"),
        (Broken::Layout, "has the same signature"),
        (Broken::Refusal, "must be alike"),
        (Broken::Residual, "`residual` gets no gradient"),
        (Broken::Detached, "`x` gets no gradient"),
    ];
    for (method, says) in broken {
        let error = conformance::check(&method).unwrap_err().to_string();
        assert!(error.contains(says), "{method:?}: {error}");
    }
}

/// A method that makes two convolutions where its closed form counts one.
#[derive(Debug)]
struct Twice;

struct TwiceUnit(Conv2d);

impl ConvUnit for TwiceUnit {
    fn emit(&self, graph: &mut Graph, x: Value, _: Option<Value>) -> Result<Value> {
        let (once, again) = (graph.conv(&self.0, x)?, graph.conv(&self.0, x)?);
        graph.finish(once, None, Some(again), false)
    }
}

impl ConvMethod for Twice {
    fn name(&self) -> &str {
        "twice"
    }

    fn build(&self, spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Box<dyn ConvUnit>> {
        Ok(Box::new(TwiceUnit(Conv2d::new(spec.conv, vb)?)))
    }

    fn cost(&self, spec: &UnitSpec, out: (usize, usize)) -> Result<Cost> {
        Vanilla {}.cost(&UnitSpec { norm: false, ..*spec }, out)
    }

    fn layout(&self, spec: &UnitSpec) -> Result<Layout> {
        Vanilla {}.layout(spec)
    }
}

#[test]
fn work_beyond_the_closed_form_is_noticed() {
    let error = conformance::check(&Twice).unwrap_err().to_string();
    assert!(error.contains("executed for 2 images"), "{error}");
}
