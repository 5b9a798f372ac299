//! Measurements with a scorer whose numbers follow from the path alone: sums against plain strings, kill and resume, refusals.

mod bytes;
mod machines;

use hilberg::corpus::{Cutting, Fingerprint, Unit};
use hilberg::engine::{Scorer, Sink};
use hilberg::estimate::{Estimator, Options, Pairing, Sums, analyse};
use hilberg::forest::{Forest, Readout, Slot, SlotValue, TokenId, Wanted, Waves};
use hilberg::measure::{Bytes, Design, Done, Journal, ModelIdentity, Pace, Plan, Project, Task, Terms, Text, Twice, run};
use hilberg::report;
use hilberg::rng::{Rng, mix};
use hilberg::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const START: TokenId = 0;
const ARITHMETIC: &str = "test of hilberg";
const VOCAB: usize = 50;

/// ln q of a path's last token: any number that depends on every token of it.
fn ln_q(path: &[TokenId]) -> f32 {
    let mut state = 17;
    for &t in path {
        state = mix(&mut state.clone()) ^ t as u64;
    }
    -((mix(&mut state) >> 40) as f32 / (1 << 20) as f32) - 1e-3
}

/// Scores by [`ln_q`], counts what it feeds, and is interrupted at its `interrupted`-th call.
#[derive(Default)]
struct Hashes {
    fed: u64,
    calls: usize,
    interrupted: Option<usize>,
    largest: u64,
}

impl Scorer for Hashes {
    fn vocab(&self) -> usize {
        VOCAB
    }

    fn max_positions(&self) -> Option<usize> {
        Some(64)
    }

    fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
        let rows = Waves::rows_by_tree(forest, readout).iter().sum::<usize>() as u64;
        self.fed += rows;
        self.largest = self.largest.max(rows);
        if self.interrupted == Some(self.calls) {
            return Err(Error::Interrupted);
        }
        self.calls += 1;
        for reading in readout.readings() {
            let path = forest.path(reading.span);
            let position = forest.span(reading.span).position as usize;
            let values = reading.tokens.clone().map(|t| ln_q(&path[..position + t as usize + 1]));
            if reading.wanted == Wanted::Each {
                values.enumerate().for_each(|(i, v)| sink.put(Slot(reading.slot.0 + i as u32), SlotValue::Token(v)));
            } else {
                sink.put(reading.slot, SlotValue::Sum { sum: values.map(f64::from).sum(), count: reading.tokens.len() as u32, greedy: None });
            }
        }
        Ok(())
    }
}

fn design(pairing: Pairing, foreign: u32, estimators: &[Estimator]) -> Design {
    Design {
        pairing,
        cutting: Cutting::Chunks,
        unit: Unit::Tokens,
        length: 48,
        splits: vec![2, 4, 16, 24],
        ratios: vec![2, 3],
        foreign,
        terms: Terms::of(estimators),
    }
}

fn texts(design: &Design, groups: usize, seed: u64) -> Vec<Vec<Text>> {
    let mut rng = Rng::new(seed, 0);
    let marks = design.marks();
    let text = |n: usize, rng: &mut Rng| Text {
        document: n as u32,
        document_id: format!("Büch {n}.txt"),
        label: None,
        token_offset: rng.below(1000),
        bytes: (!n.is_multiple_of(3)).then(|| Bytes { offset: rng.below(5000), lengths: marks.iter().map(|m| 4 * m).collect() }),
        tokens: (0..design.length).map(|_| 1 + rng.below(VOCAB as u64 - 1) as TokenId).collect(),
        cuts: Vec::new(),
        divided: 0,
    };
    (0..groups).map(|g| (0..design.members()).map(|m| text(g * design.members() + m, &mut rng)).collect()).collect()
}

fn plan(design: &Design, groups: usize, models: &[&str]) -> Plan {
    let models = models.iter().map(|m| ModelIdentity {
        name: m.to_string(),
        fingerprint: format!("of {m}"),
        start: START,
        tokenizer: None,
        rope_length: None,
        device: "test".into(),
        precision: "f32".into(),
    });
    let corpus = Fingerprint { documents: 9, bytes: 99, xxh3: "feed".into() };
    Plan::new(corpus, 3, design.clone(), groups as u32, Options::default(), models.collect())
}

/// Small waves: the pace of a machine that takes a second for some 500 rows cannot be had, so the target is far away and the rows are bounded.
const PACE: Pace = Pace { first_rows: 500, most_rows: 1000, target: Duration::from_secs(3600) };

fn measure(folder: &Path, plan: Plan, model: usize, groups: &[Vec<Text>], scorer: &mut Hashes) -> Result<Done> {
    let project = Project::open(folder, plan)?;
    let mut journal = Journal::open(&project.record_folder(model), project.plan.heading(model), ARITHMETIC, groups)?;
    let task = Task { design: &project.plan.design, start: START, groups, shard: project.plan.shard, least: 0 };
    run(scorer, task, &mut journal, PACE, &AtomicBool::new(false), &mut |_: &Done| {})
}

fn loaded(folder: &Path, model: usize) -> Sums {
    Project::read(folder).and_then(|p| p.load(model, p.plan.groups)).unwrap().sums
}

/// What `result.json` holds of a record.
fn result(folder: &Path) -> String {
    serde_json::to_string(&analyse(&loaded(folder, 0), &Options::default(), None).unwrap()).unwrap()
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let mut out: Vec<_> = fs::read_dir(Project::read(folder).unwrap().record_folder(0)).unwrap().map(|e| e.unwrap().path()).collect();
    out.sort();
    out
}

/// Σ ln q over the last `n` tokens of ⊥ and `tokens`.
fn direct_sum(tokens: &[&[TokenId]], n: usize) -> f64 {
    let path: Vec<TokenId> = [START].into_iter().chain(tokens.concat()).collect();
    (path.len() - n..path.len()).map(|t| ln_q(&path[..=t]) as f64).sum()
}

/// Sums of at most 48 numbers below 20: one rounding of relative size 2^-53 each, in either order of addition.
const ROUNDING: f64 = 2.0 * 48.0 * 48.0 * 20.0 * f64::EPSILON;

#[test]
fn sums_are_those_of_plain_strings() {
    for (pairing, foreign) in [(Pairing::Matched, 1), (Pairing::Matched, 3), (Pairing::Published, 1)] {
        let design = design(pairing, foreign, &[Estimator::Direct, Estimator::Vclub]);
        let groups = texts(&design, 3, 5);
        let folder = tempfile::tempdir().unwrap();
        measure(folder.path(), plan(&design, 3, &["a"]), 0, &groups, &mut Hashes::default()).unwrap();
        let sums = loaded(folder.path(), 0);
        assert_eq!(sums.groups.len(), 3);
        for (group, texts) in sums.groups.iter().zip(&groups) {
            for (j, member) in group.members.iter().enumerate() {
                let w = &texts[j].tokens;
                let heads: Vec<usize> = (0..texts.len()).filter(|&i| i != j).collect();
                let head_only = pairing == Pairing::Published && j == 0;
                let tail_only = pairing == Pairing::Published && j == 1;
                assert_eq!(member.document, texts[j].document);
                if tail_only {
                    assert!(member.trunk.is_empty());
                } else {
                    let expected: Vec<f32> = (1..=w.len()).map(|t| direct_sum(&[&w[..t]], 1) as f32).collect();
                    assert_eq!(member.trunk, expected);
                }
                if head_only {
                    assert!(member.marginal.is_empty() && member.cross.is_empty());
                    continue;
                }
                assert_eq!(member.cross.len(), heads.len());
                for (s, &l) in [2usize, 4, 16, 24].iter().enumerate() {
                    let marginal = &member.marginal[s];
                    for n in 1..=8 {
                        let longest = if 3 * l <= 48 { 2 * l } else { l };
                        let got = marginal.first[n - 1];
                        if n <= longest { assert!((got - direct_sum(&[&w[l..l + n]], n)).abs() < ROUNDING) } else { assert!(got.is_nan()) }
                    }
                    for (r, ratio) in [2, 3].into_iter().enumerate() {
                        let (n, end) = ((ratio - 1) * l, ratio * l);
                        if end > 48 {
                            assert!(marginal.by_ratio[r].is_nan() && member.cross.iter().all(|h| h[s][r].is_nan()));
                            continue;
                        }
                        assert!((marginal.by_ratio[r] - direct_sum(&[&w[l..end]], n)).abs() < ROUNDING);
                        for (h, &i) in heads.iter().enumerate() {
                            assert!((member.cross[h][s][r] - direct_sum(&[&texts[i].tokens[..l], &w[l..end]], n)).abs() < ROUNDING, "{j} {i} {l} {ratio}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn only_what_is_asked_for_is_scored() {
    for (estimators, marginal, cross) in
        [(vec![Estimator::Profile], false, false), (vec![Estimator::L1out], false, true), (vec![Estimator::Direct], true, false)]
    {
        let design = design(Pairing::Matched, 1, &estimators);
        let folder = tempfile::tempdir().unwrap();
        let mut scorer = Hashes::default();
        measure(folder.path(), plan(&design, 2, &["a"]), 0, &texts(&design, 2, 1), &mut scorer).unwrap();
        // ⊥ and all but the last token of the trunk; all but the last token of every tail: 4, 8, 32 at ratio 3, and 24 at ratio 2.
        let (trunk, tails) = (48, 3 + 7 + 31 + 23);
        assert_eq!(scorer.fed, 4 * (trunk + tails * (marginal as u64 + cross as u64)));
        let sums = loaded(folder.path(), 0);
        let options = Options { estimators: estimators.clone(), ..Options::default() };
        assert_eq!(analyse(&sums, &options, None).unwrap().points[0].estimator, estimators[0]);
        // The others are refused by name, not computed from nothing.
        let all = analyse(&sums, &Options::default(), None).unwrap();
        assert_eq!(all.skipped.iter().any(|s| s.estimator == Estimator::Direct), !marginal);
        assert_eq!(all.skipped.iter().any(|s| s.estimator == Estimator::Vclub), !cross);
    }
}

#[test]
fn killed_anywhere_and_resumed_it_gives_the_same_bytes() {
    let design = design(Pairing::Matched, 1, &Estimator::ALL);
    let groups = texts(&design, 30, 2);
    let whole = tempfile::tempdir().unwrap();
    let mut undisturbed = Hashes::default();
    measure(whole.path(), plan(&design, 30, &["a"]), 0, &groups, &mut undisturbed).unwrap();
    let expected = result(whole.path());
    assert!(undisturbed.calls >= 12, "{} waves are too few to be killed between", undisturbed.calls);
    let mut rng = Rng::new(11, 0);
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let mut fed = 0;
        let mut kills = 0;
        loop {
            let left = undisturbed.calls - if kills == 0 { 0 } else { parts(folder.path()).len() };
            // A call that is interrupted has fed its wave for nothing, as a process killed within it has.
            let at = (kills < 2 && left > 1).then(|| rng.below(left as u64 - 1) as usize);
            let mut scorer = Hashes { interrupted: at, ..Hashes::default() };
            let ended = measure(folder.path(), plan(&design, 30, &["a"]), 0, &groups, &mut scorer);
            fed += scorer.fed;
            assert!(scorer.largest <= PACE.most_rows as u64);
            if ended.is_ok() {
                break;
            }
            assert!(matches!(ended, Err(Error::Interrupted)));
            kills += 1;
            // A part that was being written: any beginning of one, under its temporary name.
            let record = Project::read(folder.path()).unwrap().record_folder(0);
            let part = fs::read(&parts(whole.path())[0]).unwrap();
            fs::write(record.join("part-000099.parquet.partial"), &part[..rng.below(part.len() as u64) as usize]).unwrap();
        }
        assert_eq!(kills, 2);
        assert!(fed <= undisturbed.fed + kills * PACE.most_rows as u64, "{fed} rows after {kills} kills, {} undisturbed", undisturbed.fed);
        assert!(fed > undisturbed.fed);
        assert_eq!(result(folder.path()), expected);
        assert!(parts(folder.path()).iter().all(|p| p.extension().is_some_and(|e| e == "parquet")));
    }
}

#[test]
fn an_unfinished_record_gives_its_complete_groups_and_more_chunks_extend_it() {
    let design = design(Pairing::Matched, 2, &[Estimator::Direct, Estimator::Vclub]);
    let groups = texts(&design, 9, 4);
    let folder = tempfile::tempdir().unwrap();
    let ended = measure(folder.path(), plan(&design, 9, &["a"]), 0, &groups, &mut Hashes { interrupted: Some(3), ..Hashes::default() });
    assert!(matches!(ended, Err(Error::Interrupted)));
    let recorded = Project::read(folder.path()).unwrap().load(0, 9).unwrap();
    let complete = recorded.sums.groups.len();
    assert!((1..9).contains(&complete));
    assert_eq!(recorded.missing, (complete as u32..9).collect::<Vec<_>>());
    assert_eq!(recorded.bytes_per_token, None);

    // Four groups first and nine later are nine at once.
    let (grown, once) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut scorer = Hashes::default();
    measure(grown.path(), plan(&design, 4, &["a"]), 0, &groups[..4], &mut scorer).unwrap();
    measure(grown.path(), plan(&design, 9, &["a"]), 0, &groups, &mut scorer).unwrap();
    let mut at_once = Hashes::default();
    measure(once.path(), plan(&design, 9, &["a"]), 0, &groups, &mut at_once).unwrap();
    assert_eq!(scorer.fed, at_once.fed);
    assert_eq!(result(grown.path()), result(once.path()));
}

#[test]
fn two_models_over_the_same_chunks() {
    let design = design(Pairing::Matched, 1, &[Estimator::Direct]);
    let groups = texts(&design, 3, 4);
    let folder = tempfile::tempdir().unwrap();
    measure(folder.path(), plan(&design, 3, &["a"]), 0, &groups, &mut Hashes::default()).unwrap();
    measure(folder.path(), plan(&design, 3, &["a", "b/c d"]), 1, &groups, &mut Hashes::default()).unwrap();
    assert!(folder.path().join("model-0-a/record/part-000000.parquet").exists());
    assert!(folder.path().join("model-1-b_c_d/record/part-000000.parquet").exists());
    assert_eq!(loaded(folder.path(), 0).groups[2].members[1].trunk, loaded(folder.path(), 1).groups[2].members[1].trunk);
    let mut again = Hashes::default();
    measure(folder.path(), plan(&design, 3, &["a", "b/c d"]), 1, &groups, &mut again).unwrap();
    assert_eq!(again.fed, 0);
}

#[test]
fn a_record_of_something_else_is_refused_in_one_sentence() {
    let d = design(Pairing::Matched, 1, &[Estimator::Direct]);
    let groups = texts(&d, 3, 4);
    let folder = tempfile::tempdir().unwrap();
    measure(folder.path(), plan(&d, 3, &["a"]), 0, &groups, &mut Hashes::default()).unwrap();
    let before = fs::read(folder.path().join("plan.json")).unwrap();
    let said = |p: Plan, groups: &[Vec<Text>]| {
        let e = measure(folder.path(), p, 0, groups, &mut Hashes::default()).unwrap_err();
        assert_eq!(e.exit_code(), 2);
        let s = e.to_string();
        assert!(!s.contains('\n') && s.contains("choose another --out"), "{s}");
        s
    };
    let mut other = plan(&d, 3, &["a"]);
    other.corpus.xxh3 = "beef".into();
    assert!(said(other, &groups).contains("another corpus (recorded: 9 documents, 99 bytes, xxh3 feed; now: 9 documents, 99 bytes, xxh3 beef)"));
    assert!(said(plan(&d, 3, &["b"]), &groups).contains("another model as -m number 1 (recorded: a of a"));
    let mut other = plan(&d, 3, &["a"]);
    other.seed = 4;
    assert!(said(other, &groups).contains("another --seed (recorded: 3; now: 4)"));
    assert!(said(plan(&Design { splits: vec![2], ..d.clone() }, 3, &["a"]), &groups).contains("another --splits (recorded: 2,4,16,24; now: 2)"));
    assert!(said(plan(&design(Pairing::Matched, 1, &Estimator::ALL), 3, &["a"]), &groups).contains("joint and marginal; now: joint and marginal and cross"));
    // The same plan but other chunks, as from another version of the drawing.
    assert!(said(plan(&d, 3, &["a"]), &texts(&d, 3, 5)).contains("is another one than this measurement draws"));
    assert_eq!(fs::read(folder.path().join("plan.json")).unwrap(), before);

    let full = tempfile::tempdir().unwrap();
    fs::write(full.path().join("thesis.tex"), "…").unwrap();
    let e = Project::open(full.path(), plan(&d, 3, &["a"])).unwrap_err().to_string();
    assert!(e.contains("holds no measurement"), "{e}");
    assert_eq!(fs::read_dir(full.path()).unwrap().count(), 1);
    let open = Project::open(folder.path(), plan(&d, 3, &["a"])).unwrap();
    let e = Project::open(folder.path(), plan(&d, 3, &["a"])).unwrap_err().to_string();
    assert!(e.contains("another process is measuring"), "{e}");
    drop(open);
}

#[test]
fn a_damaged_part_is_named() {
    let d = design(Pairing::Matched, 1, &[Estimator::Direct]);
    let groups = texts(&d, 8, 4);
    let folder = tempfile::tempdir().unwrap();
    measure(folder.path(), plan(&d, 8, &["a"]), 0, &groups, &mut Hashes::default()).unwrap();
    let expected = result(folder.path());
    let part = parts(folder.path())[1].clone();
    let whole = fs::read(&part).unwrap();
    let mut rng = Rng::new(8, 0);
    let mut harmless = 0;
    for trial in 0..40 {
        let mut bytes = whole.clone();
        if trial % 2 == 0 {
            bytes.truncate(rng.below(whole.len() as u64) as usize);
        } else {
            // Anywhere in the values' pages, which come first and make up most of the file.
            bytes[4 + rng.below(whole.len() as u64 / 2) as usize] ^= 1 << rng.below(8);
        }
        fs::write(&part, &bytes).unwrap();
        let e = match measure(folder.path(), plan(&d, 8, &["a"]), 0, &groups, &mut Hashes::default()) {
            Err(e) => e.to_string(),
            // Some bits of the format mean nothing, as those beyond the width of a run's value.
            Ok(done) => {
                assert_eq!((done.fed, result(folder.path())), (0, expected.clone()));
                harmless += 1;
                continue;
            }
        };
        assert!(e.contains("part-000001.parquet: this part of the record is damaged") && !e.contains('\n'), "{e}");
    }
    assert!(harmless <= 4, "{harmless} of 40 changes were not found");
    fs::remove_file(&part).unwrap();
    let mut scorer = Hashes::default();
    measure(folder.path(), plan(&d, 8, &["a"]), 0, &groups, &mut scorer).unwrap();
    assert!(scorer.fed > 0 && scorer.fed <= PACE.most_rows as u64);
    assert_eq!(result(folder.path()), expected);
}

#[test]
fn what_the_model_cannot_do_is_said_before_anything_is_scored() {
    let d = design(Pairing::Matched, 1, &[Estimator::Direct]);
    let groups = texts(&d, 2, 4);
    let folder = tempfile::tempdir().unwrap();
    let said = |start: TokenId, design: &Design| {
        let mut journal = Journal::open(folder.path(), plan(design, 2, &["a"]).heading(0), ARITHMETIC, &groups).unwrap();
        let mut scorer = Hashes::default();
        let e =
            run(&mut scorer, Task { design, start, groups: &groups, shard: None, least: 0 }, &mut journal, PACE, &AtomicBool::new(false), &mut |_: &Done| {})
                .unwrap_err();
        assert_eq!(scorer.calls, 0);
        e.to_string()
    };
    assert!(said(50, &d).contains("choose another with --start"));
    assert!(said(START, &Design { length: 65, ..d.clone() }).contains("longer than the model's 64 positions"));
    let mut journal = Journal::open(folder.path(), plan(&d, 2, &["a"]).heading(0), ARITHMETIC, &groups).unwrap();
    let flag = AtomicBool::new(true);
    let e =
        run(&mut Hashes::default(), Task { design: &d, start: START, groups: &groups, shard: None, least: 0 }, &mut journal, PACE, &flag, &mut |_: &Done| {})
            .unwrap_err();
    assert!(matches!(e, Error::Interrupted));
}

#[test]
fn results_follow_from_the_record_alone() {
    let estimators = [Estimator::Direct, Estimator::Vclub, Estimator::Profile];
    let d = design(Pairing::Matched, 1, &estimators);
    let groups = texts(&d, 6, 4);
    let folder = tempfile::tempdir().unwrap();
    let mut p = plan(&d, 6, &["a", "b, c"]);
    p.options.estimators = estimators.to_vec();
    for model in 0..2 {
        measure(folder.path(), p.clone(), model, &groups, &mut Hashes::default()).unwrap();
    }
    let names = ["result.json", "result.csv", "figure.svg", "figure.png"];
    let files = || names.map(|n| fs::read(folder.path().join(n)).unwrap());
    let report = report::estimate(&Project::read(folder.path()).unwrap()).unwrap();
    let first = files();
    // Seven cells of direct and of vCLUB (24 fits no ratio 3), four of the profile, per model.
    assert_eq!(report.csv().lines().count(), 1 + 2 * (7 + 7 + 4));
    assert!(report.csv().contains("\n\"b, c\",,profile,2,24,"));
    let json: serde_json::Value = serde_json::from_slice(&first[0]).unwrap();
    assert_eq!(json["models"][1]["name"], "b, c");
    assert_eq!(json["models"][0]["analysis"]["points"].as_array().unwrap().len(), 18);
    let svg = String::from_utf8(first[2].clone()).unwrap();
    assert!(svg.contains("ℓ (tokens)") && svg.contains("I(ℓ; rℓ) (nats)") && svg.contains("DejaVu Sans, Verdana, sans-serif"));
    assert!(first[3].starts_with(b"\x89PNG"));
    let table = report::table(&report);
    assert!(table.contains("I(ℓ; 3ℓ) in nats") && table.contains("a: 12 documents, 12 chunks of 48 tokens, 6 groups"), "{table}");
    report::estimate(&Project::read(folder.path()).unwrap()).unwrap();
    assert_eq!(files(), first);
    let e = Project::read(tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
    assert!(e.contains("holds no measurement"), "{e}");
}
