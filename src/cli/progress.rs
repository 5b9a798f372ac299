//! How far a measurement is: a bar on a terminal, a line now and then in a log.

use super::engine::{AnyEngine, Telling};
use crate::bench::{Ceilings, Work};
use crate::engine::{Scorer, Sink, cut};
use crate::error::Result;
use crate::forest::{Forest, Readout, Waves};
use crate::measure::{Done, Progress};
use crate::model::ModelSpec;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between two lines in a log.
const EVERY: Duration = Duration::from_secs(30);

/// Shows progress on standard error.
pub struct Meter {
    name: String,
    show: Show,
    /// Tokens a second that the machine's ceilings allow.
    ceiling: Option<f64>,
}

enum Show {
    Nothing,
    Bar(ProgressBar),
    Lines { last: Option<Instant> },
}

impl Meter {
    /// A meter for one model.
    pub fn new(name: &str, quiet: bool) -> Self {
        let show = if quiet {
            Show::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {percent}% {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_string());
            Show::Bar(bar)
        } else {
            Show::Lines { last: None }
        };
        Meter { name: name.to_string(), show, ceiling: None }
    }

    /// Says the speed as a share of `ceiling` tokens a second, too.
    pub fn against(self, ceiling: Option<f64>) -> Self {
        Meter { ceiling, ..self }
    }

    /// Takes the latest state.
    pub fn show(&mut self, done: &Done) {
        let text = describe(done, self.ceiling);
        match &mut self.show {
            Show::Nothing => {}
            Show::Bar(bar) => {
                bar.set_length(done.rows_total);
                bar.set_position(done.rows);
                bar.set_message(text);
            }
            Show::Lines { last } => {
                if last.is_none_or(|t| t.elapsed() >= EVERY) || done.rows == done.rows_total {
                    *last = Some(Instant::now());
                    let share = 100.0 * done.rows as f64 / done.rows_total.max(1) as f64;
                    eprintln!("{}: {share:.0}% {text}", self.name);
                }
            }
        }
    }

    /// Leaves the last state on the screen.
    pub fn finish(&self) {
        if let Show::Bar(bar) = &self.show {
            bar.abandon();
        }
    }
}

impl Progress for Meter {
    fn wave(&mut self, done: &Done) {
        self.show(done);
    }
}

/// Tokens a second at which a forest like this one takes no more than its operations and exponentials at their ceilings ([`Work::bound_seconds`]), which are
/// measured in some 50 ms; `None` for a backend that has none, and where there is no memory to measure in.
pub fn ceiling(engine: &AnyEngine, forest: &Forest, readout: &Readout) -> Option<f64> {
    let AnyEngine::Cpu(engine) = engine else { return None };
    let (work, rows) = work(engine.spec(), forest, readout);
    let seconds = work.bound_seconds(&Ceilings::probe(engine.backend()).ok()?);
    (seconds > 0.0).then_some(rows as f64 / seconds)
}

/// What scoring a forest must compute, and the rows it feeds.
fn work(spec: &ModelSpec, forest: &Forest, readout: &Readout) -> (Work, usize) {
    let waves = Waves::plan(forest, readout, cut(spec, usize::MAX));
    let work = waves.iter().fold(Work::default(), |sum, w| sum + Work::rows(spec, &w.positions, w.read_rows.len()));
    (work, waves.iter().map(|w| w.tokens.len()).sum())
}

/// How much of a known amount is done: a bar on a terminal, a line now and then in a log.
pub struct Amount {
    name: &'static str,
    bar: Option<ProgressBar>,
    total: u64,
    logged: Instant,
}

impl Amount {
    /// Nothing of `total` yet; a `quiet` one says nothing.
    pub fn new(name: &'static str, total: u64, quiet: bool) -> Self {
        let bar = (!quiet).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {percent}% {msg}, {eta} left") {
                bar.set_style(style);
            }
            bar.with_prefix(name)
        });
        Amount { name, bar, total, logged: Instant::now() }
    }

    /// Takes what is done, and what to say of it.
    pub fn show(&mut self, done: u64, said: &str) {
        let Some(bar) = &self.bar else { return };
        if !bar.is_hidden() {
            bar.set_position(done);
            bar.set_message(said.to_string());
        } else if self.logged.elapsed() >= EVERY {
            self.logged = Instant::now();
            eprintln!("{}: {:.0}% {said}", self.name, 100.0 * done as f64 / self.total.max(1) as f64);
        }
    }

    /// Clears the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far a scoring is whose end is not known beforehand: a line that changes on a terminal, one now and then in a log, and a last one.
pub struct Counter {
    /// What is counted beside tokens.
    what: &'static str,
    quiet: bool,
    bar: ProgressBar,
    began: Instant,
    logged: Instant,
    documents: u64,
    tokens: u64,
}

impl Counter {
    /// One that has seen nothing; a `quiet` one says nothing.
    pub fn new(what: &'static str, quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Counter { what, quiet, bar, began: now, logged: now, documents: 0, tokens: 0 }
    }

    /// Runs `work` with an engine whose work is counted, and a function that is told documents and tokens so far.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn watch<T>(mut self, engine: &mut AnyEngine, work: impl FnOnce(&mut dyn Scorer, &mut dyn FnMut(u64, u64)) -> Result<T>) -> Result<T> {
        if self.quiet {
            return work(engine, &mut |_, _| {});
        }
        let least = Cell::new(None);
        let mut watched = Watched { engine, began: self.began, work: Work::default(), ceilings: None, least: &least };
        let result = work(&mut watched, &mut |documents, tokens| {
            (self.documents, self.tokens) = (documents, tokens);
            let text = self.describe(least.get());
            // A bar is not drawn into a log.
            if self.bar.is_hidden() && self.logged.elapsed() >= EVERY {
                eprintln!("{text}");
                self.logged = Instant::now();
            }
            self.bar.set_message(text);
            self.bar.tick();
        });
        self.bar.finish_and_clear();
        if result.is_ok() {
            eprintln!("{}", self.describe(least.get()));
        }
        result
    }

    fn describe(&self, least: Option<f64>) -> String {
        counted(self.documents, self.what, self.tokens, self.began.elapsed().as_secs_f64(), least)
    }
}

/// An engine whose work is counted.
struct Watched<'e> {
    engine: &'e mut AnyEngine,
    began: Instant,
    work: Work,
    ceilings: Option<Ceilings>,
    /// Seconds that the work so far takes at the machine's ceilings, once these are known.
    least: &'e Cell<Option<f64>>,
}

/// A shorter scoring is not worth measuring the ceilings for.
const WORTH_MEASURING: Duration = Duration::from_secs(1);

impl Scorer for Watched<'_> {
    fn vocab(&self) -> usize {
        self.engine.vocab()
    }
    fn max_positions(&self) -> Option<usize> {
        self.engine.max_positions()
    }
    fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
        Telling(self.engine).score(forest, readout, sink)?;
        if let AnyEngine::Cpu(engine) = &*self.engine {
            self.work = self.work + work(engine.spec(), forest, readout).0;
            if self.ceilings.is_none() && self.began.elapsed() >= WORTH_MEASURING {
                // A share that there is no memory to measure is left out.
                self.ceilings = Ceilings::probe(engine.backend()).ok();
            }
            self.least.set(self.ceilings.map(|c| self.work.bound_seconds(&c)));
        }
        Ok(())
    }
}

fn of_the_ceiling(share: Option<f64>) -> String {
    share.map_or_else(String::new, |s| format!(" ({:.0}% of the ceiling)", 100.0 * s))
}

fn counted(documents: u64, what: &str, tokens: u64, seconds: f64, least: Option<f64>) -> String {
    let share = of_the_ceiling(least.map(|least| least / seconds));
    format!("{documents} {what}, {tokens} tokens in {}, {:.0} tokens/s{share}", duration(seconds), tokens as f64 / seconds)
}

fn describe(done: &Done, ceiling: Option<f64>) -> String {
    let texts = format!("{} of {} texts", done.trees, done.trees_total);
    if done.fed == 0 || done.seconds <= 0.0 {
        return texts;
    }
    let speed = done.fed as f64 / done.seconds;
    let left = (done.rows_total - done.rows) as f64 / speed;
    let share = of_the_ceiling(ceiling.map(|c| speed / c));
    format!("{texts}, {speed:.0} tokens/s{share}, {} left", duration(left))
}

/// A time in the two units that matter.
pub(super) fn duration(seconds: f64) -> String {
    match seconds.round() as u64 {
        s if s < 60 => format!("{s} s"),
        s if s < 3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_follows_from_this_runs_speed() {
        let done = Done { trees: 2, trees_total: 4, rows: 200, rows_total: 400, fed: 100, seconds: 50.0 };
        assert_eq!(describe(&done, None), "2 of 4 texts, 2 tokens/s, 1 min 40 s left");
        assert_eq!(describe(&done, Some(2.5)), "2 of 4 texts, 2 tokens/s (80% of the ceiling), 1 min 40 s left");
        assert_eq!(describe(&Done { fed: 0, ..done }, None), "2 of 4 texts");
        assert_eq!(duration(7300.0), "2 h 1 min");
        assert_eq!(counted(3, "rows", 500, 2.0, None), "3 rows, 500 tokens in 2 s, 250 tokens/s");
        assert_eq!(counted(3, "rows", 500, 100.0, Some(83.0)), "3 rows, 500 tokens in 1 min 40 s, 5 tokens/s (83% of the ceiling)");
    }
}
