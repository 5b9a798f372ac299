//! Drawings that may stand inside a document. A figure.svg is a file and may be anything: one that has more in it than this program's figures (shapes and
//! text, with numbers, colours and fonts as attributes) is not taken. So nothing of it can run, be fetched, or reach what is around it.

/// Elements of figures.
const ELEMENTS: &[&str] = &["svg", "g", "rect", "line", "polyline", "polygon", "circle", "path", "text"];

/// Their attributes.
const ATTRIBUTES: &[&str] = &[
    "xmlns",
    "width",
    "height",
    "viewBox",
    "x",
    "y",
    "x1",
    "y1",
    "x2",
    "y2",
    "cx",
    "cy",
    "r",
    "d",
    "dy",
    "points",
    "transform",
    "opacity",
    "fill",
    "stroke",
    "stroke-width",
    "text-anchor",
    "font-family",
    "font-size",
    "font-weight",
    "font-style",
];

/// The only address that a figure may name: that of its own language.
const NAMESPACE: &str = "http://www.w3.org/2000/svg";

/// A drawing that was looked over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Svg(String);

impl Svg {
    /// Takes a drawing; the text stays text.
    ///
    /// # Errors
    /// What it has that a figure of this program has not.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        if let Some(after) = rest.strip_prefix("<?xml") {
            rest = after.split_once("?>").ok_or("has no end of its XML declaration")?.1.trim_start();
        }
        let body = rest;
        let mut open: Vec<&str> = Vec::new();
        let mut begun = false;
        while let Some(at) = rest.find('<') {
            plain(&rest[..at])?;
            if open.is_empty() && (begun || !rest[..at].is_empty()) {
                return Err("is more than one drawing".into());
            }
            let (tag, after) = rest[at + 1..].split_once('>').ok_or("ends within a tag")?;
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                if open.pop() != Some(name.trim_end()) {
                    return Err(format!("closes <{}>, which is not open", shown(name)));
                }
                continue;
            }
            let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |t| (t, true));
            let name = element(tag)?;
            if begun == (name == "svg") {
                return Err("is not one <svg> with figures' elements in it".into());
            }
            begun = true;
            if !closed {
                open.push(name);
            }
        }
        if !begun || !open.is_empty() || !rest.trim().is_empty() {
            return Err("is no whole drawing".into());
        }
        Ok(Svg(format!("{body}\n")))
    }

    /// As markup.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a start tag whose attributes are those of figures.
fn element(tag: &str) -> Result<&str, String> {
    let (name, mut rest) = tag.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((tag, ""));
    if !ELEMENTS.contains(&name) {
        return Err(format!("has <{}>, which figures of hilberg do not have", shown(name)));
    }
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(name);
        }
        let (attribute, after) = rest.split_once("=\"").ok_or_else(|| format!("has attributes of <{name}> that cannot be read"))?;
        let (value, after) = after.split_once('"').ok_or_else(|| format!("has attributes of <{name}> that cannot be read"))?;
        if !ATTRIBUTES.contains(&attribute) {
            return Err(format!("has the attribute {} of <{name}>, which figures of hilberg do not have", shown(attribute)));
        }
        // Numbers, colours, names of fonts, rotate(…): no address, no function that takes one, and nothing spelled out that would become one.
        let harmless = |c: char| c.is_alphanumeric() || " \t\r\n.,#()%+-".contains(c);
        if !(value.chars().all(harmless) && !value.to_ascii_lowercase().contains("url") || attribute == "xmlns" && value == NAMESPACE) {
            return Err(format!("has {} as the attribute {attribute} of <{name}>, which figures of hilberg do not have", shown(value)));
        }
        rest = after;
    }
}

/// Whether every `&` of a text begins a character that is spelled out.
fn plain(text: &str) -> Result<(), String> {
    let spelled = |after: &str| {
        let name = after.split_once(';').map_or("", |(name, _)| name);
        let digits = |n: &str, radix: u32| (1..=6).contains(&n.len()) && n.chars().all(|c| c.is_digit(radix));
        let number = name.strip_prefix("#x").map(|n| digits(n, 16)).or_else(|| name.strip_prefix('#').map(|n| digits(n, 10)));
        number.unwrap_or(matches!(name, "lt" | "gt" | "amp" | "quot" | "apos"))
    };
    if text.split('&').skip(1).all(spelled) { Ok(()) } else { Err("has an entity that figures of hilberg do not have".into()) }
}

/// The beginning of a name, for a message.
fn shown(name: &str) -> String {
    name.chars().take(24).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::figure::{Axis, Panel, Plot, Scale, Series};
    use super::*;

    /// Whatever a title is, the figure that the program draws of it is taken, and the title is text.
    #[test]
    fn own_figures_are_taken() {
        let panel = Panel {
            title: "<script>alert(1)</script> & \"q\" url(x)".into(),
            subtitle: "β ≥ ½".into(),
            x: Axis::new("ℓ (tokens)", Scale::Log2),
            y: Axis::new("I (nats)", Scale::Log),
            series: vec![Series { label: "]]>".into(), band: vec![(2.0, 1.0, 2.0), (4.0, 1.0, 3.0)], ..Series::default() }],
            notes: vec!["<!--".into()],
        };
        let svg = Svg::read(&Plot { panels: vec![panel], columns: 0, shared: false }.svg().unwrap()).unwrap();
        assert!(svg.as_str().contains("&lt;script&gt;") && !svg.as_str().contains("<script"));
    }

    #[test]
    fn everything_else_is_refused() {
        let within = |inside: &str| Svg::read(&format!("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\">{inside}</svg>"));
        assert!(within("<text x=\"1\">a &lt; b &#945;</text><rect fill=\"#FFFFFF\"/>").is_ok());
        assert!(Svg::read("<?xml version=\"1.0\"?>\n<svg width=\"1\"/>").is_ok());
        for inside in [
            "<script>alert(1)</script>",
            "<SCRIPT/>",
            "<image href=\"http://example.org/x.png\"/>",
            "<foreignObject><body/></foreignObject>",
            "<style>@import 'x'</style>",
            "<a href=\"x\"><text>y</text></a>",
            "<use href=\"#x\"/>",
            "<rect onload=\"alert(1)\"/>",
            "<rect style=\"fill:url(x)\"/>",
            "<rect fill=\"url(#a)\"/>",
            "<rect fill=\"URL(//x)\"/>",
            "<rect fill=\"&#117;rl(x)\"/>",
            "<rect fill='red'/>",
            "<rect fill=\"red\"stroke=red/>",
            "<text>&entity;</text>",
            "<!-- x -->",
            "<![CDATA[x]]>",
            "</svg><svg>",
            "</svg><script></script><svg>",
            "<g>",
            "</g>",
            "<svg></svg>",
            "<rect xmlns=\"http://www.w3.org/1999/xhtml\"/>",
        ] {
            assert!(within(inside).is_err(), "{inside}");
        }
        for text in ["", "x", "<svg", "<svg>", "<g></g>", "<svg/>x", "<!DOCTYPE svg><svg/>", "x<svg/>"] {
            assert!(Svg::read(text).is_err(), "{text}");
        }
    }
}
