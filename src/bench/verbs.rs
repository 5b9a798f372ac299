//! The verbs at the sizes of real models, each ready to be run and timed: what is run, and what its contract says must be computed and moved.

use super::ceilings::{packed, random, weight, weight_bytes};
use super::{Sizes, Work};
use crate::backend::{
    Act, AttentionOp, Backend, ConvOp, Epilogue, GateOp, HeadOp, History, NormOp, OnDevice, Operand, RotaryOp, SSD_CHUNK, ScanOp, SsdOp, States,
};
use crate::error::Result;
use crate::forest::{Cut, Forest, Readout, Wave, Waves};
use crate::model::{Attention, Mixer, ModelSpec, NormKind};
use crate::tensor::{Dtype, MatrixView, RowMap, Tensor};

/// A verb at a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Case {
    /// Embedding rows of [`Sizes::wave`] tokens gathered, float32 weights.
    Embed { vocab: usize, d: usize },
    /// Rows of a residual normalised block by block.
    Norm { d: usize, center: bool },
    /// A product over one block of rows.
    Linear { inputs: usize, outputs: usize, gated: Option<Act> },
    /// Rotary embedding of a block, and its keys and values appended.
    Rotary { heads: usize, kv_heads: usize, head_dim: usize, v_head_dim: usize, dims: usize },
    /// Attention of a text's tokens over themselves.
    Attention { heads: usize, kv_heads: usize, head_dim: usize, v_head_dim: usize, window: Option<usize>, tokens: usize },
    /// Causal convolution over a text of [`Sizes::text`] tokens.
    Conv { width: usize, taps: usize, act: Act },
    /// Mamba-1's scan of a text of [`Sizes::text`] tokens.
    Scan { d_inner: usize, d_state: usize, act: Act },
    /// Mamba-2's dual form over a text of [`Sizes::text`] tokens, its convolution included.
    Ssd { heads: usize, head_dim: usize, groups: usize, d_state: usize, taps: usize, act: Act },
    /// The gate of Mamba-2 over one block of rows, with its RMS norm or without.
    Gate { d_inner: usize, norm: bool, act: Act },
    /// Log-probabilities of one block of rows.
    Head { inputs: usize, vocab: usize },
    /// Sums over the hidden states of one block of rows, float64.
    Moments { d: usize },
}

/// Tokens of the text that scans and convolutions run over on a processor.
pub const TEXT: usize = 1024;
/// Lengths at which attention is timed.
const LENGTHS: [usize; 3] = [512, 1024, 4096];

/// A verb with its matrices: one call is one run.
pub type Prepared<'c> = Box<dyn FnMut() -> Result<()> + Send + 'c>;

/// The verbs of typical models: GPT-2 small's sizes as a Llama, Mamba-130m, and the state of Mamba-2 370m.
pub fn typical() -> Vec<Case> {
    let act = Act::Silu;
    let mut cases = vec![Case::Embed { vocab: 50_304, d: 768 }, Case::Norm { d: 768, center: false }];
    let attention = |tokens| Case::Attention { heads: 12, kv_heads: 12, head_dim: 64, v_head_dim: 64, window: None, tokens };
    cases.extend([(768, 2304), (768, 768), (2048, 768)].map(|(inputs, outputs)| Case::Linear { inputs, outputs, gated: None }));
    cases.push(Case::Linear { inputs: 768, outputs: 4096, gated: Some(act) });
    cases.push(Case::Rotary { heads: 12, kv_heads: 12, head_dim: 64, v_head_dim: 64, dims: 64 });
    cases.extend(LENGTHS.map(attention));
    cases.extend([
        Case::Conv { width: 1536, taps: 4, act },
        Case::Scan { d_inner: 1536, d_state: 16, act },
        Case::Ssd { heads: 32, head_dim: 64, groups: 1, d_state: 128, taps: 4, act },
        Case::Gate { d_inner: 2048, norm: true, act },
        Case::Head { inputs: 768, vocab: 50_304 },
        Case::Moments { d: 768 },
    ]);
    cases
}

/// The verbs of a model, each size once, in the order in which a forward pass meets them.
pub fn of(spec: &ModelSpec) -> Vec<Case> {
    let mut cases = vec![Case::Embed { vocab: spec.vocab, d: spec.d }];
    let mut add = |case: Case| {
        if !cases.contains(&case) {
            cases.push(case);
        }
    };
    let linear = |l: &crate::model::Linear| Case::Linear { inputs: l.inputs, outputs: l.outputs, gated: None };
    for b in spec.layers.iter().flat_map(|l| &l.blocks) {
        add(Case::Norm { d: spec.d, center: b.norm.kind == NormKind::Layer });
        match &b.mixer {
            Mixer::Attention(a) => {
                add(linear(&a.qkv));
                let &Attention { heads, kv_heads, head_dim, v_head_dim, window, .. } = a;
                add(Case::Rotary { heads, kv_heads, head_dim, v_head_dim, dims: a.rope.as_ref().map_or(0, |r| r.dims) });
                for tokens in LENGTHS.map(|t| t.min(spec.max_positions.unwrap_or(t))) {
                    add(Case::Attention { heads, kv_heads, head_dim, v_head_dim, window, tokens });
                }
                add(linear(&a.out));
            }
            Mixer::Mlp(m) => {
                add(Case::Linear { inputs: m.up.inputs, outputs: m.up.outputs, gated: m.gated.then_some(m.activation) });
                add(linear(&m.down));
            }
            Mixer::Mamba1(m) => {
                add(linear(&m.in_proj));
                add(Case::Conv { width: m.d_inner, taps: m.conv, act: m.activation });
                add(linear(&m.x_proj));
                add(linear(&m.dt_proj));
                add(Case::Scan { d_inner: m.d_inner, d_state: m.d_state, act: m.activation });
                add(linear(&m.out_proj));
            }
            Mixer::Mamba2(m) => {
                add(linear(&m.in_proj));
                add(Case::Ssd { heads: m.heads, head_dim: m.head_dim, groups: m.groups, d_state: m.d_state, taps: m.conv, act: m.activation });
                add(Case::Gate { d_inner: m.d_inner, norm: m.norm.is_some(), act: m.activation });
                add(linear(&m.out_proj));
            }
        }
    }
    add(Case::Head { inputs: spec.d, vocab: spec.vocab });
    cases
}

/// The products of some cases that are large enough to reach a ceiling, as (inputs, outputs): of the head, a tile of its vocabulary.
pub fn products(cases: &[Case]) -> Vec<(usize, usize)> {
    let mut shapes = Vec::new();
    for case in cases {
        let shape = match *case {
            Case::Linear { inputs, outputs, .. } => (inputs, outputs),
            Case::Head { inputs, vocab } => (inputs, vocab.min(4096)),
            _ => continue,
        };
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    // Narrow ones (a low-rank projection) are nobody's ceiling; where all are narrow, all are tried.
    let wide: Vec<_> = shapes.iter().copied().filter(|&(k, n)| k >= 256 && n >= 256).collect();
    if wide.is_empty() { shapes } else { wide }
}

/// One text of `rows` fed tokens.
fn text(rows: usize, grain: Option<u32>) -> Result<Wave> {
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    let root = forest.root(&vec![0; rows + 1])?;
    readout.each(&forest, root, 1..rows as u32 + 1)?;
    Ok(Waves::plan(&forest, &readout, Cut { rows, reach: None, grain }).remove(0))
}

/// Calls `step` for the blocks of `rows` rows in order.
fn blocks(rows: usize, block: usize, mut step: impl FnMut(std::ops::Range<usize>) -> Result<()>) -> Result<()> {
    (0..rows).step_by(block).try_for_each(|first| step(first..rows.min(first + block)))
}

impl Case {
    /// The verb and its sizes, for a table.
    pub fn title(&self, sizes: Sizes) -> String {
        let Sizes { wave, text, .. } = sizes;
        match *self {
            Case::Embed { vocab, d } => format!("embedding  {vocab} × {d}, {wave} rows"),
            Case::Norm { d, center } => format!("{}  {d}, {wave} rows", if center { "layer norm" } else { "RMS norm" }),
            Case::Linear { inputs, outputs, gated } => format!("product  {inputs} → {outputs}{}", if gated.is_some() { ", gated" } else { "" }),
            Case::Rotary { heads, kv_heads, head_dim, .. } => format!("rotary, append  {heads} + {kv_heads} heads of {head_dim}"),
            Case::Attention { heads, kv_heads, head_dim, tokens, .. } => format!("attention  {heads} heads of {head_dim} over {kv_heads}, {tokens} tokens"),
            Case::Conv { width, taps, .. } => format!("convolution  {width}, {taps} taps, {text} tokens"),
            Case::Scan { d_inner, d_state, .. } => format!("Mamba-1 scan  {d_inner} × {d_state}, {text} tokens"),
            Case::Ssd { heads, head_dim, d_state, .. } => format!("Mamba-2 dual  {heads} heads of {head_dim} × {d_state}, {text} tokens"),
            Case::Gate { d_inner, norm, .. } => format!("gate  {d_inner}{}", if norm { ", normed" } else { "" }),
            Case::Head { inputs, vocab } => format!("head  {inputs} → {vocab}"),
            Case::Moments { d } => format!("sums of states  {d}, {} rows", sizes.block),
        }
    }

    /// What one run computes and moves: [`Work`], `bytes` counting every activation and weight that is read or written once, and for the embedding its rows.
    pub fn work<B: Backend>(&self, on: &B, sizes: Sizes) -> Work {
        let Sizes { wave, text, block, .. } = sizes;
        let bytes = |bytes: usize| Work { bytes: bytes as f64, ..Work::default() };
        let moved = |numbers: usize| bytes(4 * numbers);
        let operands = |rows: usize, cols: usize| bytes(rows * cols * on.operand_bytes(cols));
        match *self {
            Case::Embed { d, .. } => moved(2 * wave * d),
            Case::Norm { d, .. } => moved(wave * d) + operands(wave, d),
            Case::Linear { inputs, outputs, gated } => {
                let gate = gated.map_or(Work::default(), |a| Work::activation(a, (block * outputs / 2) as f64));
                let out = if gated.is_some() { operands(block, outputs / 2) } else { moved(block * outputs) };
                Work::product(block, inputs, outputs) + gate + operands(block, inputs) + bytes(on.weight_bytes(inputs, outputs)) + out
            }
            Case::Rotary { heads, kv_heads, head_dim, v_head_dim, .. } => {
                let stores = operands(kv_heads * block, head_dim) + operands(kv_heads * block, v_head_dim);
                moved(block * (head_dim * (2 * heads + kv_heads) + v_head_dim * kv_heads)) + stores
            }
            Case::Attention { heads, kv_heads, head_dim, v_head_dim, window, tokens } => {
                let stores = operands(kv_heads * tokens, head_dim) + operands(kv_heads * tokens, v_head_dim);
                let out = operands(tokens, heads * v_head_dim);
                Work::attention(tokens, heads, [head_dim, v_head_dim], window) + moved(tokens * heads * head_dim) + stores + out
            }
            Case::Conv { width, act, .. } => moved(2 * text * width) + Work::activation(act, (text * width) as f64),
            Case::Scan { d_inner, d_state, act } => Work::scan(text, d_inner, d_state, act) + moved(4 * text * d_inner),
            Case::Ssd { heads, head_dim, groups, d_state, act, .. } => {
                let width = heads * head_dim + 2 * groups * d_state;
                Work::ssd(text, heads, head_dim, d_state) + Work::activation(act, (text * width) as f64) + moved(text * (width + heads * head_dim))
            }
            Case::Gate { d_inner, act, .. } => moved(3 * block * d_inner) + Work::activation(act, (block * d_inner) as f64),
            Case::Head { inputs, vocab } => Work::head(block, inputs, vocab) + operands(block, inputs) + bytes(on.weight_bytes(inputs, vocab)),
            // A float64 operation takes the place of two of float32.
            Case::Moments { d } => Work { mixing: (2 * block * d * (d + 1)) as f64, ..moved(block * d) + bytes(8 * d * (d + 1)) },
        }
    }

    /// Makes the matrices.
    ///
    /// # Errors
    /// Not enough memory.
    pub fn prepare<'c, B: Backend>(&self, machine: &'c B, sizes: Sizes) -> Result<Prepared<'c>> {
        let Sizes { wave: rows, text: tokens, block, .. } = sizes;
        match *self {
            Case::Embed { vocab, d } => {
                let (table, mut x) = (weight_bytes(vocab * d), machine.mat(rows, d)?);
                let tokens: Vec<u32> = (0..rows as u64).map(|i| (i * 7919 % vocab as u64) as u32).collect();
                let positions = vec![0; rows];
                Ok(Box::new(move || {
                    let table = Tensor { dtype: Dtype::F32, shape: vec![vocab, d], bytes: &table };
                    machine.enter(|| machine.embed(&tokens, &positions, &table, None, &mut x, 0))
                }))
            }
            Case::Norm { d, center } => {
                let (x, weight, mut out) = (random(machine, rows, d, 1.0, 1)?, random(machine, 1, d, 1.0, 2)?, machine.operand(block, d)?);
                Ok(Box::new(move || {
                    let op = NormOp { center, eps: 1e-5, weight: &weight, bias: None };
                    machine.enter(|| blocks(rows, block, |b| machine.norm(&op, &x, b.start, b.len(), &mut out)))
                }))
            }
            Case::Linear { inputs, outputs, gated } => {
                let x = operand(machine, block, inputs)?;
                let (w, epilogue, mut y) = match gated {
                    Some(act) => {
                        let bytes = weight_bytes(inputs * outputs / 2);
                        let half = || {
                            let tensor = Tensor { dtype: Dtype::F32, shape: vec![outputs / 2, inputs], bytes: &bytes };
                            MatrixView { tensor, transposed: false, rows: RowMap::All }
                        };
                        (packed(machine, &Operand::Gated(half(), half()))?, Epilogue::Gated(act), machine.operand(block, outputs / 2)?)
                    }
                    None => (weight(machine, inputs, outputs)?, Epilogue::Store(Act::None), machine.mat(block, outputs)?),
                };
                Ok(Box::new(move || machine.enter(|| machine.linear(&x, 0, block, &w, None, epilogue, &mut y, 0))))
            }
            Case::Rotary { heads, kv_heads, head_dim, v_head_dim, dims } => {
                let wave = text(block, None)?;
                let tables = machine.tables(&wave)?;
                let mut qkv = random(machine, block, (heads + kv_heads) * head_dim + kv_heads * v_head_dim, 1.0, 1)?;
                let [mut keys, mut values] = keys_and_values(machine, kv_heads * block, [head_dim, v_head_dim])?;
                // Cosine 1 and sine 0: queries stay what they are from one run to the next.
                let row: Vec<f32> = (0..dims).map(|i| if i < dims / 2 { 1.0 } else { 0.0 }).collect();
                let table = if dims > 0 { Some(machine.upload(&row.repeat(block), dims)?) } else { None };
                Ok(Box::new(move || {
                    let on = OnDevice { wave: &wave, tables: &tables };
                    let op = RotaryOp { heads, kv_heads, head_dim, v_head_dim, dims, table: table.as_ref(), qk_norm: None };
                    machine.enter(|| machine.rotary_append(&op, &on, 0..block, &mut qkv, &mut keys, &mut values))
                }))
            }
            Case::Attention { heads, kv_heads, head_dim, v_head_dim, window, tokens } => {
                let wave = text(tokens, None)?;
                let tables = machine.tables(&wave)?;
                // Every block's queries, keys and values are the same; what they see grows.
                let mut qkv = random(machine, block, (heads + kv_heads) * head_dim + kv_heads * v_head_dim, 1.0, 5)?;
                let [mut k, mut v] = keys_and_values(machine, kv_heads * tokens, [head_dim, v_head_dim])?;
                let plain = RotaryOp { heads, kv_heads, head_dim, v_head_dim, dims: 0, table: None, qk_norm: None };
                let on = OnDevice { wave: &wave, tables: &tables };
                machine.enter(|| blocks(tokens, block, |b| machine.rotary_append(&plain, &on, b, &mut qkv, &mut k, &mut v)))?;
                let none = keys_and_values(machine, 0, [head_dim, v_head_dim])?;
                let mut out = machine.operand(block, heads * v_head_dim)?;
                Ok(Box::new(move || {
                    let on = OnDevice { wave: &wave, tables: &tables };
                    let (keys, values) = (History { wave: &mut k, resident: &none[0] }, History { wave: &mut v, resident: &none[1] });
                    let scale = 1.0 / (head_dim as f32).sqrt();
                    let op = AttentionOp { heads, kv_heads, head_dim, v_head_dim, scale, window, softcap: None, sinks: None };
                    machine.enter(|| blocks(tokens, block, |b| machine.attention(&op, &on, b, &qkv, &keys, &values, &mut out)))
                }))
            }
            Case::Conv { width, taps, act } => {
                let wave = text(tokens, None)?;
                let tables = machine.tables(&wave)?;
                let (mut x, none, weight) = (random(machine, tokens, width, 1.0, 1)?, machine.mat(0, width)?, random(machine, width, taps, 0.5, 2)?);
                let mut out = machine.mat(block, width)?;
                Ok(Box::new(move || {
                    let (on, op) = (OnDevice { wave: &wave, tables: &tables }, ConvOp { taps, weight: &weight, bias: None, act });
                    let history = History { wave: &mut x, resident: &none };
                    machine.enter(|| blocks(tokens, block, |b| machine.conv(&op, &on, b, &history, &mut out)))
                }))
            }
            Case::Scan { d_inner, d_state, act } => scan(machine, sizes, d_inner, d_state, act),
            Case::Ssd { heads, head_dim, groups, d_state, taps, act } => ssd(machine, sizes, (heads, head_dim, groups, d_state), taps, act),
            Case::Gate { d_inner, norm, act } => {
                let inputs = |rows, seed| random(machine, rows, d_inner, 1.0, seed);
                let (z, mut y, weight) = (inputs(block, 1)?, inputs(block, 2)?, inputs(1, 3)?);
                Ok(Box::new(move || {
                    let op = GateOp { norm: norm.then_some(&weight), eps: 1e-5, groups: 1, norm_first: false, act };
                    machine.enter(|| machine.gate(&op, block, &z, 0, &mut y))
                }))
            }
            Case::Head { inputs, vocab } => {
                let (x, w) = (operand(machine, block, inputs)?, weight(machine, inputs, vocab)?);
                let (ptr, targets): (Vec<u32>, Vec<u32>) = ((0..=block as u32).collect(), (0..block as u32).map(|i| i % vocab as u32).collect());
                Ok(Box::new(move || {
                    let op = HeadOp { softcap: None, scale: 1.0 };
                    let mut out = Vec::with_capacity(block);
                    machine.enter(|| machine.head(&op, &x, block, &w, None, &ptr, &targets, &mut out, None))
                }))
            }
            Case::Moments { d } => {
                let (x, mut moments) = (random(machine, block, d, 1.0, 1)?, machine.moments(d, &[])?);
                Ok(Box::new(move || machine.enter(|| machine.accumulate(&x, block, &mut moments))))
            }
        }
    }
}

/// Random rows as products read them: normed ones.
pub(super) fn operand<B: Backend>(machine: &B, rows: usize, cols: usize) -> Result<B::Mat> {
    let (x, weight, mut out) = (random(machine, rows, cols, 1.0, 1)?, machine.upload(&vec![1.0; cols], cols)?, machine.operand(rows, cols)?);
    let op = NormOp { center: false, eps: 1e-5, weight: &weight, bias: None };
    machine.enter(|| machine.norm(&op, &x, 0, rows, &mut out))?;
    Ok(out)
}

/// Stores of these widths, which hold numbers of one type as the engine's do.
fn keys_and_values<B: Backend>(machine: &B, rows: usize, widths: [usize; 2]) -> Result<[B::Mat; 2]> {
    let [k, v] = widths.map(|n| machine.operand_bytes(n));
    let [k, v] = widths.map(|n| if k == v { machine.operand(rows, n) } else { machine.mat(rows, n) });
    Ok([k?, v?])
}

fn scan<'c, B: Backend>(machine: &'c B, sizes: Sizes, d_inner: usize, d_state: usize, act: Act) -> Result<Prepared<'c>> {
    let Sizes { text: tokens, block, .. } = sizes;
    let wave = text(tokens, Some(1))?;
    let tables = machine.tables(&wave)?;
    let inputs = |cols, seed| random(machine, block, cols, 1.0, seed);
    let (x, dt, bc, z) = (inputs(d_inner, 1)?, inputs(d_inner, 2)?, inputs(2 * d_state, 3)?, inputs(d_inner, 4)?);
    let (a_log, d_skip) = (random(machine, d_inner, d_state, 0.5, 5)?, random(machine, 1, d_inner, 1.0, 6)?);
    let (mut states, mut kept) = (machine.mat(wave.states as usize, d_inner * d_state)?, machine.mat(0, d_inner * d_state)?);
    let mut y = machine.mat(block, d_inner)?;
    Ok(Box::new(move || {
        let op = ScanOp { d_inner, d_state, a_log: &a_log, d_skip: &d_skip, act };
        let on = OnDevice { wave: &wave, tables: &tables };
        let mut states = States { wave: &mut states, resident: &mut kept };
        machine.enter(|| blocks(tokens, block, |b| machine.scan(&op, &on, b, &x, &dt, (&bc, 0), (&z, 0), &mut states, &mut y)))
    }))
}

fn ssd<'c, B: Backend>(
    machine: &'c B,
    sizes: Sizes,
    (heads, head_dim, groups, d_state): (usize, usize, usize, usize),
    taps: usize,
    act: Act,
) -> Result<Prepared<'c>> {
    let Sizes { text: tokens, block, .. } = sizes;
    let wave = text(tokens, Some(SSD_CHUNK as u32))?;
    let tables = machine.tables(&wave)?;
    let (d_inner, width) = (heads * head_dim, heads * head_dim + 2 * groups * d_state);
    let (mut history, none) = (random(machine, tokens, width + heads, 1.0, 7)?, machine.mat(0, width + heads)?);
    let weight = random(machine, width, taps, 0.5, 8)?;
    let per_head = |deviation, seed| random(machine, 1, heads, deviation, seed);
    let (dt_bias, a_log, d_skip) = (per_head(0.5, 9)?, per_head(0.5, 10)?, per_head(1.0, 11)?);
    let (mut states, mut kept) = (machine.mat(wave.states as usize, d_inner * d_state)?, machine.mat(0, d_inner * d_state)?);
    let mut y = machine.mat(block, d_inner)?;
    Ok(Box::new(move || {
        let conv = ConvOp { taps, weight: &weight, bias: None, act };
        let op = SsdOp { heads, head_dim, groups, d_state, conv, dt_bias: &dt_bias, a_log: &a_log, d_skip: &d_skip, dt_limit: (0.0, f32::INFINITY) };
        let on = OnDevice { wave: &wave, tables: &tables };
        let history = History { wave: &mut history, resident: &none };
        let mut states = States { wave: &mut states, resident: &mut kept };
        machine.enter(|| blocks(tokens, block, |b| machine.ssd(&op, &on, b, &history, &mut states, &mut y)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::bench::Machine;

    #[test]
    fn every_verb_runs_at_a_small_size() {
        let cpu = Cpu::new(Some(1)).unwrap();
        let act = Act::Silu;
        let cases = [
            Case::Embed { vocab: 11, d: 24 },
            Case::Norm { d: 24, center: true },
            Case::Linear { inputs: 24, outputs: 40, gated: None },
            Case::Linear { inputs: 24, outputs: 40, gated: Some(act) },
            Case::Rotary { heads: 4, kv_heads: 2, head_dim: 8, v_head_dim: 16, dims: 8 },
            Case::Attention { heads: 4, kv_heads: 2, head_dim: 8, v_head_dim: 16, window: Some(100), tokens: 600 },
            Case::Conv { width: 20, taps: 4, act },
            Case::Scan { d_inner: 24, d_state: 4, act },
            Case::Ssd { heads: 2, head_dim: 8, groups: 1, d_state: 16, taps: 4, act },
            Case::Gate { d_inner: 24, norm: true, act },
            Case::Head { inputs: 24, vocab: 70 },
            Case::Moments { d: 24 },
        ];
        for case in cases {
            let mut run = case.prepare(&cpu, cpu.sizes()).unwrap();
            run().unwrap();
            run().unwrap();
            let work = case.work(&cpu, cpu.sizes());
            assert!(work.bytes > 0.0, "{case:?}");
        }
        // The head's tile is at most its vocabulary, and narrow products count only where there are no others.
        assert_eq!(products(&cases), [(24, 40), (24, 70)]);
        assert_eq!(products(&typical()), [(768, 2304), (768, 768), (2048, 768), (768, 4096)]);
    }
}
