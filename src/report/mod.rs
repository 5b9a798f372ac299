//! What a person looks at: tables, figures, and the files that hold results.

pub mod figure;
mod laws;
mod published;
mod results;
mod table;

pub use laws::comparison;
pub use published::{Published, PublishedLine};
pub use results::{FEWEST_OF_A_LABEL, LabelResult, ModelResult, Reading, Report, compute, estimate};
pub use table::table;
