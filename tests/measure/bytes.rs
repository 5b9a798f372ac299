//! Lengths in bytes: chunks of different numbers of tokens, some of whose heads and tails have none.

use super::*;
use hilberg::measure::read_part;

/// Chunks of up to 60 tokens at random cuts; every third has no token before its fourth mark.
fn cut_texts(design: &Design, groups: usize, seed: u64) -> Vec<Vec<Text>> {
    let mut rng = Rng::new(seed, 1);
    let marks = design.marks().len();
    let mut all = texts(design, groups, seed);
    for (n, text) in all.iter_mut().flatten().enumerate() {
        let mut cuts: Vec<u32> = (0..marks).map(|i| if n % 3 == 0 && i < 4 { 0 } else { rng.below(60) as u32 }).collect();
        cuts.sort();
        text.tokens = (0..cuts[marks - 1]).map(|_| 1 + rng.below(VOCAB as u64 - 1) as TokenId).collect();
        text.cuts = cuts;
    }
    all
}

fn bytes(pairing: Pairing, foreign: u32, estimators: &[Estimator]) -> Design {
    Design { unit: Unit::Bytes, ..design(pairing, foreign, estimators) }
}

#[test]
fn sums_are_those_of_the_tokens_between_cuts() {
    for (pairing, foreign) in [(Pairing::Matched, 1), (Pairing::Matched, 3), (Pairing::Published, 1)] {
        let design = bytes(pairing, foreign, &[Estimator::Direct, Estimator::Vclub]);
        let groups = cut_texts(&design, 6, 5);
        let folder = tempfile::tempdir().unwrap();
        measure(folder.path(), plan(&design, 6, &["a"]), 0, &groups, &mut Hashes::default()).unwrap();
        let sums = loaded(folder.path(), 0);
        let marks = design.marks();
        assert_eq!(sums.marks(), marks);
        let mut without = 0;
        for (group, texts) in sums.groups.iter().zip(&groups) {
            for (j, (member, text)) in group.members.iter().zip(texts).enumerate() {
                let w = &text.tokens;
                let at = |text: &Text, place: usize| text.cuts[marks.binary_search(&(place as u32)).unwrap()] as usize;
                assert_eq!(member.cuts, text.cuts);
                if pairing == Pairing::Matched || j == 0 {
                    assert_eq!(member.trunk, (1..=w.len()).map(|t| direct_sum(&[&w[..t]], 1) as f32).collect::<Vec<_>>());
                }
                if pairing == Pairing::Published && j == 0 {
                    continue;
                }
                let heads: Vec<&Text> = (0..texts.len()).filter(|&i| i != j).map(|i| &texts[i]).collect();
                for (s, &l) in [2usize, 4, 16, 24].iter().enumerate() {
                    assert!(member.marginal[s].first.iter().all(|x| x.is_nan()));
                    for (r, ratio) in [2, 3].into_iter().enumerate() {
                        if ratio * l > 48 {
                            assert!(member.marginal[s].by_ratio[r].is_nan());
                            continue;
                        }
                        let tail = &w[at(text, l)..at(text, ratio * l)];
                        without += usize::from(tail.is_empty() || at(heads[0], l) == 0);
                        assert!((member.marginal[s].by_ratio[r] - direct_sum(&[tail], tail.len())).abs() < ROUNDING);
                        for (head, cross) in heads.iter().zip(&member.cross) {
                            let expected = direct_sum(&[&head.tokens[..at(head, l)], tail], tail.len());
                            assert!((cross[s][r] - expected).abs() < ROUNDING, "{j} {l} {ratio}");
                        }
                    }
                }
            }
        }
        assert!(without > 10, "{without} tails or heads without a token are too few to be a test");
    }
}

#[test]
fn resumed_in_shards_and_in_other_waves_it_gives_the_same_bytes() {
    let estimators = [Estimator::Direct, Estimator::Vclub, Estimator::Profile];
    let design = bytes(Pairing::Matched, 1, &estimators);
    let groups = cut_texts(&design, 12, 2);
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let planned = |shard: Option<&str>| {
        let mut p = plan(&design, 12, &["a"]);
        p.options.estimators = estimators.to_vec();
        p.shard = shard.map(|s| s.parse().unwrap());
        p
    };
    measure(&at("whole"), planned(None), 0, &groups, &mut Hashes::default()).unwrap();
    let report = |folders: &[&str]| {
        let project = Project::merged(&folders.iter().map(|f| at(f)).collect::<Vec<_>>()).unwrap();
        serde_json::to_string(&report::compute(&project, report::Reading::Recorded).unwrap()).unwrap()
    };
    let whole = report(&["whole"]);
    assert!(whole.contains(r#""unit":"bytes""#));
    let ended = measure(&at("broken"), planned(None), 0, &groups, &mut Hashes { interrupted: Some(2), ..Hashes::default() });
    assert!(matches!(ended, Err(Error::Interrupted)));
    measure(&at("broken"), planned(None), 0, &groups, &mut Hashes::default()).unwrap();
    for shard in ["1/2", "2/2"] {
        measure(&at(&shard.replace('/', "-")), planned(Some(shard)), 0, &groups, &mut Hashes::default()).unwrap();
    }
    assert_eq!((report(&["broken"]), report(&["2-2", "1-2"])), (whole.clone(), whole));

    // Mean bytes a token, of the last of the bytes and of the cuts.
    let recorded = Project::read(&at("whole")).unwrap().load(0, 12).unwrap();
    let rows: Vec<_> = parts(&at("whole")).iter().flat_map(|p| read_part(p).unwrap().rows).collect();
    assert!(rows.iter().all(|r| r.tokens.last().map(|&n| n as usize) == Some(r.tree.trunk.len())));
    assert_eq!(recorded.bytes_per_token, None, "some of these chunks came without bytes");

    // Another unit is another measurement, and so are other tokens of the same chunks.
    let other = Design { unit: Unit::Tokens, ..design.clone() };
    let said = measure(&at("whole"), plan(&other, 12, &["a"]), 0, &texts(&other, 12, 2), &mut Hashes::default()).unwrap_err().to_string();
    assert!(said.contains("another --unit (recorded: bytes; now: tokens)"), "{said}");
    let mut p = planned(None);
    p.models[0].tokenizer = Some("beef".into());
    let said = measure(&at("whole"), p, 0, &groups, &mut Hashes::default()).unwrap_err().to_string();
    assert!(said.contains("start token 0 tokenizer beef)"), "{said}");
    // 48 bytes may be more tokens than a model has positions.
    let mut long = groups.clone();
    long[3][1].tokens.extend([1; 60]);
    let length = long[3][1].tokens.len();
    *long[3][1].cuts.last_mut().unwrap() = length as u32;
    let said = measure(&at("long"), planned(None), 0, &long, &mut Hashes::default()).unwrap_err().to_string();
    assert!(said.ends_with(&format!("are {length} tokens, more than the 64 positions of the model; choose a smaller --length")), "{said}");
}

#[test]
fn estimates_by_hand() {
    use hilberg::estimate::{Group, Marginal, Member};
    let member = |trunk: &[f32], cuts: [u32; 3], own: [f64; 2], foreign: [f64; 2]| Member {
        document: trunk.len() as u32,
        trunk: trunk.to_vec(),
        cuts: cuts.to_vec(),
        marginal: own.iter().map(|&x| Marginal { by_ratio: vec![x], first: [f64::NAN; 8] }).collect(),
        cross: vec![foreign.iter().map(|&x| vec![x]).collect()],
    };
    // Places 4, 8 and 16 bytes; one chunk has no token before the first.
    let members =
        vec![member(&[-1.0, -2.0, -3.0, -4.0], [1, 2, 4], [-2.5, -9.0], [-3.0, -8.0]), member(&[-1.0, -1.5, -0.5], [0, 2, 3], [-3.0, -0.75], [-2.75, -1.0])];
    let sums = Sums { pairing: Pairing::Matched, length: 16, splits: vec![4, 8], ratios: vec![2], groups: vec![Group { members }] };
    assert_eq!(sums.marks(), [4, 8, 16]);
    let a = analyse(&sums, &Options::default(), None).unwrap();
    let at = |e, l| a.point(e, l, 2).unwrap().value;
    assert_eq!(at(Estimator::Direct, 4), ((-2.0 + 2.5) + (-2.5 + 3.0)) / 2.0);
    assert_eq!(at(Estimator::Direct, 8), ((-7.0 + 9.0) + (-0.5 + 0.75)) / 2.0);
    assert_eq!(at(Estimator::Vclub, 8), ((-7.0 + 8.0) + (-0.5 + 1.0)) / 2.0);
    assert_eq!(at(Estimator::Profile, 4), ((-2.0 + 1.0) + (-2.5 - 0.0)) / 2.0);
    assert_eq!(at(Estimator::Profile, 8), ((-7.0 + 3.0) + (-0.5 + 2.5)) / 2.0);
    let why = &a.skipped.iter().find(|s| s.estimator == Estimator::DirectNgram).unwrap().why;
    assert_eq!(why, "its n-grams are of tokens, and lengths here are bytes");
    let mut other = sums.clone();
    other.groups[0].members[1].cuts.pop();
    assert!(analyse(&other, &Options::default(), None).unwrap_err().to_string().contains("is cut at other places than the splits"));
}
