//! A measurement cut into shares for several machines.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which groups one machine scores: shard i of n has the groups g, counted from 0, with g mod n = i − 1. Written `i/n`.
///
/// Neighbouring groups go to different shards, so that every shard alone is a sample of the whole, and more chunks lengthen all shards alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    index: u32,
    of: u32,
}

impl Shard {
    /// Shard `index`, counted from 1, of `of`.
    ///
    /// # Errors
    /// An index outside 1 … `of`.
    pub fn new(index: u32, of: u32) -> Result<Self> {
        if (1..=of).contains(&index) { Ok(Shard { index, of }) } else { Err(wrong(&format!("{index}/{of}"))) }
    }

    /// Whether group `group`, counted from 0, is one of its own.
    pub fn holds(self, group: u32) -> bool {
        group % self.of == self.index - 1
    }

    /// Number of shards, n.
    pub fn of(self) -> u32 {
        self.of
    }
}

fn wrong(text: &str) -> Error {
    Error::input(format!("{text:?} is no shard; write I/N, such as 2/3, with I from 1 to N"))
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        let (index, of) = numbers.ok_or_else(|| wrong(text))?;
        Shard::new(index, of)
    }
}

impl TryFrom<String> for Shard {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> String {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_in_one_shard() {
        for of in 1..6 {
            let shards: Vec<Shard> = (1..=of).map(|i| format!("{i}/{of}").parse().unwrap()).collect();
            assert!((0..20).all(|g| shards.iter().filter(|s| s.holds(g)).count() == 1));
        }
        for text in ["0/3", "4/3", "1/0", "1", "a/3", "1/3/5", "-1/3"] {
            assert!(text.parse::<Shard>().unwrap_err().to_string().contains("is no shard"), "{text}");
        }
        assert_eq!(serde_json::to_string(&Shard::new(2, 3).unwrap()).unwrap(), "\"2/3\"");
    }
}
