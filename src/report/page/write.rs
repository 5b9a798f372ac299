//! Pieces that all sections are made of.

use super::html::Html;
use super::table::Table;
use crate::report::Block;
use crate::report::table::significant;
use serde_json::Value;

/// Rows of a result.csv that are shown; the rest is in the file beside the page.
const MOST_ROWS: usize = 400;
/// Facts of a result.json that are shown.
const MOST_FACTS: usize = 48;
/// The longest list that is shown as one fact.
const LONGEST_LIST: usize = 24;

/// Numbers of the tables and figures so far.
#[derive(Default)]
pub(super) struct Numbers {
    tables: usize,
    figures: usize,
}

impl Numbers {
    /// A table with a number, a caption and a heading; the first column names the rows, and columns `texts` hold words.
    pub(super) fn table(&mut self, h: &mut Html, caption: &str, head: &[&str], texts: &[usize], rows: impl FnOnce(&mut Html)) {
        self.tables += 1;
        let id = format!("table-{}", self.tables);
        h.element("div", &[("class", "wide"), ("id", &id)], |h| {
            // Not a <caption>, which would be as narrow as its table.
            h.element("p", &[("class", "caption"), ("id", &format!("{id}-caption"))], |h| numbered(h, "Table", self.tables, &id, caption));
            h.element("table", &[("aria-labelledby", &format!("{id}-caption"))], |h| {
                h.element("thead", &[], |h| {
                    h.element("tr", &[], |h| {
                        for (c, name) in head.iter().enumerate() {
                            let class: &[_] = if texts.contains(&c) { &[("scope", "col"), ("class", "name")] } else { &[("scope", "col")] };
                            h.leaf("th", class, name);
                        }
                    });
                });
                h.element("tbody", &[], rows);
            });
        });
    }

    /// A figure with a number and a caption.
    pub(super) fn figure(&mut self, h: &mut Html, caption: &str, drawing: &super::svg::Svg) {
        self.figures += 1;
        let id = format!("figure-{}", self.figures);
        h.element("figure", &[("id", &id)], |h| {
            h.drawing(drawing);
            h.element("figcaption", &[], |h| numbered(h, "Figure", self.figures, &id, caption));
        });
    }
}

/// `Table 3. caption`, the number a link to itself.
fn numbered(h: &mut Html, what: &str, n: usize, id: &str, caption: &str) {
    h.leaf("a", &[("href", &format!("#{id}"))], &format!("{what} {n}."));
    h.text(" ");
    h.text(caption);
}

/// A row whose first field names it; columns `texts` hold words.
pub(super) fn cells(h: &mut Html, texts: &[usize], fields: &[&str]) {
    h.element("tr", &[], |h| {
        for (c, field) in fields.iter().enumerate() {
            let class: &[_] = if texts.contains(&c) { &[("class", "name")] } else { &[] };
            if c == 0 { h.leaf("th", &[&[("scope", "row")], class].concat(), field) } else { h.leaf("td", class, field) }
        }
    });
}

/// Hyphens before numbers as the sign that they mean; those of names stay.
pub(super) fn minus(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // The two characters before.
    let mut before = [' '; 2];
    for (at, c) in text.char_indices() {
        let of_number = !before[1].is_alphanumeric() || (before[1] == 'e' && before[0].is_ascii_digit());
        let is_sign = c == '-' && of_number && text[at + 1..].starts_with(|next: char| next.is_ascii_digit());
        out.push(if is_sign { '−' } else { c });
        before = [before[1], c];
    }
    out
}

/// A line as a sentence: signs such as c* and names of estimators begin it as they are.
fn sentence(line: &str) -> String {
    let word = line.len() > 1 && line.as_bytes()[..2].iter().all(u8::is_ascii_lowercase);
    let named = ["infonce", "l1out", "vclub", "direct", "profile"].iter().any(|n| line.starts_with(n));
    let (first, rest) = line.split_at(usize::from(word && !named));
    minus(&format!("{}{rest}.", first.to_ascii_uppercase()))
}

/// Sentences on the numbers above.
pub(super) fn remarks_list(h: &mut Html, remarks: &[String]) {
    if remarks.is_empty() {
        return;
    }
    h.element("ul", &[("class", "remarks")], |h| {
        for remark in remarks {
            h.leaf("li", &[], &sentence(remark));
        }
    });
}

/// What a result says, piece by piece.
pub(super) fn blocks(h: &mut Html, numbers: &mut Numbers, blocks: &[Block]) {
    let mut remarks = Vec::new();
    for block in blocks {
        if let Block::Remark(remark) = block {
            remarks.push(remark.clone());
            continue;
        }
        remarks_list(h, &std::mem::take(&mut remarks));
        match block {
            Block::Heading(line) => h.leaf("h3", &[], line),
            Block::Line(line) => h.leaf("p", &[], &minus(&format!("{line}."))),
            Block::Table { caption, rows } => told_table(h, numbers, caption, rows),
            Block::Remark(_) => {}
        }
    }
    remarks_list(h, &remarks);
}

/// A table as it stands in a terminal, the signs of its numbers as they are printed.
fn told_table(h: &mut Html, numbers: &mut Numbers, caption: &str, rows: &[Vec<String>]) {
    let Some((head, rows)) = rows.split_first() else { return };
    let is_word = |field: &str| field.starts_with(char::is_alphabetic) && !field.starts_with("NaN");
    let texts: Vec<usize> = (0..head.len()).filter(|&c| rows.iter().any(|r| r.get(c).is_some_and(|f| is_word(f)))).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    numbers.table(h, &sentence(caption), &head, &texts, |h| {
        for row in rows {
            let fields: Vec<String> = row.iter().map(|f| minus(f)).collect();
            cells(h, &texts, &fields.iter().map(String::as_str).collect::<Vec<_>>());
        }
    });
}

/// A list of names and what they stand for.
pub(super) fn facts(h: &mut Html, facts: &[(String, String)]) {
    h.element("dl", &[], |h| {
        for (name, value) in facts {
            h.leaf("dt", &[], name);
            h.leaf("dd", &[], value);
        }
    });
}

/// A table of any kind, what all of its rows have in common in its caption.
pub(super) fn any_table(h: &mut Html, numbers: &mut Numbers, table: &Table) {
    if table.rows.is_empty() {
        return;
    }
    let (mut common, mut shown) = (Vec::new(), Vec::new());
    for c in 0..table.columns.len() {
        match table.constant(c) {
            Some("") => {}
            Some(value) => common.push(format!("{} {value}", table.columns[c])),
            None => shown.push((c, table.is_number(c))),
        }
    }
    let mut caption = String::from("The rows of result.csv");
    if table.rows.len() > MOST_ROWS {
        caption += &format!(", the first {MOST_ROWS} of {}", table.rows.len());
    }
    if !common.is_empty() {
        caption += &format!("; in all of them: {}", common.join(", "));
    }
    let head: Vec<&str> = shown.iter().map(|&(c, _)| table.columns[c].as_str()).collect();
    let texts: Vec<usize> = shown.iter().enumerate().filter(|(_, (_, is_number))| !is_number).map(|(place, _)| place).collect();
    numbers.table(h, &(caption + "."), &head, &texts, |h| {
        for row in table.rows.iter().take(MOST_ROWS) {
            h.element("tr", &[], |h| {
                for &(c, is_number) in &shown {
                    let told = match row[c].parse::<f64>() {
                        Ok(value) if is_number => minus(&number(value)),
                        _ => row[c].clone(),
                    };
                    h.leaf("td", if is_number { &[] } else { &[("class", "name")] }, &told);
                }
            });
        }
    });
}

/// Five significant digits; whole numbers whole.
fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { significant(value, 5) }
}

/// The plain values of a result.json, those of objects by their path; lists of objects are left to tables.
pub(super) fn plain_values(value: &Value) -> Vec<(String, String)> {
    fn walk(path: &str, value: &Value, depth: usize, out: &mut Vec<(String, String)>) {
        if let Value::Object(members) = value {
            for (name, member) in members.iter().filter(|_| depth < 3) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, member, depth + 1, out);
            }
        } else if let Some(told) = plain(value)
            && path != "kind"
        {
            out.push((path.to_string(), told));
        }
    }
    let mut out = Vec::new();
    walk("", value, 0, &mut out);
    out.truncate(MOST_FACTS);
    out
}

/// A value without structure, or a short list of such.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.as_f64().filter(|_| n.is_f64()).map_or_else(|| n.to_string(), |x| minus(&number(x)))),
        Value::Bool(b) => Some(if *b { "yes".into() } else { "no".into() }),
        Value::Array(list) if !list.is_empty() && list.len() <= LONGEST_LIST => {
            list.iter().map(|v| if v.is_array() { None } else { plain(v) }).collect::<Option<Vec<_>>>().map(|l| l.join(", "))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyphens_of_numbers_are_signs() {
        assert_eq!(minus("a-1 -0.5 [-2, 3] x = -1e-7 (-4) step-20 -"), "a-1 −0.5 [−2, 3] x = −1e−7 (−4) step-20 -");
        assert_eq!(minus("pile-7b, -3e-5"), "pile-7b, −3e−5");
    }

    #[test]
    fn a_result_is_told_by_its_plain_values() {
        let value = serde_json::json!({"kind": "x", "a": 1, "b": {"c": -0.123456789, "d": [1, 2], "e": [{"f": 1}]}, "g": null, "h": true});
        let want = [("a", "1"), ("b.c", "−0.12346"), ("b.d", "1, 2"), ("h", "yes")].map(|(a, b)| (a.to_string(), b.to_string()));
        assert_eq!(plain_values(&value), want);
    }

    #[test]
    fn what_a_result_says_stands_as_in_print() {
        let row = |cells: [&str; 3]| cells.map(String::from).to_vec();
        let said = [
            Block::Line("m: 3 documents".into()),
            Block::table("loss h(t) in nats", vec![row(["t", "a-b", "why"]), row(["1", "-0.5 [-1.0, 0.1]", "not-told"])]),
            Block::Remark("c* = 3".into()),
            Block::Remark("infonce is low".into()),
            Block::Remark("too few".into()),
            Block::Line("γ: growth".into()),
        ];
        let mut h = Html::default();
        blocks(&mut h, &mut Numbers::default(), &said);
        let html = h.document();
        for part in [
            "<p>m: 3 documents.</p>",
            "</a> Loss h(t) in nats.</p>",
            ">a-b</th>",
            "<td>−0.5 [−1.0, 0.1]</td><td class=\"name\">not-told</td>",
            "<li>c* = 3.</li>\n<li>infonce is low.</li>\n<li>Too few.</li>\n</ul>\n<p>γ: growth.</p>",
        ] {
            assert!(html.replace("</td>\n<td", "</td><td").contains(part), "{part}\n{html}");
        }
    }

    #[test]
    fn a_table_names_once_what_all_rows_share() {
        let table = Table::read("model,unit,d,nats\nm,tokens,1,0.123456789\nm,tokens,2,-1e-7\n").unwrap();
        let mut h = Html::default();
        any_table(&mut h, &mut Numbers::default(), &table);
        let html = h.document();
        assert!(html.contains("in all of them: model m, unit tokens.") && html.contains("<td>0.12346</td>") && html.contains("<td>−1.0000e−7</td>"), "{html}");
        assert_eq!(html.matches("<th").count(), 3, "{html}");
    }
}
