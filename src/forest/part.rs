//! Some of a forest's trees as a forest of their own.

use super::{Forest, Reading, Readout, Span, SpanId};
use std::ops::Range;

impl Forest {
    /// The trees `trees`, by index, as a forest of their own, and what is read of them. Trees, spans and readings keep their order and slots their numbers, so that
    /// a slot's value is the one that the whole forest gives it. Slots of other trees stay empty.
    pub fn part(&self, readout: &Readout, trees: Range<usize>) -> (Forest, Readout) {
        let mut part = Forest::new();
        let mut ids: Vec<Option<SpanId>> = vec![None; self.spans.len()];
        for (span, i) in self.spans.iter().zip(0..) {
            let of = span.tree as usize;
            if !trees.contains(&of) {
                continue;
            }
            let (id, start) = (SpanId(part.spans.len() as u32), part.tokens.len());
            part.tokens.extend_from_slice(self.tokens(SpanId(i)));
            if span.parent.is_none() {
                part.trees.push(Vec::new());
            }
            part.trees[of - trees.start].push(id);
            let parent = span.parent.and_then(|(p, offset)| ids[p.0 as usize].map(|p| (p, offset)));
            part.spans.push(Span { parent, tokens: start..part.tokens.len(), position: span.position, tree: (of - trees.start) as u32 });
            ids[i as usize] = Some(id);
        }
        let of_part = |r: &Reading| ids[r.span.0 as usize].map(|span| Reading { span, ..r.clone() });
        let readings = readout.readings().iter().filter_map(of_part).collect();
        (part, Readout::some(readings, readout.slots()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Cut, Slot, Waves};

    /// Trees whose spans were made by turns: a part has its own trees' paths, and its waves the whole's targets with their slots.
    #[test]
    fn a_part_is_read_as_the_whole_is() {
        let (mut forest, mut readout) = (Forest::new(), Readout::new());
        let roots: Vec<SpanId> = (0..4u32).map(|t| forest.root(&[10 * t, 10 * t + 1, 10 * t + 2]).unwrap()).collect();
        let leaves: Vec<SpanId> = roots.iter().rev().map(|&r| forest.branch(r, 2, &[50 + r.0, 60]).unwrap()).collect();
        for &leaf in &leaves {
            readout.sum(&forest, leaf, 0..2).unwrap();
            readout.each(&forest, roots[(leaf.0 as usize) % 4], 1..3).unwrap();
        }
        let targets = |forest: &Forest, readout: &Readout| -> Vec<(u32, Slot)> {
            let waves = Waves::plan(forest, readout, Cut { rows: 3, reach: None, grain: None });
            waves.iter().flat_map(|w| &w.targets).map(|t| (t.token, t.slot)).collect()
        };
        let whole = targets(&forest, &readout);
        assert_eq!(whole.len(), 4 * 4);
        for cuts in [[0, 1, 4], [0, 3, 4], [0, 0, 4], [0, 2, 4]] {
            let mut joined = Vec::new();
            for at in cuts.windows(2) {
                let (part, read) = forest.part(&readout, at[0]..at[1]);
                assert_eq!((part.trees().len(), read.slots()), (at[1] - at[0], readout.slots()));
                for (tree, of) in part.trees().iter().zip(&forest.trees()[at[0]..at[1]]) {
                    let paths = |f: &Forest, spans: &[SpanId]| spans.iter().map(|&s| f.path(s)).collect::<Vec<_>>();
                    assert_eq!(paths(&part, tree), paths(&forest, of));
                }
                joined.extend(targets(&part, &read));
            }
            assert_eq!(joined, whole, "cut at {cuts:?}");
        }
    }
}
