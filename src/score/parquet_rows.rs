//! Rows as a Parquet file.

use super::pipeline::{Detail, ScoreWriter, ScoredDocument};
use super::rows::ScoredPrompt;
use crate::error::{Error, Result};
use crate::files::PendingFile;
use crate::forest::TokenId;
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a row group at most, and tokens after which one is closed: some 10 MB of it are held.
const GROUP_ROWS: usize = 65_536;
const GROUP_TOKENS: usize = 1 << 20;

/// A kind of row as columns.
pub trait ParquetRow: Clone {
    /// The columns, in Parquet's message syntax.
    fn columns(detail: Detail) -> String;
    /// Tokens that a row holds.
    fn held(&self) -> usize;
    /// Writes all columns of a row group, in their order.
    ///
    /// # Errors
    /// What the file's writer says.
    fn write(rows: &[Self], detail: Detail, group: &mut Group) -> std::result::Result<(), ParquetError>;
}

/// A file of rows, Snappy-compressed; columns as [`ScoredDocument`]'s and [`ScoredPrompt`]'s implementations of [`ParquetRow`] have them.
pub struct ParquetRows<R> {
    path: PathBuf,
    writer: SerializedFileWriter<PendingFile>,
    detail: Detail,
    rows: Vec<R>,
    tokens: usize,
}

impl<R: ParquetRow> ParquetRows<R> {
    /// Starts a file; it takes its name when all rows are there.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn create(path: &Path, detail: Detail) -> Result<Self> {
        let failed = |e: ParquetError| Error::file(path, e.to_string());
        let schema = Arc::new(parse_message_type(&format!("message row {{ {} }}", R::columns(detail))).map_err(failed)?);
        let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let writer = SerializedFileWriter::new(PendingFile::create(path)?, schema, properties).map_err(failed)?;
        Ok(ParquetRows { path: path.to_path_buf(), writer, detail, rows: Vec::new(), tokens: 0 })
    }

    /// Writes the rows held as one row group.
    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.tokens = 0;
        let mut write = || {
            let mut group = Group(self.writer.next_row_group()?);
            R::write(&rows, self.detail, &mut group)?;
            group.0.close()
        };
        write().map(|_| ()).map_err(|e| Error::file(&self.path, e.to_string()))
    }
}

/// A row group whose columns are written one after the other.
pub struct Group<'a>(SerializedRowGroupWriter<'a, PendingFile>);

impl Group<'_> {
    fn column<T: DataType>(&mut self, values: &[T::T], definition: Option<&[i16]>, repetition: Option<&[i16]>) -> std::result::Result<(), ParquetError> {
        let mut column = self.0.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns than are written".into()))?;
        column.typed::<T>().write_batch(values, definition, repetition)?;
        column.close()
    }

    /// A required column.
    fn all<T: DataType>(&mut self, values: impl Iterator<Item = T::T>) -> std::result::Result<(), ParquetError> {
        self.column::<T>(&values.collect::<Vec<_>>(), None, None)
    }

    /// An optional column.
    fn some<T: DataType>(&mut self, values: impl Iterator<Item = Option<T::T>>) -> std::result::Result<(), ParquetError> {
        let values: Vec<Option<T::T>> = values.collect();
        let present: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
        self.column::<T>(&values.into_iter().flatten().collect::<Vec<_>>(), Some(&present), None)
    }

    /// A column of required strings.
    fn texts<'t>(&mut self, values: impl Iterator<Item = &'t str>) -> std::result::Result<(), ParquetError> {
        self.all::<ByteArrayType>(values.map(ByteArray::from))
    }

    /// A required list of required token ids, and one of log-probs.
    fn tokens<'t>(
        &mut self,
        tokens: impl Iterator<Item = &'t [TokenId]>,
        logprobs: impl Iterator<Item = &'t [Option<f32>]>,
    ) -> std::result::Result<(), ParquetError> {
        let (values, levels) = list(tokens, 1, |&t| Some(t as i32));
        self.column::<Int32Type>(&values, Some(&levels.definition), Some(&levels.repetition))?;
        let (values, levels) = list(logprobs, 2, |&v| v);
        self.column::<FloatType>(&values, Some(&levels.definition), Some(&levels.repetition))
    }
}

/// The columns of [`Group::tokens`].
fn lists(detail: Detail) -> &'static str {
    match detail {
        Detail::Document => "",
        Detail::Token => {
            "required group tokens (LIST) { repeated group list { required int32 element; } }
             required group logprobs (LIST) { repeated group list { optional float element; } }"
        }
    }
}

/// `id` string; with [`Detail::Token`] `tokens` list of int32 and `logprobs` list of nullable float; `sum` double; `count` int64; `bytes` int64, null for documents that
/// came as tokens; `windows` int32, null where there were none.
impl ParquetRow for ScoredDocument {
    fn columns(detail: Detail) -> String {
        let lists = lists(detail);
        format!("required binary id (STRING); {lists} required double sum; required int64 count; optional int64 bytes; optional int32 windows;")
    }

    fn held(&self) -> usize {
        self.tokens.as_ref().map_or(0, Vec::len)
    }

    fn write(rows: &[Self], detail: Detail, group: &mut Group) -> std::result::Result<(), ParquetError> {
        group.texts(rows.iter().map(|r| r.id.as_str()))?;
        if detail == Detail::Token {
            group.tokens(rows.iter().map(|r| r.tokens.as_deref().unwrap_or(&[])), rows.iter().map(|r| r.logprobs.as_deref().unwrap_or(&[])))?;
        }
        group.all::<DoubleType>(rows.iter().map(|r| r.sum))?;
        group.all::<Int64Type>(rows.iter().map(|r| r.count as i64))?;
        group.some::<Int64Type>(rows.iter().map(|r| r.bytes.map(|b| b as i64)))?;
        group.some::<Int32Type>(rows.iter().map(|r| r.windows.map(|w| w as i32)))
    }
}

/// A row a completion: `id` string; `completion` int32, its index in its row, from 0; with [`Detail::Token`] `tokens` and `logprobs` as for documents; `sum` double;
/// `count` int64; `is_greedy` boolean; `bytes` int64, null for token ids; `fields` string, the row's other fields as JSON.
impl ParquetRow for ScoredPrompt {
    fn columns(detail: Detail) -> String {
        let lists = lists(detail);
        format!(
            "required binary id (STRING); required int32 completion; {lists} required double sum; required int64 count; required boolean is_greedy;
             optional int64 bytes; required binary fields (JSON);"
        )
    }

    fn held(&self) -> usize {
        self.completions.iter().map(|c| c.count as usize).sum()
    }

    fn write(rows: &[Self], detail: Detail, group: &mut Group) -> std::result::Result<(), ParquetError> {
        let all = || rows.iter().flat_map(|r| r.completions.iter().enumerate().map(move |(i, c)| (r, i, c)));
        group.texts(all().map(|(r, _, _)| r.id.as_str()))?;
        group.all::<Int32Type>(all().map(|(_, i, _)| i as i32))?;
        if detail == Detail::Token {
            group.tokens(all().map(|(_, _, c)| c.tokens.as_deref().unwrap_or(&[])), all().map(|(_, _, c)| c.logprobs.as_deref().unwrap_or(&[])))?;
        }
        group.all::<DoubleType>(all().map(|(_, _, c)| c.sum))?;
        group.all::<Int64Type>(all().map(|(_, _, c)| c.count as i64))?;
        group.all::<BoolType>(all().map(|(_, _, c)| c.is_greedy))?;
        group.some::<Int64Type>(all().map(|(_, _, c)| c.bytes.map(|b| b as i64)))?;
        let fields: Vec<String> = rows.iter().map(|r| serde_json::Value::from(r.fields.clone()).to_string()).collect();
        let of_each = rows.iter().zip(&fields).flat_map(|(r, f)| std::iter::repeat_n(f.as_str(), r.completions.len()));
        group.texts(of_each)
    }
}

/// Definition and repetition levels (Dremel, Melnik et al. 2010), one of each for every element, and one of each for an empty list.
struct Levels {
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

/// The values and levels of required lists whose elements are present at level `full`.
fn list<'a, S: 'a, T>(rows: impl Iterator<Item = &'a [S]>, full: i16, value: impl Fn(&S) -> Option<T>) -> (Vec<T>, Levels) {
    let (mut values, mut levels) = (Vec::new(), Levels { definition: Vec::new(), repetition: Vec::new() });
    for row in rows {
        if row.is_empty() {
            levels.definition.push(0);
            levels.repetition.push(0);
        }
        for (i, element) in row.iter().enumerate() {
            let value = value(element);
            levels.definition.push(if value.is_some() { full } else { full - 1 });
            levels.repetition.push(i16::from(i > 0));
            values.extend(value);
        }
    }
    (values, levels)
}

impl<R: ParquetRow> ScoreWriter<R> for ParquetRows<R> {
    fn write(&mut self, row: &R) -> Result<()> {
        self.tokens += row.held();
        self.rows.push(row.clone());
        if self.rows.len() >= GROUP_ROWS || self.tokens >= GROUP_TOKENS {
            self.flush()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if !self.rows.is_empty() {
            self.flush()?;
        }
        self.writer.into_inner().map_err(|e| Error::file(&self.path, e.to_string()))?.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, RowAccessor};

    fn rows() -> Vec<ScoredDocument> {
        let row = |id: &str, logprobs: Vec<Option<f32>>, bytes| ScoredDocument {
            id: id.into(),
            tokens: Some((0..logprobs.len() as u32).collect()),
            count: logprobs.iter().flatten().count() as u64,
            sum: logprobs.iter().flatten().map(|&v| v as f64).sum(),
            logprobs: Some(logprobs),
            bytes,
            windows: None,
        };
        vec![row("a", vec![None, Some(-0.1), Some(-2.5)], Some(9)), row("é", vec![], None), row("c", vec![Some(-1e-7)], Some(1))]
    }

    fn read(detail: Detail) -> Vec<parquet::record::Row> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.parquet");
        let mut w = Box::new(ParquetRows::<ScoredDocument>::create(&path, detail).unwrap());
        for r in rows() {
            w.write(&r).unwrap();
        }
        assert!(!path.exists());
        w.finish().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        reader.get_row_iter(None).unwrap().map(|r| r.unwrap()).collect()
    }

    #[test]
    fn rows_read_back() {
        let read = read(Detail::Token);
        let want = rows();
        assert_eq!(read.len(), want.len());
        for (r, w) in read.iter().zip(&want) {
            assert_eq!(r.get_string(0).unwrap(), &w.id);
            let tokens: Vec<Field> = w.tokens.iter().flatten().map(|&t| Field::Int(t as i32)).collect();
            assert_eq!(r.get_list(1).unwrap().elements(), tokens);
            let logprobs: Vec<Field> = w.logprobs.iter().flatten().map(|v| v.map_or(Field::Null, Field::Float)).collect();
            assert_eq!(r.get_list(2).unwrap().elements(), logprobs);
            assert_eq!((r.get_double(3).unwrap(), r.get_long(4).unwrap()), (w.sum, w.count as i64));
            assert_eq!(r.get_long(5).ok(), w.bytes.map(|b| b as i64));
        }
    }

    #[test]
    fn sums_alone_have_no_lists() {
        let read = read(Detail::Document);
        let names: Vec<&str> = read[0].get_column_iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["id", "sum", "count", "bytes", "windows"]);
        assert_eq!(read[2].get_double(1).unwrap(), rows()[2].sum);
    }
}
