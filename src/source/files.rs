//! What `hilberg source` lists and writes: exact values, drawn documents, planted folders.

use super::known::{Asked, Expectation, Known, expectations};
use super::planted::{check_positions, mamba_network, markov_network, santa_fe_network};
use super::{AnyProcess, Parameters};
use crate::error::{Error, Result};
use crate::estimate::{Cell, Estimator};
use crate::files::write_whole;
use crate::forest::TokenId;
use crate::rng::Rng;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Weights grow with the square of the facts: 1,000 take 0.6 GB.
pub const MOST_PLANTED_FACTS: usize = 1000;

/// What is known at one (ℓ, r), in nats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// ℓ.
    pub split: u32,
    /// r = L/ℓ.
    pub ratio: u32,
    /// I(ℓ; rℓ) of what is drawn.
    pub information: Expectation,
    /// What each estimator asked for expects, where the source gives it.
    #[serde(flatten)]
    pub expected: BTreeMap<Estimator, Expectation>,
}

/// What is known at every pair of a split and a ratio, by ratio, then split.
///
/// # Errors
/// A split of 0 or a ratio below 2, and as [`expectations`].
pub fn describe(source: &dyn Known, splits: &[u32], ratios: &[u32], estimators: &[Estimator], asked: Asked) -> Result<Vec<Row>> {
    if splits.contains(&0) || ratios.iter().any(|&r| r < 2) {
        return Err(Error::input("splits start at 1 token and ratios at 2"));
    }
    let pairs = || ratios.iter().flat_map(|&ratio| splits.iter().map(move |&split| (split, ratio)));
    let cells: Vec<Cell> = pairs().flat_map(|(split, ratio)| estimators.iter().map(move |&estimator| Cell { estimator, ratio, split })).collect();
    // Without a closed form direct's expectation is I.
    let open = |(split, ratio): (u32, u32)| source.information(split, ratio).is_none().then_some(Cell { estimator: Estimator::Direct, ratio, split });
    let more: Vec<Cell> = pairs().filter_map(open).filter(|c| !cells.contains(c)).collect();
    let all = [cells, more].concat();
    let expected = expectations(source, &all, asked)?;
    let of = |cell: Cell| all.iter().zip(&expected).find(|(c, _)| **c == cell).and_then(|(_, e)| *e);
    pairs()
        .map(|(split, ratio)| {
            let direct = Cell { estimator: Estimator::Direct, ratio, split };
            let information = source.information(split, ratio).map(Expectation::exact).or_else(|| of(direct));
            let information = information.ok_or_else(|| Error::input("this source's information is not known"))?;
            let expected = estimators.iter().filter_map(|&estimator| Some((estimator, of(Cell { estimator, ratio, split })?))).collect();
            Ok(Row { split, ratio, information, expected })
        })
        .collect()
}

/// Draws `documents` documents of `length` tokens, document i from stream i of the seed, and writes them as a NumPy array
/// `[documents, length]` of u16, or u32 where the vocabulary needs it.
///
/// # Errors
/// Nothing to draw, documents of more than 2²⁸ tokens or more than 2³⁴ in all, a name that does not end in `.npy`, or a file that cannot be written.
pub fn draw(process: &AnyProcess, documents: usize, length: usize, seed: u64, out: &Path) -> Result<()> {
    if documents == 0 || !(1..=1 << 28).contains(&length) {
        return Err(Error::input(format!("draw at least one document, of 1 to 2^28 tokens, not {documents} of {length}")));
    }
    if documents.checked_mul(length).is_none_or(|all| all > 1 << 34) {
        return Err(Error::input(format!("{documents} documents of {length} tokens are more than one file is for; draw at most 2^34 tokens")));
    }
    if out.extension().is_none_or(|e| e != "npy") {
        return Err(Error::file(out, "would be a NumPy array under another name; let it end in .npy"));
    }
    write_npy(out, [documents, length], process.vocab(), (0..documents).map(|i| process.draw(length, &mut Rng::new(seed, i as u64))))
}

/// The file of a planted folder that says what was planted.
pub const PLANTED: &str = "planted.json";

/// Writes the network that implements a process as a Hugging Face folder, for texts of up to `positions` rows, or of any length where its memory is fixed; with
/// the parameters in [`PLANTED`].
///
/// # Errors
/// Parameters outside their range; no positions or more than 2²⁰ (the smallest mean over a past must stand clear of float32 rounding), more than
/// [`MOST_PLANTED_FACTS`] facts, a process that no network here implements, a folder that exists or cannot be written.
pub fn plant(parameters: &Parameters, positions: usize, folder: &Path) -> Result<()> {
    check_positions(positions)?;
    let few = |facts: usize| {
        let refused = Error::input(format!("a network of {facts} facts would be too large; plant at most {MOST_PLANTED_FACTS}"));
        if facts > MOST_PLANTED_FACTS { Err(refused) } else { Ok(()) }
    };
    let network = match &parameters.process()? {
        AnyProcess::Markov(p) => markov_network(p, positions),
        AnyProcess::SantaFe(p) => few(p.facts()).map(|()| santa_fe_network(p, positions))?,
        AnyProcess::FixedMemory(p) => few(p.kept()).map(|()| mamba_network(p))?,
        AnyProcess::HiddenMarkov(_) => return Err(Error::input("no network is planted for a hidden Markov process; its exact conditionals score it")),
    };
    let said = serde_json::to_string_pretty(parameters).map_err(|e| Error::input(format!("the parameters cannot be written: {e}")))?;
    network.write_with(folder, &[(PLANTED, format!("{said}\n").as_bytes())])
}

/// What was planted in a folder by [`plant`].
///
/// # Errors
/// No such file, or another content.
pub fn planted(folder: &Path) -> Result<Parameters> {
    let path = folder.join(PLANTED);
    let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::file(&path, format!("does not say what was planted: {e}")))
}

/// Writes rows of token ids below `vocab` as a two-dimensional NumPy array (format 1.0), under a temporary name and renamed.
///
/// # Errors
/// A file that cannot be written.
pub fn write_npy(path: &Path, shape: [usize; 2], vocab: usize, rows: impl Iterator<Item = Vec<TokenId>>) -> Result<()> {
    let narrow = vocab <= 1 << 16;
    let mut header = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({}, {}), }}", if narrow { "<u2" } else { "<u4" }, shape[0], shape[1]);
    // Magic, version and length take 10 bytes; the data start at a multiple of 64 after a newline.
    let padded = (header.len() + 11).next_multiple_of(64) - 10;
    header.push_str(&" ".repeat(padded - 1 - header.len()));
    header.push('\n');
    write_whole(path, |file| {
        let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io(path));
        put(b"\x93NUMPY\x01\x00")?;
        put(&(padded as u16).to_le_bytes())?;
        put(header.as_bytes())?;
        for t in rows.flatten() {
            if narrow { put(&(t as u16).to_le_bytes())? } else { put(&t.to_le_bytes())? }
        }
        Ok(())
    })
}

/// A name beside `path` for what is not whole yet.
pub(super) fn partial_name(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::file(path, "is no name for a new file or folder"))?;
    Ok(path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id())))
}

/// Waits until a file is on disk.
pub(super) fn sync(path: &Path) -> Result<()> {
    std::fs::File::open(path).and_then(|f| f.sync_all()).map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SantaFe;

    #[test]
    fn npy_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.npy");
        write_npy(&path, [2, 2], 70_000, [vec![1, 69_999], vec![2, 3]].into_iter()).unwrap();
        let b = std::fs::read(&path).unwrap();
        assert_eq!(&b[..8], b"\x93NUMPY\x01\x00");
        let header = u16::from_le_bytes([b[8], b[9]]) as usize;
        assert_eq!((header + 10) % 64, 0);
        assert_eq!(std::str::from_utf8(&b[10..10 + header]).unwrap().trim_end(), "{'descr': '<u4', 'fortran_order': False, 'shape': (2, 2), }");
        let data: Vec<u32> = b[10 + header..].chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
        assert_eq!(data, [1, 69_999, 2, 3]);
    }

    #[test]
    fn folders_say_what_was_planted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("planted");
        for (parameters, json) in [
            (Parameters::SantaFe { beta: 0.5, facts: 3, epsilon: 1e-6, state: None }, r#"{"process":"santa-fe","beta":0.5,"facts":3,"epsilon":1e-6}"#),
            (
                Parameters::SantaFe { beta: 0.5, facts: 3, epsilon: 1e-6, state: Some(4) },
                r#"{"process":"santa-fe","beta":0.5,"facts":3,"epsilon":1e-6,"state":4}"#,
            ),
            (Parameters::Markov { matrix: vec![vec![0.5, 0.5]; 2] }, r#"{"process":"markov","matrix":[[0.5,0.5],[0.5,0.5]]}"#),
        ] {
            assert_eq!(serde_json::to_value(&parameters).unwrap(), serde_json::from_str::<serde_json::Value>(json).unwrap());
            plant(&parameters, 8, &folder).unwrap();
            assert_eq!(planted(&folder).unwrap(), parameters);
            crate::model::open(&folder, &Default::default()).unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
        }
        let hidden = Parameters::HiddenMarkov { matrix: vec![vec![1.0]], emission: vec![vec![0.5, 0.5]] };
        assert!(plant(&hidden, 8, &folder).unwrap_err().to_string().contains("hidden Markov") && !folder.exists());
        std::fs::create_dir(&folder).unwrap();
        assert!(planted(&folder).is_err());
        std::fs::write(folder.join(PLANTED), r#"{"process":"santa-fe","beta":0.5}"#).unwrap();
        assert!(planted(&folder).unwrap_err().to_string().contains("facts"));
    }

    #[test]
    fn documents_do_not_depend_on_how_many() {
        let p = AnyProcess::SantaFe(SantaFe::new(0.5, 10, 1e-6).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.npy"), dir.path().join("b.npy"));
        draw(&p, 2, 16, 5, &a).unwrap();
        draw(&p, 3, 16, 5, &b).unwrap();
        let (a, b) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
        assert_eq!((a.len(), b.len()), (128 + 64, 128 + 96));
        assert_eq!(a[128..], b[128..128 + 64]);
    }
}
