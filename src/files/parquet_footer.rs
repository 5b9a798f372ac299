//! A Parquet file's footer, looked over before a library reads it.
//!
//! The library takes counts as they stand: it passes over as many elements as a list claims, if need be for hours, makes room for as many columns as a group claims, and
//! descends as deep as groups nest. So every element must have a byte of its own here, every group its columns among the schema's elements, and nothing may nest deeper than
//! [`DEEPEST`]. The footer is a Thrift struct in compact encoding (parquet-format's FileMetaData). A field that parquet-format knows must be of the kind that it has there: the
//! library reads it as that whatever it says it is, and takes what follows for something else than what is looked over here.

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
    let sound = footer.fields(FILE_META_DATA, 0).is_some() && footer.is_tree();
    if sound { Ok(()) } else { Err(ParquetError::General("its footer claims what is not there".into())) }
}

/// Of what kind a field is.
enum Shape {
    Bool,
    /// One of the kinds of a fixed number: byte, i16, i32, i64, double, binary.
    Kind(u8),
    List(&'static Shape),
    Struct(&'static [(i64, Shape)]),
    /// FileMetaData.schema.
    Schema,
    /// SchemaElement.num_children.
    Columns,
}

use Shape::{Bool, Columns, Kind, List, Schema, Struct};

const BYTE: Shape = Kind(3);
const I16: Shape = Kind(4);
const I32: Shape = Kind(5);
const I64: Shape = Kind(6);
const DOUBLE: Shape = Kind(7);
const BINARY: Shape = Kind(8);
const LIST: u8 = 9;
const STRUCT: u8 = 12;

// parquet-format 2.12, src/main/thrift/parquet.thrift. Of unions every member; what is not named here is passed over by the library as well.
const EMPTY: Shape = Struct(&[]);
const TIME: Shape = Struct(&[(1, Bool), (2, Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]))]);
const LOGICAL_TYPE: Shape = Struct(&[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, I32), (2, I32)])),
    (6, EMPTY),
    (7, TIME),
    (8, TIME),
    (10, Struct(&[(1, BYTE), (2, Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, BYTE)])),
    (17, Struct(&[(1, BINARY)])),
    (18, Struct(&[(1, BINARY), (2, I32)])),
]);
const SCHEMA_ELEMENT: &[(i64, Shape)] = &[(1, I32), (2, I32), (3, I32), (4, BINARY), (5, Columns), (6, I32), (7, I32), (8, I32), (9, I32), (10, LOGICAL_TYPE)];
const KEY_VALUE: Shape = Struct(&[(1, BINARY), (2, BINARY)]);
const STATISTICS: Shape = Struct(&[(1, BINARY), (2, BINARY), (3, I64), (4, I64), (5, BINARY), (6, BINARY), (7, Bool), (8, Bool)]);
const SIZE_STATISTICS: Shape = Struct(&[(1, I64), (2, List(&I64)), (3, List(&I64))]);
const BOX: Shape = Struct(&[(1, DOUBLE), (2, DOUBLE), (3, DOUBLE), (4, DOUBLE), (5, DOUBLE), (6, DOUBLE), (7, DOUBLE), (8, DOUBLE)]);
const COLUMN_META_DATA: Shape = Struct(&[
    (1, I32),
    (2, List(&I32)),
    (3, List(&BINARY)),
    (4, I32),
    (5, I64),
    (6, I64),
    (7, I64),
    (8, List(&KEY_VALUE)),
    (9, I64),
    (10, I64),
    (11, I64),
    (12, STATISTICS),
    (13, List(&Struct(&[(1, I32), (2, I32), (3, I32)]))),
    (14, I64),
    (15, I32),
    (16, SIZE_STATISTICS),
    (17, Struct(&[(1, BOX), (2, List(&I32))])),
]);
const COLUMN_CHUNK: Shape = Struct(&[(1, BINARY), (2, I64), (3, COLUMN_META_DATA), (4, I64), (5, I32), (6, I64), (7, I32)]);
const ROW_GROUP: Shape =
    Struct(&[(1, List(&COLUMN_CHUNK)), (2, I64), (3, I64), (4, List(&Struct(&[(1, I32), (2, Bool), (3, Bool)]))), (5, I64), (6, I64), (7, I16)]);
const FILE_META_DATA: &[(i64, Shape)] =
    &[(1, I32), (2, Schema), (3, I64), (4, List(&ROW_GROUP)), (5, List(&KEY_VALUE)), (6, BINARY), (7, List(&Struct(&[(1, EMPTY), (2, EMPTY)])))];

/// What is left of a footer, and how many columns each element of the schema has under it.
struct Footer<'a> {
    bytes: &'a [u8],
    columns: Vec<i64>,
}

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

    /// The fields of a struct, of which these are known, to its end.
    fn fields(&mut self, known: &[(i64, Shape)], depth: usize) -> Option<()> {
        let mut id = 0i64;
        loop {
            let head = self.byte()?;
            let kind = head & 15;
            if kind == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => self.signed()?,
                step => id + i64::from(step),
            };
            // Readers keep 16 bits of it.
            i16::try_from(id).ok()?;
            match known.iter().find(|(of, _)| *of == id) {
                Some((_, shape)) => self.known(shape, kind, depth)?,
                // A field that is true or false is so by its kind.
                None if kind <= 2 => {}
                None => self.value(kind, depth)?,
            }
        }
    }

    /// What must be of this shape, and says that it is of this kind.
    fn known(&mut self, shape: &Shape, kind: u8, depth: usize) -> Option<()> {
        match shape {
            Bool => (kind <= 2).then_some(()),
            Kind(of) => (kind == *of).then_some(()).and_then(|()| self.value(kind, depth)),
            Struct(known) => (kind == STRUCT && depth < DEEPEST).then_some(()).and_then(|()| self.fields(known, depth + 1)),
            List(of) => {
                let (n, kind) = (kind == LIST).then(|| self.list())??;
                (0..n).try_for_each(|_| self.known(of, kind, depth + 1))
            }
            Schema => {
                let (n, kind) = (kind == LIST && self.columns.is_empty()).then(|| self.list())??;
                for _ in 0..n {
                    self.columns.push(0);
                    (kind == STRUCT).then_some(()).and_then(|()| self.fields(SCHEMA_ELEMENT, depth + 2))?;
                }
                Some(())
            }
            Columns => {
                let columns = (kind == 5).then(|| self.signed())??;
                self.columns.last_mut().map(|last| *last = columns)
            }
        }
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

    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        // Every struct and every list lies in a field or a list, so that this is as deep as anything gets.
        if depth >= DEEPEST {
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
            LIST | 10 => {
                let (n, kind) = self.list()?;
                // Truth values have a byte in lists, which not every reader knows; a footer has no such list, nor maps.
                (0..n).try_for_each(|_| if kind > 2 { self.value(kind, depth + 1) } else { None })
            }
            STRUCT => self.fields(&[], depth + 1),
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

    /// version 1; a schema of these numbers of columns; a field that nobody knows, a list of kind `kind` that claims `n` elements, with one byte for each of `there`.
    fn footer(columns: &[u8], kind: u8, n: u8, there: usize) -> Vec<u8> {
        let mut out = vec![0x15, 2, 0x19, (columns.len() as u8) << 4 | 12];
        for &c in columns {
            // Field 4, a name of one byte; field 5, twice as large as zigzag has it.
            out.extend([0x48, 1, b'x', 0x15, 2 * c, 0]);
        }
        out.extend([0x09, 40, 0xf0 | kind, n]);
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

    /// A reader takes a field that it knows for what it should be, and what follows for whatever comes next.
    #[test]
    fn known_fields_are_what_they_should_be() {
        // The schema's root alone; a row group with a chunk whose metadata begins with its type: a number, or the truth; likewise with a list of numbers, or of structs.
        let with = |meta: &[u8]| opened(&[&[0x15, 2, 0x19, 0x1c, 0, 0x29, 0x1c, 0x19, 0x1c, 0x3c], meta, &[0, 0, 0, 0]].concat());
        assert_eq!((with(&[0x15, 2]), with(&[0x29, 0x15, 2]), with(&[0x29, 0])), (Ok(()), Ok(()), Ok(())));
        for bad in [&[0x11][..], &[0x29, 0x1c, 0], &[0x25, 2], &[0x09, 0x80, 0x80, 0x08, 0]] {
            assert!(with(bad).is_err_and(|e| e.contains("claims what is not there")), "{bad:?}");
        }
    }
}
