//! What a figure shows: panels of series on shared or on their own axes. Laid out and drawn by [`super::draw`].

pub use super::axis::Scale;
pub use super::canvas::Marker;
use super::draw;
use crate::error::{Error, Result};
use crate::files;
use plotters::prelude::{BitMapBackend, DrawingBackend, RGBColor, SVGBackend};
use plotters::style::Color as _;
use std::fs;
use std::path::Path;

/// A figure.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// From left to right, then downwards.
    pub panels: Vec<Panel>,
    /// Most panels side by side; 0: all.
    pub columns: usize,
    /// Whether all panels have the same ranges, so that values compare at sight; the vertical axis is then labelled at the left alone.
    pub shared: bool,
}

/// A frame with axes, what is in it, and its legend below, where it hides nothing.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its heading.
    pub title: String,
    /// What is said in small letters below the heading.
    pub subtitle: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Drawn in this order.
    pub series: Vec<Series>,
    /// What is said below the legend, a line each.
    pub notes: Vec<String>,
}

/// An axis; its range follows from what is shown.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Quantity and unit: `I(ℓ; 2ℓ) (nats)`.
    pub label: String,
    /// The quantity's symbol, for a note on values that have no place on the axis: `I`.
    pub symbol: String,
    /// How values are laid out.
    pub scale: Scale,
}

impl Axis {
    /// An axis whose label says quantity and unit, `ℓ (tokens)`; the quantity is its symbol.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        let label = label.into();
        let symbol = label.split([' ', '(']).next().unwrap_or_default().to_string();
        Axis { label, symbol, scale }
    }
}

/// Points, a curve and a band of one look.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// In the legend; a series without a label is not in it.
    pub label: String,
    /// Colour, shape and line.
    pub look: Look,
    /// Marked points. Those of several series at one x are drawn side by side.
    pub points: Vec<Point>,
    /// A line from point to point (x, y), cut at the frame. Where a series has points, its curve does not widen the axes.
    pub curve: Vec<(f64, f64)>,
    /// An area (x, lo, hi) around a curve, cut at the frame.
    pub band: Vec<(f64, f64, f64)>,
}

/// A point, with an interval where it has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Horizontally.
    pub x: f64,
    /// Vertically.
    pub y: f64,
    /// Lower and upper end of its interval.
    pub interval: Option<(f64, f64)>,
}

/// Colour, shape and line of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// Red, green, blue.
    pub color: (u8, u8, u8),
    /// Shape of points.
    pub marker: Marker,
    /// Whether points are open.
    pub open: bool,
    /// Length of the line's dashes in logical pixels; none: a line drawn through.
    pub dash: Option<f64>,
}

/// Colours that the colour-blind tell apart (Okabe and Ito 2008).
const COLORS: [(u8, u8, u8); 7] = [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (0, 0, 0)];
const MARKERS: [Marker; 6] = [Marker::Circle, Marker::Triangle, Marker::Square, Marker::Diamond, Marker::TriangleDown, Marker::Pentagon];

impl Look {
    /// The looks of series 0, 1, 2 …: colours and shapes that differ.
    pub fn nth(i: usize) -> Self {
        Look { color: COLORS[i % COLORS.len()], marker: MARKERS[i % MARKERS.len()], open: false, dash: None }
    }

    /// The same with open points and dashes of this length.
    pub fn dashed(self, dash: f64) -> Self {
        Look { open: true, dash: Some(dash), ..self }
    }
}

impl Default for Look {
    /// The first one.
    fn default() -> Self {
        Look::nth(0)
    }
}

/// The PNG is drawn this many times larger and averaged down, for smooth edges.
const SUPERSAMPLING: u32 = 3;

impl Plot {
    /// The figure as SVG.
    ///
    /// # Errors
    /// Why it cannot be drawn.
    pub fn svg(&self) -> Result<String, String> {
        let figure = draw::Figure::new(self)?;
        let mut text = String::new();
        {
            let mut backend = SVGBackend::with_string(&mut text, figure.size());
            figure.draw(&mut backend, 1.0)?;
            backend.present().map_err(|e| e.to_string())?;
        }
        Ok(text)
    }

    /// Writes `name.svg` and `name.png` into a folder.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, folder: &Path, name: &str) -> Result<()> {
        self.write_svg(&folder.join(format!("{name}.svg")))?;
        self.write_png(&folder.join(format!("{name}.png")))
    }

    /// Writes the figure as SVG.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write_svg(&self, path: &Path) -> Result<()> {
        files::write_bytes(path, self.svg().map_err(|e| not_drawn(path, &e))?.as_bytes())
    }

    /// Writes the figure as PNG, a pixel a logical pixel.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write_png(&self, path: &Path) -> Result<()> {
        // The encoder goes by the name's ending.
        let partial = path.with_extension("partial.png");
        self.encode_png(&partial).map_err(|e| not_drawn(path, &e))?;
        let bytes = fs::read(&partial).map_err(Error::io(&partial))?;
        files::write_bytes(path, &bytes)?;
        fs::remove_file(&partial).map_err(Error::io(&partial))
    }

    fn encode_png(&self, path: &Path) -> Result<(), String> {
        let figure = draw::Figure::new(self)?;
        let (width, height) = figure.size();
        let (fine_width, fine_height) = (width * SUPERSAMPLING, height * SUPERSAMPLING);
        let mut fine = vec![255u8; 3 * fine_width as usize * fine_height as usize];
        {
            let mut backend = BitMapBackend::with_buffer(&mut fine, (fine_width, fine_height));
            figure.draw(&mut backend, SUPERSAMPLING as f64)?;
            backend.present().map_err(|e| e.to_string())?;
        }
        let mut backend = BitMapBackend::new(path, (width, height));
        for y in 0..height {
            for x in 0..width {
                let [r, g, b] = averaged(&fine, fine_width as usize, x as usize, y as usize);
                backend.draw_pixel((x as i32, y as i32), RGBColor(r, g, b).to_backend_color()).map_err(|e| e.to_string())?;
            }
        }
        backend.present().map_err(|e| e.to_string())
    }
}

/// Mean colour of the fine pixels behind pixel (x, y).
fn averaged(fine: &[u8], fine_width: usize, x: usize, y: usize) -> [u8; 3] {
    let n = SUPERSAMPLING as usize;
    std::array::from_fn(|c| {
        let rows = (y * n..(y + 1) * n).flat_map(|row| (x * n..(x + 1) * n).map(move |column| fine[3 * (row * fine_width + column) + c] as u32));
        ((rows.sum::<u32>() + (n * n / 2) as u32) / (n * n) as u32) as u8
    })
}

fn not_drawn(path: &Path, why: &str) -> Error {
    Error::file(path, format!("the figure cannot be drawn: {why}"))
}
