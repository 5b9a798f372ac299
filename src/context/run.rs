//! Scores what a record does not hold yet, one fold of one context length after another.

use super::part::Part;
use super::plan::{Design, Project, Samples};
use super::texts::Piece;
use crate::engine::{Sampler, Values};
use crate::error::{Error, Result};
use crate::forest::{Forest, Readout, Slot};
use crate::measure::{Done, Pace, Progress};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A part is replaced as a whole: writing it should take no more than this share of the time.
const WRITING: u32 = 10;

/// What is to be scored.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Where the record lies.
    pub project: &'a Project,
    /// The chunks of each fold.
    pub folds: &'a [(usize, Vec<Piece>)],
    /// What computes: backend, instruction path, precision and version.
    pub arithmetic: &'a str,
}

/// The forest of some chunks for the context lengths of a unit: a root a chunk, and what is read of it. Slots go by chunk, then by context length.
///
/// # Errors
/// A chunk that is too short.
pub fn forest_of<'p>(design: &Design, unit: &[u32], pieces: impl Iterator<Item = &'p Piece>) -> Result<(Forest, Readout)> {
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    let before = u32::from(design.start.is_some());
    let most = unit.last().copied().unwrap_or(0) as usize;
    for piece in pieces {
        let tokens = match design.samples {
            Samples::Last => piece.tokens.len().checked_sub(most).map(|first| &piece.tokens[first..]),
            Samples::Positions => piece.tokens.get(..most),
        };
        let tokens = tokens.ok_or_else(|| Error::input(format!("chunk {} of document {} is shorter than {most} tokens", piece.chunk, piece.document)))?;
        let text: Vec<u32> = design.start.iter().chain(tokens).copied().collect();
        let root = forest.root(&text)?;
        for (sample, &c) in (0..).zip(unit) {
            readout.each_sampled(&forest, root, before + c - 1..before + c, sample)?;
        }
    }
    Ok((forest, readout))
}

/// Scores every chunk of every fold at every context length that the record does not hold yet. A fold's sums go on in the order of its chunks wherever they were interrupted, so the record
/// is the same however often that was.
///
/// # Errors
/// [`Error::Interrupted`] once `interrupt` is set, with all that was written; a record of other chunks; whatever the engine or the file system refuses.
pub fn run(sampler: &mut dyn Sampler, task: Task<'_>, pace: Pace, interrupt: &AtomicBool, progress: &mut dyn Progress) -> Result<Done> {
    let design = &task.project.plan.design;
    let mut left: Vec<(&[u32], usize, &[Piece], Part)> = Vec::new();
    let mut done = Done::default();
    for unit in design.units() {
        for (fold, pieces) in task.folds {
            let part = task.project.part(unit, *fold)?;
            let held = part.as_ref().map_or(0, |p| p.places.len());
            let same = |p: &Part| held <= pieces.len() && p.places.iter().copied().eq(pieces[..held].iter().map(|p| (p.document, p.chunk)));
            if !part.as_ref().is_none_or(same) {
                let what = format!("holds other chunks of fold {fold} than this measurement draws; choose another --out");
                return Err(Error::file(task.project.folder(), what));
            }
            let rows = design.rows(unit) as u64;
            done.trees += held as u64;
            done.rows += held as u64 * rows;
            done.trees_total += pieces.len() as u64;
            done.rows_total += pieces.len() as u64 * rows;
            if held < pieces.len() {
                // What is held is read again when its turn has come: the sums of all parts would not fit into memory.
                left.push((unit, *fold, pieces, Part::new(task.project.plan.identity(), sampler.width(), unit)));
            }
        }
    }
    progress.wave(&done);
    let mut budget = pace.first_rows;
    for (unit, fold, pieces, empty) in left {
        let mut part = task.project.part(unit, fold)?.unwrap_or(empty);
        if part.width != sampler.width() {
            return Err(Error::file(task.project.folder(), "holds states of another width than this model has; choose another --out"));
        }
        if !part.arithmetic.iter().any(|a| a == task.arithmetic) {
            part.arithmetic.push(task.arithmetic.to_string());
        }
        let begin: Vec<&[f64]> = part.of.iter().map(|of| &of.moments[..]).collect();
        sampler.begin(&begin, design.states)?;
        let (rows, mut written, mut writing) = (design.rows(unit).max(1), Instant::now(), 0.0);
        while part.places.len() < pieces.len() {
            if interrupt.load(Ordering::Relaxed) {
                // What was scored since is as good as what was written.
                save(sampler, task.project, &mut part, fold)?;
                return Err(Error::Interrupted);
            }
            let rest = &pieces[part.places.len()..];
            let wave = &rest[..(budget.min(pace.most_rows) / rows).clamp(1, rest.len())];
            let began = Instant::now();
            add(sampler, design, unit, wave, &mut part)?;
            let (seconds, fed) = (began.elapsed().as_secs_f64(), wave.len() * rows);
            done.seconds += seconds;
            done.fed += fed as u64;
            done.rows += fed as u64;
            done.trees += wave.len() as u64;
            let since = written.elapsed().as_secs_f64();
            if part.places.len() == pieces.len() || (since >= pace.target.as_secs_f64() && since >= f64::from(WRITING) * writing) {
                let began = Instant::now();
                save(sampler, task.project, &mut part, fold)?;
                (written, writing) = (Instant::now(), began.elapsed().as_secs_f64());
            }
            progress.wave(&done);
            budget = ((fed as f64 * (pace.target.as_secs_f64() / seconds.max(1e-9)).clamp(0.25, 4.0)) as usize).max(1);
        }
    }
    sampler.end();
    Ok(done)
}

/// Writes a part with the sums that the sampler has.
fn save(sampler: &mut dyn Sampler, project: &Project, part: &mut Part, fold: usize) -> Result<()> {
    for (of, taken) in part.of.iter_mut().zip(sampler.taken()?) {
        of.moments = taken.moments;
        of.states.extend(taken.states);
    }
    project.write(part, fold)
}

/// Scores some chunks; their sums stay with the sampler.
fn add(sampler: &mut dyn Sampler, design: &Design, unit: &[u32], wave: &[Piece], part: &mut Part) -> Result<()> {
    let (forest, readout) = forest_of(design, unit, wave.iter())?;
    let mut values = Values::new(&readout);
    sampler.score(&forest, &readout, &mut values)?;
    let mut slots = (0..readout.slots()).map(Slot);
    for piece in wave {
        part.places.push((piece.document, piece.chunk));
        for of in &mut part.of {
            let value = slots.next().map_or(f64::NAN, |s| values.sum(s));
            if !value.is_finite() {
                return Err(Error::input("the model gave no finite log-probability; are its weights finite?"));
            }
            of.logprobs.push(value as f32);
        }
    }
    Ok(())
}
