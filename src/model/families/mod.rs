//! One file a family: config.json to a spec, and how real folders name its tensors. Data, no arithmetic.

mod gpt2;
mod gpt_neox;
mod llama;
mod mamba;
mod mamba2;

use super::OpenOptions;
use super::build::Names;
use super::checkpoint::Naming;
use super::config::Config;
use super::spec::{Head, Linear, ModelSpec, Norm, Param};
use crate::error::Result;

type Reader = fn(&Config, &OpenOptions) -> Result<(ModelSpec, Naming)>;

/// `model_type` to the family that reads it.
const FAMILIES: &[(&str, Reader)] = &[
    ("gpt2", gpt2::read),
    ("gpt_neox", gpt_neox::read),
    ("llama", llama::read),
    ("mistral", llama::read),
    ("qwen2", llama::read),
    ("qwen3", llama::read),
    ("mamba", mamba::read),
    ("mamba2", mamba2::read),
];

/// Models that look both ways.
const BIDIRECTIONAL: &[&str] = &[
    "albert",
    "bert",
    "bert-generation",
    "big_bird",
    "caduceus",
    "camembert",
    "convbert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "dream",
    "electra",
    "ernie",
    "esm",
    "eurobert",
    "flaubert",
    "fnet",
    "funnel",
    "ibert",
    "layoutlm",
    "llada",
    "longformer",
    "luke",
    "megatron-bert",
    "mobilebert",
    "modernbert",
    "mpnet",
    "mra",
    "nezha",
    "nomic_bert",
    "nystromformer",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "roformer",
    "splinter",
    "squeezebert",
    "tapas",
    "xlm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
    "yoso",
];

/// Models of two texts.
const ENCODER_DECODER: &[&str] = &[
    "bart",
    "blenderbot",
    "fsmt",
    "led",
    "longt5",
    "m2m_100",
    "marian",
    "mbart",
    "mt5",
    "pegasus",
    "prophetnet",
    "switch_transformers",
    "t5",
    "umt5",
    "whisper",
];

/// Reads config.json by its `model_type`, or as the original Mamba layout, which has none.
///
/// # Errors
/// A family that is not supported, or whatever that family finds wrong.
pub(super) fn read(config: &Config, options: &OpenOptions) -> Result<(ModelSpec, Naming)> {
    config.refuse_quantised()?;
    spec(config, options)
}

/// The same whatever the weights' form is, where no weight is to be read.
///
/// # Errors
/// As [`read`].
pub(super) fn spec(config: &Config, options: &OpenOptions) -> Result<(ModelSpec, Naming)> {
    config.refuse_common()?;
    let read = match config.text("model_type")? {
        Some(kind) => match FAMILIES.iter().find(|(k, _)| *k == kind) {
            Some((_, read)) => read,
            None => return Err(config.error(unsupported(kind, std::iter::empty()))),
        },
        None if config.has("d_model") && config.has("n_layer") => &(mamba::read_original as Reader),
        None => return Err(config.error("lacks `model_type`")),
    };
    read(config, options)
}

/// Whether a `model_type` is computed.
pub(super) fn knows(kind: &str) -> bool {
    FAMILIES.iter().any(|(k, _)| *k == kind)
}

/// Why a `model_type` is refused, where `more` are known beside those that are computed.
pub(super) fn unsupported(kind: &str, more: impl Iterator<Item = &'static str>) -> String {
    if BIDIRECTIONAL.contains(&kind) {
        return format!("model_type \"{kind}\" is bidirectional: it has no chain rule, so no log q of a text");
    }
    if ENCODER_DECODER.contains(&kind) {
        return format!("model_type \"{kind}\" is an encoder-decoder: it gives no probability to a text alone");
    }
    let known: Vec<&str> = FAMILIES.iter().map(|(k, _)| *k).chain(more).collect();
    format!("model_type \"{kind}\" is not supported; {} are", known.join(", "))
}

/// The head, and the aliases that a tied one brings: the embedding may be stored under its name, under the head's, or under both.
fn head(tied: bool, embedding: &Param, name: &str, norm: Norm) -> (Head, Vec<(String, String)>) {
    let own = Names::root().tensor(name, &embedding.shape);
    let (weight, aliases) = if tied { (embedding.clone(), vec![(name.to_string(), embedding.name.clone())]) } else { (own, vec![]) };
    (Head { norm, unembedding: Linear::matrix(weight), softcap: None, scale: 1.0 }, aliases)
}
