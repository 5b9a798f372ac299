//! JSON read and written independently of the crate under test: numbers as they are spelled, keys in order, every one of them once.

/// A value. `Raw` is only ever written: text that no reader need accept.
#[derive(Clone, Debug, PartialEq)]
pub enum J {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<J>),
    Object(Vec<(String, J)>),
    Raw(String),
}

impl J {
    pub fn get(&self, key: &str) -> Option<&J> {
        match self {
            J::Object(o) => o.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The number, in Python's or transformers' spelling.
    pub fn number(&self) -> Option<f64> {
        match self {
            J::Number(n) => match n.as_str() {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                n => n.parse().ok(),
            },
            J::Object(o) => match o.as_slice() {
                [(k, J::Text(t))] if k == "__float__" => J::Number(t.clone()).number(),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn write(&self) -> String {
        let mut out = String::new();
        self.put(&mut out);
        out
    }

    fn put(&self, out: &mut String) {
        match self {
            J::Null => out.push_str("null"),
            J::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            J::Number(n) | J::Raw(n) => out.push_str(n),
            J::Text(t) => quote(t, out),
            J::List(l) => {
                out.push('[');
                for (i, v) in l.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    v.put(out);
                }
                out.push(']');
            }
            J::Object(o) => {
                out.push('{');
                for (i, (k, v)) in o.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    quote(k, out);
                    out.push(':');
                    v.put(out);
                }
                out.push('}');
            }
        }
    }
}

fn quote(t: &str, out: &mut String) {
    out.push('"');
    for c in t.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Reads a text whole.
pub fn parse(text: &str) -> Result<J, String> {
    let mut p = Parser { text: text.as_bytes(), at: 0 };
    let value = p.value(0)?;
    p.blank();
    if p.at < p.text.len() { Err(format!("something follows at byte {}", p.at)) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn blank(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        let b = self.text.get(self.at).copied();
        self.at += 1;
        b
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.text[self.at..].starts_with(word.as_bytes());
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn wrong<T>(&self) -> Result<T, String> {
        Err(format!("no JSON at byte {}", self.at))
    }

    fn value(&mut self, depth: usize) -> Result<J, String> {
        if depth > 200 {
            return self.wrong();
        }
        self.blank();
        match self.text.get(self.at) {
            Some(b'{') => {
                self.at += 1;
                let mut object: Vec<(String, J)> = vec![];
                loop {
                    self.blank();
                    if object.is_empty() && self.word("}") {
                        break;
                    }
                    let key = self.string()?;
                    self.blank();
                    if !self.word(":") {
                        return self.wrong();
                    }
                    let value = self.value(depth + 1)?;
                    if object.iter().any(|(k, _)| *k == key) {
                        return Err(format!("the key {key:?} twice"));
                    }
                    object.push((key, value));
                    self.blank();
                    match self.next() {
                        Some(b',') => {}
                        Some(b'}') => break,
                        _ => return self.wrong(),
                    }
                }
                Ok(J::Object(object))
            }
            Some(b'[') => {
                self.at += 1;
                let mut list = vec![];
                loop {
                    self.blank();
                    if list.is_empty() && self.word("]") {
                        break;
                    }
                    list.push(self.value(depth + 1)?);
                    self.blank();
                    match self.next() {
                        Some(b',') => {}
                        Some(b']') => break,
                        _ => return self.wrong(),
                    }
                }
                Ok(J::List(list))
            }
            Some(b'"') => self.string().map(J::Text),
            _ if self.word("null") => Ok(J::Null),
            _ if self.word("true") => Ok(J::Bool(true)),
            _ if self.word("false") => Ok(J::Bool(false)),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Result<J, String> {
        for word in ["NaN", "Infinity", "-Infinity"] {
            if self.word(word) {
                return Ok(J::Number(word.into()));
            }
        }
        let start = self.at;
        self.word("-");
        let digits = |p: &mut Self| {
            let from = p.at;
            while p.text.get(p.at).is_some_and(u8::is_ascii_digit) {
                p.at += 1;
            }
            p.at - from
        };
        let zero = self.text.get(self.at) == Some(&b'0');
        let whole = digits(self);
        if whole == 0 || zero && whole > 1 || self.word(".") && digits(self) == 0 {
            return self.wrong();
        }
        if self.word("e") || self.word("E") {
            let _sign = self.word("+") || self.word("-");
            if digits(self) == 0 {
                return self.wrong();
            }
        }
        Ok(J::Number(String::from_utf8_lossy(&self.text[start..self.at]).into_owned()))
    }

    fn string(&mut self) -> Result<String, String> {
        if !self.word("\"") {
            return self.wrong();
        }
        let mut out = vec![];
        loop {
            match self.next() {
                None | Some(0..0x20) => return self.wrong(),
                Some(b'"') => break,
                Some(b'\\') => {
                    let c = match self.next() {
                        Some(b'n') => '\n',
                        Some(b't') => '\t',
                        Some(b'r') => '\r',
                        Some(b'b') => '\u{8}',
                        Some(b'f') => '\u{c}',
                        Some(c @ (b'"' | b'\\' | b'/')) => c as char,
                        Some(b'u') => {
                            let unit = self.unit()?;
                            let code = if (0xd800..0xdc00).contains(&unit) && self.word("\\u") {
                                0x10000 + ((unit - 0xd800) << 10) + self.unit()?.wrapping_sub(0xdc00)
                            } else {
                                unit
                            };
                            char::from_u32(code).ok_or("half a character")?
                        }
                        _ => return self.wrong(),
                    };
                    out.extend(c.encode_utf8(&mut [0; 4]).bytes());
                }
                Some(b) => out.push(b),
            }
        }
        String::from_utf8(out).map_err(|e| e.to_string())
    }

    fn unit(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).and_then(|d| std::str::from_utf8(d).ok());
        self.at += 4;
        digits.and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or_else(|| "no digits after \\u".into())
    }
}
