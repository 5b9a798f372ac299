//! The best context length by the size of the data: a table and a figure.

use super::Block;
use super::figure::{Axis, Look, Panel, Plot, Point as Mark, Scale, Series};
use super::results::{field, optional};
use super::table::significant;
use crate::context::{Curve, Growth, Place};
use crate::error::{Error, Result};
use crate::files;
use std::fmt::Write;
use std::path::Path;

/// Curves, and where they are least.
#[derive(Clone, Debug)]
pub struct OptimumReport {
    /// CE(c) of each model.
    pub curves: Vec<Curve>,
    /// Their minima.
    pub growth: Growth,
}

impl OptimumReport {
    /// Writes `optimum.json`, `optimum.csv`, `optimum.png` and `optimum.svg` into a folder, which is made where there is none.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        files::write_json(&folder.join("optimum.json"), &self.growth)?;
        files::write_bytes(&folder.join("optimum.csv"), self.csv().as_bytes())?;
        self.plot().write(folder, "optimum")
    }

    /// A row a model.
    pub fn csv(&self) -> String {
        let mut out = String::from("model,tokens,place,best,se,lo,hi,measured,loss\n");
        for o in &self.growth.optima {
            let (place, best, se, lo, hi) = (o.place.name(), o.context.value, optional(o.context.se), optional(o.context.lo), optional(o.context.hi));
            let _ = writeln!(out, "{},{},{place},{best},{se},{lo},{hi},{},{}", field(&o.name), o.size, o.measured, o.loss);
        }
        out
    }

    /// Where they are least, in tables.
    pub fn blocks(&self) -> Vec<Block> {
        blocks(&self.growth)
    }

    fn plot(&self) -> Plot {
        let series = |(i, c): (usize, &Curve)| {
            let points: Vec<Mark> = c.points.iter().map(|p| Mark { x: f64::from(p.0), y: p.1, interval: None }).collect();
            Series {
                label: format!("{}, {} tokens", c.name, significant(c.size, 3)),
                look: Look::nth(i),
                curve: points.iter().map(|p| (p.x, p.y)).collect(),
                points,
                band: Vec::new(),
            }
        };
        let loss = Panel {
            title: "Loss".into(),
            subtitle: String::new(),
            x: Axis::new("c (tokens)", Scale::Log),
            y: Axis::new("CE (nats per token)", Scale::Linear),
            series: self.curves.iter().enumerate().map(series).collect(),
            notes: Vec::new(),
        };
        let inside = || self.growth.optima.iter().filter(|o| o.place == Place::Inside);
        let points: Vec<Mark> = inside().map(|o| Mark { x: o.size, y: o.context.value, interval: o.context.lo.zip(o.context.hi) }).collect();
        let curve = match (&self.growth.exponent, self.growth.factor) {
            (Some(b), Some(a)) => points.iter().map(|p| (p.x, a * p.x.powf(b.value))).collect(),
            _ => Vec::new(),
        };
        let best = Panel {
            title: "Best context length".into(),
            subtitle: String::new(),
            x: Axis::new("D (tokens trained on)", Scale::Log),
            y: Axis::new("c* (tokens)", Scale::Log),
            series: vec![Series { label: "c*".into(), look: Look::nth(0), points, curve, band: Vec::new() }],
            notes: Vec::new(),
        };
        let none = best.series.iter().all(|s| s.points.is_empty());
        Plot { panels: if none { vec![loss] } else { vec![loss, best] }, columns: 2, shared: false }
    }
}

/// Where losses are least, and how that grows, in tables.
pub(super) fn blocks(growth: &Growth) -> Vec<Block> {
    let mut rows = vec![["model", "trained on", "best c", "interval", "least at", "CE (nats)"].map(String::from).to_vec()];
    for o in &growth.optima {
        let (best, interval) = match (o.place, o.context.lo, o.context.hi) {
            (Place::First, ..) => (format!("≤ {}", o.measured), String::new()),
            (Place::Last, ..) => (format!("≥ {}", o.measured), String::new()),
            (Place::Inside, Some(lo), Some(hi)) => (significant(o.context.value, 3), format!("{} … {}", significant(lo, 3), significant(hi, 3))),
            (Place::Inside, ..) => (significant(o.context.value, 3), String::new()),
        };
        rows.push(vec![o.name.clone(), significant(o.size, 3), best, interval, o.measured.to_string(), format!("{:.4}", o.loss)]);
    }
    let mut out = vec![Block::table("context length c of least loss, by the tokens that a model was trained on", rows)];
    let bounded = growth.optima.iter().filter(|o| o.place != Place::Inside).count();
    if bounded > 0 {
        out.push(Block::Remark(format!("of {bounded} the loss is least at an end of the curve: their best c lies there or beyond, and is not fitted")));
    }
    out.push(Block::Remark(match growth.exponent.as_ref().zip(growth.factor) {
        Some((b, factor)) => {
            let interval = b.lo.zip(b.hi).map_or(String::new(), |(lo, hi)| format!(" [{lo:.3}, {hi:.3}]"));
            format!("c* = {} · D^b, b = {:.3}{interval}", significant(factor, 3), b.value)
        }
        None => "no growth: that takes two models of different sizes whose loss is least inside their curve".into(),
    }));
    out
}
