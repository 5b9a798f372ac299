//! Tables of `result.csv` (RFC 4180), whatever their columns are.

use super::super::results::field;
use std::fmt::Write;

/// A table of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Reads a table with a line of names.
    ///
    /// # Errors
    /// The first line that has not as many fields as there are names, or a quotation that does not end.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut lines = records(text.strip_prefix('\u{feff}').unwrap_or(text))?.into_iter();
        let Some((_, columns)) = lines.next() else { return Err("is empty".into()) };
        let mut rows = Vec::new();
        for (line, row) in lines {
            if row.len() != columns.len() {
                return Err(format!("line {line} has {} fields, not {}", row.len(), columns.len()));
            }
            rows.push(row);
        }
        Ok(Table { columns, rows })
    }

    /// Whether all that column `c` has are numbers, and it has some.
    pub fn is_number(&self, c: usize) -> bool {
        let mut filled = self.rows.iter().map(|r| r[c].as_str()).filter(|f| !f.is_empty()).peekable();
        filled.peek().is_some() && filled.all(|f| f.parse::<f64>().is_ok())
    }

    /// The value that all of several rows have in column `c`.
    pub fn constant(&self, c: usize) -> Option<&str> {
        let first = &self.rows.first()?[c];
        (self.rows.len() > 1 && self.rows.iter().all(|r| r[c] == *first)).then_some(first)
    }

    /// Rows of several tables one below the other, with all of their columns in the order in which they are met; `lead` are columns before them, whose
    /// values each table comes with. A field that a table has not is empty.
    pub fn stacked(lead: &[&str], tables: &[(Vec<String>, &Table)]) -> String {
        let mut columns: Vec<&str> = Vec::new();
        for name in tables.iter().flat_map(|(_, t)| &t.columns) {
            if !columns.contains(&name.as_str()) {
                columns.push(name);
            }
        }
        let line = |fields: &mut dyn Iterator<Item = &str>| fields.map(field).collect::<Vec<_>>().join(",");
        let mut out = line(&mut lead.iter().chain(&columns).copied()) + "\n";
        for (values, table) in tables {
            let places: Vec<Option<usize>> = columns.iter().map(|c| table.columns.iter().position(|own| own == c)).collect();
            for row in &table.rows {
                let own = places.iter().map(|p| p.map_or("", |p| row[p].as_str()));
                let _ = writeln!(out, "{}", line(&mut values.iter().map(String::as_str).chain(own)));
            }
        }
        out
    }
}

/// The records of a text, each with the number of the line that it begins in.
fn records(text: &str) -> Result<Vec<(usize, Vec<String>)>, String> {
    let mut out = Vec::new();
    let (mut row, mut cell, mut quoted, mut was_quoted) = (Vec::new(), String::new(), false, false);
    let (mut line, mut began) = (1, 1);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        line += usize::from(c == '\n');
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            c if quoted => cell.push(c),
            '"' if cell.is_empty() => (quoted, was_quoted) = (true, true),
            ',' => row.push(std::mem::take(&mut cell)),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                // An empty line is no record.
                if !(row.is_empty() && cell.is_empty() && !was_quoted) {
                    row.push(std::mem::take(&mut cell));
                    out.push((began, std::mem::take(&mut row)));
                }
                (began, was_quoted) = (line, false);
            }
            c => cell.push(c),
        }
    }
    if quoted {
        return Err(format!("the quotation in line {began} does not end"));
    }
    if !(row.is_empty() && cell.is_empty() && !was_quoted) {
        row.push(cell);
        out.push((began, row));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[&str]) -> Vec<String> {
        fields.iter().map(|f| f.to_string()).collect()
    }

    #[test]
    fn tables_are_read_as_they_are_written() {
        let t = Table::read("a,b,c\r\n1,\"x,\"\"y\"\"\nz\",\n\n2,w,\"\"").unwrap();
        assert_eq!(t, Table { columns: row(&["a", "b", "c"]), rows: vec![row(&["1", "x,\"y\"\nz", ""]), row(&["2", "w", ""])] });
        assert!(t.is_number(0) && !t.is_number(1) && !t.is_number(2));
        assert_eq!((t.constant(0), t.constant(2)), (None, Some("")));
        assert_eq!(Table::read("a\n1\n2,3\n").unwrap_err(), "line 3 has 2 fields, not 1");
        assert_eq!(Table::read("a\n\"1\n").unwrap_err(), "the quotation in line 2 does not end");
        assert!(Table::read("").is_err());
    }

    #[test]
    fn tables_of_different_columns_are_stacked() {
        let (a, b) = (Table::read("x,y\n1,2\n").unwrap(), Table::read("y,z\n\"3,\",4\n").unwrap());
        let out = Table::stacked(&["of"], &[(row(&["a"]), &a), (row(&["b"]), &b)]);
        assert_eq!(out, "of,x,y,z\na,1,2,\nb,,\"3,\",4\n");
        assert_eq!(Table::read(&out).unwrap().rows.len(), 2);
    }
}
