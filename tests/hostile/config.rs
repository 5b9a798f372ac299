//! config.json: what is accepted holds the numbers that another reading of the same text gives.

use super::json::{J, parse};
use super::*;
use hilberg::backend::cpu::Cpu;
use hilberg::engine::{Engine, Options, score_lists};
use hilberg::model;

fn read(fixture: &Fixture, text: &[u8], neutral: bool) -> Result<Verdict, String> {
    fs::write(fixture.folder.join("config.json"), text).unwrap();
    let opened = within(allowed(text.len()), || model::open(&fixture.folder, &fixture.options()))?;
    match opened {
        Err(e) if neutral => Err(format!("nothing that matters was changed, but: {e}")),
        Err(e) => refusal::is_one_line(&e, &["config.json", ".safetensors"]).map(|()| Verdict::Refused),
        Ok((spec, checkpoint)) => {
            let text = std::str::from_utf8(text).map_err(|e| format!("accepted: {e}"))?;
            numbers::agree(text, fixture.rope_length, &spec)?;
            weights::agree(&fixture.weights(), &spec, &checkpoint).map(|()| Verdict::Accepted)
        }
    }
}

/// Other keys, other blanks, keys in another order, keys without effect: the same model.
fn neutral(tree: &J, rng: &mut Rng) -> String {
    let mut tree = tree.clone();
    mutate::shuffle(&mut tree, rng);
    if let J::Object(o) = &mut tree {
        for key in ["use_cache", "transformers_version", "torch_dtype", "max_length", "id2label"] {
            if rng.below(2) == 0 {
                o.retain(|(k, _)| k != key);
                o.push((key.into(), [J::Null, J::Bool(true), J::Text("\n\u{202e}".into()), J::Number("1e300".into())][rng.below(4) as usize].clone()));
            }
        }
    }
    let blank = [" ", "\n", "\t\r\n  "][rng.below(3) as usize];
    format!("{blank}{}{blank}", tree.write().replace(",\"", &format!("{blank},{blank}\"")))
}

#[test]
fn spoilt_configs() {
    let scratch = scratch();
    let fixtures = Fixture::all(scratch.path());
    let trees: Vec<J> = fixtures.iter().map(|f| parse(std::str::from_utf8(f.file("config.json")).unwrap()).unwrap()).collect();
    for (f, tree) in fixtures.iter().zip(&trees) {
        assert_eq!(read(f, tree.write().as_bytes(), true), Ok(Verdict::Accepted), "{}", f.name);
    }
    run("config.json", &mut |rng, steps, show| {
        let i = rng.below(fixtures.len() as u64) as usize;
        let mut text = match rng.below(20) {
            0 => {
                let text = neutral(&trees[i], rng);
                show(&format!("{}: {text}", fixtures[i].name));
                return read(&fixtures[i], text.as_bytes(), true);
            }
            1..=4 => fixtures[i].file("config.json").to_vec(),
            _ => {
                let mut tree = trees[i].clone();
                let donor = &trees[rng.below(trees.len() as u64) as usize];
                (0..steps).for_each(|_| mutate::tree(&mut tree, donor, rng));
                let text = tree.write();
                show(&format!("{}: {text}", fixtures[i].name));
                return read(&fixtures[i], text.as_bytes(), false);
            }
        };
        (0..steps).for_each(|_| mutate::bytes(&mut text, usize::MAX, rng));
        show(&format!("{}: {}", fixtures[i].name, String::from_utf8_lossy(&text)));
        read(&fixtures[i], &text, false)
    });
}

/// What is equal as a spec is equal in its log-probabilities, bit for bit: config.json shuffled, the weights' file laid out anew.
#[test]
fn neutral_changes_change_no_bit() {
    let scratch = scratch();
    for (i, f) in Fixture::all(scratch.path()).iter().enumerate() {
        let score = || {
            let (spec, checkpoint) = model::open(&f.folder, &f.options()).unwrap();
            let ids: Vec<u32> = (0..40).map(|t| (t * 37 + 5) % spec.vocab.min(300) as u32).collect();
            let mut engine = Engine::new(Cpu::new(Some(1)).unwrap(), spec, checkpoint, Options::default()).unwrap();
            score_lists(&mut engine, &[ids]).unwrap()
        };
        let before = score();
        let mut rng = Rng::new(SEED, i as u64);
        let tree = parse(std::str::from_utf8(f.file("config.json")).unwrap()).unwrap();
        fs::write(f.folder.join("config.json"), neutral(&tree, &mut rng)).unwrap();
        for (name, file) in f.files.iter().filter(|(n, _)| n.ends_with(".safetensors")) {
            fs::write(f.folder.join(name), safetensors::laid_out_anew(file, &mut rng)).unwrap();
        }
        assert!(score() == before, "{}", f.name);
    }
}
