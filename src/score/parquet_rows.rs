//! Rows as a Parquet file.

use super::pipeline::{Detail, ScoreWriter, ScoredDocument};
use crate::error::{Error, Result};
use crate::files::PendingFile;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a row group at most, and tokens after which one is closed: some 10 MB of it are held.
const GROUP_ROWS: usize = 65_536;
const GROUP_TOKENS: usize = 1 << 20;

/// Columns: `id` string; with [`Detail::Token`] `tokens` list of int32 and `logprobs` list of nullable float; `sum` double; `count` int64; `bytes` int64,
/// null for documents that came as tokens. Snappy-compressed.
pub struct ParquetRows {
    path: PathBuf,
    writer: SerializedFileWriter<PendingFile>,
    detail: Detail,
    rows: Vec<ScoredDocument>,
    tokens: usize,
}

impl ParquetRows {
    /// Starts a file; it takes its name when all rows are there.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn create(path: &Path, detail: Detail) -> Result<Self> {
        let lists = match detail {
            Detail::Document => "",
            Detail::Token => {
                "required group tokens (LIST) { repeated group list { required int32 element; } }
                 required group logprobs (LIST) { repeated group list { optional float element; } }"
            }
        };
        let schema = format!("message document {{ required binary id (STRING); {lists} required double sum; required int64 count; optional int64 bytes; }}");
        let failed = |e: ParquetError| Error::file(path, e.to_string());
        let schema = Arc::new(parse_message_type(&schema).map_err(failed)?);
        let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let writer = SerializedFileWriter::new(PendingFile::create(path)?, schema, properties).map_err(failed)?;
        Ok(ParquetRows { path: path.to_path_buf(), writer, detail, rows: Vec::new(), tokens: 0 })
    }

    /// Writes the rows held as one row group.
    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.tokens = 0;
        let mut write = || -> std::result::Result<(), ParquetError> {
            let mut group = self.writer.next_row_group()?;
            let ids: Vec<ByteArray> = rows.iter().map(|r| ByteArray::from(r.id.as_str())).collect();
            column::<ByteArrayType>(&mut group, &ids, None, None)?;
            if self.detail == Detail::Token {
                let (values, levels) = list(rows.iter().map(|r| r.tokens.as_deref().unwrap_or(&[])), 1, |&t| Some(t as i32));
                column::<Int32Type>(&mut group, &values, Some(&levels.definition), Some(&levels.repetition))?;
                let (values, levels) = list(rows.iter().map(|r| r.logprobs.as_deref().unwrap_or(&[])), 2, |&v| v);
                column::<FloatType>(&mut group, &values, Some(&levels.definition), Some(&levels.repetition))?;
            }
            column::<DoubleType>(&mut group, &rows.iter().map(|r| r.sum).collect::<Vec<_>>(), None, None)?;
            column::<Int64Type>(&mut group, &rows.iter().map(|r| r.count as i64).collect::<Vec<_>>(), None, None)?;
            let bytes: Vec<i64> = rows.iter().filter_map(|r| r.bytes).map(|b| b as i64).collect();
            let present: Vec<i16> = rows.iter().map(|r| i16::from(r.bytes.is_some())).collect();
            column::<Int64Type>(&mut group, &bytes, Some(&present), None)?;
            group.close()?;
            Ok(())
        };
        write().map_err(|e| Error::file(&self.path, e.to_string()))
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

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, PendingFile>,
    values: &[T::T],
    definition: Option<&[i16]>,
    repetition: Option<&[i16]>,
) -> std::result::Result<(), ParquetError> {
    let mut column = group.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns than are written".into()))?;
    column.typed::<T>().write_batch(values, definition, repetition)?;
    column.close()
}

impl ScoreWriter for ParquetRows {
    fn write(&mut self, row: &ScoredDocument) -> Result<()> {
        self.tokens += row.tokens.as_ref().map_or(0, Vec::len);
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
        };
        vec![row("a", vec![None, Some(-0.1), Some(-2.5)], Some(9)), row("é", vec![], None), row("c", vec![Some(-1e-7)], Some(1))]
    }

    fn read(detail: Detail) -> Vec<parquet::record::Row> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.parquet");
        let mut w = Box::new(ParquetRows::create(&path, detail).unwrap());
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
        assert_eq!(names, ["id", "sum", "count", "bytes"]);
        assert_eq!(read[2].get_double(1).unwrap(), rows()[2].sum);
    }
}
