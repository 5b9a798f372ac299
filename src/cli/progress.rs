//! How far a measurement is: a bar on a terminal, a line now and then in a log.

use super::options::AnyEngine;
use crate::bench::{Ceilings, Work};
use crate::engine::cut;
use crate::error::Result;
use crate::forest::{Forest, Readout, Waves};
use crate::measure::{Done, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
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
/// measured in some 50 ms; `None` for a backend that has none.
///
/// # Errors
/// Not enough memory.
pub fn ceiling(engine: &AnyEngine, forest: &Forest, readout: &Readout) -> Result<Option<f64>> {
    let AnyEngine::Cpu(engine) = engine else { return Ok(None) };
    let spec = engine.spec();
    let waves = Waves::plan(forest, readout, cut(spec, usize::MAX));
    let work = waves.iter().fold(Work::default(), |sum, w| sum + Work::rows(spec, &w.positions, w.read_rows.len()));
    let rows: usize = waves.iter().map(|w| w.tokens.len()).sum();
    let seconds = work.bound_seconds(&Ceilings::probe(engine.backend())?);
    Ok((seconds > 0.0).then_some(rows as f64 / seconds))
}

fn describe(done: &Done, ceiling: Option<f64>) -> String {
    let texts = format!("{} of {} texts", done.trees, done.trees_total);
    if done.fed == 0 || done.seconds <= 0.0 {
        return texts;
    }
    let speed = done.fed as f64 / done.seconds;
    let left = (done.rows_total - done.rows) as f64 / speed;
    let share = ceiling.map_or_else(String::new, |c| format!(" ({:.0}% of the ceiling)", 100.0 * speed / c));
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
    }
}
