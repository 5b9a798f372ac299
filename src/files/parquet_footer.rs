//! A Parquet file's footer, looked over before a library reads it.
//!
//! The library takes counts as they stand: it passes over as many elements as a list claims, if need be for hours, makes room for as many columns as a group claims, and
//! descends as deep as groups nest. So every element must have a byte of its own here, every group its columns among the schema's elements, and nothing may nest deeper than
//! [`DEEPEST`]. The footer is a Thrift struct in compact encoding (parquet-format's FileMetaData); of its fields only the schema is understood.

use parquet::errors::ParquetError;
use parquet::file::serialized_reader::SerializedFileReader;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// Levels of structs and lists in the footer, and of groups in the schema.
const DEEPEST: usize = 64;

/// Opens a Parquet file whose footer claims no more than it holds.
///
/// # Errors
/// What the library cannot read, and a footer that claims what is not there.
pub fn open_parquet(mut file: File) -> Result<SerializedFileReader<File>, ParquetError> {
    look_over(&mut file)?;
    SerializedFileReader::new(file)
}

fn look_over(file: &mut File) -> Result<(), ParquetError> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut tail = [0; 8];
    if length < tail.len() as u64 {
        // The library's to refuse, as everything that does not look like Parquet.
        return Ok(());
    }
    file.seek(SeekFrom::Start(length - 8))?;
    file.read_exact(&mut tail)?;
    let [a, b, c, d, magic @ ..] = tail;
    let footer = u32::from_le_bytes([a, b, c, d]) as u64;
    if magic != *b"PAR1" || footer > length - 8 {
        return Ok(());
    }
    file.seek(SeekFrom::Start(length - 8 - footer))?;
    let mut bytes = vec![0; footer as usize];
    file.read_exact(&mut bytes)?;
    let mut footer = Footer { bytes: &bytes, columns: Vec::new() };
    let sound = footer.fields(&mut vec![]).is_some() && footer.is_tree();
    if sound { Ok(()) } else { Err(ParquetError::General("its footer claims what is not there".into())) }
}

/// What is left of a footer, and how many columns each element of the schema has under it.
struct Footer<'a> {
    bytes: &'a [u8],
    columns: Vec<i64>,
}

/// FileMetaData.schema, and SchemaElement.num_children.
const SCHEMA: [i64; 2] = [2, 5];

impl Footer<'_> {
    fn take(&mut self, n: u64) -> Option<&[u8]> {
        let (taken, rest) = self.bytes.split_at_checked(usize::try_from(n).ok()?)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        self.number().map(|n| (n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// The fields of a struct to its end; `path`: the fields in which it lies.
    fn fields(&mut self, path: &mut Vec<i64>) -> Option<()> {
        let mut id = 0i64;
        loop {
            let head = self.byte()?;
            let kind = head & 15;
            if kind == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => self.signed()?,
                step => id.checked_add(step.into())?,
            };
            path.push(id);
            // What is no list or no number here is refused: a reader may take it for one whatever it says it is.
            if path[..] == SCHEMA[..1] {
                if kind != 9 || !self.columns.is_empty() {
                    return None;
                }
                self.schema(path)?;
            } else if path[..] == SCHEMA {
                if kind != 5 {
                    return None;
                }
                let columns = self.signed()?;
                *self.columns.last_mut()? = columns;
            } else if kind > 2 {
                // A field that is true or false is so by its kind.
                self.value(kind, path)?;
            }
            path.pop();
        }
    }

    fn schema(&mut self, path: &mut Vec<i64>) -> Option<()> {
        let (n, kind) = self.list()?;
        for _ in 0..n {
            if kind != 12 {
                return None;
            }
            self.columns.push(0);
            self.fields(path)?;
        }
        Some(())
    }

    /// How many elements a list has, and of which kind: never more than bytes are left.
    fn list(&mut self) -> Option<(u64, u8)> {
        let head = self.byte()?;
        let n = match head >> 4 {
            15 => self.number()?,
            n => n.into(),
        };
        (n <= self.bytes.len() as u64).then_some((n, head & 15))
    }

    fn value(&mut self, kind: u8, path: &mut Vec<i64>) -> Option<()> {
        // Every struct and every list lies in a field or a list, so that this is as deep as anything gets.
        if path.len() >= DEEPEST {
            return None;
        }
        match kind {
            3 => self.byte().map(|_| ()),
            4..=6 => self.number().map(|_| ()),
            7 => self.take(8).map(|_| ()),
            8 => {
                let n = self.number()?;
                self.take(n).map(|_| ())
            }
            9 | 10 => {
                let (n, kind) = self.list()?;
                path.push(0);
                for _ in 0..n {
                    // Truth values have a byte in lists, which not every reader knows; a footer has no such list, nor maps.
                    self.value(if kind > 2 { kind } else { return None }, path)?;
                }
                path.pop();
                Some(())
            }
            12 => self.fields(path),
            13 => self.take(16).map(|_| ()),
            _ => None,
        }
    }

    /// Whether the elements of the schema, a group before its columns, are one tree that is not too deep.
    fn is_tree(&self) -> bool {
        let mut left: Vec<i64> = vec![1];
        for &columns in &self.columns {
            let Some(last) = left.last_mut() else { return false };
            *last -= 1;
            if columns < 0 || columns > self.columns.len() as i64 || left.len() > DEEPEST {
                return false;
            }
            left.push(columns);
            while left.last() == Some(&0) {
                left.pop();
            }
        }
        left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A file of a footer alone.
    fn opened(footer: &[u8]) -> Result<(), String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[b"PAR1", footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()).unwrap();
        look_over(&mut file).map_err(|e| e.to_string())
    }

    /// version 1; a schema of these numbers of columns; a list of kind `kind` that claims `n` elements, with one byte for each of `there`.
    fn footer(columns: &[u8], kind: u8, n: u8, there: usize) -> Vec<u8> {
        let mut out = vec![0x15, 2, 0x19, (columns.len() as u8) << 4 | 12];
        for &c in columns {
            // Field 4, a name of one byte; field 5, twice as large as zigzag has it.
            out.extend([0x48, 1, b'x', 0x15, 2 * c, 0]);
        }
        out.extend([0x29, 0xf0 | kind, n]);
        out.extend(vec![2; there]);
        out.push(0);
        out
    }

    #[test]
    fn a_footer_holds_what_it_claims() {
        assert_eq!(opened(&footer(&[2, 0, 1, 0], 5, 3, 3)), Ok(()));
        assert_eq!(opened(&[0x15, 2, 0]), opened(&[]), "without a schema there is no tree");
        for (why, bad) in [
            ("more elements than bytes", footer(&[1, 0], 5, 100, 3)),
            ("truth values", footer(&[1, 0], 1, 3, 3)),
            ("a group without its columns", footer(&[3, 0], 5, 3, 3)),
            ("an element outside the tree", footer(&[1, 0, 0], 5, 3, 3)),
            ("a group of more columns than there are elements", footer(&[60, 0], 5, 3, 3)),
        ] {
            assert!(opened(&bad).is_err_and(|e| e.contains("claims what is not there")), "{why}");
        }
    }

    #[test]
    fn nothing_nests_without_end() {
        // A struct in a struct in a struct; a list in a list in a list; a group in a group in a group.
        assert!(opened(&[0x1c].repeat(100_000)).is_err());
        assert!(opened(&[0x19].repeat(100_000)).is_err());
        let mut chain = vec![0x15, 2, 0x19, 0xfc, 0xa0, 0x8d, 0x06];
        (0..100_000).for_each(|i| chain.extend([0x55, if i < 99_999 { 2 } else { 0 }, 0]));
        chain.push(0);
        assert!(opened(&chain).is_err());
    }

    /// A reader may take for a list, or for a number of columns, what says that it is something else.
    #[test]
    fn the_schema_is_a_list_and_its_numbers_are_numbers() {
        // Version 1; the schema as a set of one element of no field; the same as a list, twice; an element whose columns are 64 bits.
        for footer in [&[0x15, 2, 0x1a, 0x1c, 0, 0][..], &[0x15, 2, 0x19, 0x1c, 0, 0x09, 4, 0x1c, 0, 0], &[0x15, 2, 0x19, 0x1c, 0x56, 2, 0, 0]] {
            assert!(opened(footer).unwrap_err().contains("footer"), "{footer:?}");
        }
    }
}
