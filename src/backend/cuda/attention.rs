//! How attention's work is cut into items, each a thread block's: a pure function of a wave's tables.

use super::params::{AttentionItem, AttentionMerge};
use crate::forest::Wave;
use std::ops::Range;

/// Queries of an item: rows × heads that share a key-value head.
const QUERIES: u32 = 64;
/// Positions of a segment; the past of a row beyond one is attended to in parts, which are merged in order.
pub const SEGMENT: u32 = 2048;
/// Items write `out` themselves.
const DIRECT: u32 = u32::MAX;

/// Attention of a block of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Longest first, so that no long one begins when all others are done. Their order changes no number.
    pub items: Vec<AttentionItem>,
    /// Rows that more than one item attends for.
    pub merges: Vec<AttentionMerge>,
    /// Rows of parts that are written.
    pub part_rows: u32,
}

/// The work of rows `block` of a wave where `group` query heads share a key-value head.
pub fn work(wave: &Wave, block: Range<usize>, group: usize, window: Option<usize>) -> Work {
    let group = group as u32;
    let (rows_at_once, heads_at_once) = ((QUERIES / group).max(1), group.min(QUERIES));
    let block = block.start as u32..block.end as u32;
    let mut work = Work::default();
    let mut keys = Vec::new();
    for (index, run) in wave.runs.iter().enumerate() {
        let (mut row, end) = (run.rows.start.max(block.start), run.rows.end.min(block.end));
        while row < end {
            let rows = rows_at_once.min(end - row);
            let position = run.position + (row - run.rows.start);
            // The first and last position that any of the rows sees.
            let first = window.map_or(0, |w| (position + 1).saturating_sub(w as u32));
            let last = position + rows - 1;
            let segments = first / SEGMENT..last / SEGMENT + 1;
            let parts = segments.len() > 1;
            for (i, segment) in segments.clone().enumerate() {
                let part = if parts { work.part_rows + i as u32 * rows } else { DIRECT };
                for first_head in (0..group).step_by(heads_at_once as usize) {
                    let heads = heads_at_once.min(group - first_head);
                    work.items.push(AttentionItem { run: index as u32, first_row: row, rows, first_head, heads, segment, part });
                    keys.push((last + 1).min((segment + 1) * SEGMENT) - first.max(segment * SEGMENT));
                }
            }
            if parts {
                work.merges.push(AttentionMerge { first_row: row, rows, part: work.part_rows, segments: segments.len() as u32 });
                work.part_rows += rows * segments.len() as u32;
            }
            row += rows;
        }
    }
    let mut order: Vec<usize> = (0..work.items.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(keys[i]));
    work.items = order.into_iter().map(|i| work.items[i]).collect();
    work
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Run, StateRef};

    fn wave(runs: &[(u32, u32)]) -> Wave {
        let mut at = 0;
        let run = |&(position, rows): &(u32, u32)| {
            at += rows;
            Run { rows: at - rows..at, position, past: 0..0, state: StateRef::Zero, saves: 0..0 }
        };
        Wave { runs: runs.iter().map(run).collect(), ..Wave::default() }
    }

    /// Every row, head and segment within sight is one item's, and every row of several segments is merged once.
    fn check(runs: &[(u32, u32)], block: Range<usize>, group: usize, window: Option<usize>) -> Work {
        let wave = wave(runs);
        let work = work(&wave, block.clone(), group, window);
        let mut seen = std::collections::BTreeSet::new();
        let mut part_rows = std::collections::BTreeSet::new();
        for item in &work.items {
            assert!(item.rows * item.heads <= QUERIES && item.heads > 0 && item.rows > 0);
            for (row, head) in (0..item.rows).flat_map(|r| (0..item.heads).map(move |h| (item.first_row + r, item.first_head + h))) {
                assert!(seen.insert((row, head, item.segment)), "row {row}, head {head} twice");
                assert!(item.part == DIRECT || part_rows.insert((item.part + row - item.first_row, head)));
            }
        }
        for row in block {
            let run = wave.runs.iter().find(|r| r.rows.contains(&(row as u32))).unwrap();
            let position = run.position + row as u32 - run.rows.start;
            let first = window.map_or(0, |w| (position + 1).saturating_sub(w as u32));
            for head in 0..group as u32 {
                for segment in first / SEGMENT..=position / SEGMENT {
                    assert!(seen.contains(&(row as u32, head, segment)), "row {row}, head {head}, segment {segment}");
                }
            }
            let merged = work.merges.iter().filter(|m| (m.first_row..m.first_row + m.rows).contains(&(row as u32))).count();
            let items: Vec<_> = work.items.iter().filter(|i| (i.first_row..i.first_row + i.rows).contains(&(row as u32))).collect();
            assert_eq!(merged, usize::from(items.iter().any(|i| i.part != DIRECT)), "row {row}");
        }
        assert_eq!(part_rows.len(), work.part_rows as usize * group);
        work
    }

    #[test]
    fn every_row_is_attended_for() {
        let one = check(&[(0, 5)], 0..5, 1, None);
        assert_eq!((one.items.len(), one.merges.len()), (1, 0));
        check(&[(0, 200), (37, 1), (12, 64), (0, 65)], 0..330, 4, None);
        check(&[(0, 200), (37, 1), (12, 64)], 150..230, 3, None);
        // Falcon's 71 heads over one.
        check(&[(9, 3)], 0..3, 71, None);
        let long = check(&[(2000, 100), (0, 3), (9000, 2)], 0..105, 2, None);
        assert!(long.merges.iter().any(|m| m.segments == 2) && long.merges.iter().any(|m| m.segments == 5));
        let window = check(&[(2000, 100), (9000, 2)], 0..102, 1, Some(100));
        assert!(window.merges.iter().all(|m| m.segments == 2) && window.items.iter().all(|i| i.segment <= 4));
    }
}
