//! One part of a record: the trees of one wave, as a Parquet file.
//!
//! One row a tree, one row group a file, Snappy. Lists are `required group X (LIST) { repeated group list { required … element } }`.
//!
//! | column | type | what |
//! |---|---|---|
//! | group, member | int32 | which tree |
//! | document | int32 | index of the chunk's document in the corpus |
//! | document_id | string | its name |
//! | label | string or null | the document's label, where the corpus gives it one |
//! | token_offset | int64 | the chunk's first token in the document |
//! | byte_offset | int64 or null | its first byte; null where the document came as tokens |
//! | bytes | list of int32 | bytes of the first n tokens, n at each of `marks`; empty likewise |
//! | trunk | list of float | ln q(w_t given ⊥ w[1..t−1]), t = 1 … L; empty where the trunk was not read |
//! | marginal | list of double | `[split][8 + ratios]`: the own tail on its own, summed over its first 1 … 8 tokens, then up to every rℓ; NaN where there is none |
//! | cross | list of double | `[tail][split][ratio]`: foreign tails under this chunk's heads up to every rℓ; NaN where rℓ > L |
//! | tokens | list of int32 | only where lengths are bytes: tokens before each of `marks` |
//!
//! Where lengths are bytes, `bytes` are those before each of `marks`, trunks have as many values as their chunks have tokens, and the first 8 of `marginal`
//! are NaN.
//!
//! The file's key-value metadata hold `hilberg.plan` (the identity of the measurement, JSON: splits and ratios are in it), `hilberg.marks` (JSON),
//! `hilberg.arithmetic` (what computed the part) and `hilberg.checksum` (XXH3-128 over all values, by which a damaged part is found out).

use super::plan::TreeRecord;
use super::text::Text;
use crate::corpus::Unit;
use crate::error::{Error, Result, guarded};
use crate::files::{PendingFile, open_parquet};
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use twox_hash::xxhash3_128::Hasher;

const SCHEMA: &str = "
  required int32 group; required int32 member; required int32 document; required binary document_id (STRING); optional binary label (STRING);
  required int64 token_offset; optional int64 byte_offset;
  required group bytes (LIST) { repeated group list { required int32 element; } }
  required group trunk (LIST) { repeated group list { required float element; } }
  required group marginal (LIST) { repeated group list { required double element; } }
  required group cross (LIST) { repeated group list { required double element; } }
";

/// The column that only records in bytes have.
const TOKENS: &str = "required group tokens (LIST) { repeated group list { required int32 element; } }";

fn schema(unit: Unit) -> Result<Type, ParquetError> {
    let tokens = if unit == Unit::Bytes { TOKENS } else { "" };
    parse_message_type(&format!("message tree {{ {SCHEMA} {tokens} }}"))
}

/// One row: a tree's values with the whereabouts of its chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was scored.
    pub tree: TreeRecord,
    /// Index of the chunk's document.
    pub document: u32,
    /// Its name.
    pub document_id: String,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// First token of the chunk in it.
    pub token_offset: u64,
    /// First byte, where there are bytes.
    pub byte_offset: Option<u64>,
    /// Bytes before each mark.
    pub bytes: Vec<u32>,
    /// Tokens before each mark where lengths are bytes; else empty.
    pub tokens: Vec<u32>,
}

impl Row {
    /// Joins a tree's values with its chunk.
    pub fn new(tree: TreeRecord, text: &Text) -> Self {
        let (byte_offset, bytes) = text.bytes.as_ref().map_or((None, Vec::new()), |b| (Some(b.offset), b.lengths.clone()));
        Row {
            tree,
            document: text.document,
            document_id: text.document_id.clone(),
            label: text.label.clone(),
            token_offset: text.token_offset,
            byte_offset,
            bytes,
            tokens: text.cuts.clone(),
        }
    }
}

/// What every part of one record says alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Heading {
    /// The measurement's identity, as JSON.
    pub plan: String,
    /// Marks of the byte counts, as JSON.
    pub marks: String,
}

/// A part as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Which measurement it belongs to.
    pub heading: Heading,
    /// Backend, instruction path, precision and version that computed it.
    pub arithmetic: String,
    /// Its trees.
    pub rows: Vec<Row>,
}

/// Writes a part's content.
pub fn write(file: &mut PendingFile, heading: &Heading, arithmetic: &str, rows: &[Row]) -> Result<(), ParquetError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_created_by(concat!("hilberg ", env!("CARGO_PKG_VERSION")).into())
        .set_key_value_metadata(Some(vec![
            KeyValue::new("hilberg.plan".into(), heading.plan.clone()),
            KeyValue::new("hilberg.marks".into(), heading.marks.clone()),
            KeyValue::new("hilberg.arithmetic".into(), arithmetic.to_string()),
            KeyValue::new("hilberg.checksum".into(), checksum(rows)),
        ]))
        .build();
    let unit = if rows.iter().all(|r| r.tokens.is_empty()) { Unit::Tokens } else { Unit::Bytes };
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema(unit)?), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    scalar::<Int32Type>(&mut group, rows.iter().map(|r| r.tree.group as i32).collect())?;
    scalar::<Int32Type>(&mut group, rows.iter().map(|r| r.tree.member as i32).collect())?;
    scalar::<Int32Type>(&mut group, rows.iter().map(|r| r.document as i32).collect())?;
    scalar::<ByteArrayType>(&mut group, rows.iter().map(|r| ByteArray::from(r.document_id.as_str())).collect())?;
    optional::<ByteArrayType, _>(&mut group, rows, |r| r.label.as_deref().map(ByteArray::from))?;
    scalar::<Int64Type>(&mut group, rows.iter().map(|r| r.token_offset as i64).collect())?;
    optional::<Int64Type, _>(&mut group, rows, |r| r.byte_offset.map(|b| b as i64))?;
    list::<Int32Type, _>(&mut group, rows, |r| r.bytes.iter().map(|&b| b as i32).collect())?;
    list::<FloatType, _>(&mut group, rows, |r| r.tree.trunk.clone())?;
    list::<DoubleType, _>(&mut group, rows, |r| r.tree.marginal.clone())?;
    list::<DoubleType, _>(&mut group, rows, |r| r.tree.cross.clone())?;
    if unit == Unit::Bytes {
        list::<Int32Type, _>(&mut group, rows, |r| r.tokens.iter().map(|&n| n as i32).collect())?;
    }
    group.close()?;
    writer.close().map(drop)
}

fn scalar<T: DataType>(group: &mut SerializedRowGroupWriter<'_, &mut PendingFile>, values: Vec<T::T>) -> Result<(), ParquetError> {
    column::<T>(group, &values, None, None)
}

fn optional<T: DataType, F: Fn(&Row) -> Option<T::T>>(
    group: &mut SerializedRowGroupWriter<'_, &mut PendingFile>,
    rows: &[Row],
    of: F,
) -> Result<(), ParquetError> {
    let values: Vec<Option<T::T>> = rows.iter().map(of).collect();
    let present: Vec<i16> = values.iter().map(|v| v.is_some() as i16).collect();
    column::<T>(group, &values.into_iter().flatten().collect::<Vec<_>>(), Some(&present), None)
}

fn list<T: DataType, F: Fn(&Row) -> Vec<T::T>>(group: &mut SerializedRowGroupWriter<'_, &mut PendingFile>, rows: &[Row], of: F) -> Result<(), ParquetError> {
    let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let list = of(row);
        // An empty list is one undefined entry.
        let n = list.len();
        defined.extend(std::iter::repeat_n((n > 0) as i16, n.max(1)));
        repeated.push(0);
        repeated.extend(std::iter::repeat_n(1, n.saturating_sub(1)));
        values.extend(list);
    }
    column::<T>(group, &values, Some(&defined), Some(&repeated))
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, &mut PendingFile>,
    values: &[T::T],
    defined: Option<&[i16]>,
    repeated: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let mut writer = group.next_column()?.ok_or_else(|| ParquetError::General("fewer columns than the schema has".into()))?;
    match T::get_column_writer_mut(writer.untyped() as &mut ColumnWriter<'_>) {
        Some(w) => w.write_batch(values, defined, repeated)?,
        None => return Err(ParquetError::General("a column of another type than the schema's".into())),
    };
    writer.close()
}

/// Reads a part whole.
///
/// # Errors
/// A file that is damaged, or not a part.
pub fn read(path: &Path) -> Result<Part> {
    let file = File::open(path).map_err(Error::io(path))?;
    let parsed = guarded(|| parse(file)).and_then(|p| p.map_err(|e| e.to_string()));
    let (part, sum) = parsed.map_err(|why| damaged(path, &why))?;
    if checksum(&part.rows) != sum {
        return Err(damaged(path, "its checksum is wrong"));
    }
    Ok(part)
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::file(path, format!("this part of the record is damaged ({why}); delete it and start the measurement again to score its texts anew"))
}

/// A part and the checksum that it says it has.
fn parse(file: File) -> Result<(Part, String), ParquetError> {
    let reader = open_parquet(file)?;
    let general = |what: &str| ParquetError::General(what.into());
    let meta = reader.metadata().file_metadata();
    let key = |name: &str| {
        let found = meta.key_value_metadata().into_iter().flatten().find(|kv| kv.key == name);
        found.and_then(|kv| kv.value.clone()).ok_or_else(|| general(&format!("no {name} in it")))
    };
    let heading = Heading { plan: key("hilberg.plan")?, marks: key("hilberg.marks")? };
    let unit = match meta.schema() {
        s if *s == schema(Unit::Tokens)? => Unit::Tokens,
        s if *s == schema(Unit::Bytes)? => Unit::Bytes,
        _ => return Err(general("its columns are not those of a record")),
    };
    if reader.num_row_groups() != 1 {
        return Err(general("its columns are not those of a record"));
    }
    let group = reader.get_row_group(0)?;
    let n = group.metadata().num_rows() as usize;
    let group = &*group;
    let ids = read_scalar::<Int32Type>(group, 0, n)?;
    let members = read_scalar::<Int32Type>(group, 1, n)?;
    let documents = read_scalar::<Int32Type>(group, 2, n)?;
    let names = read_scalar::<ByteArrayType>(group, 3, n)?;
    let labels = read_optional::<ByteArrayType>(group, 4, n)?;
    let tokens = read_scalar::<Int64Type>(group, 5, n)?;
    let bytes_at = read_optional::<Int64Type>(group, 6, n)?;
    let lengths = read_list::<Int32Type>(group, 7, n)?;
    let trunks = read_list::<FloatType>(group, 8, n)?;
    let marginals = read_list::<DoubleType>(group, 9, n)?;
    let crosses = read_list::<DoubleType>(group, 10, n)?;
    let cuts = if unit == Unit::Bytes { read_list::<Int32Type>(group, 11, n)? } else { vec![Vec::new(); n] };
    let mut rows = Vec::with_capacity(n);
    for (i, ((((trunk, marginal), cross), lengths), cuts)) in trunks.into_iter().zip(marginals).zip(crosses).zip(lengths).zip(cuts).enumerate() {
        rows.push(Row {
            tree: TreeRecord { group: ids[i] as u32, member: members[i] as u32, trunk, marginal, cross },
            document: documents[i] as u32,
            document_id: names[i].as_utf8()?.to_string(),
            label: labels[i].as_ref().map(|l| l.as_utf8().map(str::to_string)).transpose()?,
            token_offset: tokens[i] as u64,
            byte_offset: bytes_at[i].map(|b| b as u64),
            bytes: lengths.into_iter().map(|b| b as u32).collect(),
            tokens: cuts.into_iter().map(|n| n as u32).collect(),
        });
    }
    Ok((Part { heading, arithmetic: key("hilberg.arithmetic")?, rows }, key("hilberg.checksum")?))
}

fn read_scalar<T: DataType>(group: &dyn RowGroupReader, column: usize, n: usize) -> Result<Vec<T::T>, ParquetError> {
    let (values, _, _) = read_column::<T>(group, column, n)?;
    if values.len() == n { Ok(values) } else { Err(ParquetError::General("its rows are of different number".into())) }
}

fn read_optional<T: DataType>(group: &dyn RowGroupReader, column: usize, n: usize) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (values, present, _) = read_column::<T>(group, column, n)?;
    if present.len() != n || present.iter().filter(|&&d| d == 1).count() != values.len() {
        return Err(ParquetError::General("its rows are of different number".into()));
    }
    let mut values = values.into_iter();
    Ok(present.into_iter().map(|d| if d == 1 { values.next() } else { None }).collect())
}

fn read_list<T: DataType>(group: &dyn RowGroupReader, column: usize, n: usize) -> Result<Vec<Vec<T::T>>, ParquetError> {
    let (values, defined, repeated) = read_column::<T>(group, column, n)?;
    let mut values = values.into_iter();
    let mut lists: Vec<Vec<T::T>> = Vec::with_capacity(n);
    for (d, r) in defined.into_iter().zip(repeated) {
        if r == 0 {
            lists.push(Vec::new());
        }
        if d == 1 {
            let v = values.next().ok_or_else(|| ParquetError::General("a list is shorter than it says".into()))?;
            lists.last_mut().ok_or_else(|| ParquetError::General("a list without a beginning".into()))?.push(v);
        }
    }
    if lists.len() == n { Ok(lists) } else { Err(ParquetError::General("its rows are of different number".into())) }
}

type Levels = Vec<i16>;

fn read_column<T: DataType>(group: &dyn RowGroupReader, column: usize, n: usize) -> Result<(Vec<T::T>, Levels, Levels), ParquetError> {
    let mut reader = T::get_column_reader(group.get_column_reader(column)?).ok_or_else(|| ParquetError::General("a column of another type".into()))?;
    let (mut values, mut defined, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    let mut read = 0;
    while read < n {
        let (records, _, _) = reader.read_records(n - read, Some(&mut defined), Some(&mut repeated), &mut values)?;
        if records == 0 {
            return Err(ParquetError::General("it ends too early".into()));
        }
        read += records;
    }
    Ok((values, defined, repeated))
}

fn checksum(rows: &[Row]) -> String {
    let mut h = Hasher::new();
    let number = |h: &mut Hasher, x: u64| h.write(&x.to_le_bytes());
    for r in rows {
        for x in [r.tree.group as u64, r.tree.member as u64, r.document as u64, r.token_offset, r.byte_offset.map_or(u64::MAX, |b| b)] {
            number(&mut h, x);
        }
        number(&mut h, r.document_id.len() as u64);
        h.write(r.document_id.as_bytes());
        number(&mut h, r.label.as_ref().map_or(u64::MAX, |l| l.len() as u64));
        h.write(r.label.as_deref().unwrap_or_default().as_bytes());
        number(&mut h, r.bytes.len() as u64);
        r.bytes.iter().for_each(|b| h.write(&b.to_le_bytes()));
        number(&mut h, r.tree.trunk.len() as u64);
        r.tree.trunk.iter().for_each(|x| h.write(&x.to_bits().to_le_bytes()));
        for list in [&r.tree.marginal, &r.tree.cross] {
            number(&mut h, list.len() as u64);
            list.iter().for_each(|x| h.write(&x.to_bits().to_le_bytes()));
        }
        if !r.tokens.is_empty() {
            number(&mut h, r.tokens.len() as u64);
            r.tokens.iter().for_each(|n| h.write(&n.to_le_bytes()));
        }
    }
    format!("{:032x}", h.finish_128())
}
