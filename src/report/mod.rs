//! What a person looks at: tables, figures, and the files that hold results.

mod amounts;
mod blocks;
mod bracket;
pub mod calibration;
pub mod compare;
pub mod condition;
mod context;
pub mod figure;
mod laws;
mod optimum;
pub mod page;
mod published;
mod records;
mod results;
mod table;
mod two_point;

pub use amounts::{bytes, grouped};
pub use blocks::{Block, as_text};
pub use context::ContextReport;
pub use laws::comparison;
pub use optimum::OptimumReport;
pub use published::{Published, PublishedLine};
pub use results::{FEWEST_OF_A_LABEL, LabelResult, ModelResult, Reading, Report, compute, estimate};
pub use table::table;
pub use two_point::TwoPointReport;
