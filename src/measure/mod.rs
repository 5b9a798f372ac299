//! From chunks to a record of sums: what is scored of every group, how it is journalled wave by wave, and how it is read again.
//!
//! ```text
//! OUT/plan.json                                    what is measured: corpus, design, seed, models
//! OUT/ngrams.json                                  n-gram counts of counts, where an estimator needs them
//! OUT/model-0-NAME/record/part-000000.parquet …    one part a wave (columns: see `part`)
//! ```
//! Everything else in OUT is computed from these. A record may be made in shards, each in a folder of its own, and merged.

mod journal;
mod merge;
mod part;
mod plan;
mod project;
mod recorded;
mod run;
mod shard;
mod text;
mod until;

pub use journal::Journal;
pub use part::{Heading, Part, Row, read as read_part};
pub use plan::{Collector, Design, FIRST, Planned, Terms, TreeRecord};
pub use project::{ModelIdentity, Plan, Project, Stop};
pub use recorded::{Recorded, Twice, load};
pub use run::{Done, Pace, Progress, Task, run};
pub use shard::Shard;
pub use text::{Bytes, Text};
