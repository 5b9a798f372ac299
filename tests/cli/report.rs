//! `hilberg report`: one page from any output folders, which nothing from outside can make more of than text.

use super::*;

const HOSTILE: &str = "<script>alert(1)<img src=x onerror=alert(2)>";

/// Two measurements of the same texts, of a model and of labels with names that would be markup, in folders `a` and `b`.
fn measured(folder: &Path) {
    let model = copy("llama", folder);
    words(&model.join("tokenizer.json"), 400);
    let named = folder.join(HOSTILE);
    fs::rename(model, &named).unwrap();
    let lines: Vec<String> = (0..24)
        .map(|i| serde_json::json!({"id": format!("{HOSTILE}{i}"), "kind": if i % 2 == 0 { HOSTILE } else { "b" }, "text": text(40, i)}).to_string())
        .collect();
    fs::write(folder.join("texts.jsonl"), lines.join("\n")).unwrap();
    let measure = |out: &str, more: &[&str]| {
        told(args!["measure", "--quiet", "-m", named, folder.join("texts.jsonl"), "--length", "32", "--splits", "4,16", "--out", folder.join(out); more])
    };
    let table = measure("a", &["--estimators", "direct,l1out,infonce", "--foreign", "3", "--group-field", "kind"]);
    assert!(table.contains("at least (infonce)") && table.contains("a bound whatever the model is"), "{table}");
    measure("b", &[]);
}

/// The output folder of some other subcommand.
fn other(folder: &Path, figure: &str) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("result.json"), serde_json::json!({"kind": "counts", "unit": "bytes", "corpus": {"documents": 3}, "name": HOSTILE}).to_string())
        .unwrap();
    fs::write(folder.join("result.csv"), format!("d,nats,name\n1,0.25,\"{HOSTILE}\"\n2,1e-3,\"x,\"\"y\"\"\"\n")).unwrap();
    fs::write(folder.join("run.json"), serde_json::json!([{"command": ["hilberg", HOSTILE], "version": HOSTILE, "began_unix": 0}]).to_string()).unwrap();
    fs::write(folder.join("figure.svg"), figure).unwrap();
}

/// Holds a page to what it promises: whole, nothing in it but the program's own elements, nothing to fetch.
fn check_page(html: &str) {
    assert!(
        html.starts_with("<!DOCTYPE html>\n<html lang=\"en\">") && html.contains("content=\"default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;;")
    );
    let (mut open, mut rest) = (Vec::new(), &html["<!DOCTYPE html>".len()..]);
    let allowed = [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "h3",
        "h4",
        "p",
        "nav",
        "ol",
        "ul",
        "li",
        "a",
        "code",
        "pre",
        "section",
        "figure",
        "figcaption",
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "small",
        "dl",
        "dt",
        "dd",
        "footer",
        "svg",
        "rect",
        "line",
        "polyline",
        "polygon",
        "text",
    ];
    while let Some(at) = rest.find('<') {
        let (tag, after) = rest[at + 1..].split_once('>').unwrap();
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let name = tag.split(|c: char| !c.is_alphanumeric()).next().unwrap();
        assert!(allowed.contains(&name), "<{tag}>");
        // The policy is a meta's, and was looked at above.
        for address in ["href", "src", "action", "style", "onerror", "url("] {
            assert!(
                !tag.contains(address) || tag.starts_with("a href=\"#") || tag == "style" || tag.starts_with("meta http-equiv=\"Content-Security-Policy\""),
                "<{tag}>"
            );
        }
        if name != "meta" && !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!html.contains("://") || html.matches("://").count() == html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
}

#[test]
fn one_page_of_measurements_and_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    measured(folder.path());
    other(&at("c"), "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"><text x=\"1\" y=\"1\">d &lt; 9</text></svg>");
    let report = |out: &str| hilberg(args!["report", at("a"), at("b"), at("c"), "--title", HOSTILE, "--out", at(out)]);
    let said = report("r.html");
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
    let html = fs::read_to_string(at("r.html")).unwrap();
    check_page(&html);
    // The three figures of the folders and that of both measurements together; estimates, brackets and laws; d; and what is needed to do it again.
    assert_eq!(html.matches("<svg").count(), 4);
    let parts =
        ["Figure 4.", "at least (InfoNCE)", "All measurements together", "bits a byte", "d &lt; 9", ">counts<", "0.25", "XXH3-128", "1970-01-01 00:00 UTC"];
    for part in parts {
        assert!(html.contains(part), "{part}");
    }
    let result: Value = serde_json::from_slice(&fs::read(at("a/result.json")).unwrap()).unwrap();
    let json: Value = serde_json::from_slice(&fs::read(at("r.json")).unwrap()).unwrap();
    assert_eq!((&json["sections"][0]["result"], &json["sections"][2]["kind"]), (&result, &"counts".into()));
    assert_eq!((json["sections"][0]["kind"].as_str(), json["overview"].as_array().unwrap().len()), (Some("measure"), 2));
    let model = &result["models"][0];
    assert!(html.contains(model["fingerprint"].as_str().unwrap()));
    let bracket = &model["analysis"]["brackets"][0];
    assert_eq!(bracket["lower"]["value"], model["analysis"]["points"].as_array().unwrap().iter().find(|p| p["estimator"] == "infonce").unwrap()["value"]);
    let lines = |path: PathBuf| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(lines(at("r.csv")) - 1, ["a", "b", "c"].iter().map(|f| lines(at(f).join("result.csv")) - 1).sum::<usize>());
    // The same folders give the same bytes.
    report("again.html");
    assert!(fs::read(at("again.html")).unwrap() == html.as_bytes());
}

/// What a subcommand prints stands in the page, number for number; of results that are not what they are called, the rows.
#[test]
fn tables_are_those_that_were_printed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    measured(folder.path());
    let (texts, llama) = (at("texts.jsonl"), folder.path().join(HOSTILE));
    let both = args!["measure", "--quiet", "-m", llama, "-m", llama, texts, "--length", "32", "--splits", "4,8,16", "--out", at("both")];
    told(both);
    let printed = [
        ("compare", told(args!["compare", at("both"), "--out", at("compare")])),
        ("condition", told(args!["condition", llama, "--lengths", "4,16", "--out", at("condition")])),
        ("two-point", told(args!["two-point", texts, "--unit", "bytes", "--distances", "1,2,3,4", "--quiet", "--out", at("two-point")])),
        (
            "calibrate",
            told(args!["calibrate", "--sources", "markov", "--splits", "2,4,8", "--groups", "12", "--draws", "3", "--quiet", "--out", at("calibrate")]),
        ),
    ];
    fs::create_dir(at("old")).unwrap();
    fs::write(at("old/result.json"), r#"{"corpus": 1, "unit": "bytes", "growth": [], "points": []}"#).unwrap();
    fs::write(at("old/result.csv"), "distance,nats\n1,0.125\n").unwrap();
    let said = hilberg(args!["report", at("compare"), at("condition"), at("two-point"), at("calibrate"), at("old"), "--out", at("r.html")]);
    assert!(said.status == Some(0) && said.err.contains("old/result.json: cannot be read as results of this version"), "{}", said.err);
    let html = fs::read_to_string(at("r.html")).unwrap();
    check_page(&html);
    let plain = html.replace('−', "-");
    assert!(html.contains("<td>0.12500</td>"));
    for (what, text) in printed {
        // Rows of tables are those that are indented by four; the last line tells of files.
        let rows: Vec<&str> = text.lines().filter(|l| l.starts_with("    ")).collect();
        assert!(rows.len() > 2, "{what}: {text}");
        for cell in rows.iter().flat_map(|r| r.trim().split("   ")).map(str::trim).filter(|c| c.contains(|c: char| c.is_ascii_digit()) && !c.contains('<')) {
            assert!(plain.contains(&format!(">{}<", cell.replace('−', "-"))), "{what}: {cell}");
        }
    }
}

/// Lists that somebody shortened leave gaps in tables, and nothing else.
#[test]
fn shortened_lists_leave_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    measured(folder.path());
    let (llama, texts) = (folder.path().join(HOSTILE), at("texts.jsonl"));
    told(args!["measure", "--quiet", "-m", llama, "-m", llama, texts, "--length", "32", "--splits", "4,8,16", "--out", at("both")]);
    told(args!["compare", at("both"), "--out", at("compare")]);
    told(args!["condition", llama, llama, "--lengths", "4,16", "--out", at("condition")]);
    told(args!["two-point", texts, "--unit", "bytes", "--distances", "1,2,3,4", "--quiet", "--out", at("two-point")]);
    let edit = |file: &str, path: &str| {
        let mut value: Value = serde_json::from_slice(&fs::read(at(file)).unwrap()).unwrap();
        let list = value.pointer_mut(path).unwrap_or_else(|| panic!("{file} has no {path}"));
        assert!(!list.as_array().unwrap().is_empty());
        *list = serde_json::json!([]);
        fs::write(at(file), value.to_string()).unwrap();
        let said = hilberg(args!["report", at(file).parent().unwrap(), "--out", at("r.html")]);
        assert!(said.status == Some(0) && said.err.is_empty(), "{file} {path}: {}", said.err);
    };
    edit("compare/compare.json", "/models/0/loss");
    edit("compare/compare.json", "/models/1/information");
    edit("compare/compare.json", "/models/1/difference/loss");
    edit("compare/compare.json", "/bins");
    edit("condition/condition.json", "/models/1/sizes");
    edit("two-point/result.json", "/points/1/values");
    edit("two-point/result.json", "/points");
}

#[test]
fn what_is_no_output_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::create_dir(at("begun")).unwrap();
    fs::write(at("begun/plan.json"), "{}").unwrap();
    fs::create_dir(at("broken")).unwrap();
    fs::write(at("broken/result.json"), "{\"design\": 1, \"models\": []}").unwrap();
    // A figure with more in it than figures have is left out, and said; nothing else is lost.
    other(&at("c"), "<svg width=\"9\"><script>alert(1)</script></svg>");
    let out = at("r.html");
    for (given, parts) in [
        ("nowhere", "there is no such folder"),
        ("empty", "has no result.json"),
        ("begun", "without results yet"),
        ("broken", "`hilberg estimate DIR` writes them anew"),
    ] {
        refused(args!["report", at(given), "--out", out], &[given, parts]);
    }
    refused(args!["report", at("c"), at("c"), "--out", out], &["is named twice"]);
    refused(args!["report", at("c"), "--out", at("r.txt")], &["r.txt", "must end in .html"]);
    assert_eq!(names(folder.path()), ["begun", "broken", "c", "empty"]);
    let said = hilberg(args!["report", at("c"), "--out", out]);
    assert_eq!(said.status, Some(0));
    assert!(said.err.contains("figure.svg: has <script>, which figures of hilberg do not have; it is left out"), "{}", said.err);
    check_page(&fs::read_to_string(out).unwrap());
}
