//! Drives a scorer through all trees of a measurement, one part a wave.

use super::journal::Journal;
use super::part::Row;
use super::plan::{Design, Planned};
use super::shard::Shard;
use super::text::Text;
use crate::corpus::Unit;
use crate::engine::Scorer;
use crate::error::{Error, Result};
use crate::forest::TokenId;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How much is scored between two parts.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Rows of the first wave; at least one tree is taken.
    pub first_rows: usize,
    /// Most rows of a wave.
    pub most_rows: usize,
    /// How long a wave should take: what an interruption may cost.
    pub target: Duration,
}

impl Default for Pace {
    /// 4,096 rows to begin with, at most 4 million, 20 seconds.
    fn default() -> Self {
        Pace { first_rows: 4096, most_rows: 4 << 20, target: Duration::from_secs(20) }
    }
}

/// How far a measurement of one model is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Done {
    /// Trees in the record.
    pub trees: u64,
    /// Trees in all.
    pub trees_total: u64,
    /// Rows fed for what is in the record, by this run or an earlier one.
    pub rows: u64,
    /// Rows in all.
    pub rows_total: u64,
    /// Rows that this run fed.
    pub fed: u64,
    /// Seconds that this run spent in the scorer.
    pub seconds: f64,
}

/// Is told after every wave.
pub trait Progress {
    /// `done` has just changed.
    fn wave(&mut self, done: &Done);
}

impl<F: FnMut(&Done)> Progress for F {
    fn wave(&mut self, done: &Done) {
        self(done)
    }
}

/// What one model is to score.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// What is scored of every group.
    pub design: &'a Design,
    /// ⊥.
    pub start: TokenId,
    /// The groups of the whole measurement, in order.
    pub groups: &'a [Vec<Text>],
    /// Which of them; `None` for all.
    pub shard: Option<Shard>,
    /// Where the journal watches for an error: groups that are scored even if fewer are enough.
    pub least: u32,
}

/// Scores every tree of the task that the journal does not hold yet, in the order of groups and members. Where the journal watches for an error
/// (see [`Journal::watch`]) it ends once that is reached, and groups that were scored beyond stay in the record.
///
/// # Errors
/// [`Error::Interrupted`] once `interrupt` is set, with all finished waves recorded; whatever the scorer or the file system refuses.
pub fn run(scorer: &mut dyn Scorer, task: Task<'_>, journal: &mut Journal, pace: Pace, interrupt: &AtomicBool, progress: &mut dyn Progress) -> Result<Done> {
    let Task { design, start, groups, least, .. } = task;
    check(scorer, start, design, groups)?;
    let trees = trees(task)?;
    let (left, held): (Vec<_>, Vec<_>) = trees.iter().copied().partition(|t| !journal.holds(t.group, t.member as u32));
    let sum = |trees: &[Tree]| trees.iter().map(|t| t.rows as u64).sum();
    let mut done = Done { trees: held.len() as u64, trees_total: trees.len() as u64, rows: sum(&held), rows_total: sum(&trees), ..Done::default() };
    progress.wave(&done);
    let mut budget = pace.first_rows;
    let mut left = &left[..];
    loop {
        if let Some(enough) = journal.reached() {
            left = &left[..left.partition_point(|t| t.group < enough.max(least))];
        }
        if left.is_empty() {
            break;
        }
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        let (wave, after) = left.split_at(whole_trees(left, budget.min(pace.most_rows)));
        left = after;
        let fed: u64 = sum(wave);
        let began = Instant::now();
        let records = score(scorer, task, wave)?;
        let seconds = began.elapsed().as_secs_f64();
        journal.append(&records)?;
        done.trees += wave.len() as u64;
        done.rows += fed;
        done.fed += fed;
        done.seconds += seconds;
        progress.wave(&done);
        // At most four times more at once, since the first waves also pay for what happens once.
        budget = ((fed as f64 * (pace.target.as_secs_f64() / seconds.max(1e-9)).clamp(0.25, 4.0)) as usize).max(1);
    }
    if (done.trees, done.rows) != (done.trees_total, done.rows_total) {
        (done.trees_total, done.rows_total) = (done.trees, done.rows);
        progress.wave(&done);
    }
    Ok(done)
}

/// The tree of one member of a group, with the rows that it feeds.
#[derive(Clone, Copy, Debug)]
struct Tree {
    group: u32,
    member: usize,
    rows: usize,
}

/// All trees of a task, in the order in which they are scored.
fn trees(task: Task<'_>) -> Result<Vec<Tree>> {
    let Task { design, groups, shard, .. } = task;
    // Chunks of as many tokens give trees of as many rows.
    let alike = groups.first().filter(|_| design.unit == Unit::Tokens).map(|g| design.rows_of(g)).transpose()?;
    let mut trees = Vec::new();
    for (group, chunks) in (0..).zip(groups).filter(|&(g, _)| shard.is_none_or(|s| s.holds(g))) {
        let rows = alike.clone().map_or_else(|| design.rows_of(chunks), Ok)?;
        trees.extend(rows.into_iter().enumerate().map(|(member, rows)| Tree { group, member, rows }));
    }
    Ok(trees)
}

/// How many of `trees` fit into `budget` rows: at least one.
fn whole_trees(trees: &[Tree], budget: usize) -> usize {
    let mut sum = 0;
    let fit = trees.iter().take_while(|t| {
        sum += t.rows;
        sum <= budget
    });
    fit.count().max(1)
}

fn check(scorer: &dyn Scorer, start: TokenId, design: &Design, groups: &[Vec<Text>]) -> Result<()> {
    design.check()?;
    if start as usize >= scorer.vocab() {
        return Err(Error::input(format!("the start token {start} is outside the model's vocabulary of {}; choose another with --start", scorer.vocab())));
    }
    let Some(most) = scorer.max_positions() else { return Ok(()) };
    match design.unit {
        Unit::Tokens if design.length as usize > most => {
            Err(Error::input(format!("chunks of {} tokens are longer than the model's {most} positions; choose --length {most} or less", design.length)))
        }
        Unit::Tokens => Ok(()),
        Unit::Bytes => Text::check_positions(groups, most, "the model"),
    }
}

fn score(scorer: &mut dyn Scorer, task: Task<'_>, trees: &[Tree]) -> Result<Vec<Row>> {
    let Task { design, start, groups, .. } = task;
    let mut planned = Planned::new(design, start);
    for &Tree { group, member, .. } in trees {
        planned.add(group, member, &groups[group as usize])?;
    }
    let mut values = planned.collector();
    scorer.score(&planned.forest, &planned.readout, &mut values)?;
    if let Some(slot) = values.missing() {
        return Err(Error::input(format!("the model gave no finite log-probability (value {slot} of a wave); are its weights finite?")));
    }
    let records = planned.records(&values);
    Ok(records.into_iter().map(|r| (r.group as usize, r.member as usize, r)).map(|(g, m, r)| Row::new(r, &groups[g][m])).collect())
}
