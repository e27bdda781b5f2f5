//! Every rival holds what a method promises, and the suite notices one that does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use baselines::{Ghost, Grouped, OctConv, Registry, ScConv, SpConv, Tied, Vanilla, conformance};
use candle_core::{Device, Result, Tensor, bail};
use candle_nn::Init;
use conv_core::options::{Described, Kind};
use conv_core::{Approximates, Checked, Cost, Custom, Fused, Method, Scope, UnitSpec, Value, ops};

/// Every rival by its defaults, and with each name that one of its options takes.
struct Conforming(Vec<Box<dyn Method>>);

impl Registry for Conforming {
    fn add<M: Method + Described>(&mut self) {
        self.0.push(Box::new(M::default()));
        for field in M::OPTIONS {
            let names = if let Kind::Choice(names) = field.kind { names() } else { vec![] };
            for name in names {
                let options = serde_json::json!({ field.key: name });
                self.0.push(Box::new(serde_json::from_value::<M>(options).unwrap()));
            }
        }
    }
}

#[test]
fn every_rival_conforms() {
    let mut methods = Conforming(vec![]);
    baselines::rivals(&mut methods);
    for (ratio, cheap_kernel) in [(3, 3), (4, 5)] {
        methods.0.push(Box::new(Ghost { ratio, cheap_kernel }));
    }
    methods.0.push(Box::new(Grouped { groups: 4 }));
    for alpha in [0.25, 0.9] {
        methods.0.push(Box::new(SpConv { alpha }));
        methods.0.push(Box::new(OctConv { alpha }));
    }
    methods.0.push(Box::new(ScConv { groups: 4 }));
    methods.0.push(Box::new(Tied { blocks: 4 }));
    std::thread::scope(|scope| {
        for method in &methods.0 {
            scope.spawn(move || conformance::check(&**method).unwrap_or_else(|error| panic!("{error}")));
        }
    });
}

struct Named(Vec<&'static str>);

impl Registry for Named {
    fn add<M: Method + Described>(&mut self) {
        self.0.push(M::NAME);
    }
}

#[test]
fn every_rival_has_a_name_of_its_own() {
    let mut named = Named(vec!["compconv", "pruned", "magnitude"]);
    baselines::rivals(&mut named);
    let mut names = named.0.clone();
    names.sort_unstable();
    for pair in names.windows(2) {
        assert!(pair[0] != pair[1], "two methods are called \"{}\"; give one another name in its options!", pair[0]);
    }
}

/// Vanilla with one promise broken.
#[derive(Debug, PartialEq)]
enum Broken {
    /// Work that its cost leaves out.
    Cost,
    /// Units that differ under one signature.
    Signature,
    /// An output of another size, which only a count can see.
    Size,
    /// A residual that learns nothing.
    Residual,
    /// An input that learns nothing.
    Detached,
    /// A residual that is not added.
    Forgotten,
    /// Twice the channels that were asked for.
    Channels,
    /// One name for the parameters of two convolutions.
    Names,
    /// ReLU before the residual is added.
    Activation,
    /// A gradient that is half of what it should be.
    Gradient,
    /// A function that knows one precision.
    Precision,
    /// A fused unit that computes something else.
    Fused,
    /// A fused unit where the trained one is vanilla.
    FusedElsewhere,
    /// Other tensors than the unit's, made of a trained one.
    Approximates,
}

impl Checked for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn detached(net: &mut Scope<'_>, x: Value) -> Result<Value> {
    custom(net, "detach", x, Arc::new(|inputs, _, _| Ok(inputs[0].detach())))
}

/// `run` of `x`, with its size and channels.
fn custom(net: &mut Scope<'_>, text: &str, x: Value, run: Arc<conv_core::CustomFn>) -> Result<Value> {
    let (channels, size) = (net.channels(x), &|size| size);
    net.custom(&[x], &Custom { text, parameters: &[], channels, size, cost: &|_| Cost::default(), run })
}

impl Method for Broken {
    fn declines(&self, _: &UnitSpec) -> Option<&'static str> {
        (*self == Self::FusedElsewhere).then_some("it wants none")
    }

    fn fused(&self) -> Option<Fused> {
        let is_fused = [Self::Fused, Self::FusedElsewhere].contains(self);
        is_fused.then(|| Fused {
            what: "nothing",
            method: Box::new(Vanilla {}),
            parameters: |_, trained| {
                let doubled = trained.iter().map(|(name, tensor)| Ok((name.clone(), (tensor * 2.0)?)));
                doubled.collect()
            },
        })
    }

    fn approximates(&self) -> Option<&dyn Approximates> {
        (*self == Self::Approximates).then_some(self)
    }

    fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
        match self {
            Self::Cost if unit.conv.stride == 2 => {
                let run = Custom {
                    text: "another convolution",
                    parameters: &[("another", &[1, 1, 1, 1], Init::Const(1.0))],
                    channels: unit.conv.in_channels,
                    size: &|size| size,
                    cost: &|_| Cost::default(),
                    run: Arc::new(|inputs, weights, _| {
                        let first = inputs[0].narrow(1, 0, 1)?;
                        inputs[0].broadcast_add(&ops::conv2d(&first, &weights[0], 1, 0, 1)?)
                    }),
                };
                let x = net.custom(&[x], &run)?;
                net.unit("", unit, x, residual)
            }
            Self::Signature => {
                net.signature(|_| format!("{} channels", unit.conv.out_channels));
                net.unit("", unit, x, residual)
            }
            Self::Size => {
                let y = net.unit("", unit, x, residual)?;
                net.avg_pool(y, 1, 2, false)
            }
            Self::Residual => {
                let residual = residual.map(|residual| detached(net, residual)).transpose()?;
                net.unit("", unit, x, residual)
            }
            Self::Detached => {
                let x = detached(net, x)?;
                net.unit("", unit, x, residual)
            }
            Self::Forgotten => net.unit("", unit, x, None),
            Self::Channels => {
                let y = net.unit("", unit, x, residual)?;
                net.concat(&[y, y])
            }
            Self::Names => {
                let y = net.conv("a", unit.conv, false, false, x)?;
                let z = net.conv("a", unit.conv, false, false, x)?;
                let y = net.add(y, z)?;
                net.finish(unit, y, residual)
            }
            Self::Activation => {
                let y = net.unit("", unit, x, None)?;
                net.add_relu(y, residual, false)
            }
            Self::Gradient => {
                let half =
                    |inputs: &[Tensor], _: &[Tensor], _| ((&inputs[0] + inputs[0].detach())? * 0.5)?.contiguous();
                let x = custom(net, "half", x, Arc::new(half))?;
                net.unit("", unit, x, residual)
            }
            Self::Precision => {
                let one = Tensor::new(1f32, &Device::Cpu)?;
                let x = custom(net, "one more", x, Arc::new(move |inputs, _, _| inputs[0].broadcast_add(&one)))?;
                net.unit("", unit, x, residual)
            }
            Self::Cost | Self::Fused | Self::FusedElsewhere | Self::Approximates => net.unit("", unit, x, residual),
        }
    }
}

impl Approximates for Broken {
    fn unit(&self, _: &UnitSpec, vanilla: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        Ok(vanilla.iter().map(|(name, tensor)| (format!("copy.{name}"), tensor.clone())).collect())
    }
}

#[test]
fn broken_promises_are_noticed() {
    let broken = [
        (Broken::Cost, "executed for 2 images"),
        (Broken::Signature, "has the same signature"),
        (Broken::Size, "can be built, and not be described: broken: an output of (5, 4) pixels instead of (9, 7)"),
        (Broken::Residual, "`residual` gets no gradient"),
        (Broken::Detached, "`x` gets no gradient"),
        (Broken::Forgotten, "`residual` gets no gradient"),
        (Broken::Channels, "networks ask for this unit, and it is refused"),
        (Broken::Channels, "broken: 26 channels instead of 13"),
        (Broken::Names, "broken: the name `a` is used twice in one unit; accepted: each name once"),
        (Broken::Activation, "ReLU comes after the residual's addition"),
        (Broken::Gradient, "differences"),
        (Broken::Precision, "in double precision: dtype mismatch"),
        (Broken::Fused, "the fused unit's output is"),
        (Broken::FusedElsewhere, "declines other units than what is trained"),
        (Broken::Approximates, "made of a trained unit: the weights hold `copy."),
    ];
    for (method, says) in broken {
        let error = conformance::check(&method).unwrap_err().to_string();
        assert!(error.contains(says), "{method:?}: {error}");
    }
}

/// Options at both ends of their ranges are served or refused, whatever the arithmetic behind them.
struct AtTheirEnds;

impl Registry for AtTheirEnds {
    fn add<M: Method + Described>(&mut self) {
        for field in M::OPTIONS {
            let ends = match field.kind {
                Kind::Integer(low, high) => vec![low, high],
                Kind::Odd => vec![1, i64::MAX],
                _ => vec![],
            };
            for end in ends {
                let options = serde_json::json!({ field.key: end });
                let method: M = serde_json::from_value(options).unwrap();
                method.check_options().unwrap();
                conformance::check_refusals(&method).unwrap_or_else(|error| panic!("{} = {end}: {error}", field.key));
            }
        }
    }
}

#[test]
fn options_at_the_ends_of_their_ranges_are_served_or_refused() {
    baselines::rivals(&mut AtTheirEnds);
}

/// Costs and wiring of a plain sum, its own batch norm and everything a unit ends with.
mod two_branches {
    use super::*;
    use conv_core::{ConvSpec, Layer, Role, describe, options};

    options! {
        /// Grouped `k x k` kernels beside 1 x 1 kernels over all channels, summed.
        Branches = "branches", "" {
            /// Groups of the large kernels.
            parts: usize = 4, conv_core::options::at_least(2);
            /// Whether the large kernels come first.
            large_first: bool = true, Kind::Flag;
        }
    }

    impl Method for Branches {
        fn declines(&self, unit: &UnitSpec) -> Option<&'static str> {
            let ConvSpec { in_channels, out_channels, groups, .. } = unit.conv;
            let fits = groups == 1 && in_channels % self.parts == 0 && out_channels % self.parts == 0;
            (!fits).then_some("the parts do not divide its channels")
        }

        fn write(&self, unit: &UnitSpec, net: &mut Scope<'_>, x: Value, residual: Option<Value>) -> Result<Value> {
            let ConvSpec { in_channels, out_channels, stride, .. } = unit.conv;
            if unit.conv.padding != (unit.conv.kernel - 1) / 2 {
                bail!("branches: a padding that keeps the size is accepted");
            }
            let large = net.conv("large", unit.conv.grouped(self.parts), false, false, x)?;
            let small = net.conv("small", ConvSpec::same(in_channels, out_channels, 1, stride), false, false, x)?;
            let y = if self.large_first { net.add(large, small)? } else { net.add(small, large)? };
            net.finish(unit, y, residual)
        }
    }

    #[test]
    fn two_branches_conform_and_are_described_by_their_wiring() {
        conformance::check(&Branches::default()).unwrap();
        let unit = UnitSpec::conv_bn_relu(ConvSpec::same(8, 12, 3, 2), Role::Spatial);
        let made = describe(&Branches::default(), &unit, (6, 4)).unwrap();
        let weights = 12 * 2 * 9 + 12 * 8;
        let cost = Cost { params: weights + 24, macs: 6 * weights, activations: 6 * 24 };
        assert_eq!((made.cost, made.remarks.len()), (cost, 0));
        assert_eq!(
            made.signature,
            "x of 8 channels; \
             #2 = conv 8->12 k3 s2 p1 g4 bias=false norm=false act=None of x as large; \
             #3 = conv 8->12 k1 s2 p0 g1 bias=false norm=false act=None of x as small; \
             #4 = finish norm=false add=true act=None of #2, #3; \
             #5 = finish norm=true add=false act=Some(Relu) of #4 as bn; #5"
        );
        let other = Branches { large_first: false, ..Branches::default() };
        assert_ne!(describe(&other, &unit, (6, 4)).unwrap().signature, made.signature);
        let store = conv_core::ParamStore::new(0, &candle_core::Device::Cpu);
        let error = Layer::new(&Branches { parts: 5, ..other }, &unit, store.builder()).err().unwrap().to_string();
        assert!(error.contains("the parts do not divide its channels"), "{error}");
    }
}
