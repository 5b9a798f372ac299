//! Waves against a brute-force model: what is fed, what each row finds of its past, which states it starts from, what is read.
//!
//! Every token of a random forest has its own id, so a token names its place, its whole path, and the state after it.

use hilberg::forest::{Cut, Forest, Readout, SpanId, StateRef, Store, TokenId, Wanted, Wave, Waves};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Instant;

/// A forest and its readings from random numbers: spans as (parent, offset, length), readings as (span, start, length, each).
#[derive(Clone, Debug)]
struct Draw {
    spans: Vec<(u8, u8, u8)>,
    readings: Vec<(u8, u8, u8, bool)>,
}

fn draw() -> impl Strategy<Value = Draw> {
    let span = (any::<u8>(), any::<u8>(), prop_oneof![3 => 1u8..4, 1 => 4u8..40]);
    let reading = (any::<u8>(), prop_oneof![Just(0u8), any::<u8>()], any::<u8>(), any::<bool>());
    (prop::collection::vec(span, 1..24), prop::collection::vec(reading, 0..16)).prop_map(|(spans, readings)| Draw { spans, readings })
}

fn cut() -> impl Strategy<Value = Cut> {
    let rows = prop_oneof![Just(1usize), 2usize..12, 12usize..200];
    let reach = prop_oneof![Just(None), Just(Some(0)), (1u32..12).prop_map(Some), Just(Some(80))];
    let grain = prop_oneof![Just(None), Just(Some(1)), Just(Some(4)), Just(Some(64))];
    (rows, reach, grain).prop_map(|(rows, reach, grain)| Cut { rows, reach, grain })
}

/// Adds a span of `len` tokens that no other span has.
fn grow(forest: &mut Forest, parent: Option<(SpanId, u32)>, len: u32) -> SpanId {
    let next = forest.all_tokens().len() as u32;
    let tokens: Vec<TokenId> = (next..next + len).collect();
    match parent {
        None => forest.root(&tokens).unwrap(),
        Some((p, offset)) => forest.branch(p, offset, &tokens).unwrap(),
    }
}

/// Offsets favour the two ends; a fifth of the spans are roots.
fn build(d: &Draw) -> (Forest, Readout) {
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    for (i, &(parent, offset, len)) in d.spans.iter().enumerate() {
        let parent = (i > 0 && parent % 5 > 0).then(|| {
            let p = SpanId(parent as u32 / 5 % i as u32);
            let n = forest.span(p).len();
            match offset % 4 {
                0 => (p, 0),
                1 => (p, n),
                _ => (p, offset as u32 / 4 % (n + 1)),
            }
        });
        grow(&mut forest, parent, len as u32);
    }
    for &(span, start, len, each) in &d.readings {
        let span = SpanId(span as u32 % d.spans.len() as u32);
        let n = forest.span(span).len();
        let start = start as u32 % n;
        let tokens = start..start + 1 + len as u32 % (n - start);
        let slot = if each { readout.each(&forest, span, tokens.clone()) } else { readout.sum(&forest, span, tokens.clone()) };
        // Refused exactly where nothing predicts the first token.
        assert_eq!(slot.is_err(), forest.span(span).position + tokens.start == 0);
    }
    (forest, readout)
}

/// The token before each token of the forest, by the definition of a branch.
fn predecessors(forest: &Forest) -> Vec<Option<TokenId>> {
    let mut before = vec![None; forest.all_tokens().len()];
    for (s, span) in forest.spans().iter().enumerate() {
        let (mut up, mut last) = (span.parent, None);
        while let Some((p, n)) = up {
            if n > 0 {
                last = Some(forest.tokens(p)[n as usize - 1]);
                break;
            }
            up = forest.span(p).parent;
        }
        for &t in forest.tokens(SpanId(s as u32)) {
            before[t as usize] = last;
            last = Some(t);
        }
    }
    before
}

/// The path up to and including `token`.
fn path(before: &[Option<TokenId>], token: Option<TokenId>) -> Vec<TokenId> {
    let mut path: Vec<TokenId> = std::iter::successors(token, |&t| before[t as usize]).collect();
    path.reverse();
    path
}

/// Runs the waves as an engine would, with tokens for rows and the last token read for a state.
struct Machine<'a> {
    before: &'a [Option<TokenId>],
    cut: Cut,
    resident: Vec<Option<TokenId>>,
    resident_states: Vec<Option<TokenId>>,
    fed: BTreeMap<TokenId, usize>,
    /// By slot: the stated size of the sum, and the tokens in the order in which they are read.
    read: BTreeMap<u32, (u32, Vec<TokenId>)>,
}

impl Machine<'_> {
    fn run(&mut self, w: &Wave) {
        let n = w.tokens.len();
        assert!(n > 0 && n <= self.cut.rows && w.positions.len() == n);
        self.resident.resize(w.resident_rows as usize, None);
        self.resident_states.resize(w.resident_states as usize, None);
        let mut states = vec![None; w.states as usize];
        let (mut row, mut save) = (0, 0);
        for run in &w.runs {
            assert_eq!((run.rows.start, run.saves.start), (row, save));
            let before = path(self.before, self.before[w.tokens[row as usize] as usize]);
            assert_eq!(run.position as usize, before.len());
            let from = run.position.saturating_sub(self.cut.reach.unwrap_or(u32::MAX)) as usize;
            let past = self.past(w, run.past.clone(), row);
            assert!(past.len() >= before.len() - from && before.ends_with(&past));
            assert!(past.is_empty() || w.segments[run.past.start as usize].len as usize > past.len() - (before.len() - from));
            let state = match run.state {
                StateRef::Zero => None,
                StateRef::Wave(0) => panic!("slot 0 is the carry"),
                StateRef::Wave(s) => Some(states[s as usize].expect("saved before it is used")),
                StateRef::Resident(s) => Some(self.resident_states[s as usize].expect("saved before it is used")),
            };
            let boundary = self.cut.grain.map_or(0, |g| run.position / g * g);
            assert_eq!(state, before[..boundary as usize].last().copied());
            for r in run.rows.clone() {
                let t = w.tokens[r as usize];
                assert_eq!(w.positions[r as usize], run.position + r - run.rows.start);
                if r > row {
                    assert_eq!(self.before[t as usize], Some(w.tokens[r as usize - 1]));
                }
                *self.fed.entry(t).or_default() += 1;
                while save < run.saves.end && w.saves[save as usize].row == r {
                    assert_eq!((w.positions[r as usize] + 1) % self.cut.grain.expect("only scans save states"), 0);
                    match w.saves[save as usize].to {
                        StateRef::Zero | StateRef::Wave(0) => panic!("a state saved to nowhere"),
                        StateRef::Wave(i) => states[i as usize] = Some(t),
                        StateRef::Resident(i) => self.resident_states[i as usize] = Some(t),
                    }
                    save += 1;
                }
            }
            row = run.rows.end;
            assert_eq!(save, run.saves.end);
        }
        assert_eq!((row as usize, save as usize), (n, w.saves.len()));
        self.targets(w);
        for k in &w.keeps {
            for i in 0..k.len {
                self.resident[(k.resident + i) as usize] = Some(w.tokens[(k.row + i) as usize]);
            }
        }
    }

    fn past(&self, w: &Wave, segments: Range<u32>, row: u32) -> Vec<TokenId> {
        let mut out = Vec::new();
        let segments = &w.segments[segments.start as usize..segments.end as usize];
        let first = segments.first().map_or(0, |s| s.position);
        for s in segments {
            assert!(s.len > 0);
            assert_eq!(s.position, first + out.len() as u32);
            for r in s.row..s.row + s.len {
                out.push(match s.store {
                    Store::Wave => {
                        assert!(r < row);
                        w.tokens[r as usize]
                    }
                    Store::Resident => self.resident[r as usize].expect("kept before it is seen"),
                });
            }
        }
        out
    }

    fn targets(&mut self, w: &Wave) {
        assert_eq!(w.read_ptr.len(), w.read_rows.len() + 1);
        assert_eq!((w.read_ptr[0], w.read_ptr[w.read_rows.len()] as usize), (0, w.targets.len()));
        assert!(w.read_rows.is_sorted_by(|a, b| a < b));
        for (i, &row) in w.read_rows.iter().enumerate() {
            let targets = &w.targets[w.read_ptr[i] as usize..w.read_ptr[i + 1] as usize];
            assert!(!targets.is_empty() && targets.is_sorted_by(|a, b| a.slot < b.slot));
            for t in targets {
                assert_eq!(self.before[t.token as usize], Some(w.tokens[row as usize]));
                let slot = self.read.entry(t.slot.0).or_insert((t.of, Vec::new()));
                assert_eq!(slot.0, t.of);
                slot.1.push(t.token);
            }
        }
    }
}

fn check(forest: &Forest, readout: &Readout, cut: Cut) {
    let before = predecessors(forest);
    let waves = Waves::plan(forest, readout, cut);
    let mut m = Machine { before: &before, cut, resident: vec![], resident_states: vec![], fed: BTreeMap::new(), read: BTreeMap::new() };
    waves.iter().for_each(|w| m.run(w));
    let (mut fed, mut read) = (BTreeSet::new(), BTreeMap::new());
    for r in readout.readings() {
        let tokens = &forest.tokens(r.span)[r.tokens.start as usize..r.tokens.end as usize];
        for (i, &t) in tokens.iter().enumerate() {
            fed.extend(path(&before, before[t as usize]));
            if r.wanted == Wanted::Each {
                read.insert(r.slot.0 + i as u32, (0, vec![t]));
            }
        }
        if r.wanted != Wanted::Each {
            read.insert(r.slot.0, (tokens.len() as u32, tokens.to_vec()));
        }
    }
    assert!(m.fed.values().all(|&n| n == 1), "a token is fed once");
    assert_eq!(m.fed.keys().copied().collect::<BTreeSet<_>>(), fed);
    assert_eq!(m.read, read);
    // A tree takes no more waves than it must.
    let tree_of: Vec<u32> = forest.spans().iter().flat_map(|s| s.tokens.clone().map(|_| s.tree)).collect();
    for (tree, rows) in Waves::rows_by_tree(forest, readout).into_iter().enumerate() {
        let of_tree = |w: &&Wave| w.tokens.iter().any(|&t| tree_of[t as usize] == tree as u32);
        assert_eq!(waves.iter().filter(of_tree).count(), rows.div_ceil(cut.rows), "a tree of {rows} rows");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, rng_seed: RngSeed::Fixed(2), ..ProptestConfig::default() })]
    #[test]
    fn waves_equal_the_brute_force_model(d in draw(), cut in cut()) {
        let (forest, readout) = build(&d);
        check(&forest, &readout, cut);
    }
}

/// Readings of every token that can be read, span by span.
fn read_all(forest: &Forest) -> Readout {
    let mut readout = Readout::new();
    for (i, s) in forest.spans().iter().enumerate() {
        let from = u32::from(s.position == 0);
        if from < s.len() {
            readout.sum(forest, SpanId(i as u32), from..s.len()).unwrap();
        }
    }
    readout
}

/// Chains, combs and forks of `n` spans, most of them of one to three tokens.
fn shapes(n: u32) -> Vec<(&'static str, Forest)> {
    let (mut chain, mut zero, mut comb, mut late, mut fork) = Default::default();
    let mut at = grow(&mut chain, None, 2);
    for i in 1..n {
        let end = chain.span(at).len();
        at = grow(&mut chain, Some((at, end)), 1 + i % 3);
    }
    at = grow(&mut zero, None, 3);
    at = grow(&mut zero, Some((at, 2)), 2);
    for i in 2..n {
        at = grow(&mut zero, Some((at, 0)), 1 + i % 3);
    }
    at = grow(&mut comb, None, 2);
    for i in 0..n / 2 {
        let end = comb.span(at).len();
        grow(&mut comb, Some((at, end)), 2);
        at = grow(&mut comb, Some((at, end)), 1 + i % 3);
    }
    let mut trunk = vec![grow(&mut late, None, 2)];
    for i in 1..n / 2 {
        let p = trunk[i as usize - 1];
        let end = late.span(p).len();
        trunk.push(grow(&mut late, Some((p, end)), 1 + i % 3));
    }
    for p in trunk {
        let end = late.span(p).len();
        grow(&mut late, Some((p, end)), 2);
    }
    let root = grow(&mut fork, None, 500);
    for i in 1..n {
        grow(&mut fork, Some((root, i * 7 % 501)), 1 + i % 3);
    }
    vec![("chain", chain), ("chain of branches at 0", zero), ("comb", comb), ("comb, teeth last", late), ("fork", fork)]
}

#[test]
fn chains_combs_and_forks() {
    for (_, forest) in shapes(60) {
        let readout = read_all(&forest);
        for rows in [1, 3, 16, 50, 10_000] {
            for reach in [None, Some(3), Some(80)] {
                check(&forest, &readout, Cut { rows, reach, grain: Some(4) });
            }
        }
    }
}

#[test]
fn nothing_wanted_nothing_fed() {
    let mut forest = Forest::new();
    forest.root(&[0, 1, 2]).unwrap();
    assert!(Waves::plan(&forest, &Readout::new(), Cut { rows: 4, reach: None, grain: None }).is_empty());
    assert_eq!(Waves::rows_by_tree(&forest, &Readout::new()), [0]);
}

/// Tables stay near linear in what is scored, and so does the time they take: quadratic work would take minutes here.
#[test]
fn large_forests_take_little() {
    for (name, forest) in shapes(16_384) {
        let readout = read_all(&forest);
        for reach in [None, Some(80), Some(4096)] {
            for rows in [4096, 1 << 20] {
                let start = Instant::now();
                let waves = Waves::plan(&forest, &readout, Cut { rows, reach, grain: Some(64) });
                let segments: usize = waves.iter().map(|w| w.segments.len()).sum();
                println!("{name}, reach {reach:?}, {rows} rows: {} waves, {segments} segments, {:?}", waves.len(), start.elapsed());
                assert!(segments <= 8 * forest.spans().len(), "{name}, reach {reach:?}: {segments} segments");
            }
        }
    }
    let mut forest = Forest::new();
    let root = forest.root(&vec![1; 1 << 20]).unwrap();
    let mut readout = Readout::new();
    readout.each(&forest, root, 1..1 << 20).unwrap();
    for reach in [None, Some(80), Some(4096)] {
        let start = Instant::now();
        let waves = Waves::plan(&forest, &readout, Cut { rows: 4096, reach, grain: Some(64) });
        println!("one long span, reach {reach:?}: {:?}", start.elapsed());
        assert_eq!(waves.len(), 256);
        // What the wave before saw and what this one sees.
        let kept = waves[0].resident_rows;
        assert!(kept <= reach.map_or(1 << 20, |r| 2 * r.max(4096)), "{kept} resident rows, reach {reach:?}");
    }
}
