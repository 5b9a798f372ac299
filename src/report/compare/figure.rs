//! A comparison as a figure: loss by position and information, each with what lies between the models below it.

use super::{Compared, Model};
use crate::estimate::{Bin, Estimator, Profile};
use crate::report::figure::{Axis, Look, Panel, Plot, Point, Scale, Series};

/// More models than this are told apart by nobody.
const MOST: usize = 7;

/// What one series shows.
struct Shown<'a> {
    label: String,
    look: Look,
    profile: &'a Profile,
}

pub(super) fn figure<'a>(c: &'a Compared) -> Plot {
    let shown = || c.models.iter().enumerate().take(MOST);
    let own: Vec<Shown> = shown().map(|(i, m)| Shown { label: m.name.clone(), look: Look::nth(i), profile: &m.profile }).collect();
    let difference =
        |(i, m): (usize, &'a Model)| Some(Shown { label: format!("{} − {}", m.name, c.baseline), look: Look::nth(i), profile: m.difference.as_ref()? });
    let differences: Vec<Shown> = shown().filter_map(difference).collect();
    let mut notes = vec![format!("bands and bars: {}% intervals; {} groups of {} documents", c.level * 100.0, c.groups, c.documents)];
    if c.models.len() > MOST {
        notes.push(format!("the first {MOST} of {} models", c.models.len()));
    }
    let panel = |title: &str, x: Axis, y: Axis, series: Vec<Series>| Panel { title: title.into(), subtitle: String::new(), x, y, series, notes: notes.clone() };
    let place = || Axis::new(format!("t ({})", c.unit), Scale::Log2);
    let split = || Axis::new(format!("ℓ ({})", c.unit), Scale::Log2);
    let less = format!("less {}", c.baseline);
    let losses = |of: &[Shown]| of.iter().map(|x| loss(x, &c.bins)).collect::<Vec<_>>();
    let axis = |what: &str| Axis::new(format!("{what} ({})", c.loss_unit()), Scale::Linear);
    let mut panels = vec![
        panel("loss by position", place(), axis("h(t)"), losses(&own)),
        panel(&format!("loss by position, {less}"), place(), axis("difference of h(t)"), with_zero(losses(&differences))),
    ];
    if let (Some(ratio), Some(estimator)) = (c.ratio(), c.models.iter().flat_map(|m| &m.profile.information).map(|i| i.estimator).min()) {
        let informations = |of: &[Shown]| of.iter().map(|x| information(x, estimator, ratio)).collect::<Vec<_>>();
        let axis = |what: &str| Axis::new(format!("{what}I(ℓ; {ratio}ℓ) (nats)"), Scale::Linear);
        let title = format!("information by {estimator}");
        panels.push(panel(&title, split(), axis(""), informations(&own)));
        panels.push(panel(&format!("{title}, {less}"), split(), axis("difference of "), with_zero(informations(&differences))));
    }
    Plot { panels, columns: 2, shared: false }
}

/// A curve through the bins' middles with a band.
fn loss(shown: &Shown, bins: &[Bin]) -> Series {
    let loss = &shown.profile.loss;
    // The geometric middle of the places in a bin.
    let x = |b: &Bin| ((b.after + 1) as f64 * b.to as f64).sqrt();
    let curve = bins.iter().zip(loss).map(|(b, e)| (x(b), e.value)).collect();
    let band = bins.iter().zip(loss).filter_map(|(b, e)| Some((x(b), e.lo?, e.hi?))).collect();
    Series { label: shown.label.clone(), look: shown.look, points: vec![], curve, band }
}

fn information(shown: &Shown, estimator: Estimator, ratio: u32) -> Series {
    let own = || shown.profile.information.iter().filter(|i| (i.estimator, i.ratio) == (estimator, ratio));
    let points = own().map(|i| Point { x: i.split as f64, y: i.estimate.value, interval: i.estimate.lo.zip(i.estimate.hi) }).collect();
    let curve = own().map(|i| (i.split as f64, i.estimate.value)).collect();
    Series { label: shown.label.clone(), look: shown.look, points, curve, band: vec![] }
}

/// The line where models do not differ.
fn with_zero(mut series: Vec<Series>) -> Vec<Series> {
    let x = || series.iter().flat_map(|s| s.curve.iter().map(|c| c.0));
    let (from, to) = (x().fold(f64::INFINITY, f64::min), x().fold(0.0, f64::max));
    let look = Look { color: (105, 105, 105), dash: Some(4.0), ..Look::default() };
    series.insert(0, Series { curve: vec![(from, 0.0), (to, 0.0)], look, ..Series::default() });
    series
}
