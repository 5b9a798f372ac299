//! HTML that is right by construction: what comes from outside goes through [`Html::text`] or an attribute's value, both escaped; names of elements and
//! attributes are the program's own.

use super::svg::Svg;

/// A document in the making.
#[derive(Default)]
pub struct Html {
    out: String,
}

/// An attribute.
pub type Attribute<'a> = (&'static str, &'a str);

/// Adds a text with what markup is made of spelled out. Characters that HTML has no way to hold, and those that turn the direction of what follows, become
/// U+FFFD.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

impl Html {
    /// An element and what `fill` puts into it.
    pub fn element(&mut self, tag: &'static str, attributes: &[Attribute<'_>], fill: impl FnOnce(&mut Html)) {
        self.single(tag, attributes);
        fill(self);
        self.out.push_str("</");
        self.out.push_str(tag);
        self.out.push('>');
        // Where blanks between elements mean nothing, lines are short enough for `diff`.
        if !matches!(tag, "a" | "b" | "code" | "i" | "small" | "span" | "sub" | "sup") {
            self.out.push('\n');
        }
    }

    /// An element with nothing but a text in it.
    pub fn leaf(&mut self, tag: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.element(tag, attributes, |h| h.text(text));
    }

    /// A start tag; of an element that has no end tag, the whole.
    pub fn single(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.out.push('<');
        self.out.push_str(tag);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(value, &mut self.out);
            self.out.push('"');
        }
        self.out.push('>');
    }

    /// A text.
    pub fn text(&mut self, text: &str) {
        escape(text, &mut self.out);
    }

    /// A style sheet of the program's own: nothing from outside, since nothing of it is escaped.
    pub fn style(&mut self, sheet: &'static str) {
        self.out.push_str("<style>\n");
        self.out.push_str(sheet);
        self.out.push_str("</style>\n");
    }

    /// A drawing, which was looked over when it was read.
    pub fn drawing(&mut self, svg: &Svg) {
        self.out.push_str(svg.as_str());
    }

    /// All of it, as an HTML document.
    pub fn document(self) -> String {
        format!("<!DOCTYPE html>\n{}", self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_text() {
        let mut h = Html::default();
        h.element("p", &[("title", "\"><script>alert('1')</script>")], |h| h.text("<script>&\u{0}\u{1b}</script>\n"));
        let want = "<!DOCTYPE html>\n<p title=\"&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\">&lt;script&gt;&amp;\u{fffd}\u{fffd}&lt;/script&gt;\n</p>\n";
        assert_eq!(h.document(), want);
    }
}
