//! Parquet: a document a row, its text in a column of strings.

use super::document::{Content, Document, Records};
use super::options::{GroupBy, ReadOptions};
use super::source::Source;
use super::unicode::{self, Mended};
use crate::error::{Error, Result, guarded};
use crate::files::open_parquet;
use parquet::basic::{Compression, ConvertedType, LogicalType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use std::fs::File;

/// Bytes of text decoded together, and rows at most: enough that calls cost nothing, little enough to be held beside the page that they come from.
const BATCH_BYTES: i64 = 1 << 20;
const BATCH_ROWS: i64 = 1024;

/// An open Parquet file. Row groups are read one after the other, and of them the columns of text, id and group alone.
pub(super) struct ParquetTexts<'a> {
    source: &'a Source,
    options: &'a ReadOptions,
    file: SerializedFileReader<File>,
    columns: Columns<usize>,
    /// Of the next row group.
    group: usize,
    open: Option<Columns<Column>>,
    /// Rows of the open group that are neither read nor passed over.
    left: u64,
    batch: std::vec::IntoIter<Cells>,
    batch_rows: u64,
    /// Rows given out or passed over.
    row: u64,
    mended: Mended,
}

/// Something for each column that is read.
struct Columns<T> {
    text: T,
    id: Option<T>,
    label: Option<T>,
}

/// What a row says; nulls are `None`.
struct Cells {
    text: Option<ByteArray>,
    id: Option<Name>,
    label: Option<Name>,
}

/// A value that names something.
enum Name {
    Bytes(ByteArray),
    Number(String),
}

/// An open column and what its values are.
struct Column {
    reader: ColumnReader,
    /// The definition level of a value that is there.
    full: i16,
    unsigned: bool,
}

impl<'a> ParquetTexts<'a> {
    /// Reads the footer and finds the columns.
    pub(super) fn open(source: &'a Source, options: &'a ReadOptions) -> Result<Self> {
        let path = &source.path;
        let handle = File::open(path).map_err(Error::io(path))?;
        let file = guarded(|| open_parquet(handle)).map_err(|why| panicked(source, &why))?.map_err(unreadable(source))?;
        let schema = file.metadata().file_metadata().schema_descr();
        let text = find(schema, &options.text_field, "text", "--text-field").map_err(|e| Error::file(path, e))?;
        if schema.column(text).physical_type() != Type::BYTE_ARRAY {
            return Err(Error::file(path, format!("column \"{}\" is not of strings but of type {}", options.text_field, schema.column(text).physical_type())));
        }
        let label = match &options.group {
            GroupBy::Field(name) => {
                let label = find(schema, name, "group", "--group-field").map_err(|e| Error::file(path, e))?;
                if !names(&schema.column(label)) {
                    return Err(Error::file(path, format!("column \"{name}\" is neither of strings nor of numbers")));
                }
                Some(label)
            }
            _ => None,
        };
        let id = flat(schema, "id").filter(|&i| i != text && names(&schema.column(i)));
        let columns = Columns { text, id, label };
        let packings = file.metadata().row_groups().iter().flat_map(|group| columns.all().into_iter().map(|&i| group.column(i).compression()));
        let other = packings.into_iter().find_map(|packing| match packing {
            Compression::LZO => Some("LZO"),
            Compression::BROTLI(_) => Some("Brotli"),
            _ => None,
        });
        if let Some(other) = other {
            return Err(Error::file(path, format!("is packed with {other}, which is not read; write it again with zstd")));
        }
        Ok(ParquetTexts {
            source,
            options,
            file,
            columns,
            group: 0,
            open: None,
            left: 0,
            batch: Vec::new().into_iter(),
            batch_rows: 1,
            row: 0,
            mended: Mended::default(),
        })
    }

    /// Goes on to the next row group once the last is over; false at the end of the file.
    fn advance(&mut self) -> Result<bool> {
        while self.left == 0 {
            let Some(group) = self.file.metadata().row_groups().get(self.group) else { return Ok(false) };
            self.left = group.num_rows().try_into().map_err(|_| Error::file(&self.source.path, "has a row group of fewer than no rows; it is damaged"))?;
            let row = group.column(self.columns.text).uncompressed_size() / group.num_rows().max(1);
            self.batch_rows = (BATCH_BYTES / row.max(1)).clamp(1, BATCH_ROWS) as u64;
            self.group += 1;
            self.open = None;
        }
        Ok(true)
    }

    /// The columns of the row group that [`ParquetTexts::advance`] went to.
    fn opened(&mut self) -> Result<&mut Columns<Column>> {
        if self.open.is_none() {
            let group = self.file.get_row_group(self.group - 1).map_err(unreadable(self.source))?;
            let schema = self.file.metadata().file_metadata().schema_descr();
            let open = |i: usize| -> Result<Column> {
                let reader = group.get_column_reader(i).map_err(unreadable(self.source))?;
                let column = schema.column(i);
                Ok(Column { reader, full: column.max_def_level(), unsigned: integer(&column) == Some(Sign::Unsigned) })
            };
            let columns =
                Columns { text: open(self.columns.text)?, id: self.columns.id.map(open).transpose()?, label: self.columns.label.map(open).transpose()? };
            self.open = Some(columns);
        }
        Ok(self.open.as_mut().expect("the group was opened above"))
    }

    fn fill(&mut self) -> Result<()> {
        let (source, n) = (self.source, self.left.min(self.batch_rows));
        let columns = self.opened()?;
        let short = |read: usize| match read as u64 == n {
            true => Ok(()),
            false => Err(Error::file(&source.path, "a column has fewer rows than the file says; it is damaged")),
        };
        let text = match &mut columns.text.reader {
            ColumnReader::ByteArrayColumnReader(reader) => values(reader, columns.text.full, n as usize).map_err(unreadable(source))?,
            _ => return Err(Error::file(&source.path, "its text is not of strings")),
        };
        short(text.len())?;
        let named = |column: &mut Option<Column>| -> Result<Vec<Option<Name>>> {
            let Some(column) = column else { return Ok((0..n).map(|_| None).collect()) };
            let names = column.names(n as usize).map_err(unreadable(source))?;
            short(names.len()).map(|()| names)
        };
        let (id, label) = (named(&mut columns.id)?, named(&mut columns.label)?);
        let cells: Vec<Cells> = text.into_iter().zip(id.into_iter().zip(label)).map(|(text, (id, label))| Cells { text, id, label }).collect();
        self.batch = cells.into_iter();
        self.left -= n;
        Ok(())
    }

    fn document(&mut self, cells: Cells) -> Result<Document> {
        let (path, row, bad) = (&self.source.path, self.row, self.options.bad_bytes);
        let mut replaced = 0;
        let mut text = |bytes: &ByteArray, column: &str| -> Result<String> {
            let failed = |e: Error| match e {
                Error::File { what, .. } => Error::file(path, format!("column \"{column}\" of row {row}: {what}")),
                e => e,
            };
            let (text, n) = unicode::text(bytes.data(), bad, path, 0).map_err(failed)?;
            replaced += n;
            Ok(text.into_owned())
        };
        if let Some(bytes) = cells.text.as_ref().filter(|b| b.len() as u64 > self.options.document_limit) {
            let what = format!("the text of row {row} has {} bytes; at most {} are read as one document", bytes.len(), self.options.document_limit);
            return Err(Error::file(path, what));
        }
        let content = cells.text.map_or(Ok(String::new()), |b| text(&b, &self.options.text_field))?;
        let mut name = |name: Option<Name>, column: &str| match name {
            None => Ok(None),
            Some(Name::Number(n)) => Ok(Some(n)),
            Some(Name::Bytes(b)) => text(&b, column).map(Some),
        };
        let id = name(cells.id, "id")?.unwrap_or_else(|| format!("{}[{row}]", self.source.name));
        let label = match &self.options.group {
            GroupBy::Field(field) => {
                let label = name(cells.label, field)?;
                Some(label.ok_or_else(|| Error::file(path, format!("column \"{field}\" of row {row} is null; every document needs a group")))?)
            }
            _ => None,
        };
        self.mended.count(replaced);
        Ok(Document { id, label, content: Content::Text(content) })
    }
}

impl ParquetTexts<'_> {
    fn next_row(&mut self) -> Result<Option<Document>> {
        if self.batch.len() == 0 {
            if !self.advance()? {
                return Ok(None);
            }
            self.fill()?;
        }
        let Some(cells) = self.batch.next() else { return Ok(None) };
        let document = self.document(cells)?;
        self.row += 1;
        Ok(Some(document))
    }

    fn skip_rows(&mut self, n: u64) -> Result<u64> {
        let held = n.min(self.batch.len() as u64);
        if held > 0 {
            self.batch.nth(held as usize - 1);
        }
        let mut done = held;
        while done < n && self.advance()? {
            let rows = self.left.min(n - done);
            // What is left of a group is passed over without a look at it.
            if rows < self.left {
                let source = self.source;
                self.opened()?.each(|column| column.skip(rows as usize)).map_err(unreadable(source))?;
            }
            self.left -= rows;
            done += rows;
        }
        self.row += done;
        Ok(done)
    }
}

/// The parquet crate panics on some damaged pages; after an error nothing is read on.
impl Records for ParquetTexts<'_> {
    fn next(&mut self) -> Result<Option<Document>> {
        let source = self.source;
        guarded(|| self.next_row()).map_err(|why| panicked(source, &why))?
    }

    fn skip(&mut self, n: u64) -> Result<u64> {
        let source = self.source;
        guarded(|| self.skip_rows(n)).map_err(|why| panicked(source, &why))?
    }

    fn mended(&self) -> Mended {
        self.mended
    }
}

fn panicked(source: &Source, why: &str) -> Error {
    Error::file(&source.path, format!("is no Parquet file that can be read, or a damaged one: {why}"))
}

fn unreadable(source: &Source) -> impl Fn(ParquetError) -> Error + use<> {
    let path = source.path.clone();
    move |e| Error::file(&path, format!("is no Parquet file that can be read, or a damaged one: {}", e.to_string().replace('\n', " ")))
}

/// The column of that name whose rows have one value each.
fn flat(schema: &SchemaDescriptor, name: &str) -> Option<usize> {
    (0..schema.num_columns()).find(|&i| schema.column(i).max_rep_level() == 0 && schema.column(i).path().string() == name)
}

fn find(schema: &SchemaDescriptor, name: &str, what: &str, option: &str) -> Result<usize, String> {
    flat(schema, name).ok_or_else(|| {
        let flat: Vec<String> = schema.columns().iter().filter(|c| c.max_rep_level() == 0).map(|c| c.path().string()).collect();
        format!("has no column \"{name}\" but {}; name the one that holds the {what} with {option}", flat.join(", "))
    })
}

#[derive(PartialEq)]
enum Sign {
    Signed,
    Unsigned,
}

/// Whether a column of 32 or 64 bits counts something, and is neither a date nor a decimal fraction.
fn integer(column: &ColumnDescriptor) -> Option<Sign> {
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(LogicalType::Integer(int)), _) => Some(if int.is_signed { Sign::Signed } else { Sign::Unsigned }),
        (Some(_), _) => None,
        (None, ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64) => Some(Sign::Unsigned),
        (None, ConvertedType::NONE | ConvertedType::INT_8 | ConvertedType::INT_16 | ConvertedType::INT_32 | ConvertedType::INT_64) => Some(Sign::Signed),
        (None, _) => None,
    }
}

/// Whether a column's values can name something: strings and numbers.
fn names(column: &ColumnDescriptor) -> bool {
    match column.physical_type() {
        Type::BYTE_ARRAY => !matches!(column.converted_type(), ConvertedType::DECIMAL | ConvertedType::BSON),
        Type::INT32 | Type::INT64 => integer(column).is_some(),
        Type::FLOAT | Type::DOUBLE => true,
        _ => false,
    }
}

impl<T> Columns<T> {
    fn all(&self) -> Vec<&T> {
        [Some(&self.text), self.id.as_ref(), self.label.as_ref()].into_iter().flatten().collect()
    }
}

impl Columns<Column> {
    fn each(&mut self, mut look: impl FnMut(&mut Column) -> parquet::errors::Result<()>) -> parquet::errors::Result<()> {
        [Some(&mut self.text), self.id.as_mut(), self.label.as_mut()].into_iter().flatten().try_for_each(&mut look)
    }
}

impl Column {
    fn names(&mut self, n: usize) -> parquet::errors::Result<Vec<Option<Name>>> {
        fn of<T>(values: Vec<Option<T>>, name: impl Fn(T) -> Name) -> Vec<Option<Name>> {
            values.into_iter().map(|v| v.map(&name)).collect()
        }
        let (full, unsigned) = (self.full, self.unsigned);
        Ok(match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(r) => of(values(r, full, n)?, Name::Bytes),
            ColumnReader::Int32ColumnReader(r) => of(values(r, full, n)?, |v| Name::Number(if unsigned { (v as u32).to_string() } else { v.to_string() })),
            ColumnReader::Int64ColumnReader(r) => of(values(r, full, n)?, |v| Name::Number(if unsigned { (v as u64).to_string() } else { v.to_string() })),
            // As JSON writes them: 1.0 for one.
            ColumnReader::FloatColumnReader(r) => of(values(r, full, n)?, |v| Name::Number(format!("{v:?}"))),
            ColumnReader::DoubleColumnReader(r) => of(values(r, full, n)?, |v| Name::Number(format!("{v:?}"))),
            _ => return Err(ParquetError::General("a column of names is of another type than its schema says".into())),
        })
    }

    fn skip(&mut self, n: usize) -> parquet::errors::Result<()> {
        let skipped = match &mut self.reader {
            ColumnReader::ByteArrayColumnReader(r) => r.skip_records(n),
            ColumnReader::Int32ColumnReader(r) => r.skip_records(n),
            ColumnReader::Int64ColumnReader(r) => r.skip_records(n),
            ColumnReader::FloatColumnReader(r) => r.skip_records(n),
            ColumnReader::DoubleColumnReader(r) => r.skip_records(n),
            _ => Err(ParquetError::General("a column of names is of another type than its schema says".into())),
        }?;
        if skipped == n { Ok(()) } else { Err(ParquetError::General("a column has fewer rows than the file says".into())) }
    }
}

/// The next `n` values of a column, fewer at its end; nulls are `None`.
fn values<T: DataType>(reader: &mut ColumnReaderImpl<T>, full: i16, n: usize) -> parquet::errors::Result<Vec<Option<T::T>>> {
    let (mut values, mut levels) = (Vec::with_capacity(n), Vec::new());
    reader.read_records(n, Some(&mut levels), None, &mut values)?;
    if full == 0 {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    Ok(levels.iter().map(|&level| if level == full { values.next() } else { None }).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{BadBytes, Corpus};
    use super::*;
    use parquet::data_type::{ByteArrayType, DoubleType, Int32Type, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use proptest::prelude::{any, prop, prop_assert, proptest};
    use std::sync::Arc;

    /// Rows (text, year), in row groups of three: text nullable, id = 10 × row, weight = row / 2.
    fn file(rows: &[(Option<&[u8]>, i32)], codec: Compression) -> Vec<u8> {
        let schema = "message m { required int32 year; optional binary text (STRING); required int64 id (INTEGER(64,false)); optional double weight; repeated int32 tags; }";
        let properties = WriterProperties::builder().set_compression(codec).set_data_page_row_count_limit(2).set_write_batch_size(1).build();
        let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(parse_message_type(schema).unwrap()), Arc::new(properties)).unwrap();
        for (g, rows) in rows.chunks(3).enumerate() {
            let mut group = writer.next_row_group().unwrap();
            let there: Vec<i16> = rows.iter().map(|r| r.0.is_some() as i16).collect();
            let all = vec![1i16; rows.len()];
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int32Type>().write_batch(&rows.iter().map(|r| r.1).collect::<Vec<_>>(), None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let texts: Vec<ByteArray> = rows.iter().filter_map(|r| r.0).map(|t| t.to_vec().into()).collect();
            column.typed::<ByteArrayType>().write_batch(&texts, Some(&there), None).unwrap();
            column.close().unwrap();
            let numbers: Vec<i64> = (0..rows.len()).map(|i| 10 * (3 * g + i) as i64).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&numbers, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<DoubleType>().write_batch(&numbers.iter().map(|&n| n as f64 / 20.0).collect::<Vec<_>>(), Some(&all), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int32Type>().write_batch(&[], Some(&vec![0; rows.len()]), Some(&vec![0; rows.len()])).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.into_inner().unwrap()
    }

    fn with(bytes: &[u8], options: ReadOptions, look: impl FnOnce(&Corpus)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        std::fs::write(&path, bytes).unwrap();
        look(&Corpus::open(&[path], options).unwrap());
    }

    const ROWS: [(Option<&[u8]>, i32); 8] =
        [(Some(b"a"), 1), (None, 2), (Some(b""), 3), (Some("\u{e9}".as_bytes()), 4), (Some(b"e\n"), 5), (Some(b"f"), 6), (Some(b"a"), 7), (None, 8)];

    fn codecs() -> Vec<Compression> {
        vec![
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(Default::default()),
            Compression::ZSTD(Default::default()),
            Compression::LZ4,
            Compression::LZ4_RAW,
        ]
    }

    #[test]
    fn rows_are_documents_whatever_packs_them() {
        for codec in codecs() {
            with(&file(&ROWS, codec), ReadOptions { group: GroupBy::Field("weight".into()), ..Default::default() }, |corpus| {
                let all: Vec<Document> = corpus.documents().map(Result::unwrap).collect();
                assert_eq!(all.len(), ROWS.len());
                for (i, (d, row)) in all.iter().zip(&ROWS).enumerate() {
                    let text = String::from_utf8(row.0.unwrap_or_default().to_vec()).unwrap();
                    assert_eq!(*d, Document { id: (10 * i).to_string(), label: Some(format!("{:?}", i as f64 / 2.0)), content: Content::Text(text) });
                }
                for mask in 0..1u64 << all.len() {
                    let numbers: Vec<u64> = (0..all.len() as u64).filter(|i| mask >> i & 1 == 1).collect();
                    let selected: Vec<Document> = corpus.selected(&numbers).map(Result::unwrap).collect();
                    assert!(selected.iter().eq(numbers.iter().map(|&i| &all[i as usize])), "{numbers:?}");
                }
            });
        }
    }

    #[test]
    fn what_is_missing_or_odd_is_said() {
        let bytes = file(&ROWS, Compression::SNAPPY);
        let say = |bytes: &[u8], options: ReadOptions| {
            let mut said = String::new();
            with(bytes, options, |corpus| said = corpus.documents().find_map(Result::err).unwrap().to_string());
            said
        };
        let text = |name: &str| ReadOptions { text_field: name.into(), ..Default::default() };
        let group = |name: &str| ReadOptions { group: GroupBy::Field(name.into()), ..Default::default() };
        assert!(
            say(&bytes, text("body"))
                .ends_with("t.parquet: has no column \"body\" but year, text, id, weight; name the one that holds the text with --text-field")
        );
        assert!(say(&bytes, text("year")).ends_with("column \"year\" is not of strings but of type INT32"));
        assert!(say(&bytes, group("tags")).contains("has no column \"tags\""));
        assert!(say(&bytes, group("text")).ends_with("column \"text\" of row 1 is null; every document needs a group"));
        assert!(say(&bytes[..bytes.len() - 9], Default::default()).contains("is no Parquet file that can be read"));
        assert!(say(b"PAR1", Default::default()).contains("is no Parquet file that can be read"));
        assert!(say(b"", Default::default()).contains("is no Parquet file that can be read"));
        assert!(
            say(&bytes, ReadOptions { document_limit: 1, ..Default::default() }).ends_with("the text of row 3 has 2 bytes; at most 1 are read as one document")
        );
        let bad = file(&[(Some(b"x"), 1), (Some(b"ab\xff"), 1)], Compression::SNAPPY);
        assert!(say(&bad, Default::default()).contains("column \"text\" of row 1: byte 2 (0xff) is not UTF-8"));
        with(&bad, ReadOptions { bad_bytes: BadBytes::Replace, ..Default::default() }, |corpus| {
            let mut documents = corpus.documents();
            assert_eq!(documents.by_ref().map(Result::unwrap).last().unwrap().content, Content::Text("ab\u{fffd}".into()));
            assert_eq!(documents.notices(), ["1 document with bytes that are not UTF-8: 1 bytes were read as U+FFFD"]);
        });
    }

    proptest! {
        /// A damaged file is refused in one line, or read where nothing that matters was hit; nothing ends the process.
        #[test]
        fn damage_is_an_error_or_none(codec in prop::sample::select(codecs()), hits in prop::collection::vec((any::<prop::sample::Index>(), 0u32..8), 1..4), cut in prop::option::of(any::<prop::sample::Index>())) {
            let mut bytes = file(&ROWS, codec);
            for (at, bit) in &hits {
                *at.get_mut(&mut bytes) ^= 1 << bit;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let mut said = Vec::new();
            with(&bytes, Default::default(), |corpus| {
                said.extend(corpus.documents().find_map(Result::err).map(|e| e.to_string()));
                said.extend(corpus.selected(&[1, 4, 7]).find_map(Result::err).map(|e| e.to_string()));
            });
            for line in said {
                prop_assert!(line.contains("t.parquet: ") && line.lines().count() == 1, "{}", line);
            }
        }
    }
}
