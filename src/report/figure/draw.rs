//! Lays a figure out by hand and draws it on any of plotters' backends.

use super::axis::{Range, Scale, Tick};
use super::canvas::{Anchor, Canvas, Drawn, Marker, register_font};
use super::plot::{Panel, Plot, Series};
use plotters::prelude::*;

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
/// Points at one x lie this far apart where there is room, so that intervals do not hide each other.
const ASIDE: f64 = 7.0;
/// Most of the distance between two x that the points of one may take.
const ASIDE_SHARE: f64 = 0.6;
/// Half of a marker, and a little.
const MARGIN: f64 = 9.0;
/// Room at the ends of an axis, as a share of it.
const ROOM: (f64, f64) = (0.045, 0.06);
/// Most labels at a horizontal axis.
const LABELS: usize = 14;

/// A panel with its place and its axes.
struct Placed<'a> {
    panel: &'a Panel,
    left: f64,
    top: f64,
    /// Whether the vertical axis is labelled.
    labelled: bool,
    x: Range,
    y: Range,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    /// Distance between the points of neighbouring series at one x.
    aside: f64,
}

/// A figure that is laid out.
pub struct Figure<'a> {
    panels: Vec<Placed<'a>>,
    size: (u32, u32),
    /// Said at the very bottom, where points have no place on a logarithmic axis.
    below: Option<String>,
}

/// Axes that cover all of some panels.
fn ranges(panels: &[&Panel]) -> (Range, Range) {
    let Some(first) = panels.first() else { return (Range::empty(Scale::Linear), Range::empty(Scale::Linear)) };
    let series = || panels.iter().flat_map(|p| &p.series);
    let marked = || series().flat_map(|s| &s.points);
    // Where there are points, a curve goes as far as it may.
    let unmarked = || series().filter(|s| s.points.is_empty());
    let drawn_x = || unmarked().flat_map(|s| s.curve.iter().map(|c| c.0).chain(s.band.iter().map(|b| b.0)));
    let widest = panels.iter().map(|p| series_with_points(p)).max().unwrap_or(0);
    let outermost = ASIDE * (widest.max(1) - 1) as f64 / 2.0 + MARGIN;
    let x_room = ROOM.0.max(outermost / (PLOT.0 - 2.0 * outermost));
    let x = Range::covering(first.x.scale, marked().map(|p| p.x).chain(drawn_x()), x_room).unwrap_or(Range::empty(first.x.scale));
    let linear = first.y.scale == Scale::Linear;
    // On a logarithmic axis an interval that reaches down to nothing does not stretch it by more than a factor of 4 below its point.
    let ends = marked().filter(|p| linear || p.y > 0.0).flat_map(|p| {
        let (lo, hi) = p.interval.unwrap_or((p.y, p.y));
        [p.y, hi, if linear { lo } else { lo.max(p.y / 4.0) }]
    });
    let drawn_y = unmarked().flat_map(|s| s.curve.iter().map(|c| c.1).chain(s.band.iter().flat_map(|b| [b.1, b.2])));
    let y = Range::covering(first.y.scale, ends.chain(drawn_y), ROOM.1).unwrap_or(Range::empty(first.y.scale));
    (x, y)
}

fn series_with_points(panel: &Panel) -> usize {
    panel.series.iter().filter(|s| !s.points.is_empty()).count()
}

/// Rows of a panel's legend and notes.
fn rows_below(panel: &Panel) -> usize {
    panel.series.iter().filter(|s| !s.label.is_empty()).count() + panel.notes.len()
}

fn color(series: &Series) -> RGBColor {
    let (r, g, b) = series.look.color;
    RGBColor(r, g, b)
}

impl<'a> Figure<'a> {
    /// Lays it out.
    ///
    /// # Errors
    /// The font cannot be read.
    pub fn new(plot: &'a Plot) -> Result<Self, String> {
        if !register_font() {
            return Err("its font cannot be read".into());
        }
        let columns = if plot.columns == 0 { plot.panels.len().max(1) } else { plot.columns };
        let gap = if plot.shared { GAP } else { GAP + LEFT };
        let all: Vec<&Panel> = plot.panels.iter().collect();
        let shared = plot.shared.then(|| ranges(&all));
        let (mut panels, mut top) = (Vec::with_capacity(all.len()), TOP);
        for row in plot.panels.chunks(columns) {
            for (i, panel) in row.iter().enumerate() {
                let (x, y) = shared.unwrap_or_else(|| ranges(&[panel]));
                let (left, labelled) = (LEFT + i as f64 * (PLOT.0 + gap), i == 0 || !plot.shared);
                let mut placed = Placed { panel, left, top, labelled, x, y, x_ticks: x.ticks(LABELS), y_ticks: y.ticks(9), aside: 0.0 };
                placed.aside = placed.spacing(if plot.shared { &all } else { &all[..0] });
                panels.push(placed);
            }
            top += PLOT.1 + BELOW + row.iter().map(rows_below).max().unwrap_or(0) as f64 * LEGEND_ROW + TOP;
        }
        // Without panels there is a frame's room all the same.
        let mut height = if panels.is_empty() { TOP + PLOT.1 + BELOW } else { top - TOP };
        let lost = panels.iter().find(|p| p.panel.series.iter().flat_map(|s| &s.points).any(|q| !p.y.can_hold(q.y) && q.y.is_finite()));
        let below = lost.map(|p| format!("open triangles at the lower edge: {} ≤ 0, which has no place on a logarithmic axis", p.panel.y.symbol));
        height += if below.is_some() { LEGEND_ROW } else { 0.0 };
        let n = columns.min(plot.panels.len()).max(1) as f64;
        Ok(Figure { panels, size: ((LEFT + n * PLOT.0 + (n - 1.0) * gap + RIGHT) as u32, (height + BOTTOM) as u32), below })
    }

    /// Logical pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Draws it, a logical pixel being `scale` of the backend's.
    ///
    /// # Errors
    /// What the backend says.
    pub fn draw<B: DrawingBackend>(&self, backend: &mut B, scale: f64) -> Drawn {
        let canvas = &mut Canvas::new(backend, scale);
        let (width, height) = (self.size.0 as f64, self.size.1 as f64);
        canvas.rectangle((0.0, 0.0), (width, height), WHITE)?;
        for placed in &self.panels {
            placed.draw(canvas)?;
        }
        match &self.below {
            Some(note) => canvas.text(note, (LEFT, height - BOTTOM - LEGEND_ROW / 2.0), 15.0, GREY, Anchor::Start),
            None => Ok(()),
        }
    }
}

impl Placed<'_> {
    /// Distance between the points of neighbouring series at one x: as the panels that share its axes allow, or it alone where there are none.
    fn spacing(&self, sharing: &[&Panel]) -> f64 {
        let own = [self.panel];
        let among = if sharing.is_empty() { &own[..] } else { sharing };
        let points = among.iter().flat_map(|p| &p.series).flat_map(|s| &s.points).filter(|p| self.x.can_hold(p.x));
        let mut x: Vec<f64> = points.map(|p| PLOT.0 * self.x.position(p.x)).collect();
        x.sort_by(f64::total_cmp);
        let nearest = x.windows(2).map(|w| w[1] - w[0]).filter(|&d| d > 1.0).fold(PLOT.0, f64::min);
        ASIDE.min(ASIDE_SHARE * nearest / (series_with_points(self.panel).max(2) - 1) as f64)
    }

    fn at_x(&self, x: f64) -> f64 {
        self.left + PLOT.0 * self.x.position(x)
    }

    fn at_y(&self, y: f64) -> f64 {
        self.top + PLOT.1 * (1.0 - self.y.position(y))
    }

    fn bottom(&self) -> f64 {
        self.top + PLOT.1
    }

    fn draw<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>) -> Drawn {
        self.frame(canvas)?;
        canvas.text(&self.panel.title, (self.left, self.top - 40.0), 21.0, INK, Anchor::Start)?;
        canvas.text(&self.panel.subtitle, (self.left, self.top - 16.0), 15.0, GREY, Anchor::Start)?;
        let beside = series_with_points(self.panel);
        let mut k = 0;
        for s in &self.panel.series {
            self.band(canvas, s)?;
            self.curve(canvas, s)?;
            if !s.points.is_empty() {
                self.points(canvas, s, self.aside * (k as f64 - (beside as f64 - 1.0) / 2.0))?;
                k += 1;
            }
        }
        self.legend(canvas)
    }

    fn frame<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>) -> Drawn {
        let (left, right, top, bottom) = (self.left, self.left + PLOT.0, self.top, self.bottom());
        for t in &self.x_ticks {
            let x = self.at_x(t.at);
            let long = t.label.is_some();
            if long {
                canvas.line((x, top), (x, bottom), GRID, 1.0)?;
            }
            canvas.line((x, bottom), (x, bottom + if long { 7.0 } else { 4.0 }), INK, 1.0)?;
            if let Some(label) = &t.label {
                canvas.text(label, (x, bottom + 19.0), 16.0, INK, Anchor::Middle)?;
            }
        }
        for t in &self.y_ticks {
            let y = self.at_y(t.at);
            let long = t.label.is_some();
            if long {
                canvas.line((left, y), (right, y), GRID, 1.0)?;
            }
            canvas.line((left - if long { 7.0 } else { 4.0 }, y), (left, y), INK, 1.0)?;
            if let (Some(label), true) = (&t.label, self.labelled) {
                canvas.text(label, (left - 12.0, y + 2.0), 16.0, INK, Anchor::End)?;
            }
        }
        for (from, to) in [((left, top), (right, top)), ((right, top), (right, bottom)), ((right, bottom), (left, bottom)), ((left, bottom), (left, top))] {
            canvas.line(from, to, INK, 1.0)?;
        }
        canvas.text(&self.panel.x.label, ((left + right) / 2.0, bottom + 45.0), 18.0, INK, Anchor::Middle)?;
        if self.labelled {
            canvas.text_upwards(&self.panel.y.label, (left - LEFT + 24.0, (top + bottom) / 2.0), 18.0, INK)?;
        }
        Ok(())
    }

    fn band<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>, s: &Series) -> Drawn {
        let shown: Vec<_> = s.band.iter().filter(|b| self.x.can_hold(b.0) && (0.0..=1.0).contains(&self.x.position(b.0))).collect();
        let edge = |y: f64| if self.y.can_hold(y) { self.at_y(y.clamp(self.y.lo, self.y.hi)) } else { self.bottom() };
        let lower = shown.iter().map(|b| (self.at_x(b.0), edge(b.1)));
        let upper = shown.iter().rev().map(|b| (self.at_x(b.0), edge(b.2)));
        let corners: Vec<_> = lower.chain(upper).collect();
        if corners.len() > 3 { canvas.veil(&corners, color(s)) } else { Ok(()) }
    }

    /// The parts of the curve that lie within the frame.
    fn curve<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>, s: &Series) -> Drawn {
        let mut run: Vec<(f64, f64)> = Vec::new();
        for ends in s.curve.windows(2) {
            let places = |p: (f64, f64)| (self.x.can_hold(p.0) && self.y.can_hold(p.1)).then(|| (self.x.position(p.0), self.y.position(p.1)));
            let within = places(ends[0]).zip(places(ends[1])).and_then(|(from, to)| clipped(from, to));
            let Some((from, to)) = within.map(|(a, b)| (self.spot(a), self.spot(b))) else {
                self.stroke(canvas, s, &mut run)?;
                continue;
            };
            if run.last() != Some(&from) {
                self.stroke(canvas, s, &mut run)?;
                run.push(from);
            }
            run.push(to);
        }
        self.stroke(canvas, s, &mut run)
    }

    fn spot(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.left + PLOT.0 * x, self.top + PLOT.1 * (1.0 - y))
    }

    fn stroke<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>, s: &Series, run: &mut Vec<(f64, f64)>) -> Drawn {
        let run = std::mem::take(run);
        if run.len() > 1 { canvas.path(&run, s.look.dash, color(s), 1.6) } else { Ok(()) }
    }

    fn points<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>, s: &Series, aside: f64) -> Drawn {
        for p in s.points.iter().filter(|p| self.x.can_hold(p.x) && p.y.is_finite()) {
            let x = self.at_x(p.x) + aside;
            if let Some((lo, hi)) = p.interval
                && hi > self.y.lo
            {
                let (low, high) = (self.at_y(lo.max(self.y.lo)), self.at_y(hi.min(self.y.hi)));
                canvas.line((x, low), (x, high), color(s), 1.7)?;
                // An end without a cap goes on beyond the axis.
                for (value, y) in [(lo, low), (hi, high)] {
                    if (self.y.lo..=self.y.hi).contains(&value) {
                        canvas.line((x - 4.5, y), (x + 4.5, y), color(s), 1.7)?;
                    }
                }
            }
            if self.y.can_hold(p.y) {
                canvas.marker(s.look.marker, (x, self.at_y(p.y)), 4.6, color(s), s.look.open)?;
            } else {
                canvas.marker(Marker::TriangleDown, (x, self.bottom() - 7.0), 6.0, color(s), true)?;
            }
        }
        Ok(())
    }

    fn legend<B: DrawingBackend>(&self, canvas: &mut Canvas<'_, B>) -> Drawn {
        let row = |k: usize| self.bottom() + BELOW + (k as f64 + 0.5) * LEGEND_ROW;
        let named = self.panel.series.iter().filter(|s| !s.label.is_empty());
        let mut below = 0;
        for s in named {
            let y = row(below);
            if !s.band.is_empty() {
                let corners = [(4.0, -7.0), (40.0, -7.0), (40.0, 7.0), (4.0, 7.0)].map(|(dx, dy)| (self.left + dx, y + dy));
                canvas.veil(&corners, color(s))?;
            }
            if !s.curve.is_empty() {
                canvas.path(&[(self.left + 4.0, y), (self.left + 40.0, y)], s.look.dash, color(s), 1.6)?;
            }
            if !s.points.is_empty() {
                canvas.marker(s.look.marker, (self.left + 22.0, y), 4.6, color(s), s.look.open)?;
            }
            canvas.text(&s.label, (self.left + 52.0, y), 16.0, INK, Anchor::Start)?;
            below += 1;
        }
        for (k, note) in self.panel.notes.iter().enumerate() {
            canvas.text(note, (self.left + 4.0, row(below + k)), 15.0, GREY, Anchor::Start)?;
        }
        Ok(())
    }
}

/// The part of a straight line that lies within the unit square (Liang and Barsky 1984).
fn clipped(from: (f64, f64), to: (f64, f64)) -> Option<((f64, f64), (f64, f64))> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut first, mut last) = (0.0f64, 1.0f64);
    for (by, room) in [(-dx, from.0), (dx, 1.0 - from.0), (-dy, from.1), (dy, 1.0 - from.1)] {
        if by == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if by < 0.0 {
            first = first.max(room / by);
        } else {
            last = last.min(room / by);
        }
    }
    let at = |s: f64| {
        if s == 0.0 {
            from
        } else if s == 1.0 {
            to
        } else {
            (from.0 + s * dx, from.1 + s * dy)
        }
    };
    (first < last).then(|| (at(first), at(last)))
}

#[cfg(test)]
mod tests {
    use super::super::plot::{Axis, Point};
    use super::*;

    #[test]
    fn lines_are_cut_at_the_frame() {
        assert_eq!(clipped((0.25, 0.5), (0.75, 0.5)), Some(((0.25, 0.5), (0.75, 0.5))));
        assert_eq!(clipped((-1.0, 0.5), (3.0, 0.5)), Some(((0.0, 0.5), (1.0, 0.5))));
        assert_eq!(clipped((0.5, -0.5), (1.5, 0.5)), None);
        assert_eq!(clipped((0.5, 2.0), (0.5, -2.0)), Some(((0.5, 1.0), (0.5, 0.0))));
        assert_eq!(clipped((0.5, 1.5), (0.9, 1.5)), None);
    }

    fn panel(series: Vec<Series>, scale: Scale) -> Panel {
        Panel {
            title: "one".into(), subtitle: String::new(), x: Axis::new("ℓ (tokens)", Scale::Log2), y: Axis::new("I (nats)", scale), series, notes: vec![]
        }
    }

    fn points(values: &[(f64, f64)]) -> Vec<Point> {
        values.iter().map(|&(x, y)| Point { x, y, interval: None }).collect()
    }

    /// Panels that share axes have one range; each on its own has what it needs.
    #[test]
    fn axes_are_shared_or_not() {
        let series = |y: f64| vec![Series { points: points(&[(2.0, y), (8.0, 2.0 * y)]), ..Series::default() }];
        let mut plot = Plot { panels: vec![panel(series(1.0), Scale::Log), panel(series(100.0), Scale::Log)], columns: 0, shared: true };
        let ranges = |plot: &Plot| Figure::new(plot).unwrap().panels.iter().map(|p| (p.y.lo, p.y.hi)).collect::<Vec<_>>();
        let together = ranges(&plot);
        assert!(together[0] == together[1] && together[0].0 < 1.0 && together[0].1 > 200.0);
        plot.shared = false;
        let apart = ranges(&plot);
        assert!(apart[0].1 < 3.0 && apart[1].0 > 90.0);
        // One below the other: twice as high, half as wide, and a bit.
        let beside = Figure::new(&plot).unwrap().size();
        plot.columns = 1;
        let stacked = Figure::new(&plot).unwrap().size();
        assert!(stacked.0 < beside.0 && stacked.1 > beside.1);
    }

    /// What has no place on a logarithmic axis is told; curves go no further than the frame.
    #[test]
    fn what_lies_outside_is_told_or_cut() {
        let s = Series { label: "s".into(), points: points(&[(2.0, 1.0), (4.0, -1.0)]), curve: vec![(2.0, 1.0), (4.0, 1e9)], ..Series::default() };
        let plot = Plot { panels: vec![panel(vec![s.clone()], Scale::Log)], columns: 0, shared: false };
        assert!(Figure::new(&plot).unwrap().below.unwrap().contains("I ≤ 0"));
        let svg = plot.svg().unwrap();
        let lines = svg.split("<polyline").skip(1).filter(|l| l.contains("#0072B2"));
        for line in lines {
            let places = line.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
            let inside = |y: f64| (TOP..=TOP + PLOT.1).contains(&y) || y > TOP + PLOT.1 + BELOW;
            assert!(places.split_whitespace().all(|p| inside(p.split(',').nth(1).unwrap().parse().unwrap())), "{places}");
        }
        let linear = Plot { panels: vec![panel(vec![s], Scale::Linear)], columns: 0, shared: false };
        assert!(Figure::new(&linear).unwrap().below.is_none());
    }

    #[test]
    fn an_empty_figure_is_drawn() {
        assert!(Plot::default().svg().is_ok());
        assert!(Plot { panels: vec![panel(vec![], Scale::Log)], columns: 0, shared: true }.svg().is_ok());
    }
}
