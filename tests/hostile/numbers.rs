//! config.json read a second time, from the reference library's documentation and the families' papers alone: the numbers that a spec must then hold.

use super::json::{J, parse};
use super::turn::Turn;
use hilberg::model::{Linear, Mixer, ModelSpec, NormKind};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

pub type Numbers = BTreeMap<String, f64>;

/// Keys that cannot change what is computed: everything else in an accepted config.json was read.
const WITHOUT_EFFECT: &str = "architectures auto_map _name_or_path name_or_path _commit_hash transformers_version _from_model_config torch_dtype dtype \
    use_bfloat16 use_cache return_dict output_attentions output_hidden_states output_scores return_dict_in_generate torchscript chunk_size_feed_forward \
    attn_implementation _attn_implementation _attn_implementation_autoset use_flash_attn _flash_attn_2_enabled pad_token_id sep_token_id cls_token_id \
    unk_token_id decoder_start_token_id tokenizer_class prefix max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty \
    temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids \
    num_return_sequences forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty suppress_tokens \
    begin_suppress_tokens max_new_tokens id2label label2id num_labels problem_type finetuning_task task_specific_params classifier_dropout \
    initializer_range gradient_checkpointing tf_legacy_loss pretraining_tp attention_dropout hidden_dropout attn_pdrop embd_pdrop resid_pdrop is_decoder";
const GPT2: &str = "n_ctx reorder_and_upcast_attn summary_type summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout";
const MAMBA: &str = "residual_in_fp32 time_step_scale time_step_min time_step_max time_step_init_scheme time_step_floor rescale_prenorm_residual use_mambapy \
    use_associative_scan layer_types d_model d_inner n_layer ssm_cfg fused_add_norm pad_vocab_size_multiple";
const MAMBA2: &str = "residual_in_fp32 time_step_rank time_step_min time_step_max time_step_floor rescale_prenorm_residual A_initializer_range \
    emb_initializer_range chunk_size use_mem_eff_path norm_before_gate layer_types";
const ORIGINAL: &str = "residual_in_fp32 fused_add_norm attn_cfg";
const SSM: &str =
    "dt_min dt_max dt_init dt_scale dt_init_floor A_init_range conv_init use_fast_path use_mem_eff_path chunk_size sequence_parallel process_group";
/// Must be absent, null or say nothing.
const REFUSED: &[&str] = &["quantization_config", "compression_config", "cross_attention_hidden_size", "per_layer_config"];

pub struct Keys<'a> {
    pub object: &'a J,
    read: RefCell<BTreeSet<&'a str>>,
}

pub type Told<T> = Result<T, String>;

impl<'a> Keys<'a> {
    pub fn of(object: &'a J) -> Self {
        Keys { object, read: RefCell::default() }
    }

    pub fn get(&self, key: &'a str) -> Option<&'a J> {
        self.read.borrow_mut().insert(key);
        self.object.get(key).filter(|v| **v != J::Null)
    }

    pub fn number(&self, key: &'a str) -> Told<Option<f64>> {
        self.get(key).map(|v| v.number().filter(|x| x.is_finite()).ok_or_else(|| format!("{key} is no number"))).transpose()
    }

    pub fn or(&self, key: &'a str, default: f64) -> Told<f64> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    pub fn need(&self, key: &'a str) -> Told<f64> {
        self.number(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    pub fn flag(&self, key: &'a str, default: bool) -> Told<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(J::Bool(b)) => Ok(*b),
            Some(_) => Err(format!("{key} is no truth value")),
        }
    }

    pub fn text(&self, key: &'a str) -> Told<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(J::Text(t)) => Ok(Some(t)),
            Some(_) => Err(format!("{key} is no text")),
        }
    }

    fn activation(&self, key: &'a str, default: &'static str) -> Told<&'static str> {
        Ok(match self.text(key)? {
            None => default,
            Some("silu" | "swish") => "Silu",
            Some("gelu" | "gelu_python") => "Gelu",
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast") => "GeluTanh",
            Some("relu") => "Relu",
            Some("relu2") => "Relu2",
            Some(other) => return Err(format!("activation {other:?}")),
        })
    }

    pub fn done(&self, without_effect: &[&str]) -> Told<()> {
        let J::Object(o) = self.object else { return Err("no object".into()) };
        let read = self.read.borrow();
        match o.iter().find(|(k, _)| !read.contains(k.as_str()) && !without_effect.iter().any(|list| list.split_whitespace().any(|w| w == k))) {
            Some((k, _)) => Err(format!("nobody reads {k:?}")),
            None => Ok(()),
        }
    }
}

/// What a config.json says a spec must hold.
pub fn expected(text: &str, rope_length: Option<usize>) -> Told<Numbers> {
    let tree = parse(text.trim_start_matches('\u{feff}'))?;
    let c = Keys::of(&tree);
    if let Some(key) = REFUSED.iter().find(|key| c.get(key).is_some()) {
        return Err(format!("{key} is set"));
    }
    for (key, only) in [("is_encoder_decoder", false), ("add_cross_attention", false), ("tie_encoder_decoder", false), ("use_bidirectional_attention", false)] {
        if c.flag(key, only)? != only {
            return Err(format!("{key} is {}", !only));
        }
    }
    if !c.flag("is_causal", true)? || c.get("pruned_heads").is_some_and(|p| *p != J::Object(vec![])) {
        return Err("is_causal or pruned_heads".into());
    }
    let mut n = Numbers::new();
    let mut set = |key: String, x: f64| {
        n.insert(key, x);
    };
    match c.text("model_type")? {
        Some("gpt2") => gpt2(&c, &mut set)?,
        Some("gpt_neox") => neox(&c, rope_length, &mut set)?,
        Some(kind @ ("llama" | "mistral" | "qwen2" | "qwen3")) => llama(&c, kind, rope_length, &mut set)?,
        Some("mamba") => mamba(&c, &mut set)?,
        Some("mamba2") => mamba2(&c, &mut set)?,
        None => original(&c, &mut set)?,
        Some(other) => return Err(format!("model_type {other:?}")),
    }
    let mut start = -1.0;
    for key in ["eos_token_id", "bos_token_id"] {
        let id = match c.get(key) {
            Some(J::List(l)) => l.first(),
            id => id,
        };
        match id.map(|id| id.number().ok_or_else(|| format!("{key} is no number"))).transpose()? {
            Some(-1.0) | None => {}
            Some(id) => start = id,
        }
    }
    n.insert("start".into(), start);
    Ok(n)
}

type Set<'s> = &'s mut dyn FnMut(String, f64);

fn norm(set: Set, at: &str, kind: NormKind, eps: f64) {
    set(format!("{at}.{kind:?}"), 1.0);
    set(format!("{at}.eps"), eps);
}

fn whole(set: Set, d: f64, vocab: f64, layers: f64, positions: f64, tied: bool) {
    for (key, x) in [("d", d), ("vocab", vocab), ("layers", layers), ("positions", positions), ("tied", f64::from(tied))] {
        set(key.into(), x);
    }
}

struct Heads<'r> {
    heads: f64,
    kv: f64,
    width: f64,
    scale: f64,
    window: f64,
    rope: Option<&'r Turn>,
    qk_eps: f64,
    biases: [bool; 2],
    transposed: bool,
}

fn attention(set: Set, at: &str, h: &Heads) {
    set(format!("{at}.heads"), h.heads);
    set(format!("{at}.kv"), h.kv);
    set(format!("{at}.width"), h.width);
    set(format!("{at}.scale"), h.scale);
    set(format!("{at}.window"), h.window);
    set(format!("{at}.qk_eps"), h.qk_eps);
    set(format!("{at}.biased"), f64::from(h.biases[0]));
    set(format!("{at}.out_biased"), f64::from(h.biases[1]));
    set(format!("{at}.transposed"), f64::from(h.transposed));
    set(format!("{at}.turned"), h.rope.map_or(0.0, |r| 2.0 * r.frequencies.len() as f64));
    if let Some(r) = h.rope {
        set(format!("{at}.turn_factor"), r.factor);
        for (i, (f, slack)) in r.frequencies.iter().enumerate() {
            set(format!("{at}.turn{i}"), *f);
            set(format!("{at}.turn{i}.slack"), *slack);
        }
    }
}

fn mlp(set: Set, at: &str, width: f64, gated: bool, activation: &str, biased: bool) {
    set(format!("{at}.width"), width);
    set(format!("{at}.gated"), f64::from(gated));
    set(format!("{at}.{activation}"), 1.0);
    set(format!("{at}.biased"), f64::from(biased));
}

fn gpt2<'a>(c: &Keys<'a>, set: Set) -> Told<()> {
    let (d, layers, heads) = (c.need("n_embd")?, c.need("n_layer")?, c.need("n_head")?);
    let eps = c.or("layer_norm_epsilon", 1e-5)?;
    let (scaled, by_layer) = (c.flag("scale_attn_weights", true)?, c.flag("scale_attn_by_inverse_layer_idx", false)?);
    let (ff, activation) = (c.or("n_inner", 4.0 * d)?, c.activation("activation_function", "GeluTanh")?);
    whole(set, d, c.need("vocab_size")?, layers, c.need("n_positions")?, c.flag("tie_word_embeddings", true)?);
    norm(set, "last", NormKind::Layer, eps);
    for i in 0..layers as usize {
        let width = d / heads;
        let scale = if scaled { 1.0 / width.sqrt() } else { 1.0 } / if by_layer { (i + 1) as f64 } else { 1.0 };
        attention(
            set,
            &format!("{i}.0"),
            &Heads { heads, kv: heads, width, scale, window: -1.0, rope: None, qk_eps: -1.0, biases: [true; 2], transposed: true },
        );
        mlp(set, &format!("{i}.1"), ff, false, activation, true);
        (0..2).for_each(|b| norm(set, &format!("{i}.{b}.norm"), NormKind::Layer, eps));
        set(format!("{i}.Sequential"), 1.0);
    }
    c.read.borrow_mut().extend(["bos_token_id", "eos_token_id"]);
    c.done(&[WITHOUT_EFFECT, GPT2])
}

fn neox<'a>(c: &Keys<'a>, rope_length: Option<usize>, set: Set) -> Told<()> {
    let (d, layers, heads) = (c.need("hidden_size")?, c.need("num_hidden_layers")?, c.need("num_attention_heads")?);
    let eps = c.or("layer_norm_eps", 1e-5)?;
    let either = |a, b| Ok::<_, String>(c.number(a)?.or(c.number(b)?));
    let width = d / heads;
    let outer = (either("rotary_emb_base", "rope_theta")?, either("rotary_pct", "partial_rotary_factor")?);
    let turn = Turn::read(c, width, outer, 0.25, c.need("max_position_embeddings")?, rope_length)?;
    let residual = if c.flag("use_parallel_residual", true)? { "Parallel" } else { "Sequential" };
    let (biased, activation, ff) = (c.flag("attention_bias", true)?, c.activation("hidden_act", "Gelu")?, c.need("intermediate_size")?);
    whole(set, d, c.need("vocab_size")?, layers, turn.positions, c.flag("tie_word_embeddings", false)?);
    norm(set, "last", NormKind::Layer, eps);
    for i in 0..layers as usize {
        let h =
            Heads { heads, kv: heads, width, scale: 1.0 / width.sqrt(), window: -1.0, rope: Some(&turn), qk_eps: -1.0, biases: [biased; 2], transposed: false };
        attention(set, &format!("{i}.0"), &h);
        mlp(set, &format!("{i}.1"), ff, false, activation, true);
        (0..2).for_each(|b| norm(set, &format!("{i}.{b}.norm"), NormKind::Layer, eps));
        set(format!("{i}.{residual}"), 1.0);
    }
    c.read.borrow_mut().extend(["bos_token_id", "eos_token_id"]);
    c.done(&[WITHOUT_EFFECT])
}

fn llama<'a>(c: &Keys<'a>, kind: &str, rope_length: Option<usize>, set: Set) -> Told<()> {
    let (d, layers, heads) = (c.need("hidden_size")?, c.need("num_hidden_layers")?, c.need("num_attention_heads")?);
    let silent = if kind == "mistral" && c.object.get("num_key_value_heads").is_none() { 8.0 } else { heads };
    let kv = c.or("num_key_value_heads", silent)?;
    let width = c.or("head_dim", if kind == "qwen3" { 128.0 } else { d / heads })?;
    let eps = c.or("rms_norm_eps", 1e-6)?;
    let turn = Turn::read(c, width, (c.number("rope_theta")?, None), 1.0, c.need("max_position_embeddings")?, rope_length)?;
    let attention_bias = matches!(kind, "llama" | "qwen3") && c.flag("attention_bias", false)?;
    let biases = [kind == "qwen2" || attention_bias, attention_bias];
    let mlp_bias = kind == "llama" && c.flag("mlp_bias", false)?;
    let mut windows = vec![-1.0; layers as usize];
    if kind != "llama" {
        let given = c.or("sliding_window", 4096.0)?;
        let window = Some(given).filter(|_| c.object.get("sliding_window") != Some(&J::Null));
        let used = kind == "mistral" || c.flag("use_sliding_window", false)?;
        let first = if kind == "mistral" { 0.0 } else { c.or("max_window_layers", 28.0)? };
        let types = if kind == "mistral" { None } else { c.get("layer_types") };
        for (i, w) in windows.iter_mut().enumerate() {
            let slides = match types {
                None => i as f64 >= first,
                Some(J::List(l)) if l.len() == layers as usize => match &l[i] {
                    J::Text(t) if t == "sliding_attention" && used && window.is_some() => true,
                    J::Text(t) if t == "full_attention" => false,
                    other => return Err(format!("a layer of type {other:?}")),
                },
                Some(_) => return Err("layer_types".into()),
            };
            if let Some(window) = window.filter(|_| used && slides) {
                *w = window;
            }
        }
    }
    if kind == "qwen2" && c.flag("use_mrope", false)? {
        return Err("use_mrope".into());
    }
    let (activation, ff) = (c.activation("hidden_act", "Silu")?, c.need("intermediate_size")?);
    whole(set, d, c.need("vocab_size")?, layers, turn.positions, c.flag("tie_word_embeddings", false)?);
    norm(set, "last", NormKind::Rms, eps);
    for (i, window) in windows.into_iter().enumerate() {
        let qk_eps = if kind == "qwen3" { eps } else { -1.0 };
        attention(set, &format!("{i}.0"), &Heads { heads, kv, width, scale: 1.0 / width.sqrt(), window, rope: Some(&turn), qk_eps, biases, transposed: false });
        mlp(set, &format!("{i}.1"), ff, true, activation, mlp_bias);
        (0..2).for_each(|b| norm(set, &format!("{i}.{b}.norm"), NormKind::Rms, eps));
        set(format!("{i}.Sequential"), 1.0);
    }
    c.read.borrow_mut().extend(["bos_token_id", "eos_token_id"]);
    c.done(&[WITHOUT_EFFECT])
}

fn scan(set: Set, at: &str, numbers: &[(&str, f64)]) {
    numbers.iter().for_each(|(key, x)| set(format!("{at}.{key}"), *x));
}

fn mamba<'a>(c: &Keys<'a>, set: Set) -> Told<()> {
    let d = c.need("hidden_size")?;
    let inner = (c.or("expand", 2.0)? * d).floor();
    if c.number("intermediate_size")?.is_some_and(|n| n != inner) || !c.flag("rms_norm", true)? {
        return Err("intermediate_size or rms_norm".into());
    }
    let rank = if c.get("time_step_rank") == Some(&J::Text("auto".into())) { (d / 16.0).ceil() } else { c.or("time_step_rank", (d / 16.0).ceil())? };
    let (bias, conv_bias) = (c.flag("use_bias", false)?, c.flag("use_conv_bias", true)?);
    let scan_of =
        Scan { inner, state: c.or("state_size", 16.0)?, conv: c.or("conv_kernel", 4.0)?, bias, conv_bias, activation: c.activation("hidden_act", "Silu")? };
    let layers = c.number("num_hidden_layers")?.map_or_else(|| c.need("n_layer"), Ok)?;
    let eps = c.or("layer_norm_epsilon", 1e-5)?;
    whole(set, d, c.need("vocab_size")?, layers, -1.0, c.flag("tie_word_embeddings", true)?);
    stack(set, layers, NormKind::Rms, eps, |set, at| scan_of.one(set, at, rank));
    c.read.borrow_mut().extend(["bos_token_id", "eos_token_id"]);
    c.done(&[WITHOUT_EFFECT, MAMBA])
}

fn stack(set: Set, layers: f64, kind: NormKind, eps: f64, mixer: impl Fn(Set, &str)) {
    norm(set, "last", kind, eps);
    for i in 0..layers as usize {
        mixer(set, &format!("{i}.0"));
        norm(set, &format!("{i}.0.norm"), kind, eps);
        set(format!("{i}.Sequential"), 1.0);
    }
}

struct Scan {
    inner: f64,
    state: f64,
    conv: f64,
    bias: bool,
    conv_bias: bool,
    activation: &'static str,
}

struct Groups {
    heads: f64,
    width: f64,
    groups: f64,
    gate: f64,
    eps: f64,
    limit: (f64, f64),
}

impl Scan {
    fn both(&self, set: Set, at: &str) {
        scan(set, at, &[("inner", self.inner), ("state", self.state), ("conv", self.conv), (self.activation, 1.0)]);
        scan(set, at, &[("biased", f64::from(self.bias)), ("conv_biased", f64::from(self.conv_bias))]);
    }

    fn one(&self, set: Set, at: &str, rank: f64) {
        self.both(set, at);
        set(format!("{at}.rank"), rank);
    }

    fn two(&self, set: Set, at: &str, g: &Groups) {
        self.both(set, at);
        scan(set, at, &[("heads", g.heads), ("width", g.width), ("groups", g.groups), ("gate", g.gate), ("from", g.limit.0), ("to", g.limit.1)]);
        // Without a norm its ε is nobody's.
        set(format!("{at}.eps"), if g.gate == 0.0 { -1.0 } else { g.eps });
    }
}

fn limit(j: Option<&J>) -> Told<(f64, f64)> {
    match j {
        None => Ok((0.0, f64::INFINITY)),
        Some(J::List(l)) => match l.iter().map(J::number).collect::<Option<Vec<_>>>().as_deref() {
            Some([from, to]) => Ok((*from, *to)),
            _ => Err("no limits".into()),
        },
        Some(_) => Err("no limits".into()),
    }
}

fn mamba2<'a>(c: &Keys<'a>, set: Set) -> Told<()> {
    let d = c.need("hidden_size")?;
    let (heads, width, eps) = (c.or("num_heads", 128.0)?, c.or("head_dim", 64.0)?, c.or("layer_norm_epsilon", 1e-5)?);
    let inner = (c.or("expand", 2.0)? * d).floor();
    if c.number("intermediate_size")?.is_some_and(|n| n != inner) || !c.flag("rms_norm", true)? || heads * width != inner {
        return Err("intermediate_size, rms_norm or heads".into());
    }
    let (bias, conv_bias) = (c.flag("use_bias", false)?, c.flag("use_conv_bias", true)?);
    let scan_of =
        Scan { inner, state: c.or("state_size", 128.0)?, conv: c.or("conv_kernel", 4.0)?, bias, conv_bias, activation: c.activation("hidden_act", "Silu")? };
    let groups = Groups { heads, width, groups: c.or("n_groups", 8.0)?, gate: 1.0, eps, limit: limit(c.get("time_step_limit"))? };
    let layers = c.number("num_hidden_layers")?.map_or_else(|| c.need("n_layer"), Ok)?;
    whole(set, d, c.need("vocab_size")?, layers, -1.0, c.flag("tie_word_embeddings", false)?);
    stack(set, layers, NormKind::Rms, eps, |set, at| scan_of.two(set, at, &groups));
    c.read.borrow_mut().extend(["bos_token_id", "eos_token_id", "n_layer"]);
    c.done(&[WITHOUT_EFFECT, MAMBA2])
}

fn original<'a>(c: &Keys<'a>, set: Set) -> Told<()> {
    let d = c.need("d_model")?;
    let nothing = J::Object(vec![]);
    let s = Keys::of(c.get("ssm_cfg").unwrap_or(&nothing));
    if c.or("d_intermediate", 0.0)? != 0.0 || c.get("attn_layer_idx").is_some_and(|l| *l != J::List(vec![])) {
        return Err("layers of another kind".into());
    }
    let inner = (s.or("expand", 2.0)? * d).floor();
    let (bias, conv_bias, conv) = (s.flag("bias", false)?, s.flag("conv_bias", true)?, s.or("d_conv", 4.0)?);
    let scan_of = |state| Scan { inner, state, conv, bias, conv_bias, activation: "Silu" };
    let multiple = c.or("pad_vocab_size_multiple", 8.0)?;
    let (layers, eps) = (c.need("n_layer")?, c.or("norm_epsilon", 1e-5)?);
    let kind = if c.flag("rms_norm", true)? { NormKind::Rms } else { NormKind::Layer };
    whole(set, d, (c.need("vocab_size")? / multiple).ceil() * multiple, layers, -1.0, c.flag("tie_embeddings", true)?);
    match s.text("layer")? {
        None | Some("Mamba1") => {
            let rank = if s.get("dt_rank") == Some(&J::Text("auto".into())) { (d / 16.0).ceil() } else { s.or("dt_rank", (d / 16.0).ceil())? };
            let scan_of = scan_of(s.or("d_state", 16.0)?);
            stack(set, layers, kind, eps, |set, at| scan_of.one(set, at, rank));
        }
        Some("Mamba2") => {
            let width = s.or("headdim", 64.0)?;
            if s.number("d_ssm")?.is_some_and(|n| n != inner) || s.flag("D_has_hdim", false)? {
                return Err("d_ssm or D_has_hdim".into());
            }
            let gate = match (s.flag("rmsnorm", true)?, s.flag("norm_before_gate", false)?) {
                (false, _) => 0.0,
                (true, before) => 1.0 + f64::from(before),
            };
            let groups = Groups { heads: inner / width, width, groups: s.or("ngroups", 1.0)?, gate, eps: 1e-5, limit: limit(s.get("dt_limit"))? };
            let scan_of = scan_of(s.or("d_state", 128.0)?);
            stack(set, layers, kind, eps, |set, at| scan_of.two(set, at, &groups));
        }
        Some(other) => return Err(format!("layer {other:?}")),
    }
    c.read.borrow_mut().extend(["bos_token_id", "eos_token_id"]);
    s.done(&[SSM])?;
    c.done(&[WITHOUT_EFFECT, ORIGINAL])
}

/// What a spec holds, under the same names.
pub fn held(spec: &ModelSpec) -> Numbers {
    let mut n = Numbers::new();
    let biased = |l: &Linear| l.biases.iter().any(Option::is_some);
    let mut set = |key: String, x: f64| {
        n.insert(key, x);
    };
    let tied = spec.head.unembedding.parts[0].name == spec.embedding.tokens.name;
    whole(&mut set, spec.d as f64, spec.vocab as f64, spec.layers.len() as f64, spec.max_positions.map_or(-1.0, |p| p as f64), tied);
    set("start".into(), spec.start.as_ref().map_or(-1.0, |s| f64::from(s.id)));
    norm(&mut set, "last", spec.head.norm.kind, f64::from(spec.head.norm.eps));
    for (i, layer) in spec.layers.iter().enumerate() {
        set(format!("{i}.{:?}", layer.residual), 1.0);
        for (b, block) in layer.blocks.iter().enumerate() {
            let at = format!("{i}.{b}");
            norm(&mut set, &format!("{at}.norm"), block.norm.kind, f64::from(block.norm.eps));
            match &block.mixer {
                Mixer::Attention(a) => {
                    let turn = a.rope.as_ref().map(|r| Turn {
                        frequencies: r.inv_freq.iter().map(|f| (f64::from(*f), 0.0)).collect(),
                        factor: f64::from(r.attention_factor),
                        positions: 0.0,
                    });
                    let h = Heads {
                        heads: a.heads as f64,
                        kv: a.kv_heads as f64,
                        width: a.head_dim as f64,
                        scale: f64::from(a.scale),
                        window: a.window.map_or(-1.0, |w| w as f64),
                        rope: turn.as_ref(),
                        qk_eps: a.qk_norm.as_ref().map_or(-1.0, |q| f64::from(q.2)),
                        biases: [biased(&a.qkv), biased(&a.out)],
                        transposed: a.qkv.parts[0].transposed,
                    };
                    attention(&mut set, &at, &h);
                }
                Mixer::Mlp(m) => mlp(&mut set, &at, m.width as f64, m.gated, &format!("{:?}", m.activation), biased(&m.up)),
                Mixer::Mamba1(m) => {
                    scan(&mut set, &at, &[("inner", m.d_inner as f64), ("state", m.d_state as f64), ("conv", m.conv as f64), ("rank", m.dt_rank as f64)]);
                    scan(&mut set, &at, &[("biased", f64::from(biased(&m.in_proj))), ("conv_biased", f64::from(m.conv_bias.is_some()))]);
                    set(format!("{at}.{:?}", m.activation), 1.0);
                }
                Mixer::Mamba2(m) => {
                    scan(&mut set, &at, &[("inner", m.d_inner as f64), ("state", m.d_state as f64), ("conv", m.conv as f64), ("heads", m.heads as f64)]);
                    scan(&mut set, &at, &[("biased", f64::from(biased(&m.in_proj))), ("conv_biased", f64::from(m.conv_bias.is_some()))]);
                    let gate = if m.norm.is_none() { 0.0 } else { 1.0 + f64::from(m.norm_before_gate) };
                    scan(&mut set, &at, &[("width", m.head_dim as f64), ("groups", m.groups as f64), ("gate", gate)]);
                    scan(&mut set, &at, &[("from", f64::from(m.dt_limit.0)), ("to", f64::from(m.dt_limit.1))]);
                    scan(&mut set, &at, &[("eps", if gate == 0.0 { -1.0 } else { f64::from(m.norm_eps) }), (&format!("{:?}", m.activation), 1.0)]);
                }
            }
        }
    }
    n
}

/// Whether a spec holds what its config.json says, to float32.
pub fn agree(text: &str, rope_length: Option<usize>, spec: &ModelSpec) -> Told<()> {
    let (want, got) = (expected(text, rope_length).map_err(|e| format!("accepted, but by another reading: {e}"))?, held(spec));
    for key in want.keys().chain(got.keys()) {
        if key.ends_with(".slack") {
            continue;
        }
        let (Some(w), Some(g)) = (want.get(key), got.get(key)) else { return Err(format!("{key}: {:?} wanted, {:?} held", want.get(key), got.get(key))) };
        let size = want.get(&format!("{key}.slack")).copied().unwrap_or(w.abs());
        // Four roundings to float32, and its smallest numbers.
        if !(w == g || w.is_nan() && g.is_nan() || (w - g).abs() <= 4.0 * f64::from(f32::EPSILON) * size + 1e-37) {
            return Err(format!("{key}: {w} wanted, {g} held"));
        }
    }
    Ok(())
}
