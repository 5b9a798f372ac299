//! Figures, as SVG and PNG: [`Plot`] is what one shows, drawn on plotters' backends; [`measured`] makes that of a measurement.

mod axis;
mod canvas;
mod draw;
pub mod measured;
mod plot;

pub use plot::{Axis, Look, Marker, Panel, Plot, Point, Scale, Series};
