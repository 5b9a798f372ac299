//! What goes wrong around the program while it runs: files that shrink, disks that are full, folders that vanish, readers that go away, signals in any phase.

#![cfg(unix)]

use super::*;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

const INTERRUPTED: &str = "error: interrupted; start the same command again to go on\n";

/// Waits until `ready`, for a minute at the most; false when the process ended before.
pub fn wait_until(child: &mut Child, ready: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing happens");
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        sleep(Duration::from_millis(1));
    }
    true
}

pub fn signal(child: &Child, name: &str) {
    assert!(Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status().unwrap().success());
}

/// A measurement of many waves.
fn measure(model: &Path, corpus: &Path, out: &Path, more: &[&str]) -> Command {
    let mut c = command(args!["measure", "--quiet", "-m", model, corpus, "--out", out, "--length", "128", "--chunks", "100"; more]);
    c.args(["--wave-rows", "1000"]).stdout(Stdio::null()).stderr(Stdio::piped());
    c
}

fn parts(out: &Path) -> usize {
    let record = out.join("model-0-llama/record");
    if record.is_dir() { names(&record).iter().filter(|n| n.starts_with("part-")).count() } else { 0 }
}

/// A corpus, a copy of a model, and the result of a run that nothing disturbs.
struct Scene {
    folder: TempDir,
    corpus: PathBuf,
    model: PathBuf,
    result: Vec<u8>,
    /// Of the undisturbed run.
    took: Duration,
}

impl Scene {
    fn new() -> Scene {
        let folder = TempDir::new().unwrap();
        let corpus = folder.path().join("texts.npy");
        tokens(&corpus, 100, 256, 503, 21);
        let (model, whole) = (copy("llama", folder.path()), folder.path().join("whole"));
        let began = Instant::now();
        assert!(measure(&model, &corpus, &whole, &[]).status().unwrap().success());
        let took = began.elapsed();
        let result = fs::read(whole.join("result.json")).unwrap();
        Scene { folder, corpus, model, result, took }
    }

    /// The same command again, now undisturbed, gives what was to be had all along.
    #[track_caller]
    fn goes_on(&self, out: &Path) {
        let done = measure(&self.model, &self.corpus, out, &[]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(fs::read(out.join("result.json")).unwrap() == self.result);
    }
}

/// The one line that an ended run said.
#[track_caller]
fn line(child: Child, status: i32) -> String {
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(status), "{said}");
    assert!(said.starts_with("error: ") && said.lines().count() == 1 && said.ends_with('\n'), "{said}");
    said
}

/// Weights that do not fit are read from the mapped file wave by wave, so a file that becomes shorter is met in the middle of the work.
#[test]
#[cfg(target_os = "linux")]
fn a_weight_file_that_shrinks_is_named() {
    let scene = Scene::new();
    let (out, weights) = (scene.folder.path().join("out"), scene.model.join("model.safetensors"));
    let bytes = fs::read(&weights).unwrap();
    let mut child = measure(&scene.model, &scene.corpus, &out, &["--memory", STREAMING]).spawn().unwrap();
    assert!(wait_until(&mut child, || parts(&out) >= 2), "{:?}", child.wait_with_output());
    fs::File::options().write(true).open(&weights).unwrap().set_len(4096).unwrap();
    let said = line(child, 2);
    let want = format!("{}: became shorter while it was in use (4096 of {} bytes are left); restore it", weights.display(), bytes.len());
    assert!(said.contains(&want), "{said}");
    assert!(!out.join("result.json").exists());
    fs::write(&weights, bytes).unwrap();
    scene.goes_on(&out);
}

/// Less than the weights take packed and a block of rows: room for two layers at a time.
#[cfg(target_os = "linux")]
const STREAMING: &str = "27242K";

/// A limit on the size of files is met as a full disk is: by a write that fails. Nothing is left that looks whole, and with room the same command goes on.
#[test]
fn a_full_disk_is_said() {
    let scene = Scene::new();
    let out = scene.folder.path().join("out");
    let limited = |kib: &str, args: Vec<OsString>| {
        let mut c = Command::new("sh");
        c.args(["-c", "ulimit -f $0; exec \"$@\"", kib, env!("CARGO_BIN_EXE_hilberg")]).args(args);
        c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let args = args!["measure", "--quiet", "-m", scene.model, scene.corpus, "--out", out, "--length", "128", "--chunks", "100", "--wave-rows", "1000"];
    // In blocks of 512 bytes: enough for the plan, not for a part.
    let said = line(limited("4", args), 2);
    assert!(said.contains("part-000000.parquet"), "{said}");
    assert!(!out.join("result.json").exists());
    assert_eq!(names(&out.join("model-0-llama/record")), [] as [&str; 0]);
    scene.goes_on(&out);
    for rows in ["rows.jsonl", "rows.parquet"] {
        let rows = scene.folder.path().join(rows);
        let said = line(limited("4", args!["score", "--quiet", "-m", scene.model, scene.corpus, "--per-token", "--out", rows]), 2);
        assert!(said.contains(rows.to_str().unwrap()), "{said}");
    }
    assert_eq!(names(scene.folder.path()), ["llama", "out", "texts.npy", "whole"]);
    // A device is neither replaced by a file nor written to; a standard output that is full is said.
    if Path::new("/dev/full").exists() {
        let link = scene.folder.path().join("full.jsonl");
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        refused(args!["score", "--quiet", "-m", scene.model, scene.corpus, "--out", link], &["full.jsonl", "no ordinary file"]);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let full = || fs::File::options().write(true).open("/dev/full").unwrap();
        for of in [args!["inspect", scene.model], args!["score", "--quiet", "-m", scene.model, scene.corpus], args!["devices", "--json"]] {
            let said = line(command(of).stdout(full()).stderr(Stdio::piped()).spawn().unwrap(), 2);
            assert!(said.contains("standard output"), "{said}");
        }
    }
}

#[test]
fn an_output_folder_that_vanishes_is_said() {
    let scene = Scene::new();
    let out = scene.folder.path().join("out");
    let mut child = measure(&scene.model, &scene.corpus, &out, &[]).spawn().unwrap();
    assert!(wait_until(&mut child, || parts(&out) >= 2));
    fs::rename(&out, scene.folder.path().join("moved")).unwrap();
    let said = line(child, 2);
    assert!(said.contains("out/model-0-llama/record/part-"), "{said}");
    assert!(!out.exists());
    scene.goes_on(&scene.folder.path().join("moved"));
}

#[test]
fn a_folder_that_cannot_be_written_is_said() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let closed = scene.folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    // Permissions do not bind root; nothing can be made below /proc by anyone.
    let closed = if fs::write(closed.join("x"), "").is_ok() { PathBuf::from("/proc/self") } else { closed };
    let out = closed.join("out");
    refused(args!["measure", "--quiet", "-m", scene.model, scene.corpus, "--length", "64", "--out", out], &[out.to_str().unwrap()]);
    refused(args!["score", "--quiet", "-m", scene.model, scene.corpus, "--out", closed.join("rows.jsonl")], &["rows.jsonl"]);
    refused(args!["source", "draw", "--process", "markov", "--out", closed.join("drawn.npy")], &["drawn.npy"]);
}

/// Signals before, between and after waves: said, nothing half-written, and the record goes on.
#[test]
fn signals_in_every_phase() {
    let scene = Scene::new();
    let out = scene.folder.path().join("out");
    let mut rng = Rng::new(7, 0);
    let mut said = 0;
    for (i, name) in ["INT", "TERM", "INT", "TERM", "INT", "TERM", "INT", "TERM"].into_iter().enumerate() {
        let child = measure(&scene.model, &scene.corpus, &out, &[]).spawn().unwrap();
        // From while the model is opened and the corpus read on into the waves.
        sleep(scene.took.mul_f64((i as f64 + rng.uniform()) / 10.0));
        let began = Instant::now();
        signal(&child, name);
        let ended = child.wait_with_output().unwrap();
        match ended.status.code() {
            Some(130) => {
                said += 1;
                assert_eq!(String::from_utf8_lossy(&ended.stderr), INTERRUPTED);
            }
            // Before the handlers were there the signal had its own meaning; after the last wave the run was just over.
            None => {}
            other => assert_eq!(other, Some(0), "{}", String::from_utf8_lossy(&ended.stderr)),
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
    assert!(said > 0, "no signal came in time");
    scene.goes_on(&out);
}

/// While a corpus is tokenised nothing looks at the flag: the process ends a second later, or at a second signal at once.
#[test]
fn signals_while_a_corpus_is_tokenised() {
    let folder = TempDir::new().unwrap();
    let (model, corpus) = (copy("mamba", folder.path()), folder.path().join("long.jsonl"));
    words(&model.join("tokenizer.json"), 300);
    let line = format!("{{\"text\": \"{}\"}}\n", text(200_000, 3));
    fs::write(&corpus, line.repeat(40)).unwrap();
    for second in [false, true] {
        let rows = folder.path().join("rows.jsonl");
        let mut score = command(args!["score", "--quiet", "-m", model, corpus, "--out", rows]);
        let mut child = score.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(wait_until(&mut child, || names(folder.path()).iter().any(|n| n.ends_with(".partial"))), "it ended before it was interrupted");
        let began = Instant::now();
        signal(&child, "INT");
        if second {
            sleep(Duration::from_millis(50));
            signal(&child, "INT");
        }
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(130), INTERRUPTED));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!(names(folder.path()), ["long.jsonl", "mamba"]);
    }
}

/// A reader that takes one line, or goes away at once, ends nothing in a panic.
#[test]
fn closed_pipes_end_quietly() {
    let scene = Scene::new();
    let program = env!("CARGO_BIN_EXE_hilberg");
    let shell = |script: &str| Command::new("sh").args(["-c", script, program]).arg(&scene.model).arg(&scene.corpus).output().unwrap();
    let said = shell("\"$0\" inspect \"$1\" | head -n 1; { \"$0\" score -m \"$1\" \"$2\"; echo status $? >&3; } 3>&2 2>&1 | true");
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(text == "status 0\n" && String::from_utf8(said.stdout).unwrap().lines().count() == 1, "{text}");
    let said = shell("{ \"$0\" score -m nowhere \"$2\" 2>&1; echo status $? >&3; } 3>&2 | true");
    assert_eq!(String::from_utf8(said.stderr).unwrap(), "status 2\n");
}

/// Names that a terminal would act on are shown as what they are.
#[test]
fn errors_are_one_line_whatever_they_quote() {
    use safetensors::tensor::{Dtype, TensorView};
    let (folder, corpus) = small();
    let evil = "x\n\u{1b}[2J\u{202e}y";
    let model = copy("llama", folder.path());
    let view = || TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    fs::write(model.join("model.safetensors"), safetensors::serialize([(evil, view()), ("z", view())], None).unwrap()).unwrap();
    let shown = "x\\n\\u{1b}[2J\\u{202e}y";
    refused(args!["score", "--quiet", "-m", model, corpus], &["model.safetensors", &format!("`{shown}`")]);
    edit_config(&model, |c| c[evil] = 1.into());
    refused(args!["score", "--quiet", "-m", model, corpus], &["config.json", shown]);
    edit_config(&model, |c| c["model_type"] = evil.into());
    refused(args!["score", "--quiet", "-m", model, corpus], &["config.json", shown]);
    refused(args!["score", "--quiet", "-m", folder.path().join(evil), corpus], &[shown]);
    refused(args!["score", "--quiet", "-m", fixture("llama"), corpus, "--out", folder.path().join(format!("{evil}.txt"))], &[shown]);
    refused(args!["score", "--device", evil, "-m", fixture("llama"), corpus], &["--device", "none of auto, cpu"]);
    refused(args!["score", "--precision", evil, "-m", fixture("llama"), corpus], &["--precision", "possible values"]);
}
