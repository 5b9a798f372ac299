//! The few shapes that figures are made of, on any plotters backend, in logical pixels.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::sync::OnceLock;

/// How the font is named: its own name first, for whoever has it, then what an SVG viewer may take instead. The PNG uses the one inside the program.
const FONT: &str = "DejaVu Sans, Verdana, sans-serif";
static FONT_DATA: &[u8] = include_bytes!("../../../assets/fonts/DejaVuSans-subset.ttf");

/// How much of a veil's colour covers what lies below.
const VEIL: f64 = 0.18;

/// Drawing, or what the backend said.
pub type Drawn = Result<(), String>;

/// Hands the font to plotters, once. False where plotters cannot read it.
pub fn register_font() -> bool {
    static DONE: OnceLock<bool> = OnceLock::new();
    *DONE.get_or_init(|| plotters::style::register_font(FONT, FontStyle::Normal, FONT_DATA).is_ok())
}

/// Horizontal anchor of a text.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// The text begins here.
    Start,
    /// The text is centred here.
    Middle,
    /// The text ends here.
    End,
}

/// Shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    TriangleDown,
    Pentagon,
}

impl Marker {
    /// Corners on a circle of radius 1, y downwards; many for the circle.
    fn corners(self) -> Vec<(f64, f64)> {
        let (n, from, size) = match self {
            Marker::Circle => (24, 0.0, 0.92),
            Marker::Square => (4, 45.0, 1.15),
            Marker::Triangle => (3, -90.0, 1.2),
            Marker::Diamond => (4, 0.0, 1.2),
            Marker::TriangleDown => (3, 90.0, 1.2),
            Marker::Pentagon => (5, -90.0, 1.05),
        };
        let corner = |k: usize| {
            let angle = (from + 360.0 * k as f64 / n as f64).to_radians();
            (size * angle.cos(), size * angle.sin())
        };
        (0..n).map(corner).collect()
    }
}

/// A surface with a scale: logical pixels times scale are the backend's.
pub struct Canvas<'b, B: DrawingBackend> {
    backend: &'b mut B,
    scale: f64,
}

impl<'b, B: DrawingBackend> Canvas<'b, B> {
    pub fn new(backend: &'b mut B, scale: f64) -> Self {
        Canvas { backend, scale }
    }

    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        ((x * self.scale).round() as i32, (y * self.scale).round() as i32)
    }

    fn stroke(&self, color: RGBColor, width: f64) -> ShapeStyle {
        ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: (width * self.scale).round().max(1.0) as u32 }
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), color: RGBColor, width: f64) -> Drawn {
        let style = self.stroke(color, width);
        let (from, to) = (self.at(from), self.at(to));
        self.backend.draw_path([from, to], &style).map_err(|e| e.to_string())
    }

    /// Straight lines from point to point; of dashes of this length where one is given, which go on around corners.
    pub fn path(&mut self, points: &[(f64, f64)], dash: Option<f64>, color: RGBColor, width: f64) -> Drawn {
        let Some(dash) = dash else {
            let style = self.stroke(color, width);
            let points: Vec<_> = points.iter().map(|&p| self.at(p)).collect();
            return self.backend.draw_path(points, &style).map_err(|e| e.to_string());
        };
        let period = 1.7 * dash;
        let mut done = 0.0;
        for ends in points.windows(2) {
            let [from, to] = [ends[0], ends[1]];
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy);
            let at = |s: f64| (from.0 + dx * s / length, from.1 + dy * s / length);
            // Where the dash that is under way began.
            let mut s = -(done % period);
            while s < length {
                if s + dash > 0.0 {
                    self.line(at(s.max(0.0)), at((s + dash).min(length)), color, width)?;
                }
                s += period;
            }
            done += length;
        }
        Ok(())
    }

    /// A filled polygon through which what lies below is seen.
    pub fn veil(&mut self, corners: &[(f64, f64)], color: RGBColor) -> Drawn {
        let corners: Vec<_> = corners.iter().map(|&p| self.at(p)).collect();
        self.backend.fill_polygon(corners, &color.mix(VEIL)).map_err(|e| e.to_string())
    }

    pub fn rectangle(&mut self, from: (f64, f64), to: (f64, f64), color: RGBColor) -> Drawn {
        let (from, to) = (self.at(from), self.at(to));
        self.backend.draw_rect(from, to, &color.filled(), true).map_err(|e| e.to_string())
    }

    /// A point; an open one shows the background.
    pub fn marker(&mut self, marker: Marker, at: (f64, f64), radius: f64, color: RGBColor, open: bool) -> Drawn {
        let outline = |r: f64| marker.corners().into_iter().map(move |(x, y)| (at.0 + r * x, at.1 + r * y)).collect::<Vec<_>>();
        let outer: Vec<_> = outline(radius).into_iter().map(|p| self.at(p)).collect();
        self.backend.fill_polygon(outer, &color.filled()).map_err(|e| e.to_string())?;
        if open {
            let inner: Vec<_> = outline(radius - 1.9).into_iter().map(|p| self.at(p)).collect();
            self.backend.fill_polygon(inner, &WHITE.filled()).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// A line of text, vertically centred at `at`.
    pub fn text(&mut self, text: &str, at: (f64, f64), size: f64, color: RGBColor, anchor: Anchor) -> Drawn {
        let h = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let style = TextStyle::from((FONT, size * self.scale).into_font()).color(&color).pos(Pos::new(h, VPos::Center));
        let at = self.at(at);
        self.backend.draw_text(text, &style, at).map_err(|e| e.to_string())
    }

    /// A line of text that reads upwards, centred at `at`.
    pub fn text_upwards(&mut self, text: &str, at: (f64, f64), size: f64, color: RGBColor) -> Drawn {
        let font = (FONT, size * self.scale).into_font().transform(FontTransform::Rotate270);
        let style = TextStyle::from(font).color(&color).pos(Pos::new(HPos::Center, VPos::Center));
        let at = self.at(at);
        self.backend.draw_text(text, &style, at).map_err(|e| e.to_string())
    }
}
