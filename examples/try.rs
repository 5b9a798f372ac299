use clap::Parser;
use hilberg::cli::options::*;
#[derive(Parser)]
struct A {
    #[command(flatten)]
    m: ModelArgs,
    model: std::path::PathBuf,
    ids: std::path::PathBuf,
    out: std::path::PathBuf,
    len: usize,
}
fn main() {
    let a = A::parse();
    let mut m = match open_model(&a.m, &a.model) {
        Ok(m) => m,
        Err(e) => {
            eprintln!("error: {e}");
            std::process::exit(2)
        }
    };
    let b = std::fs::read(&a.ids).unwrap();
    let ids: Vec<u32> = b.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
    let lists: Vec<Vec<u32>> = ids.chunks(a.len).map(|c| c.to_vec()).collect();
    let mut out = vec![];
    for r in 0..4 {
        let t = std::time::Instant::now();
        let l = hilberg::engine::score_lists(&mut m.engine, &lists).unwrap();
        let s = t.elapsed().as_secs_f64();
        eprintln!("round {r}: {} tokens in {:.3} s: {:.0} tokens/s", ids.len(), s, ids.len() as f64 / s);
        out = l;
    }
    let mut f = vec![];
    for l in &out {
        for x in l {
            f.extend(x.to_le_bytes());
        }
    }
    std::fs::write(&a.out, f).unwrap();
}
