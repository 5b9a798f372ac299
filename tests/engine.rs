//! The engine's promises, bitwise, on every family: a path scored alone and inside any forest gives the same numbers, however
//! the waves are cut, whatever the order of trees, the number of threads and the weights' way to the chip.

use hilberg::backend::cpu::{Cpu, Isa, Products};
use hilberg::backend::reference::Reference;
use hilberg::engine::{Engine, Options, Scorer, Several, Sink, Values, Weights, score_lists};
use hilberg::forest::{Forest, Readout, Slot, SlotValue, SpanId, TokenId};
use hilberg::model::{self, OpenOptions};
use hilberg::rng::Rng;
use hilberg::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// One fixture of every kind of past: full and windowed attention, grouped heads, parallel residuals, both scans.
const FAMILIES: [&str; 8] = ["gpt2", "gpt-neox", "llama", "mistral", "qwen3", "mamba", "mamba2", "mamba2-groups"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name)
}

fn engine_with(name: &str, isa: Isa, products: Products, threads: usize, options: Options) -> Engine<Cpu> {
    let (spec, checkpoint) = model::open(&folder(name), &OpenOptions::default()).unwrap();
    Engine::new(Cpu::with(isa, products, Some(threads)).unwrap(), spec, checkpoint, options).unwrap()
}

fn engine(name: &str, threads: usize, wave_rows: usize) -> Engine<Cpu> {
    engine_with(name, Isa::detect(), Products::F32, threads, Options { wave_rows: Some(wave_rows), ..Options::default() })
}

/// A forest with everything in it: wide forks, deep chains, branches at 0, at the end, of one token, and spans that nothing reads.
struct Drawn {
    forest: Forest,
    readout: Readout,
    /// Span and first slot of its tokens, in the order in which they were asked for.
    read: Vec<(SpanId, Slot, u32)>,
}

fn draw(seed: u64, vocab: usize, longest: usize, trees: usize) -> Drawn {
    let mut rng = Rng::new(seed, 0);
    let mut forest = Forest::new();
    let tokens = |rng: &mut Rng, n: usize| -> Vec<TokenId> { (0..n).map(|_| rng.below(vocab as u64) as TokenId).collect() };
    for _ in 0..trees {
        let trunk = (1 + rng.below(150) as usize).min(longest);
        let mut spans = vec![forest.root(&tokens(&mut rng, trunk)).unwrap()];
        for _ in 0..rng.below(12) {
            // Half the time the newest span is the parent: chains grow deep.
            let parent = if rng.below(2) == 0 { spans[spans.len() - 1] } else { spans[rng.below(spans.len() as u64) as usize] };
            let len = forest.span(parent).len();
            let offset = [0, len, rng.below(len as u64 + 1) as u32, rng.below(len as u64 + 1) as u32][rng.below(4) as usize];
            let room = longest.saturating_sub((forest.span(parent).position + offset) as usize);
            if room == 0 {
                continue;
            }
            let n = [1, 1 + rng.below(70) as usize][rng.below(2) as usize].min(room);
            spans.push(forest.branch(parent, offset, &tokens(&mut rng, n)).unwrap());
        }
    }
    let (mut readout, mut read) = (Readout::new(), Vec::new());
    for i in 0..forest.spans().len() as u32 {
        let span = SpanId(i);
        let s = forest.span(span);
        let first = u32::from(s.position == 0);
        if first < s.len() && rng.below(8) > 0 {
            read.push((span, readout.each(&forest, span, first..s.len()).unwrap(), s.len() - first));
        }
    }
    Drawn { forest, readout, read }
}

fn bits(engine: &mut Engine<Cpu>, drawn: &Drawn) -> Vec<Vec<u32>> {
    let mut values = Values::new(&drawn.readout);
    engine.score(&drawn.forest, &drawn.readout, &mut values).unwrap();
    drawn.read.iter().map(|&(_, slot, n)| values.tokens(slot, n as usize).iter().map(|x| x.to_bits()).collect()).collect()
}

/// Every read span's path on its own, as a text.
fn alone(engine: &mut Engine<Cpu>, drawn: &Drawn) -> Vec<Vec<u32>> {
    drawn
        .read
        .iter()
        .map(|&(span, _, n)| {
            let path = drawn.forest.path(span);
            let logs = score_lists(engine, std::slice::from_ref(&path)).unwrap().remove(0);
            logs[logs.len() - n as usize..].iter().map(|x| x.to_bits()).collect()
        })
        .collect()
}

fn same(name: &str, what: &str, got: &[Vec<u32>], want: &[Vec<u32>]) {
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        for (t, (x, y)) in g.iter().zip(w).enumerate() {
            assert_eq!(x, y, "{name}, {what}: span {i}, token {t}: {} and {}", f32::from_bits(*x), f32::from_bits(*y));
        }
    }
    assert_eq!(got.len(), want.len());
}

#[test]
fn forest_equals_strings() {
    for name in FAMILIES {
        let (vocab, longest) = {
            let e = engine(name, 1, 64);
            (e.vocab(), e.max_positions().unwrap_or(400).min(400))
        };
        for seed in 0..3 {
            let drawn = draw(seed, vocab, longest, 3);
            let want = alone(&mut engine(name, 1, 4096), &drawn);
            assert!(want.iter().flatten().all(|b| f32::from_bits(*b) <= 0.0), "{name}: log p must not be positive");
            // One row a wave, waves smaller and larger than trees, everything at once; one thread and two.
            for (threads, rows) in [(2, 4096), (1, 4096), (2, 61), (1, 128), (2, 7)] {
                same(name, &format!("waves of {rows} rows, {threads} threads"), &bits(&mut engine(name, threads, rows), &drawn), &want);
            }
        }
        let drawn = draw(3, vocab, longest, 1);
        same(name, "waves of one row", &bits(&mut engine(name, 1, 1), &drawn), &alone(&mut engine(name, 2, 4096), &drawn));
    }
}

/// The same trees one after another in the given order.
fn together(drawn: &[&Drawn]) -> Drawn {
    let (mut forest, mut readout, mut read) = (Forest::new(), Readout::new(), Vec::new());
    for d in drawn {
        let first = forest.spans().len() as u32;
        for i in 0..d.forest.spans().len() as u32 {
            let tokens = d.forest.tokens(SpanId(i));
            match d.forest.span(SpanId(i)).parent {
                None => forest.root(tokens).unwrap(),
                Some((p, offset)) => forest.branch(SpanId(first + p.0), offset, tokens).unwrap(),
            };
        }
        for &(span, _, n) in &d.read {
            let (span, len) = (SpanId(first + span.0), d.forest.span(span).len());
            read.push((span, readout.each(&forest, span, len - n..len).unwrap(), n));
        }
    }
    Drawn { forest, readout, read }
}

#[test]
fn the_order_of_trees_does_not_matter() {
    for name in FAMILIES {
        let mut e = engine(name, 2, 150);
        let (vocab, longest) = (e.vocab(), e.max_positions().unwrap_or(300).min(300));
        let trees: Vec<Drawn> = (20..23).map(|seed| draw(seed, vocab, longest, 1)).collect();
        let each: Vec<Vec<Vec<u32>>> = trees.iter().map(|t| bits(&mut e, t)).collect();
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]] {
            let want: Vec<Vec<u32>> = order.iter().flat_map(|&i| each[i].clone()).collect();
            same(name, &format!("trees in the order {order:?}"), &bits(&mut e, &together(&order.map(|i| &trees[i]))), &want);
        }
    }
}

#[test]
fn every_instruction_path_keeps_the_promise() {
    for (isa, products) in Isa::available().into_iter().flat_map(|isa| Products::available(isa).into_iter().map(move |p| (isa, p))) {
        for name in ["mistral", "mamba", "mamba2"] {
            let mut whole = engine_with(name, isa, products, 2, Options::default());
            let drawn = draw(7, whole.vocab(), whole.max_positions().unwrap_or(300).min(300), 2);
            let want = alone(&mut whole, &drawn);
            let mut cut = engine_with(name, isa, products, 1, Options { wave_rows: Some(45), ..Options::default() });
            same(name, &format!("{products} on path {isa}"), &bits(&mut cut, &drawn), &want);
        }
    }
}

/// Sums are float64 sums of the tokens' float32 numbers, in the tokens' order, wherever waves end.
#[test]
fn sums_add_up_across_waves() {
    let mut rows = engine("llama", 2, 13);
    let mut forest = Forest::new();
    let mut rng = Rng::new(11, 0);
    let tokens: Vec<TokenId> = (0..120).map(|_| rng.below(rows.vocab() as u64) as TokenId).collect();
    let root = forest.root(&tokens[..60]).unwrap();
    let tail = forest.branch(root, 40, &tokens[60..]).unwrap();
    let mut readout = Readout::new();
    let whole = readout.sum(&forest, tail, 0..60).unwrap();
    let parts = [readout.sum(&forest, tail, 0..17).unwrap(), readout.sum(&forest, tail, 17..60).unwrap()];
    let each = readout.each(&forest, tail, 0..60).unwrap();
    let mut values = Values::new(&readout);
    rows.score(&forest, &readout, &mut values).unwrap();
    let logs = values.tokens(each, 60);
    let add = |r: std::ops::Range<usize>| logs[r].iter().fold(0.0f64, |s, &x| s + x as f64);
    assert_eq!(values.sum(whole), add(0..60));
    assert_eq!([values.sum(parts[0]), values.sum(parts[1])], [add(0..17), add(17..60)]);
}

/// Greedy tokens are counted as the logits of a float64 pass have them, whatever the waves; a sum that asks has the bits of one that does not.
#[test]
fn greedy_tokens_are_counted() {
    for name in ["llama", "mamba2"] {
        let mut rng = Rng::new(12, 0);
        let vocab = engine(name, 1, 64).vocab() as u64;
        let mut tokens: Vec<TokenId> = (0..70).map(|_| rng.below(vocab) as TokenId).collect();
        let (spec, checkpoint) = model::open(&folder(name), &OpenOptions::default()).unwrap();
        let mut truth = Engine::new(Reference, spec, checkpoint, Options::default()).unwrap();
        // Every third token is made the first choice of the model: the token whose ln q is largest after those before it.
        for i in (20..70).step_by(3) {
            let (mut forest, mut readout) = (Forest::new(), Readout::new());
            let trunk = forest.root(&tokens[..i]).unwrap();
            let slots: Vec<_> = (0..vocab as u32)
                .map(|t| {
                    let leaf = forest.branch(trunk, i as u32, &[t]).unwrap();
                    readout.sum(&forest, leaf, 0..1).unwrap()
                })
                .collect();
            let mut values = Values::new(&readout);
            truth.score(&forest, &readout, &mut values).unwrap();
            tokens[i] = (0..vocab as usize).max_by(|&a, &b| values.sum(slots[a]).total_cmp(&values.sum(slots[b]))).unwrap() as TokenId;
        }
        let (mut forest, mut readout) = (Forest::new(), Readout::new());
        let trunk = forest.root(&tokens[..40]).unwrap();
        let leaf = forest.branch(trunk, 40, &tokens[40..]).unwrap();
        let plain = readout.sum(&forest, leaf, 0..30).unwrap();
        let asked = [readout.sum_and_greedy(&forest, trunk, 20..40).unwrap(), readout.sum_and_greedy(&forest, leaf, 0..30).unwrap()];
        let read = |scorer: &mut dyn Scorer| {
            let mut values = Values::new(&readout);
            scorer.score(&forest, &readout, &mut values).unwrap();
            assert_eq!((values.sum(plain).to_bits(), values.greedy(plain)), (values.sum(asked[1]).to_bits(), None));
            asked.map(|s| values.greedy(s).unwrap())
        };
        let want = read(&mut truth);
        assert!(want[0] >= 7 && want[0] < 20 && want[1] >= 10 && want[1] < 30, "{want:?}");
        for wave_rows in [3, 45, 4096] {
            assert_eq!(read(&mut engine(name, 2, wave_rows)), want, "{name}, waves of {wave_rows}");
        }
    }
}

fn with_weights(name: &str, weights: Weights, memory: Option<usize>) -> Result<Engine<Cpu>> {
    let (spec, checkpoint) = model::open(&folder(name), &OpenOptions::default()).unwrap();
    Engine::new(Cpu::new(Some(2)).unwrap(), spec, checkpoint, Options { weights, memory, wave_rows: Some(64), ..Options::default() })
}

/// Weights that are packed anew for every wave: slower, same bits.
#[test]
fn streamed_weights_give_the_same_bits() {
    for name in ["llama", "mamba2"] {
        let [mut kept, mut streamed] = [Weights::Resident, Weights::Stream].map(|w| with_weights(name, w, None).unwrap());
        assert!(!kept.streaming() && streamed.streaming() && streamed.weight_bytes() < kept.weight_bytes());
        let drawn = draw(5, kept.vocab(), 256, 2);
        let want = bits(&mut kept, &drawn);
        same(name, "streamed weights", &bits(&mut streamed, &drawn), &want);
    }
}

/// Left to themselves, weights stay where they fit; told to stay where they do not, they are refused in a sentence that says what else there is.
#[test]
fn weights_stay_where_they_fit() {
    // Half-way from what streaming takes to what all weights take.
    let tight = Some([Weights::Stream, Weights::Resident].map(|w| with_weights("llama", w, None).unwrap().weight_bytes()).iter().sum::<usize>() / 2);
    assert!(!with_weights("llama", Weights::Auto, None).unwrap().streaming());
    assert!(with_weights("llama", Weights::Auto, tight).unwrap().streaming());
    let why = with_weights("llama", Weights::Resident, tight).err().unwrap().to_string();
    assert!(why.contains("--weights stream") && why.contains("--memory") && !why.contains('\n'), "{why}");
}

#[test]
fn bad_forests_are_refused_in_a_sentence() {
    let mut e = engine("gpt2", 1, 64);
    let max = e.max_positions().unwrap();
    let say = |e: &mut Engine<Cpu>, tokens: Vec<TokenId>| score_lists(e, &[tokens]).unwrap_err().to_string();
    assert_eq!(say(&mut e, vec![0, 1, 1_000_000]), format!("token 1000000 lies outside the model's vocabulary of {}", e.vocab()));
    let long = say(&mut e, vec![0; max + 2]);
    assert!(long.contains(&format!("{} tokens", max + 2)) && long.contains(&format!("{max} positions")), "{long}");
    // The last token is not fed: one more than the positions is fine.
    assert_eq!(score_lists(&mut e, &[vec![0; max + 1]]).unwrap()[0].len(), max);
    let (spec, checkpoint) = model::open(&folder("gpt2"), &OpenOptions::default()).unwrap();
    let tiny = Engine::new(Cpu::new(Some(1)).unwrap(), spec, checkpoint, Options { memory: Some(1000), ..Options::default() });
    assert!(tiny.err().unwrap().to_string().contains("--memory"));
}

/// Takes values in the order in which they come, their bits as text.
#[derive(Default)]
struct InOrder(Vec<String>);

impl Sink for InOrder {
    fn put(&mut self, slot: Slot, value: SlotValue) {
        self.0.push(format!("{slot:?} {value:?}"));
    }
}

/// Several engines give what one gives, value by value in its order, each from trees of its own; sums reach over branches.
#[test]
fn several_engines_are_as_one() {
    for (name, trees, engines) in [("llama", 5, 2), ("mamba2", 7, 3), ("llama", 1, 2), ("mistral", 2, 4)] {
        let mut one = engine(name, 1, 64);
        let mut drawn = draw(31, one.vocab(), one.max_positions().unwrap_or(300).min(300), trees);
        for (span, _, n) in drawn.read.clone() {
            let len = drawn.forest.span(span).len();
            drawn.readout.sum_and_greedy(&drawn.forest, span, len - n..len).unwrap();
        }
        let mut several = Several::of((0..engines).map(|i| engine(name, 1, 40 + 30 * i)).collect()).unwrap();
        let (mut want, mut got) = (InOrder::default(), InOrder::default());
        one.score(&drawn.forest, &drawn.readout, &mut want).unwrap();
        several.score(&drawn.forest, &drawn.readout, &mut got).unwrap();
        assert!(got.0 == want.0 && want.0.len() == drawn.readout.slots() as usize, "{name}, {trees} trees, {engines} engines");
        let fed: Vec<u64> = several.scorers().iter().map(Engine::fed).collect();
        assert_eq!((several.fed(), fed.iter().filter(|f| **f > 0).count()), (one.fed(), trees.min(engines)), "{name}: {fed:?}");
        assert!(trees > 1 || fed[0] > 0);
    }
}

#[test]
fn an_error_of_one_of_several_ends_all() {
    let tokens = |last: TokenId| [vec![1; 60], vec![last]].concat();
    let say = |lasts: [TokenId; 3]| {
        let mut several = Several::of((0..3).map(|_| engine("llama", 1, 64)).collect()).unwrap();
        score_lists(&mut several, &lasts.map(tokens)).unwrap_err().to_string()
    };
    let one = score_lists(&mut engine("llama", 1, 64), &[tokens(5), tokens(2_000_000)]).unwrap_err().to_string();
    assert_eq!(say([5, 5, 2_000_000]), one);
    assert_eq!(say([5, 2_000_000, 3_000_000]), one);
    // Whose turn comes later may fail sooner.
    struct Fails(Duration, &'static str);
    impl Scorer for Fails {
        fn vocab(&self) -> usize {
            9
        }
        fn max_positions(&self) -> Option<usize> {
            None
        }
        fn score(&mut self, _: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
            sink.put(readout.readings()[0].slot, SlotValue::Token(-1.0));
            sleep(self.0);
            if self.1.is_empty() { Ok(()) } else { Err(Error::input(self.1)) }
        }
    }
    let fails = [(0, ""), (200, "second"), (0, "third")].map(|(ms, what)| Fails(Duration::from_millis(ms), what));
    let (mut forest, mut readout, mut sink) = (Forest::new(), Readout::new(), InOrder::default());
    for _ in 0..3 {
        let root = forest.root(&[1, 2, 3]).unwrap();
        readout.sum(&forest, root, 1..3).unwrap();
    }
    let why = Several::new(fails.into()).unwrap().score(&forest, &readout, &mut sink).unwrap_err();
    assert_eq!((why.to_string().as_str(), sink.0.len()), ("second", 2));
    assert!(Several::<Fails>::new(Vec::new()).is_err());
}

/// The flag that ends one engine's work ends all of theirs.
#[test]
fn several_engines_stop() {
    let flag = Arc::new(AtomicBool::new(false));
    let [mut first, mut second] = [0, 1].map(|_| {
        let (spec, checkpoint) = model::open(&folder("llama"), &OpenOptions::default()).unwrap();
        let options = Options { wave_rows: Some(1), stop: Some(flag.clone()), ..Options::default() };
        Engine::new(Cpu::new(Some(1)).unwrap(), spec, checkpoint, options).unwrap()
    });
    // It comes while the first is in its fifth wave and the second in its first.
    let (raised, mut waves) = (flag.clone(), 0);
    first.set_trace(Some(Box::new(move |verb, _, _| {
        waves += i32::from(verb == "embed");
        raised.fetch_or(waves == 5, Ordering::Relaxed);
    })));
    second.set_trace(Some(Box::new(move |_, _, _| {
        while !flag.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1));
        }
    })));
    let mut several = Several::of(vec![first, second]).unwrap();
    let why = score_lists(&mut several, &[vec![1; 200], vec![1; 200]]).unwrap_err();
    assert!(matches!(why, Error::Interrupted), "{why}");
    assert_eq!(several.scorers().iter().map(Engine::fed).collect::<Vec<_>>(), [4, 0]);
}
