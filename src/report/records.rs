//! Records of measurements, read for results that lie beside their own: the condition, comparisons.

use crate::error::{Error, Result};
use crate::estimate::NgramEntropies;
use crate::measure::{Project, Recorded};

/// What a measurement's folder holds of every model, as far as groups are complete and used.
pub(super) fn load(project: &Project) -> Result<(Vec<Recorded>, Option<NgramEntropies>)> {
    let groups = project.stop()?.map_or(project.plan.groups, |s| s.groups);
    let one = |i: usize| {
        let recorded = project.load(i, groups)?;
        if recorded.sums.groups.is_empty() {
            let what = format!("no group of {} is complete yet; start the measurement again to go on", project.plan.models[i].name);
            return Err(Error::file(project.folder(), what));
        }
        Ok(recorded)
    };
    let models = (0..project.plan.models.len()).map(one).collect::<Result<Vec<_>>>()?;
    Ok((models, project.ngrams()?.map(|counts| NgramEntropies::from_counts(&counts))))
}
