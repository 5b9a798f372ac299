//! Points of a curve out of a text: a table of columns (CSV, or tabs), or a JSON object with a list for each.

use super::{Covariance, Curve};
use crate::error::{Error, Result};
use crate::estimate::Resampling;
use serde::Deserialize;

/// Which columns of a table to read, and which of its rows.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Name of the column of ℓ, t or c; `None` for the first that has one of the usual names, or of a table without names the first.
    pub x: Option<String>,
    /// Likewise of I or the loss.
    pub y: Option<String>,
    /// Likewise of the standard errors, which may be missing.
    pub se: Option<String>,
    /// Rows are read where each of these columns has this value.
    pub only: Vec<(String, String)>,
}

const X_NAMES: &[&str] = &["x", "ℓ", "l", "L", "ell", "split", "length", "t", "position", "c", "context", "d", "distance"];
const Y_NAMES: &[&str] = &["y", "I", "i", "nats", "value", "information", "h", "loss", "CE", "ce"];
const SE_NAMES: &[&str] = &["se", "error", "stderr", "sigma"];

/// Points as they were read, x ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    /// x.
    pub x: Vec<f64>,
    /// y.
    pub y: Vec<f64>,
    /// Their covariance, where errors are given.
    pub covariance: Option<Covariance>,
}

/// What a JSON file holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    #[serde(alias = "ℓ", alias = "l", alias = "split", alias = "t", alias = "c")]
    x: Vec<f64>,
    #[serde(alias = "I", alias = "nats", alias = "loss", alias = "value")]
    y: Vec<f64>,
    se: Option<Vec<f64>>,
    covariance: Option<Vec<Vec<f64>>>,
    /// Independent samples that the covariance was estimated from.
    units: Option<usize>,
}

impl Points {
    /// From a JSON object (what begins with a brace) or a table.
    ///
    /// # Errors
    /// What is missing or no number, and where.
    pub fn read(text: &str, columns: &Columns) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if !text.trim_start().starts_with(['{', '[']) {
            return Self::from_table(text, columns);
        }
        if columns.x.is_some() || columns.y.is_some() || columns.se.is_some() || !columns.only.is_empty() {
            return Err(Error::input("is a JSON object, whose lists have their names; --x, --y, --se and --only are for tables"));
        }
        Self::from_json(text)
    }

    fn from_json(text: &str) -> Result<Self> {
        let lists: Lists = serde_json::from_str(text)
            .map_err(|e| Error::input(format!("is not an object with lists x, y and, if there are errors, se or covariance (rows) with units: {e}")))?;
        let Lists { x, y, se, covariance, units } = lists;
        let covariance = match (se, covariance) {
            (Some(_), Some(_)) => return Err(Error::input("has both se and covariance; leave one out")),
            (Some(se), None) => Some(diagonal(&se)?),
            (None, Some(rows)) => Some(Covariance::given(&rows, units).map_err(Error::input)?),
            (None, None) => None,
        };
        if units.is_some() && covariance.as_ref().is_none_or(|c| c.units().is_none()) {
            return Err(Error::input("has units, and no covariance that they could be the units of"));
        }
        Ok(Points { x, y, covariance })
    }

    fn from_table(text: &str, columns: &Columns) -> Result<Self> {
        let tabs = text.lines().next().is_some_and(|first| first.contains('\t') && !first.contains(','));
        let mut rows = records(text, if tabs { '\t' } else { ',' })?;
        rows.retain(|(_, r)| r.iter().any(|f| !f.trim().is_empty()));
        let Some((_, first)) = rows.first() else { return Err(Error::input("holds no rows")) };
        let named = first.iter().any(|f| f.trim().parse::<f64>().is_err());
        let names: Vec<String> = if named { first.iter().map(|f| f.trim().to_string()).collect() } else { Vec::new() };
        let width = first.len();
        if named {
            rows.remove(0);
        }
        if let Some((line, row)) = rows.iter().find(|(_, r)| r.len() != width) {
            return Err(Error::input(format!("line {line} has {} fields, and the first {width}", row.len())));
        }
        let find = |name: &str| -> Result<usize> {
            let at = names.iter().position(|n| n == name);
            at.ok_or_else(|| Error::input(format!("has no column {name:?}; its columns are {}", if named { names.join(", ") } else { "without names".into() })))
        };
        let pick = |asked: &Option<String>, usual: &[&str], place: usize| -> Result<Option<usize>> {
            match asked {
                Some(name) => find(name).map(Some),
                None if named => Ok(usual.iter().find_map(|u| names.iter().position(|n| n == u))),
                None => Ok((place < rows.first().map_or(0, |r| r.1.len())).then_some(place)),
            }
        };
        let needed = |column: Option<usize>, option: &str| {
            column.ok_or_else(|| Error::input(format!("which of the columns {} is it? Name it by {option}", names.join(", "))))
        };
        let x = needed(pick(&columns.x, X_NAMES, 0)?, "--x")?;
        let y = needed(pick(&columns.y, Y_NAMES, 1)?, "--y")?;
        let se = pick(&columns.se, SE_NAMES, 2)?;
        let only = columns.only.iter().map(|(name, value)| Ok((find(name)?, value))).collect::<Result<Vec<_>>>()?;
        let mut points = Vec::new();
        for (line, row) in rows.iter().filter(|(_, r)| only.iter().all(|(c, v)| r.get(*c).is_some_and(|f| f.trim() == v.trim()))) {
            let number = |c: usize| -> Result<f64> {
                let field = row.get(c).map_or("", |f| f.trim());
                field.parse().map_err(|_| Error::input(format!("line {line}: {field:?} is no number")))
            };
            points.push((number(x)?, number(y)?, se.map(number).transpose()?));
        }
        if points.is_empty() {
            return Err(Error::input("has no row of those asked for"));
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let Some(w) = points.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(Error::input(format!("has several rows at {}; --only COLUMN=VALUE takes those of one curve", w[0].0)));
        }
        let errors: Option<Vec<f64>> = points.iter().map(|p| p.2).collect();
        let covariance = errors.map(|se| diagonal(&se)).transpose()?;
        Ok(Points { x: points.iter().map(|p| p.0).collect(), y: points.iter().map(|p| p.1).collect(), covariance })
    }

    /// The curve, with intervals made `how` says.
    ///
    /// # Errors
    /// As [`Curve::measured`].
    pub fn curve(&self, how: Resampling) -> Result<Curve> {
        Curve::measured(&self.x, &self.y, self.covariance.clone(), how).map_err(Error::input)
    }
}

fn diagonal(errors: &[f64]) -> Result<Covariance> {
    match errors.iter().find(|e| !(**e > 0.0 && e.is_finite())) {
        Some(e) => Err(Error::input(format!("a standard error is {e}; it must be above 0"))),
        None => Ok(Covariance::diagonal(errors)),
    }
}

/// Records of a text as RFC 4180 has them, with the line on which each begins.
fn records(text: &str, separator: char) -> Result<Vec<(usize, Vec<String>)>> {
    let mut records = Vec::new();
    let (mut record, mut field) = (Vec::new(), String::new());
    let (mut line, mut begun, mut quoted) = (1, 1, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        line += usize::from(c == '\n');
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            _ if quoted => field.push(c),
            '"' if field.is_empty() => quoted = true,
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                record.push(std::mem::take(&mut field));
                records.push((begun, std::mem::take(&mut record)));
                begun = line;
            }
            _ if c == separator => record.push(std::mem::take(&mut field)),
            _ => field.push(c),
        }
    }
    if quoted {
        return Err(Error::input(format!("line {begun}: a quotation mark is not closed")));
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push((begun, record));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Points> {
        Points::read(text, &Columns::default())
    }

    #[test]
    fn tables() {
        let points = read("split,nats,se\r\n4,2.5,0.1\r\n2,1.5,0.2\r\n").unwrap();
        assert_eq!((points.x, points.y), (vec![2.0, 4.0], vec![1.5, 2.5]));
        assert_eq!(points.covariance.unwrap().errors().collect::<Vec<_>>(), [0.2, 0.1]);
        assert_eq!(read("2\t1.5\n4\t2.5").unwrap(), Points { x: vec![2.0, 4.0], y: vec![1.5, 2.5], covariance: None });
        let several = "model,\"a \"\"b\"\", or c\",ℓ,I\nm,1,2,3\nn,1,2,4\nn,1,4,5\n";
        assert!(read(several).unwrap_err().to_string().contains("several rows at 2"));
        let columns = Columns { only: vec![("model".into(), "n".into())], y: Some("a \"b\", or c".into()), ..Default::default() };
        assert_eq!(Points::read(several, &columns).unwrap().y, [1.0, 1.0]);
    }

    #[test]
    fn json() {
        let points = read(r#"{"ℓ": [1, 2], "I": [3, 4], "covariance": [[1, 0.5], [0.5, 2]], "units": 30}"#).unwrap();
        assert_eq!((points.x.len(), points.covariance.unwrap().units()), (2, Some(30)));
        assert_eq!(read(r#"{"x": [1], "y": [3], "se": [0.5]}"#).unwrap().covariance.unwrap().errors().collect::<Vec<_>>(), [0.5]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "no rows"),
            ("ℓ,I\n", "no row of those"),
            ("ℓ,I\n2,\n", "line 2: \"\" is no number"),
            ("ℓ,I\n2,x\n", "line 2: \"x\" is no number"),
            ("foo,I\n2,3\n", "--x"),
            ("ℓ,\"I\n2,3\n", "line 1: a quotation mark"),
            ("ℓ,I,se\n2,3,0\n", "standard error is 0"),
            ("{\"x\": [1], \"y\": [2], \"z\": 1}", "z"),
            ("[1]", "object"),
            ("{\"x\": [1], \"y\": [2], \"se\": [1], \"covariance\": [[1]]}", "both"),
            ("{\"x\": [1], \"y\": [2], \"se\": [1], \"units\": 4}", "units"),
            ("{\"x\": [1], \"y\": [2], \"covariance\": [[1, 2]]}", "row 1 has 2"),
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(told.contains(part), "{text:?}: {told}");
        }
        let missing = Columns { se: Some("s".into()), ..Default::default() };
        assert!(Points::read("ℓ,I\n2,3\n", &missing).unwrap_err().to_string().contains("its columns are ℓ, I"));
    }
}
