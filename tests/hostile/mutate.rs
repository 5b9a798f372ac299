//! Ways to spoil a file: of its tree, of its text, of its bytes.

use super::json::J;
use hilberg::rng::Rng;

/// Values that have been somebody's bug.
fn nasty(rng: &mut Rng) -> J {
    const NUMBERS: &[&str] = &[
        "0",
        "-0",
        "-1",
        "1",
        "2",
        "3",
        "7",
        "16",
        "64",
        "-0.0",
        "0.5",
        "1.5",
        "1e-5",
        "1e-300",
        "1e30",
        "1e300",
        "1e400",
        "-1e400",
        "1e-400",
        "NaN",
        "Infinity",
        "-Infinity",
        "255",
        "4096",
        "65536",
        "4294967295",
        "4294967296",
        "1000000000000",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "123456789012345678901234567890",
        "1048576",
        "268435456",
        "0.1",
        "64.0",
        "48.0",
        "1E2",
    ];
    const TEXTS: &[&str] = &[
        "",
        "silu",
        "gelu",
        "gelu_new",
        "relu",
        "auto",
        "Mamba2",
        "llama",
        "mistral",
        "qwen3",
        "gpt2",
        "mamba",
        "yarn",
        "linear",
        "llama3",
        "dynamic",
        "default",
        "full_attention",
        "sliding_attention",
        "F16",
        "BF16",
        "F32",
        "I64",
        "F4",
        "\u{0}",
        "\u{1b}[2J\n",
        "\u{202e}evil",
        "a\u{301}\u{2028}",
        "😀",
        "../model.safetensors",
        "/etc/passwd.safetensors",
        "model-00001-of-00003.safetensors",
        "NaN",
        "1",
        "true",
        "null",
        " ",
        "▁",
        "<unk>",
        "Ġ",
        "(a+)+$",
        "[",
        "\\p{L}+|\\s",
        "(?i)",
    ];
    match rng.below(16) {
        0 => J::Null,
        1 => J::Bool(rng.below(2) == 0),
        2..=7 => J::Number(NUMBERS[rng.below(NUMBERS.len() as u64) as usize].into()),
        8..=10 => J::Text(TEXTS[rng.below(TEXTS.len() as u64) as usize].into()),
        11 => J::List((0..rng.below(4)).map(|_| nasty(rng)).collect()),
        12 => J::Object((0..rng.below(3)).map(|i| (format!("{}", i), nasty(rng))).collect()),
        13 => J::Object(vec![("__float__".into(), J::Text(["NaN", "Infinity", "-Infinity", "1"][rng.below(4) as usize].into()))]),
        14 => {
            let depth = [3, 60, 127, 128, 3000][rng.below(5) as usize];
            let (open, close) = if rng.below(2) == 0 { ("[", "]") } else { ("{\"a\":", "}") };
            J::Raw(format!("{}0{}", open.repeat(depth), close.repeat(depth)))
        }
        _ => J::Text("x\n".repeat(1 + rng.below(5000) as usize)),
    }
}

/// A number a little or a lot away; anything else as it was.
fn tweak(value: &mut J, rng: &mut Rng) {
    match value {
        J::Number(n) => {
            let x: f64 = n.parse().unwrap_or(1.0);
            let y = match rng.below(9) {
                0 => x + 1.0,
                1 => x - 1.0,
                2 => -x,
                3 => x * 2.0,
                4 => (x / 2.0).floor(),
                5 => x * 1.01,
                6 => x * 1e12,
                7 => x / 10.0,
                _ => rng.below(40) as f64,
            };
            *n = format!("{y:?}").trim_end_matches(".0").to_string();
        }
        J::Text(t) => {
            let mut c: Vec<char> = t.chars().collect();
            let at = rng.below(c.len() as u64 + 1) as usize;
            match rng.below(3) {
                0 if at < c.len() => drop(c.remove(at)),
                1 => c.insert(at, ['\n', '\u{7f}', 'x', '0', '\u{e9}', '.'][rng.below(6) as usize]),
                _ => c.reverse(),
            }
            *t = c.into_iter().collect();
        }
        J::Bool(b) => *b = !*b,
        _ => {}
    }
}

/// A node, found by walking down: deep ones are not rarer for being many.
fn pick<'t>(tree: &'t mut J, rng: &mut Rng) -> &'t mut J {
    let mut at = tree;
    loop {
        let children = match &*at {
            J::List(l) => l.len(),
            J::Object(o) => o.len(),
            _ => 0,
        };
        if children == 0 || rng.below(8) == 0 {
            return at;
        }
        let i = rng.below(children as u64) as usize;
        at = match at {
            J::List(l) => &mut l[i],
            J::Object(o) => &mut o[i].1,
            other => return other,
        };
    }
}

/// Changes one thing of a tree. `donor` is another file of the same kind, whose keys and values are transplanted.
pub fn tree(tree: &mut J, donor: &J, rng: &mut Rng) {
    let at = pick(tree, rng);
    match (rng.below(10), &mut *at) {
        (0..=2, J::Object(o)) if !o.is_empty() => {
            let (i, j) = (rng.below(o.len() as u64) as usize, rng.below(o.len() as u64) as usize);
            match rng.below(7) {
                0 => drop(o.remove(i)),
                1 => o[i].0 = o[j].0.clone(),
                2 => {
                    let mut key = J::Text(o[i].0.clone());
                    tweak(&mut key, rng);
                    if let J::Text(k) = key {
                        o[i].0 = k;
                    }
                }
                3 => o.push((o[i].0.clone(), o[j].1.clone())),
                4 => {
                    let kept = o[i].1.clone();
                    o[i].1 = std::mem::replace(&mut o[j].1, kept);
                }
                5 => {
                    if let J::Object(d) = donor
                        && let Some((key, value)) = d.get(rng.below(d.len().max(1) as u64) as usize)
                    {
                        match o.iter_mut().find(|(k, _)| k == key) {
                            Some(there) => there.1 = value.clone(),
                            None => o.push((key.clone(), value.clone())),
                        }
                    }
                }
                _ => o[i].1 = nasty(rng),
            }
        }
        (0..=2, J::List(l)) => match (rng.below(3), l.len()) {
            (0, 1..) => drop(l.remove(rng.below(l.len() as u64) as usize)),
            (1, 1..) => l.push(l[rng.below(l.len() as u64) as usize].clone()),
            _ => l.push(nasty(rng)),
        },
        (3..=6, _) => tweak(at, rng),
        (7, _) => *at = pick(&mut donor.clone(), rng).clone(),
        _ => *at = nasty(rng),
    }
}

/// Changes some bytes below `end`, or cuts the file off.
pub fn bytes(file: &mut Vec<u8>, end: usize, rng: &mut Rng) {
    let end = end.min(file.len());
    if end == 0 {
        return;
    }
    let at = rng.below(end as u64) as usize;
    let most = 1 << rng.below(7);
    let n = 1 + rng.below(most) as usize;
    match rng.below(8) {
        0..=2 => file[at] ^= 1 << rng.below(8),
        3 => file[at] = b"0123456789\"{}[],:.-eE \0\xff"[rng.below(24) as usize],
        4 => drop(file.splice(at..at, (0..n).map(|_| rng.next_u64() as u8).collect::<Vec<_>>())),
        5 => drop(file.drain(at..(at + n).min(file.len()))),
        6 => {
            let from = rng.below(end as u64) as usize;
            let piece = file[from..(from + n).min(file.len())].to_vec();
            file.splice(at..at, piece);
        }
        _ => file.truncate(at),
    }
}

/// Shuffles the keys of all objects.
pub fn shuffle(tree: &mut J, rng: &mut Rng) {
    match tree {
        J::Object(o) => {
            rng.shuffle(o);
            o.iter_mut().for_each(|(_, v)| shuffle(v, rng));
        }
        J::List(l) => l.iter_mut().for_each(|v| shuffle(v, rng)),
        _ => {}
    }
}
