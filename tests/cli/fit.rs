//! Laws on the command line: of tables, and of a record beside published lines.

use super::*;

const PUBLISHED: &str = "c,CE\n8,3.9531\n12,3.5390\n16,3.28283\n24,2.99618\n32,2.83873\n48,2.65246\n64,2.53125\n128,2.36169\n256,2.21765\n512,2.12716\n";

/// As `tools/fit_reference.py` has them from SciPy.
#[test]
fn a_table_is_fitted_as_scipy_does() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("published.csv");
    fs::write(&file, PUBLISHED).unwrap();
    let fit = told_json(args!["fit", file, "--laws", "context", "--json"]);
    let law = &fit["comparison"]["laws"][0];
    for (i, (name, want)) in [("C0", 1.9629140927), ("C", 6.8541067908), ("γ", 0.5938328625)].into_iter().enumerate() {
        let p = &law["parameters"][i];
        assert!(p["name"] == name && (p["value"].as_f64().unwrap() / want - 1.0).abs() < 1e-6, "{p}");
        assert!(p["lo"].as_f64().unwrap() < want && want < p["hi"].as_f64().unwrap());
    }
    let text = told(args!["fit", file, "--laws", "context"]);
    assert!(text.contains("10 points from 8 to 512") && text.contains("C0 + C c^−γ") && text.contains("least squares"), "{text}");
    // The same bytes every time, also where draws are made.
    let json = folder.path().join("points.json");
    fs::write(&json, r#"{"x": [2, 4, 8, 16, 32, 64], "y": [1.0, 1.4, 2.1, 2.7, 4.2, 5.6], "se": [0.1, 0.1, 0.1, 0.2, 0.3, 0.4]}"#).unwrap();
    let first = told(args!["fit", json, "--json"]);
    assert_eq!(first, told(args!["fit", json, "--json"]));
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((first["comparison"]["laws"].as_array().unwrap().len(), &first["comparison"]["best"]), (4, &"power".into()));
    assert!(told(args!["fit", json]).contains("local slopes"));
}

#[test]
fn what_is_no_table_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("t.csv");
    for (text, more, part) in [
        ("", &[][..], "no rows"),
        ("ℓ,I\n2,1\n4,x\n", &[], "line 3"),
        ("ℓ,I\n2,1\n4,2\n", &[], "too few"),
        ("ℓ,I\n2,1\n4,2\n8,3\n", &["--laws", "exponential"], "exponential"),
        ("ℓ,I\n2,1\n4,2\n8,3\n", &["--level", "1"], "--level"),
        ("ℓ,I\n2,1\n4,2\n8,3\n", &["--only", "I"], "--only"),
        ("ℓ,I\n2,1\n4,2\n8,3\n", &["--y", "loss"], "loss"),
        ("ℓ,I\n-2,1\n4,2\n8,3\n", &[], "above 0"),
    ] {
        fs::write(&file, text).unwrap();
        refused(args!["fit", file; more], &[part]);
    }
    fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    refused(args!["fit", file], &["t.csv", "UTF-8"]);
    refused(args!["fit", folder.path().join("none.csv")], &["none.csv"]);
}

/// A record has laws in its result; its table in full, its rows as a table to fit, and published lines only where the splits are theirs.
#[test]
fn a_record_has_laws() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let facts = ["--process", "santa-fe", "--facts", "30"];
    told(args!["source", "draw", "--documents", "40", "--length", "1024", "--out", at("t.npy"); &facts]);
    told(args!["source", "plant", "--positions", "1024", "--out", at("model"); &facts]);
    let measure = |out: &str, length: &str| {
        told_json(args!["measure", "--quiet", "--json", "-m", at("model"), at("t.npy"), "--length", length, "--chunks", "40", "--out", at(out)])
    };
    let result = measure("out", "1024");
    let analysis = &result["models"][0]["analysis"];
    let laws = &analysis["laws"][0];
    let count = |key: &str| laws["comparison"][key].as_array().unwrap().len();
    assert!(laws["estimator"] == "direct" && count("laws") >= 2 && count("laws") + count("refused") == 4, "{laws}");
    // Eleven octaves are too many for twenty groups: bins are of two.
    assert_eq!((&laws["comparison"]["units"], &analysis["loss"]["bins"][3]["to"]), (&20.into(), &64.into()));
    let text = told(args!["estimate", at("out"), "--laws"]);
    for part in ["χ² + 2k", "local slopes", "Loss at token t = 1 … 1024", "Loss by position", "from 4 on"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let rows = at("out").join("result.csv");
    refused(args!["fit", rows], &["several rows", "--only"]);
    assert!(told(args!["fit", rows, "--only", "estimator=direct"]).contains("taken as independent"));

    let before = fs::read(at("out").join("result.json")).unwrap();
    let text = told(args!["estimate", at("out"), "--published", "pg19"]);
    assert!(text.contains("PG19 as published") && text.contains("0.76") && text.contains("2.27") && text.contains("not checked"), "{text}");
    let json = told_json(args!["estimate", at("out"), "--published", "wikipedia", "--json"]);
    assert_eq!((&json["published"][1]["estimator"], &json["published"][1]["exponent"]), (&"vclub".into(), &0.6.into()));
    assert_eq!(fs::read(at("out").join("result.json")).unwrap(), before);
    measure("short", "64");
    refused(args!["estimate", at("short"), "--published", "pg19"], &["--published pg19", "ℓ = 64 was not measured"]);
}

/// Options that would be passed over, rows that are no rows, and values whose squares are none.
#[test]
fn nothing_is_passed_over_in_silence() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let json = file("points.json", r#"{"x": [2, 4, 8], "y": [1, 2, 3]}"#);
    for option in [["--x", "x"], ["--only", "a=b"]] {
        refused(args!["fit", json; option], &["points.json", "JSON object", "--only"]);
    }
    refused(args!["fit", file("wide.csv", "x,y\n1,2\n2,3,9\n4,5\n")], &["wide.csv", "line 3 has 3 fields, and the first 2"]);
    refused(args!["fit", file("tiny.csv", "x,y\n1,1e-170\n2,2e-170\n4,4e-170\n")], &["tiny.csv", "in a unit"]);
    // Points of no law: the best of the laws is named, and that it does not hold.
    let rough = file("rough.csv", "x,y,se\n1,1,0.01\n2,9,0.01\n4,2,0.01\n8,11,0.01\n16,3,0.01\n32,12,0.01\n");
    let said = told(args!["fit", rough]);
    assert!(said.contains("the points follow none of these laws"), "{said}");
}
