//! Output folders as one page that a person reads, and as the tables and values behind it: `report.html`, `report.csv`, `report.json`, and
//! `report.svg` and `report.png` of several measurements.
//!
//! The page stands alone. It has no script and names no address; its policy (Content-Security-Policy, `default-src 'none'`) lets a browser fetch nothing even
//! if it did. All files are pure functions of the folders: they tell when runs were, not when they themselves were made.

mod folder;
mod html;
mod measurement;
mod overview;
mod runs;
mod svg;
mod table;
mod write;

pub use folder::{Kind, Results};
pub use overview::{InBytes, Row};
pub use svg::Svg;
pub use table::Table;

use crate::error::{Error, Result};
use crate::files;
use html::Html;
use overview::Overview;
use serde_json::{Value, json};
use std::path::Path;
use write::{Numbers, any_table, blocks};

/// What the page looks like.
const STYLE: &str = include_str!("style.css");
/// A browser keeps to this: styles that stand in the page, and nothing else from anywhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
/// Version of report.json.
const FORMAT: u32 = 1;

/// Makes sure that a page may have this name: for those who want to know before they read.
///
/// # Errors
/// A name that does not end in `.html`.
pub fn check_name(path: &Path) -> Result<()> {
    if path.extension().is_some_and(|e| e == "html") {
        return Ok(());
    }
    Err(Error::file(path, "is no name for the page: it must end in .html; other files of the same name are written beside it"))
}

/// A report on output folders.
pub struct Document {
    title: String,
    results: Vec<Results>,
}

impl Document {
    /// Reads the folders; `title` heads the page.
    ///
    /// # Errors
    /// As [`Results::of_folder`]; a folder that is named twice.
    pub fn read(folders: &[impl AsRef<Path>], title: Option<&str>) -> Result<Self> {
        let (mut results, mut read) = (Vec::with_capacity(folders.len()), Vec::new());
        for folder in folders.iter().map(AsRef::as_ref) {
            let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
            if read.contains(&whole) {
                return Err(Error::file(folder, "is named twice"));
            }
            read.push(whole);
            results.extend(Results::of_folder(folder)?);
        }
        let title = title.map_or_else(|| "Measurements of information in text".to_string(), str::to_string);
        Ok(Document { title, results })
    }

    /// Endings of the files that [`Document::write`] writes.
    pub fn endings(&self) -> &'static [&'static str] {
        if Overview::of(&self.results).is_some() { &["html", "csv", "json", "svg", "png"] } else { &["html", "csv", "json"] }
    }

    /// What is to be said of files that were left out.
    pub fn notices(&self) -> impl Iterator<Item = &str> {
        self.results.iter().flat_map(|r| &r.notices).map(String::as_str)
    }

    /// Writes the page, and beside it under the same name its tables, its values, and the figure of all measurements together where there is one.
    ///
    /// # Errors
    /// A name that does not end in `.html`; a figure that cannot be drawn; what the system refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        check_name(path)?;
        let html = self.html()?;
        if let Some(overview) = Overview::of(&self.results) {
            let figure = overview.figure();
            figure.write_svg(&path.with_extension("svg"))?;
            figure.write_png(&path.with_extension("png"))?;
        }
        files::write_bytes(&path.with_extension("csv"), self.csv().as_bytes())?;
        files::write_json(&path.with_extension("json"), &self.json())?;
        files::write_bytes(path, html.as_bytes())
    }

    /// All rows of all results' tables, below each other: `folder`, `kind`, and every column that one of them has.
    pub fn csv(&self) -> String {
        let lead = |r: &Results| vec![r.folder.display().to_string(), r.kind_name().to_string()];
        let tables: Vec<_> = self.results.iter().filter(|r| !r.table.rows.is_empty()).map(|r| (lead(r), &r.table)).collect();
        Table::stacked(&["folder", "kind"], &tables)
    }

    /// All results and runs, and the overview.
    pub fn json(&self) -> Value {
        let section = |r: &Results| json!({ "folder": r.folder.display().to_string(), "kind": r.kind_name(), "result": r.value, "runs": r.runs });
        let overview = Overview::of(&self.results).map(|o| o.rows()).unwrap_or_default();
        json!({ "format": FORMAT, "title": self.title, "overview": overview, "sections": self.results.iter().map(section).collect::<Vec<_>>() })
    }

    /// The page.
    ///
    /// # Errors
    /// A figure that cannot be drawn.
    pub fn html(&self) -> Result<String> {
        let mut h = Html::default();
        let mut done = Ok(());
        h.element("html", &[("lang", "en")], |h| {
            h.element("head", &[], |h| {
                h.single("meta", &[("charset", "utf-8")]);
                h.single("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]);
                h.single("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
                h.single("meta", &[("name", "color-scheme"), ("content", "light dark")]);
                h.leaf("title", &[], &self.title);
                h.style(STYLE);
            });
            h.element("body", &[], |h| h.element("main", &[], |h| done = self.body(h)));
        });
        done.map(|()| h.document())
    }

    fn body(&self, h: &mut Html) -> Result<()> {
        let mut numbers = Numbers::default();
        let overview = Overview::of(&self.results);
        h.leaf("h1", &[], &self.title);
        if self.results.len() > 1 {
            h.element("nav", &[], |h| {
                h.element("ol", &[], |h| {
                    if overview.is_some() {
                        h.element("li", &[], |h| h.leaf("a", &[("href", "#together")], "All measurements together"));
                    }
                    for (i, r) in self.results.iter().enumerate() {
                        h.element("li", &[], |h| {
                            h.leaf("a", &[("href", &anchor(i))], r.heading());
                            h.text(" ");
                            h.leaf("code", &[], &r.folder.display().to_string());
                        });
                    }
                });
            });
        }
        if let Some(overview) = &overview {
            let mut done = Ok(());
            h.element("section", &[("id", "together")], |h| {
                h.leaf("h2", &[], "All measurements together");
                done = overview.body(h, &mut numbers);
            });
            done?;
        }
        for (i, r) in self.results.iter().enumerate() {
            h.element("section", &[("id", &anchor(i)[1..])], |h| section(h, r, &mut numbers));
        }
        h.element("footer", &[], |h| h.text(&format!("Written by hilberg {} from the folders' files alone.", env!("CARGO_PKG_VERSION"))));
        Ok(())
    }
}

/// Where a folder's section is.
fn anchor(i: usize) -> String {
    format!("#results-{}", i + 1)
}

fn section(h: &mut Html, r: &Results, numbers: &mut Numbers) {
    h.leaf("h2", &[], r.heading());
    h.element("p", &[("class", "folder")], |h| h.leaf("code", &[], &r.folder.display().to_string()));
    for notice in &r.notices {
        h.leaf("p", &[("class", "warning")], &format!("{notice}."));
    }
    match &r.kind {
        Kind::Measurement(report) => {
            if let Some(figure) = &r.figure {
                numbers.figure(h, &measurement::caption(report), figure);
            }
            measurement::body(h, report, numbers);
        }
        Kind::Other(_) => {
            if let Some(figure) = &r.figure {
                numbers.figure(h, &format!("{}.", r.heading()), figure);
            }
            if r.blocks.is_empty() {
                any_table(h, numbers, &r.table);
            }
            blocks(h, numbers, &r.blocks);
        }
    }
    runs::body(h, r);
}
