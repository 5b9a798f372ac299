//! Weight files and their index: what is accepted obeys the format's rules, and every parameter has the bytes that the file gives it.

use super::json::{J, parse};
use super::*;
use hilberg::model;

/// Header and data of a file.
fn parts(file: &[u8]) -> (J, &[u8]) {
    let end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    (parse(std::str::from_utf8(&file[8..end]).unwrap()).unwrap(), &file[end..])
}

fn joined(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The same tensors in another order, under a shuffled and padded header.
pub fn laid_out_anew(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    let (mut header, data) = parts(file);
    mutate::shuffle(&mut header, rng);
    let mut moved = vec![];
    if let J::Object(entries) = &mut header {
        for (_, entry) in entries.iter_mut().filter(|(name, _)| name != "__metadata__") {
            let J::Object(fields) = entry else { continue };
            let Some((_, J::List(offsets))) = fields.iter_mut().find(|(k, _)| k == "data_offsets") else { continue };
            let range = offsets[0].number().unwrap() as usize..offsets[1].number().unwrap() as usize;
            *offsets = [moved.len(), moved.len() + range.len()].map(|n| J::Number(n.to_string())).to_vec();
            moved.extend_from_slice(&data[range]);
        }
    }
    joined(&(header.write() + &" ".repeat(rng.below(9) as usize)), &moved)
}

/// What only a header can have: two tensors' fields exchanged, one tensor's moved, a name of another.
fn spoil_header(header: &mut J, donor: &J, rng: &mut Rng) {
    let J::Object(entries) = header else { return mutate::tree(header, donor, rng) };
    let n = entries.len() as u64;
    let (i, j) = if n == 0 { (0, 0) } else { (rng.below(n) as usize, rng.below(n) as usize) };
    let field = |entries: &mut Vec<(String, J)>, i: usize, key: &str| -> Option<J> {
        if let J::Object(o) = &mut entries.get_mut(i)?.1 { o.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()) } else { None }
    };
    let put = |entries: &mut Vec<(String, J)>, i: usize, key: &str, value: J| {
        if let Some((_, J::Object(o))) = entries.get_mut(i)
            && let Some(f) = o.iter_mut().find(|(k, _)| k == key)
        {
            f.1 = value;
        }
    };
    let key = ["dtype", "shape", "data_offsets"][rng.below(3) as usize];
    match rng.below(8) {
        0 | 1 => {
            if let (Some(a), Some(b)) = (field(entries, i, key), field(entries, j, key)) {
                put(entries, i, key, b);
                put(entries, j, key, a);
            }
        }
        2 => put(entries, i, "dtype", J::Text(["F32", "F16", "BF16", "I16", "U8", "F8_E4M3", "BOOL", "F64", "F4", "f32"][rng.below(10) as usize].into())),
        3 => {
            if let Some(J::List(mut shape)) = field(entries, i, "shape") {
                shape.reverse();
                put(entries, i, "shape", J::List(shape));
            }
        }
        4 => {
            if let Some(J::List(offsets)) = field(entries, i, "data_offsets") {
                let by = [-4.0, -2.0, 2.0, 4.0, 64.0, 1e9][rng.below(6) as usize];
                let moved = offsets.iter().map(|o| J::Number(format!("{}", o.number().unwrap_or(0.0) + by))).collect();
                put(entries, i, "data_offsets", J::List(moved));
            }
        }
        5 if n > 0 => entries[i].0 = entries[j].0.clone(),
        6 if n > 0 => {
            let twin = (entries[i].0.clone(), entries[j].1.clone());
            entries.insert(rng.below(n) as usize, twin);
        }
        _ => mutate::tree(header, donor, rng),
    }
}

fn read(fixture: &Fixture, spoilt: &str, file: &[u8], neutral: bool) -> Result<Verdict, String> {
    let path = fixture.folder.join(spoilt);
    fs::write(&path, file).unwrap();
    let header = file.len().min(8 + file.get(..8).map_or(0, |n| u64::from_le_bytes(n.try_into().unwrap()).min(1 << 30) as usize));
    let opened = within(allowed(header), || {
        model::open(&fixture.folder, &fixture.options()).inspect(|(_, checkpoint)| {
            checkpoint.fingerprint();
        })
    });
    let verdict = opened.and_then(|opened| match opened {
        Err(e) if neutral => Err(format!("nothing that matters was changed, but: {e}")),
        Err(e) => refusal::is_one_line(&e, &["config.json", ".safetensors"]).map(|()| Verdict::Refused),
        Ok((spec, checkpoint)) => {
            let files: Vec<&[u8]> =
                fixture.files.iter().filter(|(n, _)| n.ends_with(".safetensors")).map(|(n, f)| if n == spoilt { file } else { f.as_slice() }).collect();
            weights::agree(&files, &spec, &checkpoint)?;
            Ok(Verdict::Accepted)
        }
    });
    // The other files of a folder with shards are whole again for the next mutant.
    if fixture.files.len() > 2 {
        fs::write(path, fixture.file(spoilt)).unwrap();
    }
    verdict
}

#[test]
fn spoilt_weights() {
    let scratch = scratch();
    let mut fixtures = Fixture::all(scratch.path());
    // The smallest of each family and element type, and the one with shards.
    let small =
        "gpt-neox-sequential gpt2-options gpt2-untied llama-biases llama-shards mamba-options mamba-original mamba2-bare mamba2-original mistral qwen2 qwen3";
    fixtures.retain(|f| small.split(' ').any(|s| s == f.name));
    assert_eq!(fixtures.len(), 12);
    let index = "model.safetensors.index.json";
    let headers: Vec<J> = fixtures.iter().map(|f| parts(f.weights()[0]).0).collect();
    run("safetensors", &mut |rng, steps, show| {
        let f = &fixtures[rng.below(fixtures.len() as u64) as usize];
        let donor = &headers[rng.below(headers.len() as u64) as usize];
        let names: Vec<&str> = f.files.iter().map(|(n, _)| n.as_str()).filter(|n| *n != "config.json").collect();
        let name = names[rng.below(names.len() as u64) as usize];
        let original = f.file(name);
        if name == index {
            let mut spoilt = original.to_vec();
            if rng.below(3) == 0 {
                (0..steps).for_each(|_| mutate::bytes(&mut spoilt, usize::MAX, rng));
            } else {
                let mut tree = parse(std::str::from_utf8(original).unwrap()).unwrap();
                (0..steps).for_each(|_| mutate::tree(&mut tree, donor, rng));
                spoilt = tree.write().into_bytes();
            }
            show(&format!("{}/{name}: {}", f.name, String::from_utf8_lossy(&spoilt)));
            return read(f, name, &spoilt, false);
        }
        let end = 8 + u64::from_le_bytes(original[..8].try_into().unwrap()) as usize;
        let kind = rng.below(20);
        let spoilt = match kind {
            0 => laid_out_anew(original, rng),
            1..=12 => {
                let (mut header, data) = parts(original);
                (0..steps).for_each(|_| spoil_header(&mut header, donor, rng));
                let mut spoilt = joined(&header.write(), data);
                if rng.below(10) == 0 {
                    let length = [0, 1, 7, end as u64, u64::MAX, u64::MAX - 8, 100_000_001, 1 << 40, original.len() as u64][rng.below(9) as usize];
                    spoilt[..8].copy_from_slice(&length.to_le_bytes());
                }
                spoilt
            }
            _ => {
                let mut spoilt = original.to_vec();
                let end = [8, end, end, usize::MAX][rng.below(4) as usize];
                (0..steps).for_each(|_| mutate::bytes(&mut spoilt, end, rng));
                spoilt
            }
        };
        show(&format!("{}/{name}: {}", f.name, String::from_utf8_lossy(&spoilt[..spoilt.len().min(end)])));
        read(f, name, &spoilt, kind == 0)
    });
}
