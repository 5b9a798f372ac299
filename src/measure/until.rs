//! Watches a record grow for the group at which it is long enough.

use super::part::Row;
use super::plan::Design;
use super::recorded::group_of;
use crate::estimate::{Stopping, Sums};
use std::collections::BTreeMap;

/// The stopping rule over a record's groups, whatever the order in which their trees come.
#[derive(Debug)]
pub struct Watch {
    design: Design,
    rule: Stopping,
    /// Trees of groups that the rule has not taken yet, by group and member.
    waiting: BTreeMap<u32, BTreeMap<u32, Row>>,
    next: u32,
}

impl Watch {
    /// Nothing seen yet; `target` in nats.
    pub fn new(design: &Design, target: f64) -> Self {
        Watch { design: design.clone(), rule: Stopping::new(target), waiting: BTreeMap::new(), next: 0 }
    }

    /// Takes a tree. One that came before counts once.
    pub fn take(&mut self, row: &Row) {
        if self.rule.reached().is_some() || row.tree.group < self.next || !self.design.fits(&row.tree, &row.tokens) {
            return;
        }
        self.waiting.entry(row.tree.group).or_default().insert(row.tree.member, row.clone());
        while self.waiting.get(&self.next).is_some_and(|g| g.len() == self.design.members()) {
            let rows = self.waiting.remove(&self.next).into_iter().flatten().map(|(_, row)| row).collect();
            self.next += 1;
            self.rule.take(&Sums { groups: vec![group_of(&self.design, rows)], ..self.design.no_sums() }, 0);
        }
    }

    /// After how many groups the target was reached.
    pub fn reached(&self) -> Option<u32> {
        self.rule.reached().map(|n| n as u32)
    }
}
