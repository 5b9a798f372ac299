//! The slow truth: every verb in plain float64 loops on one thread, short enough to check by eye.
//!
//! What the other twins are held against, in tests and in `hilberg trace --against float64`. Nothing here is tiled, fused or
//! reordered; parameters are the stored numbers widened, and only the rotary table comes in rounded to float32, as the
//! reference library has it.

mod attention;
mod scan;

use super::*;
use crate::error::{Error, Result};
use crate::forest::{Run, Store};

/// Float64 on one thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// `[rows, cols]`, row after row.
#[derive(Clone, Debug, PartialEq)]
pub struct Mat {
    data: Vec<f64>,
    rows: usize,
    cols: usize,
}

impl Mat {
    fn zeros(rows: usize, cols: usize) -> Result<Mat> {
        let too_large = || Error::memory(format!("there is no memory left for a float64 matrix of {rows} × {cols} numbers"));
        let n = rows.checked_mul(cols).ok_or_else(too_large)?;
        let mut data = Vec::new();
        data.try_reserve_exact(n).map_err(|_| too_large())?;
        data.resize(n, 0.0);
        Ok(Mat { data, rows, cols })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// One row, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }
}

/// Widened weights, each matrix `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub enum Weight {
    /// One product.
    Plain(Mat),
    /// Gate and up.
    Gated(Mat, Mat),
}

/// Sums over a sample, packed.
#[derive(Clone, Debug)]
pub struct Moments {
    width: usize,
    values: Vec<f64>,
}

impl Act {
    /// The function in float64.
    fn of(self, x: f64) -> f64 {
        match self {
            Act::None => x,
            Act::Relu => x.max(0.0),
            Act::Relu2 => x.max(0.0) * x.max(0.0),
            Act::Silu => x / (1.0 + libm::exp(-x)),
            // By erfc, whose small values keep their digits where 1 + erf would cancel.
            Act::Gelu => 0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
            Act::GeluTanh => 0.5 * x * (1.0 + libm::tanh((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x))),
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// ln(1 + e^x)
fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

fn capped(x: f64, cap: Option<f32>) -> f64 {
    cap.map_or(x, |c| c as f64 * libm::tanh(x / c as f64))
}

/// x / √(mean of squares + ε)
fn rms_normed(x: &mut [f64], eps: f32) {
    let r = 1.0 / (dot(x, x) / x.len() as f64 + eps as f64).sqrt();
    x.iter_mut().for_each(|v| *v *= r);
}

fn norm_row(op: &NormOp<Mat>, x: &[f64], out: &mut [f64]) {
    out.copy_from_slice(x);
    if op.center {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        out.iter_mut().for_each(|v| *v -= mean);
    }
    rms_normed(out, op.eps);
    for (j, v) in out.iter_mut().enumerate() {
        *v = *v * op.weight.row(0)[j] + op.bias.map_or(0.0, |b| b.row(0)[j]);
    }
}

/// The runs of a block, each with those of its rows that the block holds.
fn runs<'w>(wave: &'w Wave, block: &Range<usize>) -> impl Iterator<Item = (&'w Run, Range<usize>)> {
    let block = block.clone();
    wave.runs.iter().filter_map(move |r| {
        let rows = block.start.max(r.rows.start as usize)..block.end.min(r.rows.end as usize);
        (rows.start < rows.end).then_some((r, rows))
    })
}

/// Position of a row of a run.
fn position(run: &Run, row: usize) -> usize {
    run.position as usize + row - run.rows.start as usize
}

/// Rows of a history along the path of wave row `row`, from position `from` to the row's own; of head `head` of so many.
fn path<'m>(wave: &Wave, run: &Run, row: usize, from: usize, history: &'m History<Mat>, (head, heads): (usize, usize)) -> Vec<&'m [f64]> {
    let mut out = Vec::new();
    let of = |store: &'m Mat, row: usize| store.row(head * (store.rows() / heads) + row);
    for s in &wave.segments[run.past.start as usize..run.past.end as usize] {
        let store = match s.store {
            Store::Wave => &*history.wave,
            Store::Resident => history.resident,
        };
        out.extend((0..s.len as usize).filter(|i| s.position as usize + i >= from).map(|i| of(store, s.row as usize + i)));
    }
    let own = run.rows.start as usize..row + 1;
    out.extend(own.filter(|&r| position(run, r) >= from).map(|r| of(history.wave, r)));
    debug_assert_eq!(out.len(), position(run, row) + 1 - from, "the past reaches as far back as the verb looks");
    out
}

impl Backend for Reference {
    type Mat = Mat;
    type Weight = Weight;
    type Tables = ();
    type Moments = Moments;

    fn name(&self) -> String {
        "reference/float64".into()
    }

    fn block_rows(&self) -> usize {
        512
    }

    fn weight_bytes(&self, inputs: usize, outputs: usize) -> usize {
        inputs * outputs * size_of::<f64>()
    }

    /// One row of scores, logits or a state at a time: at most a million numbers where paths and vocabularies are shorter than that.
    fn scratch_bytes(&self, _needs: &Needs) -> usize {
        (1 << 20) * size_of::<f64>()
    }

    fn mat(&self, rows: usize, cols: usize) -> Result<Mat> {
        Mat::zeros(rows, cols)
    }

    fn param(&self, tensor: &Tensor, rows: usize) -> Result<Mat> {
        self.upload(&tensor.to_f32(), tensor.len() / rows)
    }

    fn upload(&self, values: &[f32], cols: usize) -> Result<Mat> {
        let mut m = Mat::zeros(values.len() / cols, cols)?;
        m.data.iter_mut().zip(values).for_each(|(d, &v)| *d = v as f64);
        Ok(m)
    }

    fn download(&self, mat: &Mat, rows: Range<usize>) -> Result<Vec<f64>> {
        Ok(mat.data[rows.start * mat.cols..rows.end * mat.cols].to_vec())
    }

    fn pack(&self, operand: &Operand) -> Result<Weight> {
        let widened = |parts: &[MatrixView]| {
            let inputs = parts[0].inputs();
            let mut values = Vec::new();
            let mut row = vec![0.0; inputs];
            for p in parts {
                for i in 0..p.outputs() {
                    p.widen_row(i, &mut row);
                    values.extend_from_slice(&row);
                }
            }
            self.upload(&values, inputs)
        };
        Ok(match operand {
            Operand::Plain(parts) => Weight::Plain(widened(parts)?),
            Operand::Gated(gate, up) => Weight::Gated(widened(std::slice::from_ref(gate))?, widened(std::slice::from_ref(up))?),
        })
    }

    fn tables(&self, _wave: &Wave) -> Result<()> {
        Ok(())
    }

    fn embed(&self, tokens: &[TokenId], positions: &[u32], table: &Tensor, learned: Option<&Tensor>, x: &mut Mat, first: usize) -> Result<()> {
        let d = x.cols;
        let mut row = vec![0.0f32; d];
        for (i, (&token, &position)) in tokens.iter().zip(positions).enumerate() {
            table.widen(token as usize * d, &mut row);
            x.row_mut(first + i).iter_mut().zip(&row).for_each(|(x, &e)| *x = e as f64);
            if let Some(p) = learned {
                p.widen(position as usize * d, &mut row);
                x.row_mut(first + i).iter_mut().zip(&row).for_each(|(x, &e)| *x += e as f64);
            }
        }
        Ok(())
    }

    fn norm(&self, op: &NormOp<Mat>, x: &Mat, first: usize, rows: usize, out: &mut Mat) -> Result<()> {
        for i in 0..rows {
            norm_row(op, x.row(first + i), out.row_mut(i));
        }
        Ok(())
    }

    fn norm_gather(&self, op: &NormOp<Mat>, x: &Mat, which: &[u32], out: &mut Mat) -> Result<()> {
        for (i, &w) in which.iter().enumerate() {
            norm_row(op, x.row(w as usize), out.row_mut(i));
        }
        Ok(())
    }

    fn linear(
        &self,
        x: &Mat,
        from: usize,
        rows: usize,
        weight: &Weight,
        bias: Option<&Mat>,
        epilogue: Epilogue,
        out: &mut Mat,
        out_first: usize,
    ) -> Result<()> {
        let bias = |j: usize| bias.map_or(0.0, |b| b.row(0)[j]);
        for i in 0..rows {
            let y = out.row_mut(out_first + i);
            let times = |w: &Mat, j: usize| dot(w.row(j), &x.row(i)[from..from + w.cols]);
            match (weight, epilogue) {
                (Weight::Plain(w), Epilogue::Store(act)) => (0..w.rows).for_each(|j| y[j] = act.of(times(w, j) + bias(j))),
                (Weight::Plain(w), Epilogue::Add) => (0..w.rows).for_each(|j| y[j] += times(w, j) + bias(j)),
                (Weight::Gated(g, u), Epilogue::Gated(act)) => {
                    (0..g.rows).for_each(|j| y[j] = act.of(times(g, j) + bias(j)) * (times(u, j) + bias(g.rows + j)));
                }
                _ => unreachable!("a gated epilogue goes with a gated operand: invariant of the engine"),
            }
        }
        Ok(())
    }

    fn rotary_append(&self, op: &RotaryOp<Mat>, on: &OnDevice<()>, block: Range<usize>, qkv: &mut Mat, keys: &mut Mat, values: &mut Mat) -> Result<()> {
        attention::rotary_append(op, on.wave, block, qkv, keys, values);
        Ok(())
    }

    fn attention(
        &self,
        op: &AttentionOp<Mat>,
        on: &OnDevice<()>,
        block: Range<usize>,
        qkv: &Mat,
        keys: &History<Mat>,
        values: &History<Mat>,
        out: &mut Mat,
    ) -> Result<()> {
        attention::attention(op, on.wave, block, qkv, keys, values, out);
        Ok(())
    }

    fn append(&self, block: Range<usize>, x: &Mat, from: usize, history: &mut Mat) -> Result<()> {
        for (i, row) in block.enumerate() {
            let n = history.cols;
            history.row_mut(row).copy_from_slice(&x.row(i)[from..from + n]);
        }
        Ok(())
    }

    fn conv(&self, op: &ConvOp<Mat>, on: &OnDevice<()>, block: Range<usize>, history: &History<Mat>, out: &mut Mat) -> Result<()> {
        scan::conv(op, on.wave, block, history, out);
        Ok(())
    }

    fn scan(
        &self,
        op: &ScanOp<Mat>,
        on: &OnDevice<()>,
        block: Range<usize>,
        x: &Mat,
        dt: &Mat,
        bc: (&Mat, usize),
        z: (&Mat, usize),
        states: &mut States<Mat>,
        out: &mut Mat,
    ) -> Result<()> {
        scan::scan(op, on.wave, block, x, dt, bc, z, states, out);
        Ok(())
    }

    fn ssd(&self, op: &SsdOp<Mat>, on: &OnDevice<()>, block: Range<usize>, history: &History<Mat>, states: &mut States<Mat>, out: &mut Mat) -> Result<()> {
        scan::ssd(op, on.wave, block, history, states, out);
        Ok(())
    }

    fn gate(&self, op: &GateOp<Mat>, rows: usize, z: &Mat, z_from: usize, y: &mut Mat) -> Result<()> {
        for i in 0..rows {
            let y = y.row_mut(i);
            let z = &z.row(i)[z_from..z_from + y.len()];
            let gate = |y: &mut [f64]| y.iter_mut().zip(z).for_each(|(y, &z)| *y *= op.act.of(z));
            if !(op.norm.is_some() && op.norm_first) {
                gate(y);
            }
            if let Some(w) = op.norm {
                let slice = y.len() / op.groups;
                y.chunks_exact_mut(slice).for_each(|s| rms_normed(s, op.eps));
                y.iter_mut().zip(w.row(0)).for_each(|(y, w)| *y *= w);
                if op.norm_first {
                    gate(y);
                }
            }
        }
        Ok(())
    }

    fn keep(&self, on: &OnDevice<()>, heads: usize, wave: &Mat, resident: &mut Mat) -> Result<()> {
        let (of_wave, of_resident) = (wave.rows() / heads, resident.rows() / heads);
        for (k, h) in on.wave.keeps.iter().flat_map(|k| (0..heads).map(move |h| (k, h))) {
            for i in 0..k.len as usize {
                resident.row_mut(h * of_resident + k.resident as usize + i).copy_from_slice(wave.row(h * of_wave + k.row as usize + i));
            }
        }
        Ok(())
    }

    fn head(
        &self,
        op: &HeadOp,
        x: &Mat,
        rows: usize,
        weight: &Weight,
        bias: Option<&Mat>,
        ptr: &[u32],
        targets: &[TokenId],
        out: &mut Vec<f32>,
        mut greedy: Option<&mut Vec<bool>>,
    ) -> Result<()> {
        let Weight::Plain(w) = weight else { unreachable!("a head is a plain product: invariant of the engine") };
        for i in 0..rows {
            let logit = |j| capped(dot(w.row(j), x.row(i)) + bias.map_or(0.0, |b| b.row(0)[j]), op.softcap) * op.scale as f64;
            let logits: Vec<f64> = (0..w.rows).map(logit).collect();
            let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_sum = most + libm::log(logits.iter().map(|l| libm::exp(l - most)).sum());
            for &t in &targets[ptr[i] as usize..ptr[i + 1] as usize] {
                // The rounded sum may lie an ulp below a logit that holds all the mass. NaN stays NaN.
                let value = (logits[t as usize] - log_sum) as f32;
                out.push(if value > 0.0 { 0.0 } else { value });
                if let Some(greedy) = &mut greedy {
                    greedy.push(logits[t as usize] == most);
                }
            }
        }
        Ok(())
    }

    fn moments(&self, width: usize, values: &[f64]) -> Result<Moments> {
        let values = if values.is_empty() { float64s(moments_len(width))? } else { values.to_vec() };
        Ok(Moments { width, values })
    }

    fn accumulate(&self, x: &Mat, rows: usize, moments: &mut Moments) -> Result<()> {
        for row in (0..rows).map(|i| x.row(i)) {
            moments.values.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            for j in 0..moments.width {
                moments.values[packed_row(moments.width, j)].iter_mut().zip(&row[j..]).for_each(|(s, v)| *s += row[j] * v);
            }
        }
        Ok(())
    }

    fn moments_taken(&self, moments: &Moments) -> Result<Vec<f64>> {
        Ok(moments.values.clone())
    }
}
