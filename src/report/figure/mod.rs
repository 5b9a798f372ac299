//! The figure: I against ℓ on logarithmic axes, one panel a model, points with intervals and fitted power laws.
//!
//! Laid out by hand on plotters' backends: panels share their axes, and the legend lies below them, where it hides no point.

mod axis;
mod canvas;

use super::table::with_interval;
use crate::error::{Error, Result};
use crate::estimate::{Analysis, Estimator, Fit, Note, Point};
use crate::files;
use axis::{LogAxis, Tick};
use canvas::{Anchor, Canvas, Drawn, Marker, register_font};
use plotters::prelude::*;
use std::fs;
use std::path::Path;

/// One model's panel.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// Its heading.
    pub title: String,
    /// What ℓ counts.
    pub unit: String,
    /// What is shown.
    pub analysis: &'a Analysis,
}

const INK: RGBColor = RGBColor(34, 34, 34);
const GREY: RGBColor = RGBColor(105, 105, 105);
const GRID: RGBColor = RGBColor(228, 228, 228);

// Logical pixels.
const PLOT: (f64, f64) = (620.0, 440.0);
const LEFT: f64 = 92.0;
const TOP: f64 = 62.0;
const GAP: f64 = 36.0;
const RIGHT: f64 = 26.0;
const BELOW: f64 = 70.0;
const LEGEND_ROW: f64 = 25.0;
const BOTTOM: f64 = 16.0;
/// Points at one ℓ lie this far apart where there is room, so that intervals do not hide each other.
const ASIDE: f64 = 7.0;
/// Most of the distance between two ℓ that the points of one may take.
const ASIDE_SHARE: f64 = 0.6;
/// The PNG is drawn this many times larger and averaged down, for smooth edges.
const SUPERSAMPLING: u32 = 3;
/// Pixels of the PNG per logical pixel.
const PIXELS: u32 = 1;

/// One estimator at one ratio.
struct Series<'a> {
    points: Vec<&'a Point>,
    fit: Option<&'a Fit>,
    color: RGBColor,
    marker: Marker,
    /// Index of the ratio: the first is drawn filled and solid, others open and dashed.
    ratio: usize,
    label: String,
}

/// Colours that the colour-blind tell apart (Okabe and Ito 2008), and shapes besides.
fn look(estimator: Estimator) -> (RGBColor, Marker) {
    match estimator {
        Estimator::Direct => (RGBColor(0, 114, 178), Marker::Circle),
        Estimator::DirectNgram => (RGBColor(86, 180, 233), Marker::Square),
        Estimator::Vclub => (RGBColor(213, 94, 0), Marker::Triangle),
        Estimator::L1out => (RGBColor(230, 159, 0), Marker::Diamond),
        Estimator::Infonce => (RGBColor(0, 158, 115), Marker::TriangleDown),
        Estimator::Profile => (RGBColor(204, 121, 167), Marker::Pentagon),
    }
}

fn name(estimator: Estimator) -> &'static str {
    match estimator {
        Estimator::Direct => "direct",
        Estimator::DirectNgram => "direct, n-gram corrected",
        Estimator::Vclub => "vCLUB",
        Estimator::L1out => "L1Out",
        Estimator::Infonce => "InfoNCE",
        Estimator::Profile => "profile",
    }
}

fn series(analysis: &Analysis) -> Vec<Series<'_>> {
    let mut ratios: Vec<u32> = analysis.points.iter().map(|p| p.ratio).collect();
    ratios.sort();
    ratios.dedup();
    let mut out = Vec::new();
    for estimator in Estimator::ALL {
        for (i, &ratio) in ratios.iter().enumerate() {
            let points: Vec<&Point> = analysis.points.iter().filter(|p| (p.estimator, p.ratio) == (estimator, ratio)).collect();
            if points.is_empty() {
                continue;
            }
            let fit = analysis.fit(estimator, ratio);
            let mut label = name(estimator).to_string();
            if ratios.len() > 1 {
                label += &format!(", r = {ratio}");
            }
            if let Some(f) = fit {
                label += &format!(": β = {}", with_interval(&f.exponent).replace('-', "−"));
            }
            if points.iter().any(|p| p.notes.contains(&Note::Saturated)) {
                label += " (saturated)";
            }
            let (color, marker) = look(estimator);
            out.push(Series { points, fit, color, marker, ratio: i, label });
        }
    }
    out
}

/// A figure's panels with what they share.
struct Figure<'a> {
    panels: Vec<(&'a Panel<'a>, Vec<Series<'a>>)>,
    x: LogAxis,
    y: LogAxis,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    y_label: String,
    legend_rows: usize,
    /// Whether a point lies at the lower edge since it has no logarithm.
    below: bool,
}

impl<'a> Figure<'a> {
    fn new(panels: &'a [Panel<'a>]) -> Self {
        let panels: Vec<_> = panels.iter().map(|p| (p, series(p.analysis))).collect();
        let points = || panels.iter().flat_map(|(_, s)| s).flat_map(|s| s.points.iter().copied());
        let one = LogAxis { lo: 0.5, hi: 2.0 };
        let x = LogAxis::covering(points().map(|p| p.split as f64), 0.045).unwrap_or(one);
        // An interval that reaches down to nothing does not stretch the axis by more than a factor of 4 below its point.
        let ends = points().filter(|p| p.value > 0.0).flat_map(|p| [p.value, p.hi.unwrap_or(p.value), p.lo.unwrap_or(p.value).max(p.value / 4.0)]);
        let y = LogAxis::covering(ends, 0.06).unwrap_or(one);
        let powers = points().all(|p| p.split.is_power_of_two());
        let mut ratios: Vec<u32> = points().map(|p| p.ratio).collect();
        ratios.sort();
        ratios.dedup();
        let y_label = match ratios[..] {
            [r] => format!("I(ℓ; {r}ℓ) (nats)"),
            _ => "I(ℓ; rℓ) (nats)".to_string(),
        };
        let legend_rows = panels.iter().map(|(p, s)| s.len() + footnotes(p.analysis).len()).max().unwrap_or(0);
        Figure {
            below: points().any(|p| p.value <= 0.0),
            x_ticks: if powers { x.powers_of_two(14) } else { x.decades() },
            y_ticks: y.decades(),
            panels,
            x,
            y,
            y_label,
            legend_rows,
        }
    }

    /// Logical pixels.
    fn size(&self) -> (u32, u32) {
        let n = self.panels.len().max(1) as f64;
        let rows = self.legend_rows + usize::from(self.below);
        ((LEFT + n * PLOT.0 + (n - 1.0) * GAP + RIGHT) as u32, (TOP + PLOT.1 + BELOW + rows as f64 * LEGEND_ROW + BOTTOM) as u32)
    }

    fn draw<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>) -> Drawn {
        let (width, height) = self.size();
        canvas.rectangle((0.0, 0.0), (width as f64, height as f64), WHITE)?;
        for (i, (panel, series)) in self.panels.iter().enumerate() {
            let left = LEFT + i as f64 * (PLOT.0 + GAP);
            self.frame(canvas, left, &panel.unit, i == 0)?;
            canvas.text(&panel.title, (left, TOP - 40.0), 21.0, INK, Anchor::Start)?;
            let a = panel.analysis;
            let counts = format!("{} documents, {} chunks of {} {}, {} groups", a.documents, a.chunks, a.length, panel.unit, a.groups);
            canvas.text(&counts, (left, TOP - 16.0), 15.0, GREY, Anchor::Start)?;
            for (k, s) in series.iter().enumerate() {
                self.law(canvas, left, s)?;
                let aside = self.spacing(series.len()) * (k as f64 - (series.len() as f64 - 1.0) / 2.0);
                self.points(canvas, left, s, aside)?;
            }
            self.legend(canvas, left, series, &footnotes(a))?;
        }
        if self.below {
            let y = height as f64 - BOTTOM - LEGEND_ROW / 2.0;
            canvas.text("open triangles at the lower edge: I ≤ 0, which has no place on a logarithmic axis", (LEFT, y), 15.0, GREY, Anchor::Start)?;
        }
        Ok(())
    }

    /// Distance between the points of `n` series at one ℓ.
    fn spacing(&self, n: usize) -> f64 {
        let mut x: Vec<f64> = self.panels.iter().flat_map(|(_, s)| s).flat_map(|s| &s.points).map(|p| PLOT.0 * self.x.position(p.split as f64)).collect();
        x.sort_by(f64::total_cmp);
        let nearest = x.windows(2).map(|w| w[1] - w[0]).filter(|&d| d > 1.0).fold(PLOT.0, f64::min);
        ASIDE.min(ASIDE_SHARE * nearest / (n.max(2) - 1) as f64)
    }

    fn at(&self, left: f64, split: f64, value: f64) -> (f64, f64) {
        (left + PLOT.0 * self.x.position(split), TOP + PLOT.1 * (1.0 - self.y.position(value)))
    }

    fn frame<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>, left: f64, unit: &str, labelled: bool) -> Drawn {
        let (right, bottom) = (left + PLOT.0, TOP + PLOT.1);
        for t in &self.x_ticks {
            let x = self.at(left, t.at, self.y.lo).0;
            let long = t.label.is_some();
            if long {
                canvas.line((x, TOP), (x, bottom), GRID, 1.0)?;
            }
            canvas.line((x, bottom), (x, bottom + if long { 7.0 } else { 4.0 }), INK, 1.0)?;
            if let Some(label) = &t.label {
                canvas.text(label, (x, bottom + 19.0), 16.0, INK, Anchor::Middle)?;
            }
        }
        for t in &self.y_ticks {
            let y = self.at(left, self.x.lo, t.at).1;
            let long = t.label.is_some();
            if long {
                canvas.line((left, y), (right, y), GRID, 1.0)?;
            }
            canvas.line((left - if long { 7.0 } else { 4.0 }, y), (left, y), INK, 1.0)?;
            if let (Some(label), true) = (&t.label, labelled) {
                canvas.text(label, (left - 12.0, y + 2.0), 16.0, INK, Anchor::End)?;
            }
        }
        for (from, to) in [((left, TOP), (right, TOP)), ((right, TOP), (right, bottom)), ((right, bottom), (left, bottom)), ((left, bottom), (left, TOP))] {
            canvas.line(from, to, INK, 1.0)?;
        }
        canvas.text(&format!("ℓ ({unit})"), ((left + right) / 2.0, bottom + 45.0), 18.0, INK, Anchor::Middle)?;
        if labelled {
            canvas.text_upwards(&self.y_label, (24.0, (TOP + bottom) / 2.0), 18.0, INK)?;
        }
        Ok(())
    }

    /// The fitted line over the splits that were fitted, cut at the frame.
    fn law<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>, left: f64, s: &Series<'_>) -> Drawn {
        let Some(f) = s.fit else { return Ok(()) };
        let (Some(&first), Some(&last)) = (f.splits.first(), f.splits.last()) else { return Ok(()) };
        let (a, b) = (f.amplitude.value, f.exponent.value);
        let (mut from, mut to) = (first as f64, last as f64);
        if b != 0.0 {
            // Where the line meets the lower and the upper edge.
            let meets = [(self.y.lo / a).powf(1.0 / b), (self.y.hi / a).powf(1.0 / b)];
            from = from.max(meets[0].min(meets[1]));
            to = to.min(meets[0].max(meets[1]));
        }
        if from >= to {
            return Ok(());
        }
        let end = |l: f64| self.at(left, l, a * l.powf(b));
        match s.ratio {
            0 => canvas.line(end(from), end(to), s.color, 1.6),
            r => canvas.dashed(end(from), end(to), if r == 1 { 9.0 } else { 3.0 }, s.color, 1.6),
        }
    }

    fn points<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>, left: f64, s: &Series<'_>, aside: f64) -> Drawn {
        for p in &s.points {
            let bottom = TOP + PLOT.1;
            let x = self.at(left, p.split as f64, self.y.lo).0 + aside;
            if let (Some(lo), Some(hi)) = (p.lo, p.hi)
                && hi > self.y.lo
            {
                let (low, high) = (self.at(left, 1.0, lo.max(self.y.lo)).1, self.at(left, 1.0, hi.min(self.y.hi)).1);
                canvas.line((x, low), (x, high), s.color, 1.7)?;
                // An end without a cap goes on beyond the axis.
                for (value, y) in [(lo, low), (hi, high)] {
                    if (self.y.lo..=self.y.hi).contains(&value) {
                        canvas.line((x - 4.5, y), (x + 4.5, y), s.color, 1.7)?;
                    }
                }
            }
            if p.value > 0.0 {
                canvas.marker(s.marker, (x, self.at(left, 1.0, p.value).1), 4.6, s.color, s.ratio > 0)?;
            } else {
                canvas.marker(Marker::TriangleDown, (x, bottom - 7.0), 6.0, s.color, true)?;
            }
        }
        Ok(())
    }

    fn legend<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>, left: f64, series: &[Series<'_>], notes: &[String]) -> Drawn {
        let row = |k: usize| TOP + PLOT.1 + BELOW + (k as f64 + 0.5) * LEGEND_ROW;
        for (k, s) in series.iter().enumerate() {
            let y = row(k);
            match s.ratio {
                _ if s.fit.is_none() => {}
                0 => canvas.line((left + 4.0, y), (left + 40.0, y), s.color, 1.6)?,
                r => canvas.dashed((left + 4.0, y), (left + 40.0, y), if r == 1 { 9.0 } else { 3.0 }, s.color, 1.6)?,
            }
            canvas.marker(s.marker, (left + 22.0, y), 4.6, s.color, s.ratio > 0)?;
            canvas.text(&s.label, (left + 52.0, y), 16.0, INK, Anchor::Start)?;
        }
        for (k, note) in notes.iter().enumerate() {
            canvas.text(note, (left + 4.0, row(series.len() + k)), 15.0, GREY, Anchor::Start)?;
        }
        Ok(())
    }
}

/// What is said below a panel.
fn footnotes(a: &Analysis) -> Vec<String> {
    let level = a.options.resampling.level * 100.0;
    let mut notes = Vec::new();
    if a.points.iter().any(|p| p.lo.is_some()) {
        notes.push(format!("lines: power laws with exponent β; bars and brackets: {level}% intervals"));
    }
    if a.too_few_documents {
        notes.push(format!("too few documents for intervals to be trusted: {}", a.documents));
    }
    notes
}

/// Writes the figure as SVG.
///
/// # Errors
/// What the system refuses.
pub fn write_svg(panels: &[Panel<'_>], path: &Path) -> Result<()> {
    font(path)?;
    let figure = Figure::new(panels);
    let mut text = String::new();
    {
        let mut backend = SVGBackend::with_string(&mut text, figure.size());
        figure.draw(&mut Canvas::new(&mut backend, 1.0)).map_err(|e| not_drawn(path, &e))?;
        backend.present().map_err(|e| not_drawn(path, &e.to_string()))?;
    }
    files::write_bytes(path, text.as_bytes())
}

/// Writes the figure as PNG.
///
/// # Errors
/// What the system refuses.
pub fn write_png(panels: &[Panel<'_>], path: &Path) -> Result<()> {
    font(path)?;
    let figure = Figure::new(panels);
    let (width, height) = (figure.size().0 * PIXELS, figure.size().1 * PIXELS);
    let (fine_width, fine_height) = (width * SUPERSAMPLING, height * SUPERSAMPLING);
    let mut fine = vec![255u8; 3 * fine_width as usize * fine_height as usize];
    {
        let mut backend = BitMapBackend::with_buffer(&mut fine, (fine_width, fine_height));
        figure.draw(&mut Canvas::new(&mut backend, (PIXELS * SUPERSAMPLING) as f64)).map_err(|e| not_drawn(path, &e))?;
        backend.present().map_err(|e| not_drawn(path, &e.to_string()))?;
    }
    // The encoder goes by the name's ending.
    let partial = path.with_extension("partial.png");
    {
        let mut backend = BitMapBackend::new(&partial, (width, height));
        for y in 0..height {
            for x in 0..width {
                let [r, g, b] = averaged(&fine, fine_width as usize, x as usize, y as usize);
                backend.draw_pixel((x as i32, y as i32), RGBColor(r, g, b).to_backend_color()).map_err(|e| not_drawn(path, &e.to_string()))?;
            }
        }
        backend.present().map_err(|e| not_drawn(path, &e.to_string()))?;
    }
    let bytes = fs::read(&partial).map_err(Error::io(&partial))?;
    files::write_bytes(path, &bytes)?;
    fs::remove_file(&partial).map_err(Error::io(&partial))
}

/// Mean colour of the fine pixels behind pixel (x, y).
fn averaged(fine: &[u8], fine_width: usize, x: usize, y: usize) -> [u8; 3] {
    let n = SUPERSAMPLING as usize;
    std::array::from_fn(|c| {
        let rows = (y * n..(y + 1) * n).flat_map(|row| (x * n..(x + 1) * n).map(move |column| fine[3 * (row * fine_width + column) + c] as u32));
        ((rows.sum::<u32>() + (n * n / 2) as u32) / (n * n) as u32) as u8
    })
}

fn font(path: &Path) -> Result<()> {
    if register_font() { Ok(()) } else { Err(not_drawn(path, "its font cannot be read")) }
}

fn not_drawn(path: &Path, why: &str) -> Error {
    Error::file(path, format!("the figure cannot be drawn: {why}"))
}
