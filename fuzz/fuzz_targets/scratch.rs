//! Fixtures copied to a folder of this process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub struct Fixture {
    pub folder: PathBuf,
    /// Name and content.
    pub weights: Vec<(String, Vec<u8>)>,
}

/// One of each family, in a fixed order.
const NAMES: &[&str] = &[
    "gpt2-options",
    "gpt-neox-sequential",
    "llama-yarn-mscale",
    "llama-llama3",
    "llama-shards",
    "mistral",
    "qwen2-layer-types",
    "qwen3-options",
    "mamba-options",
    "mamba-original",
    "mamba2-groups",
    "mamba2-original",
];

/// A folder of this process, in memory where the system has such a place.
pub fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let folder = root.join(format!("hilberg-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[allow(dead_code, reason = "not every target needs models")]
pub fn fixtures() -> &'static [Fixture] {
    static ALL: OnceLock<Vec<Fixture>> = OnceLock::new();
    ALL.get_or_init(|| {
        let copy = |name: &&str| {
            let (from, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/models").join(name), folder().join(name));
            fs::create_dir_all(&folder).unwrap();
            let mut weights = vec![];
            for entry in fs::read_dir(from).unwrap() {
                let path = entry.unwrap().path();
                let file = path.file_name().unwrap().to_str().unwrap().to_string();
                fs::copy(&path, folder.join(&file)).unwrap();
                if file.starts_with("model") && file.ends_with(".safetensors") {
                    weights.push((file, fs::read(path).unwrap()));
                }
            }
            weights.sort();
            Fixture { folder, weights }
        };
        NAMES.iter().map(copy).collect()
    })
}
