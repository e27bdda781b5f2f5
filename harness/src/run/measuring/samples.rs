//! What the processes of all rounds measured of a network, put together.

use crate::measure::bench::quantile;
use crate::measure::probe::{Answer, Reading};
use crate::results::{MeasuredNetwork, MeasuredUse};

/// What the processes measured of one network.
#[derive(Default)]
pub(super) struct Samples {
    one: Vec<Reading>,
    many: Vec<Reading>,
    pub problem: Option<String>,
}

impl Samples {
    pub fn add(&mut self, answer: Answer) {
        match answer {
            Answer::Inference(one, many) => {
                self.many.push(many.map_or_else(|| (*one).clone(), |many| *many));
                self.one.push(*one);
            }
            Answer::Problem(why) => self.problem = Some(why),
            Answer::Training(_) => {}
        }
    }

    /// The medians of one image in the last two readings.
    pub fn ends(&self) -> Option<[f64; 2]> {
        let [.., first, last] = self.one.as_slice() else { return None };
        Some([quantile(&first.times, 0.5), quantile(&last.times, 0.5)])
    }

    pub fn fill(self, network: &mut MeasuredNetwork) {
        network.problem = self.problem;
        if network.problem.is_none() {
            (network.one, network.many) = (over_rounds(&self.one), over_rounds(&self.many));
        }
    }
}

/// All readings of a use together.
fn over_rounds(readings: &[Reading]) -> Option<MeasuredUse> {
    let first = readings.first()?;
    let times: Vec<f64> = readings.iter().flat_map(|reading| reading.times.iter().copied()).collect();
    let median = |value: fn(&Reading) -> Option<f64>| {
        let values: Option<Vec<f64>> = readings.iter().map(value).collect();
        values.map(|values| quantile(&values, 0.5))
    };
    Some(MeasuredUse {
        ms: [0.5, 0.9, 0.99].map(|q| quantile(&times, q)),
        times: times.len(),
        rounds_ms: readings.iter().map(|reading| quantile(&reading.times, 0.5)).collect(),
        energy_mj: median(|reading| reading.energy),
        memory_analytic_mib: first.memory.analytic,
        memory_measured_mib: median(|reading| reading.memory.measured),
        macs_executed: first.macs,
        multiplications_executed: first.multiplications,
        off_engine: first.off_engine.clone(),
        layers_ms: layers(readings),
    })
}

/// The median over readings of each layer.
fn layers(readings: &[Reading]) -> Vec<(String, f64)> {
    let Some(first) = readings.first() else { return Vec::new() };
    let of = |name: &str| -> Vec<f64> {
        let layers = readings.iter().flat_map(|reading| &reading.layers);
        layers.filter(|(layer, _)| layer == name).map(|(_, ms)| *ms).collect()
    };
    first.layers.iter().map(|(name, _)| (name.clone(), quantile(&of(name), 0.5))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_over_all_times_and_medians_by_round() {
        let reading = |times: Vec<f64>, energy| Reading { times, energy, macs: 7, ..Reading::default() };
        let readings = [reading(vec![1.0, 2.0, 3.0], Some(4.0)), reading(vec![10.0, 20.0], Some(6.0))];
        let all = over_rounds(&readings).unwrap();
        assert_eq!((all.ms, all.times), ([3.0, 20.0, 20.0], 5));
        assert_eq!((all.rounds_ms, all.macs_executed), (vec![2.0, 20.0], 7));
        assert_eq!((all.energy_mj, all.memory_measured_mib), (Some(6.0), None));
        let gap = over_rounds(&[reading(vec![1.0], Some(4.0)), reading(vec![1.0], None)]).unwrap();
        assert_eq!(gap.energy_mj, None);
        assert_eq!(over_rounds(&[]), None);
        let looked =
            |ms| Reading { layers: vec![("conv1".into(), ms), ("other".into(), 1.0)], ..reading(vec![1.0], None) };
        let layers = over_rounds(&[looked(3.0), looked(5.0), looked(4.0)]).unwrap().layers_ms;
        assert_eq!(layers, [("conv1".to_owned(), 4.0), ("other".to_owned(), 1.0)]);
    }
}
