//! A wave's tables as kernels read them.

use super::attention::{self, PlanKey};
use super::device::Device;
use super::mat::countable;
use super::scan::Paths;
use super::ssd;
use crate::error::Result;
use crate::forest::{StateRef, Store, Wave};
use bytemuck::{Pod, Zeroable};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// No row, no state.
pub const NOWHERE: u32 = u32::MAX;

/// Of a row or a state: of the resident store.
pub const RESIDENT: u32 = 1 << 31;

/// A wave's tables: `Forest` in `kernels/forest.cuh`, part of the parameters of what looks along paths.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Forest {
    /// [`ForestRun`]s.
    pub runs: u64,
    /// [`ForestSegment`]s.
    pub segments: u64,
    /// [`ForestSave`]s.
    pub saves: u64,
    /// `[rows]` uint32.
    pub run_of_row: u64,
}

/// `forest::Run`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ForestRun {
    /// Row of the wave.
    pub first_row: u32,
    /// The one after its last.
    pub end_row: u32,
    /// Position of the first row.
    pub position: u32,
    /// First of its segments.
    pub past_from: u32,
    /// The one after its last.
    pub past_to: u32,
    /// That it begins from: [`NOWHERE`] for zeros; with [`RESIDENT`] of the resident ones.
    pub state: u32,
    /// First of its saves.
    pub saves_from: u32,
    /// The one after its last.
    pub saves_to: u32,
}

/// `forest::Segment`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ForestSegment {
    /// Row of a store; with [`RESIDENT`] of the resident one.
    pub row: u32,
    /// Its position.
    pub position: u32,
    /// Rows.
    pub length: u32,
}

/// `forest::StateSave`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ForestSave {
    /// Row of the wave.
    pub row: u32,
    /// A slot; with [`RESIDENT`] of the resident ones.
    pub to: u32,
}

/// Both stores of a history.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Stores {
    /// The wave's and the resident one.
    pub of: [u64; 2],
}

/// Scan states.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct States {
    /// The wave's and the resident ones.
    pub of: [u64; 2],
    /// Numbers of a state.
    pub size: u64,
}

/// `forest::Keep`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct KeptRows {
    /// First row of the wave.
    pub row: u32,
    /// First resident row.
    pub resident: u32,
    /// Rows.
    pub length: u32,
}

/// Runs, segments and saves of a wave, and the run of each row.
pub fn of(wave: &Wave) -> (Vec<ForestRun>, Vec<ForestSegment>, Vec<ForestSave>, Vec<u32>) {
    let slot = |state: StateRef| match state {
        StateRef::Zero => NOWHERE,
        StateRef::Wave(slot) => slot,
        StateRef::Resident(slot) => slot | RESIDENT,
    };
    let run = |r: &crate::forest::Run| ForestRun {
        first_row: r.rows.start,
        end_row: r.rows.end,
        position: r.position,
        past_from: r.past.start,
        past_to: r.past.end,
        state: slot(r.state),
        saves_from: r.saves.start,
        saves_to: r.saves.end,
    };
    let segment = |s: &crate::forest::Segment| {
        let store = if s.store == Store::Resident { RESIDENT } else { 0 };
        ForestSegment { row: s.row | store, position: s.position, length: s.len }
    };
    let run_of_row = wave.runs.iter().enumerate().flat_map(|(i, r)| r.rows.clone().map(move |_| i as u32));
    (
        wave.runs.iter().map(run).collect(),
        wave.segments.iter().map(segment).collect(),
        wave.saves.iter().map(|s| ForestSave { row: s.row, to: slot(s.to) }).collect(),
        run_of_row.collect(),
    )
}

/// A wave's tables on a device.
pub struct Tables<D: Device> {
    memory: [D::Memory; 4],
    /// Positions of the wave's rows: `[rows]` uint32.
    pub positions: D::Memory,
    /// [`KeptRows`].
    pub keeps: D::Memory,
    /// What attention, convolutions and scans go by.
    pub(super) plans: Plans<PlanKey, Vec<attention::Sent<D>>>,
    pub(super) paths: Plans<Range<usize>, Paths<D>>,
    pub(super) duals: Plans<Range<usize>, Vec<ssd::Sent<D>>>,
}

/// Work of a wave's blocks, made where no layer came with the same before.
pub(super) struct Plans<K, V>(Mutex<Vec<(K, Arc<V>)>>);

impl<K, V> Default for Plans<K, V> {
    fn default() -> Self {
        Plans(Mutex::default())
    }
}

impl<K: Clone + PartialEq, V> Plans<K, V> {
    pub(super) fn get(&self, key: &K, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = plans.iter().find(|(of, _)| of == key) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(make()?);
        plans.push((key.clone(), plan.clone()));
        Ok(plan)
    }
}

impl<D: Device> Tables<D> {
    /// Sends them.
    ///
    /// # Errors
    /// More rows or states than kernels can count, no memory for them, or the device fails.
    pub fn send(device: &D, wave: &Wave) -> Result<Self> {
        for (what, n) in [
            ("rows of a wave", wave.positions.len()),
            ("rows that stay", wave.resident_rows as usize),
            ("states of a wave", wave.states as usize),
            ("states that stay", wave.resident_states as usize),
        ] {
            countable(what, n)?;
        }
        let (runs, segments, saves, run_of_row) = of(wave);
        let keeps: Vec<KeptRows> = wave.keeps.iter().map(|k| KeptRows { row: k.row, resident: k.resident, length: k.len }).collect();
        Ok(Tables {
            memory: [sent(device, &runs)?, sent(device, &segments)?, sent(device, &saves)?, sent(device, &run_of_row)?],
            positions: sent(device, &wave.positions)?,
            keeps: sent(device, &keeps)?,
            plans: Plans::default(),
            paths: Plans::default(),
            duals: Plans::default(),
        })
    }

    /// Where they lie.
    pub fn forest(&self, device: &D) -> Forest {
        let [runs, segments, saves, run_of_row] = [0, 1, 2, 3].map(|i| device.address(&self.memory[i]));
        Forest { runs, segments, saves, run_of_row }
    }
}

/// Memory that holds these.
///
/// # Errors
/// No memory for them, or the device fails.
pub fn sent<D: Device>(device: &D, values: &[impl Pod]) -> Result<D::Memory> {
    let bytes = bytemuck::cast_slice(values);
    let mut memory = device.allocate(bytes.len())?;
    device.upload(bytes, &mut memory, 0)?;
    Ok(memory)
}
