//! Processes whose information is known exactly, through everything that a measurement does: documents drawn into a token file, read as a corpus, cut into
//! chunks and groups, scored by exact conditionals or by planted weights, journalled and estimated. Checks over many cells use simultaneous bounds
//! (Bonferroni, 1 % over all cells of a test); seeds were fixed before the first run.

mod exact;
mod planted;
mod program;
mod resampling;
mod two_point;

use hilberg::corpus::{Chunk, Corpus, Cutting, Draw, Index, Opened, Room, Tokens, Unit, draw, matched, published};
use hilberg::engine::Scorer;
use hilberg::estimate::special::student_quantile;
use hilberg::estimate::{Estimator, Options, Pairing, Point, Resampling, Sums, analyse};
use hilberg::measure::{Design, Done, Heading, Journal, Pace, Task, Terms, Text, load, run};
use hilberg::source::{self, AnyProcess, Markov, Process, SantaFe};
use std::sync::atomic::AtomicBool;

/// Four tokens, far from independent and far from uniform.
fn chain() -> Markov {
    Markov::new(&[vec![0.7, 0.1, 0.1, 0.1], vec![0.1, 0.2, 0.6, 0.1], vec![0.3, 0.1, 0.1, 0.5], vec![0.05, 0.8, 0.1, 0.05]]).unwrap()
}

/// All sums of groups of K + 1 chunks.
fn design(pairing: Pairing, foreign: u32, length: u32, splits: &[u32], ratios: &[u32]) -> Design {
    Design {
        pairing,
        cutting: Cutting::Chunks,
        unit: Unit::Tokens,
        length,
        splits: splits.into(),
        ratios: ratios.into(),
        foreign,
        terms: Terms::of(&Estimator::ALL),
    }
}

/// Draws documents that hold one chunk each, at a place of its own, and measures `groups` groups of them.
fn measure(process: AnyProcess, scorer: &mut dyn Scorer, design: &Design, groups: usize, seed: u64) -> Sums {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("documents.npy");
    let documents = groups * design.members();
    source::draw(&process, documents, design.length as usize * 5 / 4, seed, &file).unwrap();
    let corpus = Corpus::open(&[file], Default::default()).unwrap();
    let how = Tokens { tokenizers: &[], unit: design.unit, vocab: process.vocab(), room: Room::default() };
    let index = Index::read(corpus.documents(), design.cutting, how).unwrap();
    let what = Draw { length: design.length, seed, wanted: documents, named: &[] };
    let cut = |opened: &Opened<'_>, start: u64| Text::cut(design, opened, &[], start);
    let (order, texts): (Vec<Chunk>, Vec<Vec<Text>>) = draw(&corpus, &index, how, &what, &cut).unwrap().chunks.into_iter().unzip();
    let indices: Vec<Vec<usize>> = match design.pairing {
        Pairing::Matched => matched(&order, |_| 0, design.foreign as usize).unwrap().groups,
        Pairing::Published => published(order.len()).into_iter().map(Vec::from).collect(),
    };
    assert_eq!(indices.len(), groups);
    let texts: Vec<Vec<Text>> = indices.iter().map(|g| g.iter().map(|&i| texts[i][0].clone()).collect()).collect();
    let heading = Heading { plan: "known answers".into(), marks: "[]".into() };
    let mut journal = Journal::open(folder.path(), heading.clone(), "exact", &texts).unwrap();
    let start = process.start_token();
    run(scorer, Task { design, start, groups: &texts, shard: None, least: 0 }, &mut journal, Pace::default(), &AtomicBool::new(false), &mut |_: &Done| {})
        .unwrap();
    let recorded = load(&[folder.path().to_path_buf()], &heading, design, groups as u32).unwrap();
    assert_eq!(recorded.missing, [] as [u32; 0]);
    recorded.sums
}

/// A cell's estimate and what it should be.
struct Check {
    point: Point,
    want: f64,
    /// Whether `want` is only a bound from above.
    upper: bool,
}

/// What each estimator should give of a Markov chain.
fn of_chain(chain: &Markov, point: Point) -> Check {
    let (want, upper) = match point.estimator {
        Estimator::Vclub => (chain.vclub(), false),
        Estimator::Infonce => (chain.information(), true),
        _ => (chain.information(), false),
    };
    Check { point, want, upper }
}

/// What each estimator should give of a Santa Fe process.
fn of_santa_fe(process: &SantaFe, point: Point) -> Check {
    let (l, end) = (point.split as u64, point.split as u64 * point.ratio as u64);
    let (want, upper) = match point.estimator {
        Estimator::Vclub => (process.vclub(l, end), false),
        Estimator::Infonce => (process.information(l, end), true),
        _ => (process.direct(l, end), false),
    };
    Check { point, want, upper }
}

/// All cells within simultaneous 99 % intervals.
fn hold(checks: &[Check]) {
    assert!(!checks.is_empty());
    let t = student_quantile(1.0 - 0.005 / checks.len() as f64, checks[0].point.groups as f64 - 1.0);
    for Check { point, want, upper } in checks {
        let z = (point.value - want) / point.se.unwrap();
        assert!(
            if *upper { z <= t } else { z.abs() <= t },
            "{} at ℓ = {}, r = {}: {} ± {} against {want}: {z:.2} standard errors, {t:.2} allowed",
            point.estimator,
            point.split,
            point.ratio,
            point.value,
            point.se.unwrap()
        );
    }
}

/// Estimates without resampling: only means and standard errors are looked at.
fn points(sums: &Sums, estimators: &[Estimator]) -> Vec<Point> {
    let options = Options { estimators: estimators.to_vec(), resampling: Resampling { resamples: 0, ..Default::default() }, ..Default::default() };
    let analysis = analyse(sums, &options, None).unwrap();
    assert!(analysis.skipped.is_empty(), "{:?}", analysis.skipped);
    analysis.points
}

/// Jensen, tail by tail: L1Out is never above vCLUB, and is vCLUB where there is one foreign head. Sums are below 2¹⁴ nats, where a unit in the last
/// place is 1.8e-12; some ten operations round: 2e-11.
fn leave_one_out_is_never_above_vclub(sums: &Sums) {
    use hilberg::estimate::{Cell, Contributions, NgramCorrection};
    let foreign = sums.groups[0].members.len() - 1;
    let mut below = 0;
    for group in 0..sums.groups.len() {
        for (split, ratio) in sums.splits.iter().flat_map(|&l| sums.ratios.iter().map(move |&r| (l, r))).filter(|&(l, r)| sums.fits(l, r)) {
            let of = |estimator| Contributions::tails(sums, group, Cell { estimator, split, ratio }, NgramCorrection::default(), None);
            let (l1out, vclub) = (of(Estimator::L1out), of(Estimator::Vclub));
            assert_eq!((l1out.len(), vclub.len()), (foreign + 1, foreign + 1));
            for (l1out, vclub) in l1out.into_iter().zip(vclub) {
                if foreign == 1 {
                    assert_eq!(l1out, vclub);
                } else {
                    assert!(l1out <= vclub + 2e-11, "{l1out} {vclub}");
                    below += usize::from(l1out < vclub - 1.0);
                }
            }
        }
    }
    // Where there is a choice of heads the two differ: the comparison is not one of equals.
    assert!(foreign == 1 || below > 50, "{below}");
}
