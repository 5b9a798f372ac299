//! Records of several machines as one, and results by label.

use super::*;

/// Hashes, with every token of a trunk off by `by`.
struct Off {
    by: f32,
    hashes: Hashes,
}

impl Scorer for Off {
    fn vocab(&self) -> usize {
        VOCAB
    }

    fn max_positions(&self) -> Option<usize> {
        Some(64)
    }

    fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
        struct Shift<'a>(&'a mut dyn Sink, f32);
        impl Sink for Shift<'_> {
            fn put(&mut self, slot: Slot, value: SlotValue) {
                self.0.put(slot, if let SlotValue::Token(v) = value { SlotValue::Token(v - self.1) } else { value })
            }
        }
        self.hashes.score(forest, readout, &mut Shift(sink, self.by))
    }
}

#[test]
fn what_two_machines_recorded_is_held_against_each_other() {
    let design = design(Pairing::Matched, 1, &[Estimator::Direct, Estimator::Vclub]);
    let groups = texts(&design, 6, 4);
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, shard: Option<&str>, arithmetic: &str, by: f32| {
        let mut p = plan(&design, 6, &["a"]);
        p.shard = shard.map(|s| s.parse().unwrap());
        let project = Project::open(&folder.path().join(name), p).unwrap();
        let mut journal = Journal::open(&project.record_folder(0), project.plan.heading(0), arithmetic, &groups).unwrap();
        let task = Task { design: &design, start: START, groups: &groups, shard: project.plan.shard, least: 0 };
        run(&mut Off { by, hashes: Hashes::default() }, task, &mut journal, PACE, &AtomicBool::new(false), &mut |_: &Done| {}).unwrap();
        assert_eq!(journal.unlike().count(), 0);
    };
    make("a", None, "one", 0.0);
    make("b", Some("1/2"), "one", 0.0);
    make("c", Some("1/2"), "two", 0.25);
    make("d", Some("2/2"), "one", 0.25);
    let read = |names: &[&str]| {
        let project = Project::merged(&names.iter().map(|n| folder.path().join(n)).collect::<Vec<_>>()).unwrap();
        project.load(0, 6).map(|r| (project.notices(0, &r), r))
    };
    let (said, recorded) = read(&["a", "b"]).unwrap();
    assert_eq!((said.len(), recorded.twice), (0, Twice { trees: 6, unlike: 0, largest: 0.0 }));
    // Log-probabilities here are below 16: a quarter is taken off them to within half a unit of the last place.
    let (said, recorded) = read(&["a", "c"]).unwrap();
    assert!(said.len() == 1 && said[0].starts_with("a was computed by one and by two, which may differ in the last bits; of 6 chunks"), "{said:?}");
    assert_eq!((recorded.twice.trees, recorded.twice.unlike), (6, 6));
    assert!((recorded.twice.largest - 0.25).abs() < 16.0 * f32::EPSILON as f64);
    assert_eq!(
        serde_json::to_string(&recorded.sums.groups[0].members[0].trunk).unwrap(),
        serde_json::to_string(&loaded(&folder.path().join("a"), 0).groups[0].members[0].trunk).unwrap()
    );
    let (said, recorded) = read(&["c", "d"]).unwrap();
    assert!(said[0].ends_with("no chunk was computed by two of them") && recorded.missing.is_empty(), "{said:?}");
    let said = read(&["a", "d"]).unwrap_err().to_string();
    assert!(said.contains("d/model-0-a/record/part-000000.parquet: chunk 0 of group 1 differs by 2.5") && said.contains("though one made both"), "{said}");
    let (said, recorded) = read(&["b", "c"]).unwrap();
    assert_eq!(recorded.missing, [1, 3, 5]);
    assert!(said[1].ends_with("a: 3 of 6 groups are missing: no folder is shard 2/2, which has 3"), "{said:?}");
}

#[test]
fn labels_have_results_of_their_own() {
    let estimators = [Estimator::Direct, Estimator::Vclub];
    let d = design(Pairing::Matched, 1, &estimators);
    let mut groups = texts(&d, 9, 4);
    // Groups 0, 3, 6 and 1, 4, 7 of two labels, one group of a third; group 5 has none, group 8 two.
    for (g, group) in groups.iter_mut().enumerate() {
        let labels = [["b", "b"], ["é, a", "é, a"]];
        for (m, text) in group.iter_mut().enumerate() {
            text.label = match g {
                2 => Some("one".into()),
                5 => None,
                8 => Some(labels[m][m].into()),
                _ => Some(labels[g % 3][m].into()),
            };
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut p = plan(&d, 9, &["a"]);
    p.options.estimators = estimators.to_vec();
    measure(folder.path(), p.clone(), 0, &groups, &mut Hashes::default()).unwrap();
    let project = Project::read(folder.path()).unwrap();
    let recorded = project.load(0, 9).unwrap();
    let labels: Vec<&str> = recorded.labels.iter().map(|l| l.as_deref().unwrap_or("-")).collect();
    assert_eq!(labels, ["b", "é, a", "one", "b", "é, a", "-", "b", "é, a", "-"]);
    let report = report::estimate(&project).unwrap();
    let of = &report.models[0].labels;
    assert_eq!(of.iter().map(|l| (l.label.as_str(), l.groups)).collect::<Vec<_>>(), [("b", 3), ("one", 1), ("é, a", 3)]);
    for (label, first) in [(0, 0), (2, 1)] {
        let own = Sums { groups: (0..3).map(|i| recorded.sums.groups[first + 3 * i].clone()).collect(), ..recorded.sums.clone() };
        assert_eq!(of[label].analysis, Some(analyse(&own, &p.options, None).unwrap()));
    }
    assert_eq!((&of[1].analysis, report.models[0].analysis.groups), (&None, 9));
    let table = report::table(&report);
    assert!(table.contains("\na, b: 6 documents, 6 chunks of 48 tokens, 3 groups\n") && table.contains("\na, one: 1 group, too few"), "{table}");
    // Seven cells of direct and of vCLUB, of all groups and of two labels.
    assert_eq!(report.csv().lines().count(), 1 + 3 * 14);
    assert!(report.csv().contains("\na,,direct,2,2,") && report.csv().contains("\na,\"é, a\",vclub,3,16,"), "{}", report.csv());
    let json: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("result.json")).unwrap()).unwrap();
    assert_eq!((json["models"][0]["labels"][0]["label"].as_str(), json["models"][0]["labels"][1]["analysis"].is_null()), (Some("b"), true));
    // A chunk of another label is another one.
    groups[0][0].label = None;
    let other = folder.path().join("other");
    measure(&other, p, 0, &groups, &mut Hashes::default()).unwrap();
    let said = Project::merged(&[folder.path().to_path_buf(), other]).unwrap().load(0, 9).unwrap_err().to_string();
    assert!(said.contains("chunk 0 of group 0 is another text than in another part"), "{said}");
}
