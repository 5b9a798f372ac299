//! What a model holds, counted from its spec.

use std::collections::BTreeSet;

use super::spec::ModelSpec;

/// Number of parameters; shared tensors (a tied head) once.
pub fn parameters(spec: &ModelSpec) -> u64 {
    let mut seen = BTreeSet::new();
    spec.params().iter().filter(|p| seen.insert(&p.name)).map(|p| p.shape.iter().map(|n| *n as u64).product::<u64>()).sum()
}
