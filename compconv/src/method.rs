//! CompConv as a way to make a network's convolutions.

use candle_core::Result;
use candle_nn::VarBuilder;
use conv_core::layers::{DenseUnit, Finish};
use conv_core::{ConvMethod, ConvUnit, Cost, Graph, Layout, UnitSpec, Value};

use crate::module::CompConv2dT;
use crate::options::CompConvOptions;
use crate::plan::{LAYOUT_VERSION, Plan};

/// The method `compconv`. Layers that no depth fits, and convolutions in groups, become vanilla units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompConv {
    options: CompConvOptions,
}

impl CompConv {
    /// The method with these options.
    ///
    /// # Errors
    /// Those of [`CompConvOptions::validate`].
    pub fn new(options: CompConvOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options })
    }

    /// The options it was made with.
    pub fn options(&self) -> &CompConvOptions {
        &self.options
    }

    /// The layout of one layer.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn plan(&self, spec: &UnitSpec) -> Result<Plan> {
        Plan::new(&spec.conv, &self.options)
    }
}

/// The module, the unit's batch norm (`bn.*`), residual addition and activation.
struct CompConvUnit {
    conv: CompConv2dT,
    finish: Finish,
}

impl ConvUnit for CompConvUnit {
    fn emit(&self, graph: &mut Graph, x: Value, residual: Option<Value>) -> Result<Value> {
        let y = self.conv.emit(graph, x)?;
        self.finish.emit(graph, y, residual)
    }
}

impl ConvMethod for CompConv {
    fn name(&self) -> &str {
        "compconv"
    }

    fn version(&self) -> u32 {
        LAYOUT_VERSION
    }

    fn build(&self, spec: &UnitSpec, vb: VarBuilder<'_>) -> Result<Box<dyn ConvUnit>> {
        let plan = self.plan(spec)?;
        if plan.depth.effective == 0 {
            return Ok(Box::new(DenseUnit::new(spec, vb)?));
        }
        let finish = Finish::new(spec, vb.clone())?;
        Ok(Box::new(CompConvUnit { conv: CompConv2dT::from_plan(plan, vb)?, finish }))
    }

    fn cost(&self, spec: &UnitSpec, out: (usize, usize)) -> Result<Cost> {
        let norm = Cost { params: spec.norm_params(), ..Cost::default() };
        Ok(self.plan(spec)?.cost(out) + norm)
    }

    fn layout(&self, spec: &UnitSpec) -> Result<Layout> {
        let plan = self.plan(spec)?;
        let signature = match plan.depth.effective {
            0 => DenseUnit::signature(spec),
            _ => format!("{plan} {}", Finish::signature(spec)),
        };
        Ok(Layout { signature, depth: Some(plan.depth), remarks: plan.remarks() })
    }
}
