//! Checkpoints of one training run: loss, information and its exponent against the step.

use super::Compared;
use super::table::{between, cautions};
use crate::error::{Error, Result};
use crate::estimate::{Estimate, Estimator, Profile};
use crate::files;
use crate::report::Block;
use crate::report::figure::{Axis, Look, Panel, Plot, Point, Scale, Series};
use crate::report::results::{field, optional};
use crate::report::table::{plus_minus, with_interval};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;

/// Models of a comparison in the order of their steps: `steps.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Steps {
    /// The comparison, its models sorted by step.
    #[serde(flatten)]
    pub compared: Compared,
    /// The step of each model, ascending.
    pub steps: Vec<u64>,
}

/// The step in a checkpoint's name: its last run of digits, of `step-1000`, `checkpoint-500` or `iter_0002000`.
pub fn step_of(name: &str) -> Option<u64> {
    let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = name[..end].rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + name[at..].chars().next().map_or(1, char::len_utf8));
    name[start..end].parse().ok()
}

/// A quantity against the step.
struct Column {
    /// In the table.
    head: String,
    /// The panel of the figure that it is in, by the label of its axis.
    axis: String,
    /// Its name in that panel; none where it is alone there.
    label: String,
    what: What,
}

/// Which of a model's numbers.
#[derive(Clone, Copy)]
enum What {
    /// Mean loss.
    Loss,
    /// Information by an estimator at a ratio and a split.
    Information(Estimator, u32, u32),
    /// β of an estimator at a ratio.
    Exponent(Estimator, u32),
}

impl What {
    /// That number, where the model has it.
    fn of(self, p: &Profile) -> Option<Estimate> {
        match self {
            What::Loss => Some(p.mean_loss),
            What::Information(e, ratio, split) => p.information.iter().find(|i| (i.estimator, i.ratio, i.split) == (e, ratio, split)).map(|i| i.estimate),
            What::Exponent(e, ratio) => {
                let q = p.exponents.iter().find(|x| (x.estimator, x.ratio) == (e, ratio)).map(|x| x.exponent)?;
                Some(Estimate { value: q.value, se: q.se, lo: q.lo, hi: q.hi })
            }
        }
    }
}

impl Steps {
    /// Sorts a comparison's models by step: `given` in the models' order, or what their names say.
    ///
    /// # Errors
    /// As many steps as models were not given; a name without a step; two models of one step.
    pub fn new(mut compared: Compared, given: &[u64]) -> Result<Self> {
        let named =
            |name: &str| step_of(name).ok_or_else(|| Error::input(format!("the name {name} has no number that could be its step; give all with --steps")));
        let steps = match given {
            [] => compared.models.iter().map(|m| named(&m.name)).collect::<Result<Vec<_>>>()?,
            given if given.len() == compared.models.len() => given.to_vec(),
            given => return Err(Error::input(format!("--steps has {} numbers for {} models", given.len(), compared.models.len()))),
        };
        let mut order: Vec<usize> = (0..steps.len()).collect();
        order.sort_by_key(|&i| steps[i]);
        if let Some(w) = order.windows(2).find(|w| steps[w[0]] == steps[w[1]]) {
            let (a, b) = (&compared.models[w[0]].name, &compared.models[w[1]].name);
            return Err(Error::input(format!("{a} and {b} are both of step {}; a step can have one model", steps[w[0]])));
        }
        compared.models = order.iter().map(|&i| compared.models[i].clone()).collect();
        Ok(Steps { compared, steps: order.into_iter().map(|i| steps[i]).collect() })
    }

    /// Loss, and by estimator information at the largest ℓ and β, at the smallest ratio.
    fn columns(&self) -> Vec<Column> {
        let c = &self.compared;
        let head = format!("loss ({})", c.loss_unit());
        let loss = Column { axis: head.clone(), head, label: String::new(), what: What::Loss };
        let mut columns = vec![loss];
        let Some(ratio) = c.ratio() else { return columns };
        let cells = || c.models.iter().flat_map(|m| &m.profile.information).filter(move |i| i.ratio == ratio);
        let mut estimators: Vec<Estimator> = cells().map(|i| i.estimator).collect();
        estimators.sort();
        estimators.dedup();
        for e in estimators {
            let largest = cells().filter(|i| i.estimator == e).map(|i| i.split).max().unwrap_or(0);
            let (head, axis) = (format!("{e} at ℓ = {largest} (nats)"), format!("I(ℓ; {ratio}ℓ) at ℓ = {largest} (nats)"));
            columns.push(Column { head, axis, label: e.to_string(), what: What::Information(e, ratio, largest) });
            columns.push(Column { head: format!("β of {e}"), axis: "β".into(), label: e.to_string(), what: What::Exponent(e, ratio) });
        }
        columns
    }

    /// A row a step.
    pub fn blocks(&self) -> Vec<Block> {
        let (c, columns) = (&self.compared, self.columns());
        let level = c.level * 100.0;
        let (steps, groups, documents) = (self.steps.len(), c.groups, c.documents);
        let mut out = vec![Block::Line(format!("{steps} checkpoints on the same {groups} groups of {documents} documents"))];
        let mut rows = vec![["step".to_string(), "model".to_string()].into_iter().chain(columns.iter().map(|x| x.head.clone())).collect::<Vec<_>>()];
        for (step, m) in self.steps.iter().zip(&c.models) {
            let cell = |x: &Column| {
                x.what.of(&m.profile).map_or("–".to_string(), |e| if matches!(x.what, What::Exponent(..)) { between(&e) } else { plus_minus(e.value, e.se) })
            };
            rows.push([step.to_string(), m.name.clone()].into_iter().chain(columns.iter().map(cell)).collect());
        }
        out.push(Block::table(format!("by training step: β with {level}% intervals, otherwise standard errors"), rows));
        if let (Some(first), Some(last)) = (c.models.first(), c.models.last())
            && let Some(d) = last.difference.as_ref().filter(|_| first.difference.is_none())
        {
            let exponents = d.exponents.iter().map(|x| format!("; β of {} {}", x.estimator, with_interval(&x.exponent)));
            let told = format!("from the first to the last step, by chunk: loss {}", between(&d.mean_loss));
            out.push(Block::Remark(std::iter::once(told).chain(exponents).collect()));
        }
        out.extend(cautions(c));
        out
    }

    /// A row a step and quantity.
    pub fn csv(&self) -> String {
        let mut out = String::from("step,model,quantity,value,se,lo,hi,level\n");
        for (step, m) in self.steps.iter().zip(&self.compared.models) {
            for x in self.columns() {
                if let Some(e) = x.what.of(&m.profile) {
                    let (name, what) = (field(&m.name), field(&x.head));
                    let _ = writeln!(out, "{step},{name},{what},{},{},{},{},{}", e.value, optional(e.se), optional(e.lo), optional(e.hi), self.compared.level);
                }
            }
        }
        out
    }

    /// Loss, information and exponents side by side.
    pub fn figure(&self) -> Plot {
        let (first, last) = (self.steps.first().copied().unwrap_or(0), self.steps.last().copied().unwrap_or(0));
        // Checkpoints that are spread over more than a factor of eight are laid out by ratios, unless one is of step 0.
        let scale = if first > 0 && last / first >= 8 { Scale::Log } else { Scale::Linear };
        let mut panels: Vec<Panel> = Vec::new();
        for x in self.columns() {
            let of = self.steps.iter().zip(&self.compared.models).filter_map(|(step, m)| Some((*step as f64, x.what.of(&m.profile)?)));
            let shown: Vec<(f64, Estimate)> = of.collect();
            let at = panels.iter().position(|p| p.y.label == x.axis).unwrap_or_else(|| {
                panels.push(Panel {
                    title: x.axis.clone(),
                    subtitle: format!("{} documents, {} groups", self.compared.documents, self.compared.groups),
                    x: Axis::new("training step", scale),
                    y: Axis::new(x.axis, Scale::Linear),
                    series: vec![],
                    notes: vec![format!("bars: {}% intervals", self.compared.level * 100.0)],
                });
                panels.len() - 1
            });
            let points = shown.iter().map(|(s, e)| Point { x: *s, y: e.value, interval: e.lo.zip(e.hi) }).collect();
            let (look, curve) = (Look::nth(panels[at].series.len()), shown.iter().map(|(s, e)| (*s, e.value)).collect());
            panels[at].series.push(Series { label: x.label, look, points, curve, band: vec![] });
        }
        Plot { panels, columns: 3, shared: false }
    }

    /// Writes `steps.json`, `steps.csv`, `steps.png` and `steps.svg` into a folder.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join("steps.json"), self)?;
        files::write_bytes(&folder.join("steps.csv"), self.csv().as_bytes())?;
        self.figure().write(folder, "steps")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_the_last_numbers_of_names() {
        let all = ["step-1000", "checkpoint-500", "iter_0002000", "step3000-hf", "run2/step7", "12", "é5", "final", "step99999999999999999999"];
        assert_eq!(all.map(step_of), [Some(1000), Some(500), Some(2000), Some(3000), Some(7), Some(12), Some(5), None, None]);
    }
}
