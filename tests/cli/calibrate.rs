//! `hilberg calibrate`: the same results whatever came between, and what is refused.

use super::*;

fn calibrate(out: &Path, draws: &str, more: &[&str]) -> Vec<OsString> {
    args!["calibrate", "--quiet", "--sources", "markov,fractional-noise", "--splits", "2,4,8", "--groups", "12", "--draws", draws, "--out", out; more]
}

#[test]
fn a_calibration_goes_on_where_it_was_stopped() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let table = told(calibrate(&at("whole"), "6", &[]));
    assert!(table.contains("Markov 0.9,0.1;0.2,0.8: 6 draws of 48 documents") && table.contains("fractional noise, H = 0.9"), "{table}");
    // Numbers have no n-grams: 3 splits of 6 and of 5 estimators.
    let result: Value = serde_json::from_slice(&fs::read(at("whole/result.json")).unwrap()).unwrap();
    let cells = |source: usize| result["sources"][source]["cells"].as_array().unwrap();
    assert_eq!((cells(0).len(), cells(1).len()), (18, 15));
    for cell in cells(0).iter().chain(cells(1)) {
        assert!(cell["expected"]["value"].as_f64().unwrap() > 0.0 && cell["draws"] == 6);
    }
    // Every draw's growth is judged, or it bears no comparison; β by laws has a closed form to be held against for direct and vCLUB.
    let laws = result["sources"][1]["laws"].as_array().unwrap();
    assert!(table.contains("logarithm") && table.contains("direct, by laws") && !laws.is_empty(), "{table}");
    for law in laws {
        let judged = ["power", "logarithm", "saturating", "none"].map(|k| law[k].as_u64().unwrap());
        assert_eq!(judged.iter().sum::<u64>(), 6, "{law}");
        assert_eq!(law["exponent"].is_object(), ["direct", "vclub"].contains(&law["estimator"].as_str().unwrap()), "{law}");
    }
    // Fewer draws first, then the rest; and a run on one thread.
    told(calibrate(&at("parts"), "3", &[]));
    told(calibrate(&at("parts"), "6", &[]));
    assert!(command(calibrate(&at("alone"), "6", &[])).env("RAYON_NUM_THREADS", "1").stdout(Stdio::null()).status().unwrap().success());
    for file in ["result.json", "result.csv", "figure.svg"] {
        let whole = fs::read(at("whole").join(file)).unwrap();
        assert!(fs::read(at("parts").join(file)).unwrap() == whole && fs::read(at("alone").join(file)).unwrap() == whole, "{file}");
    }
    refused(calibrate(&at("parts"), "6", &["--foreign", "2"]), &["draws-markov.json", "other options", "--out"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    refused(calibrate(&out, "1", &[]), &["--draws"]);
    refused(calibrate(&out, "2", &["--foreign", "0"]), &["foreign"]);
    refused(calibrate(&out, "2", &["--ratios", "1"]), &["ratios"]);
    refused(calibrate(&out, "2", &["--matrix", "1,0"]), &["chain"]);
    refused(calibrate(&out, "4294967295", &[]), &["--groups", "--draws"]);
}
