//! Attention: how its work is cut into items, each a thread block's, and which kernel does it.

use super::device::{Device, Planes, TensorMap};
use super::mat::Mat;
use super::params::{self, AttentionItem, AttentionMerge};
use super::tables::{Tables, sent};
use super::twin::Cuda;
use crate::backend::{AttentionOp, History, Needs, OnDevice};
use crate::error::{Error, Result};
use crate::forest::Wave;
use crate::tensor::Dtype;
use std::ops::Range;

/// Positions of a segment; the past of a row beyond one is attended to in parts, which are merged in order.
pub const SEGMENT: u32 = 2048;
/// Items write `out` themselves.
const DIRECT: u32 = u32::MAX;
/// Widest head of values of `attention_K_T`.
const MOST_HEAD_DIM: usize = 256;
/// Bytes of parts that wait to be merged: what bounds the rows of one launch where pasts are long.
const PART_BYTES: usize = 128 << 20;

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

/// The work of rows `block` of a wave where `group` query heads share a key-value head, in items of up to `queries` rows × heads that share one.
pub fn work(wave: &Wave, block: Range<usize>, group: usize, window: Option<usize>, queries: u32) -> Work {
    let group = group as u32;
    let (rows_at_once, heads_at_once) = ((queries / group).max(1), group.min(queries));
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

/// Widths of the heads that the kernels are compiled for; of queries and keys, and of values, the wider decides.
pub const WIDTHS: [usize; 5] = [64, 96, 128, 192, 256];

/// Which kernels attend by tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Those of `kernels/forest_attention.cu`.
    Sm80,
    /// Those of `kernels/forest_attention90.cu`.
    Sm90,
}

impl Target {
    /// Most queries of an item.
    pub fn queries(self) -> u32 {
        match self {
            Target::Sm80 => 64,
            Target::Sm90 => 128,
        }
    }

    /// Threads of a block.
    pub fn threads(self) -> usize {
        match self {
            Target::Sm80 => 128,
            Target::Sm90 => 384,
        }
    }

    /// Positions of a tile.
    fn keys(self, width: usize) -> usize {
        let keys = if width > 128 { 32 } else { 64 };
        match self {
            Target::Sm80 => keys,
            Target::Sm90 => 2 * keys,
        }
    }

    /// Columns and rows of a box of keys or values.
    pub fn of_box(self, width: usize) -> [usize; 2] {
        [if width.is_multiple_of(64) { 64 } else { 32 }, self.keys(width)]
    }

    /// Bytes of shared memory: queries, two tiles of keys and two of values; and of sm_80, whose rows have 16 bytes more than a head, where two tiles' rows lie, of sm_90a eight barriers
    /// and where one tile's rows lie.
    pub fn shared_bytes(self, width: usize) -> usize {
        let (queries, keys) = (self.queries() as usize, self.keys(width));
        match self {
            Target::Sm80 => (queries + 4 * keys) * (width + 8) * 2 + 2 * keys * 4,
            Target::Sm90 => (queries + 4 * keys) * width * 2 + 8 * 8 + keys * 4,
        }
    }

    /// The kernel for operands of this name and heads of this width.
    pub fn kernel(self, operands: &str, width: usize) -> String {
        let suffix = if self == Target::Sm90 { "_90" } else { "" };
        format!("forest_attention_{operands}_{width}{suffix}")
    }
}

/// Work of some rows of a block, on a device.
pub(super) struct Sent<D: Device> {
    items: D::Memory,
    merges: D::Memory,
    of: Work,
}

/// What decides a block's work: as [`launches`] has it.
pub(super) type PlanKey = (Range<usize>, usize, Option<usize>, u32, usize);

/// Maps of a wave's store and of the resident one: of keys, and of values.
type Maps = [[TensorMap; 2]; 2];

/// The work of a block, in as many launches as it takes for each to have at most `part_rows` of parts, unless one row has more.
fn launches(wave: &Wave, block: Range<usize>, group: usize, window: Option<usize>, queries: u32, part_rows: usize) -> Vec<Work> {
    let (mut all, mut first) = (Vec::new(), block.start);
    while first < block.end {
        let mut end = block.end;
        let of = loop {
            let of = work(wave, first..end, group, window, queries);
            if of.part_rows as usize <= part_rows || end == first + 1 {
                break of;
            }
            end = first + (end - first) / 2;
        };
        all.push(of);
        first = end;
    }
    all
}

impl<D: Device> Cuda<D> {
    /// Bytes that attention allocates besides matrices.
    pub(super) fn attention_bytes(&self, needs: &Needs) -> usize {
        if self.precision == Dtype::F32 || needs.head_dim == 0 { 0 } else { PART_BYTES }
    }

    /// As [`crate::backend::Backend::attention`].
    pub(super) fn attend(
        &self,
        op: &AttentionOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        qkv: &Mat<D>,
        keys: &History<Mat<D>>,
        values: &History<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        let dtype = keys.wave.dtype;
        match WIDTHS.iter().find(|w| op.head_dim.max(op.v_head_dim) <= **w) {
            Some(width) if dtype != Dtype::F32 => self.by_tensor_cores(op, *width, on, block, qkv, keys, values, out),
            _ => self.by_plain_loops(op, on, block, qkv, keys, values, out),
        }
    }

    fn by_plain_loops(
        &self,
        op: &AttentionOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        qkv: &Mat<D>,
        keys: &History<Mat<D>>,
        values: &History<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        if op.v_head_dim > MOST_HEAD_DIM {
            return Err(Error::input(format!("heads of attention have values of {} numbers; on CUDA at most {MOST_HEAD_DIM}", op.v_head_dim)));
        }
        let params = params::PlainAttention {
            forest: on.tables.forest(&self.device),
            q: self.at(qkv, 0, 0),
            keys: self.stores(keys).of,
            values: self.stores(values).of,
            sinks: self.or_null(op.sinks),
            out: self.at(out, 0, 0),
            store_rows: store_rows(op, keys),
            first_row: block.start as u32,
            rows: block.len() as u32,
            q_stride: qkv.cols as u32,
            heads: op.heads as u32,
            kv_heads: op.kv_heads as u32,
            head_dim: op.head_dim as u32,
            v_head_dim: op.v_head_dim as u32,
            window: op.window.unwrap_or(0) as u32,
            scale: op.scale,
            softcap: op.softcap.unwrap_or(0.0),
        };
        let kernel = format!("attention_{}_{}", keys.wave.dtype.name(), out.dtype.name());
        self.launch(&kernel, [(block.len() * op.heads).div_ceil(4), 1, 1], 128, 0, &params)
    }

    /// Maps of both stores, where the device has kernels that take them.
    fn maps_of_stores(&self, op: &AttentionOp<Mat<D>>, width: usize, keys: &History<Mat<D>>, values: &History<Mat<D>>) -> Result<Option<Maps>> {
        let map = |mat: &Mat<D>, columns: usize| {
            // An empty store has a map like any other, from which nothing is copied.
            let rows = (mat.rows / op.kv_heads).max(1);
            let (sizes, strides) = ([columns, rows, op.kv_heads], [columns, rows * columns]);
            self.device.tensor_map(Planes { address: self.at(mat, 0, 0), sizes, strides, of_box: Target::Sm90.of_box(width) })
        };
        let both = |of: &History<Mat<D>>, columns| Ok(map(of.wave, columns)?.zip(map(of.resident, columns)?).map(<[TensorMap; 2]>::from));
        Ok(both(keys, op.head_dim)?.zip(both(values, op.v_head_dim)?).map(Maps::from))
    }

    fn by_tensor_cores(
        &self,
        op: &AttentionOp<Mat<D>>,
        width: usize,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        qkv: &Mat<D>,
        keys: &History<Mat<D>>,
        values: &History<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        let name = out.dtype.name();
        // Of queries, kernels of sm_90a read four numbers at a time.
        let maps = if qkv.cols.is_multiple_of(4) { self.maps_of_stores(op, width, keys, values)? } else { None };
        let target = if maps.is_some() { Target::Sm90 } else { Target::Sm80 };
        let (group, part_rows) = (op.heads / op.kv_heads, PART_BYTES / (op.heads * (op.v_head_dim + 2) * 4));
        let plan = on.tables.plans.get(&(block.clone(), group, op.window, target.queries(), part_rows), || {
            let all = launches(on.wave, block.clone(), group, op.window, target.queries(), part_rows).into_iter();
            all.map(|of| Ok(Sent { items: sent(&self.device, &of.items)?, merges: sent(&self.device, &of.merges)?, of })).collect()
        })?;
        for Sent { items, merges, of: Work { items: all, merges: merged, part_rows } } in plan.iter() {
            let room = |numbers: usize| self.device.allocate(4 * *part_rows as usize * numbers);
            let (parts, part_sums) = (room(op.heads * op.v_head_dim)?, room(op.heads * 2)?);
            let params = params::Attention {
                q: self.at(qkv, 0, 0),
                keys: self.stores(keys).of,
                values: self.stores(values).of,
                sinks: self.or_null(op.sinks),
                items: self.device.address(items),
                forest: on.tables.forest(&self.device),
                out: self.at(out, 0, 0),
                parts: self.device.address(&parts),
                part_sums: self.device.address(&part_sums),
                store_rows: store_rows(op, keys),
                block_row: block.start as u32,
                q_stride: qkv.cols as u32,
                heads: op.heads as u32,
                kv_heads: op.kv_heads as u32,
                head_dim: op.head_dim as u32,
                v_head_dim: op.v_head_dim as u32,
                window: op.window.unwrap_or(0) as u32,
                scale: op.scale,
                softcap: op.softcap.unwrap_or(0.0),
                padding: 0,
            };
            let (kernel, grid, threads, shared) = (target.kernel(name, width), [all.len(), op.kv_heads, 1], target.threads(), target.shared_bytes(width));
            match maps {
                Some([keys, values]) => {
                    let params = params::Attention90 { keys, values, attention: params, block_end: block.end as u32, padding: [0; 21] };
                    self.launch(&kernel, grid, threads, shared, &params)?;
                }
                None => self.launch(&kernel, grid, threads, shared, &params)?,
            }
            let merge = params::AttentionMergeAll {
                merges: self.device.address(merges),
                parts: self.device.address(&parts),
                part_sums: self.device.address(&part_sums),
                sinks: self.or_null(op.sinks),
                out: self.at(out, 0, 0),
                block_row: block.start as u32,
                heads: op.heads as u32,
                v_head_dim: op.v_head_dim as u32,
                padding: 0,
            };
            let most = merged.iter().map(|m| m.rows).max().unwrap_or(0) as usize;
            self.launch(&format!("attention_merge_{name}"), [merged.len(), most, op.heads], 128, 0, &merge)?;
        }
        Ok(())
    }
}

fn store_rows<D: Device>(op: &AttentionOp<Mat<D>>, history: &History<Mat<D>>) -> [u64; 2] {
    [history.wave.rows, history.resident.rows].map(|r| (r / op.kv_heads) as u64)
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

    /// Every row, head and segment within sight is one item's, and every row of several segments is merged once, whatever the launches.
    fn check(runs: &[(u32, u32)], block: Range<usize>, group: usize, window: Option<usize>, most: usize) -> Vec<Work> {
        check_items(runs, block.clone(), group, window, most, Target::Sm90.queries());
        check_items(runs, block, group, window, most, Target::Sm80.queries())
    }

    fn check_items(runs: &[(u32, u32)], block: Range<usize>, group: usize, window: Option<usize>, most: usize, queries: u32) -> Vec<Work> {
        let wave = wave(runs);
        let all = launches(&wave, block.clone(), group, window, queries, most);
        let mut seen = std::collections::BTreeSet::new();
        for work in &all {
            let mut part_rows = std::collections::BTreeSet::new();
            for item in &work.items {
                assert!(item.rows * item.heads <= queries && item.heads > 0 && item.rows > 0);
                for (row, head) in (0..item.rows).flat_map(|r| (0..item.heads).map(move |h| (item.first_row + r, item.first_head + h))) {
                    assert!(seen.insert((row, head, item.segment)), "row {row}, head {head} twice");
                    assert!(item.part == DIRECT || part_rows.insert((item.part + row - item.first_row, head)));
                }
            }
            assert_eq!(part_rows.len(), work.part_rows as usize * group);
        }
        let (items, merges) = (|| all.iter().flat_map(|w| &w.items), || all.iter().flat_map(|w| &w.merges));
        for row in block.start as u32..block.end as u32 {
            let run = wave.runs.iter().find(|r| r.rows.contains(&row)).unwrap();
            let position = run.position + row - run.rows.start;
            let first = window.map_or(0, |w| (position + 1).saturating_sub(w as u32));
            for head in 0..group as u32 {
                for segment in first / SEGMENT..=position / SEGMENT {
                    assert!(seen.contains(&(row, head, segment)), "row {row}, head {head}, segment {segment}");
                }
            }
            let merged = merges().filter(|m| (m.first_row..m.first_row + m.rows).contains(&row)).count();
            let in_parts = items().any(|i| (i.first_row..i.first_row + i.rows).contains(&row) && i.part != DIRECT);
            assert_eq!(merged, usize::from(in_parts), "row {row}");
        }
        all
    }

    #[test]
    fn every_row_is_attended_for() {
        let any = usize::MAX;
        let one = check(&[(0, 5)], 0..5, 1, None, any);
        assert_eq!((one.len(), one[0].items.len(), one[0].merges.len()), (1, 1, 0));
        check(&[(0, 200), (37, 1), (12, 64), (0, 65)], 0..330, 4, None, any);
        check(&[(0, 200), (37, 1), (12, 64)], 150..230, 3, None, any);
        // Falcon's 71 heads over one.
        check(&[(9, 3)], 0..3, 71, None, any);
        let long = [(2000, 100), (0, 3), (9000, 2)];
        let at_once = check(&long, 0..105, 2, None, any);
        assert!(at_once[0].merges.iter().any(|m| m.segments == 2) && at_once[0].merges.iter().any(|m| m.segments == 5));
        let few = check(&long, 0..105, 2, None, 20);
        assert!(few.iter().all(|w| w.part_rows <= 20) && few.len() > 1);
        // A row that has more parts than may be has a launch of its own.
        assert_eq!(check(&[(9000, 2)], 0..2, 1, None, 1).len(), 2);
        let window = check(&[(2000, 100), (9000, 2)], 0..102, 1, Some(100), any);
        assert!(window[0].merges.iter().all(|m| m.segments == 2) && window[0].items.iter().all(|i| i.segment <= 4));
    }
}
