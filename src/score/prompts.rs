//! Prompts with their completions, in tokens: what is common is computed once.

use super::pipeline::Detail;
use crate::engine::{Scorer, Values};
use crate::error::{Error, Result};
use crate::forest::{Forest, Readout, Slot, SpanId, TokenId};

/// What is seen, and what may follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// All tokens before a completion, the start token among them where there is one; at least one. Context only: nothing of it is scored.
    pub context: Vec<TokenId>,
    /// Each completion's tokens, at least one each. They do not see each other.
    pub completions: Vec<Vec<TokenId>>,
}

impl Prompt {
    /// Tokens of the longest completion.
    pub fn longest(&self) -> usize {
        self.completions.iter().map(Vec::len).max().unwrap_or(0)
    }
}

/// What the model says of one completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Σ ln q(token | context, the completion's tokens before it), in nats, added in float64 in the tokens' order.
    pub sum: f64,
    /// Number of its tokens.
    pub count: u32,
    /// How many of its tokens are the model's first choice: no token of the vocabulary has a larger float32 logit there. Of tokens that tie for the largest
    /// each counts. (lm-evaluation-harness compares log-probs of a served model in the same way, and of a local one with the first index that torch's argmax finds: these
    /// differ where two logits are the same float, only.)
    pub greedy: u32,
    /// ln q of each token; with [`Detail::Token`].
    pub logprobs: Option<Vec<f32>>,
}

impl Completion {
    /// Whether greedy decoding after the context would give this completion.
    pub fn is_greedy(&self) -> bool {
        self.greedy == self.count
    }
}

/// A common beginning shorter than this is computed for each prompt anew: a tree for every few tokens would bind prompts together that fit several waves.
const LEAST_SHARED: usize = 16;

/// Tokens that [`score_prompts`] hands to the scorer at a time, more where one prompt has more.
pub(super) const BATCH_TOKENS: usize = 16_384;

/// Scores every completion of every prompt; `[prompt][completion]` in the order given.
///
/// A prompt is computed once for all its completions, and the beginning that several prompts have in common (of 16 tokens at least) once for all of them, as far as
/// they lie within the same 16,384 tokens of work. Every number is the same, bit for bit, as for the prompt and the completion alone.
///
/// # Errors
/// An empty context or completion; whatever the scorer meets: a token outside the vocabulary, a text past the model's positions, numbers that are not finite.
pub fn score_prompts(scorer: &mut dyn Scorer, prompts: &[Prompt], detail: Detail) -> Result<Vec<Vec<Completion>>> {
    let mut scored = Vec::with_capacity(prompts.len());
    let mut load = Load::default();
    let mut first = 0;
    for (i, prompt) in prompts.iter().enumerate() {
        if !load.take(prompt, BATCH_TOKENS) {
            scored.extend(score_together(scorer, &prompts[first..i], detail)?.0);
            (first, load) = (i, Load::default());
            load.take(prompt, BATCH_TOKENS);
        }
    }
    scored.extend(score_together(scorer, &prompts[first..], detail)?.0);
    Ok(scored)
}

/// The work of prompts that come one after the other, in tokens fed: a beginning that a prompt shares with the one before it counts once.
#[derive(Clone, Debug, Default)]
pub struct Load {
    tokens: usize,
    last: Option<Vec<TokenId>>,
}

impl Load {
    /// Adds a prompt if it fits `most` tokens or is the first; says whether it did.
    pub fn take(&mut self, prompt: &Prompt, most: usize) -> bool {
        let shared = self.last.as_ref().map_or(0, |last| shared(last, &prompt.context));
        let tokens = prompt.context.len() - shared + prompt.completions.iter().map(Vec::len).sum::<usize>();
        if self.last.is_some() && self.tokens + tokens > most {
            return false;
        }
        self.tokens += tokens;
        self.last = Some(prompt.context.clone());
        true
    }

    /// Tokens so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// Tokens of the common beginning of two contexts that are computed once.
fn shared(a: &[TokenId], b: &[TokenId]) -> usize {
    let n = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    // The same context is shared whole, however short; but for a start token alone, where there is nothing to save.
    if n >= LEAST_SHARED || (n > 1 && n == a.len() && n == b.len()) { n } else { 0 }
}

/// The spans that hold the latest context.
#[derive(Default)]
struct Trunk<'a> {
    context: &'a [TokenId],
    /// Each with the position of its first token; it holds the context up to the next one's position.
    spans: Vec<(SpanId, usize)>,
    /// Tokens of contexts that were planted.
    planted: usize,
}

impl<'a> Trunk<'a> {
    /// Plants a context, on what it shares with the one before; gives the span and how many of its tokens end it.
    fn grow(&mut self, forest: &mut Forest, context: &'a [TokenId]) -> Result<(SpanId, u32)> {
        let common = if self.spans.is_empty() { 0 } else { shared(self.context, context) };
        while self.spans.last().is_some_and(|&(_, at)| at >= common) {
            self.spans.pop();
        }
        if common < context.len() {
            let own = &context[common..];
            let span = match self.spans.last() {
                Some(&(parent, at)) => forest.branch(parent, (common - at) as u32, own)?,
                None => forest.root(own)?,
            };
            self.spans.push((span, common));
            self.planted += own.len();
        }
        self.context = context;
        let &(span, at) = self.spans.last().ok_or_else(|| Error::input("a prompt needs at least one token: a start token, where it is empty"))?;
        Ok((span, (context.len() - at) as u32))
    }
}

/// [`score_prompts`] in one call of the scorer, and how many tokens of contexts were fed for it.
pub(super) fn score_together(scorer: &mut dyn Scorer, prompts: &[Prompt], detail: Detail) -> Result<(Vec<Vec<Completion>>, usize)> {
    let (mut forest, mut readout, mut trunk) = (Forest::new(), Readout::new(), Trunk::default());
    let mut places: Vec<Vec<(Slot, Option<Slot>)>> = vec![Vec::new(); prompts.len()];
    // Among sorted contexts the neighbour shares most.
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by(|&a, &b| prompts[a].context.cmp(&prompts[b].context));
    for i in order {
        let prompt = &prompts[i];
        let (span, end) = trunk.grow(&mut forest, &prompt.context)?;
        for tokens in &prompt.completions {
            let leaf = forest.branch(span, end, tokens)?;
            let all = 0..tokens.len() as u32;
            let each = (detail == Detail::Token).then(|| readout.each(&forest, leaf, all.clone())).transpose()?;
            places[i].push((readout.sum_and_greedy(&forest, leaf, all)?, each));
        }
    }
    let mut values = Values::new(&readout);
    if readout.slots() > 0 {
        scorer.score(&forest, &readout, &mut values)?;
    }
    let completion = |tokens: &Vec<TokenId>, &(sum, each): &(Slot, Option<Slot>)| {
        let greedy = values.greedy(sum).ok_or_else(|| Error::input("this scorer does not say which tokens are greedy"))?;
        let logprobs = each.map(|first| values.tokens(first, tokens.len()));
        Ok(Completion { sum: values.sum(sum), count: tokens.len() as u32, greedy, logprobs })
    };
    let scored = prompts.iter().zip(&places).map(|(p, of)| p.completions.iter().zip(of).map(|(t, place)| completion(t, place)).collect());
    Ok((scored.collect::<Result<_>>()?, trunk.planted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(contexts: &[&[TokenId]]) -> (Forest, usize, Vec<Vec<TokenId>>) {
        let (mut forest, mut trunk) = (Forest::new(), Trunk::default());
        let ends: Vec<_> = contexts.iter().map(|c| trunk.grow(&mut forest, c).unwrap()).collect();
        let seen = |&(span, n): &(SpanId, u32)| {
            let at = forest.branch(span, n, &[99]).unwrap();
            let mut path = forest.path(at);
            path.pop();
            path
        };
        let paths = ends.iter().map(seen).collect();
        (forest.clone(), trunk.planted, paths)
    }

    #[test]
    fn contexts_share_their_beginnings() {
        let header: Vec<TokenId> = (0..40).collect();
        let with = |n: usize, tail: &[TokenId]| [&header[..n], tail].concat();
        let contexts = [
            with(40, &[]),
            with(40, &[]),
            with(40, &[1, 2]),
            with(40, &[1, 2, 3]),
            with(40, &[1, 7]),
            with(20, &[5]),
            with(20, &[]),
            with(15, &[5]),
            with(15, &[5]),
            vec![0, 1],
            vec![0, 1],
            vec![3],
            vec![3],
        ];
        let slices: Vec<&[TokenId]> = contexts.iter().map(Vec::as_slice).collect();
        let (forest, planted, paths) = planted(&slices);
        assert_eq!(paths, contexts);
        // 40, 0, 2, 1, 1, 1 (20 shared), 0 (a beginning), 16 (15 are too few), 0, 2, 0, 1, 1.
        assert_eq!(planted, 65);
        assert_eq!(forest.trees().len(), 5);
        assert!(Trunk::default().grow(&mut Forest::new(), &[]).is_err());
    }

    #[test]
    fn a_load_counts_what_is_fed() {
        let prompt = |n: u32, k: usize| Prompt { context: (0..n).collect(), completions: vec![vec![1; k]; 2] };
        let mut load = Load::default();
        assert!(load.take(&prompt(100, 3), 50));
        assert_eq!(load.tokens(), 106);
        assert!(!load.take(&prompt(100, 3), 111) && load.take(&prompt(100, 3), 112) && load.take(&prompt(120, 0), 132));
        assert_eq!(load.tokens(), 132);
    }
}
