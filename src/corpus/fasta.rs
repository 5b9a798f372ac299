//! FASTA (Pearson and Lipman 1988): `>id description`, then the sequence on any number of lines.

use super::document::{Content, Document, Records};
use super::stream::{ByteStream, without_mark};
use super::unicode::{self, BadBytes, Mended};
use crate::error::{Error, Result};

/// An open FASTA file: a document a record.
///
/// The id is the header's first word; the sequence is taken as it stands, in its case, without line breaks and without blanks at the lines' ends. Lines that begin with `;`
/// are comments.
pub(super) struct Fasta {
    stream: ByteStream,
    name: String,
    bad: BadBytes,
    limit: u64,
    line: u64,
    buffer: Vec<u8>,
    mended: Mended,
}

/// What the next line is.
enum Ahead {
    Header,
    Comment,
    Other,
    End,
}

impl Fasta {
    /// Reads records from a stream; one without an id is called `name:line`. A sequence of more than `limit` bytes is an error.
    pub(super) fn new(stream: ByteStream, name: &str, bad: BadBytes, limit: u64) -> Self {
        Fasta { stream, name: name.to_string(), bad, limit, line: 0, buffer: Vec::new(), mended: Mended::default() }
    }

    fn ahead(&mut self) -> Result<Ahead> {
        let at_start = self.stream.offset() == 0;
        if at_start {
            let bytes = self.stream.fill()?;
            let mark = bytes.len() - without_mark(bytes).len();
            self.stream.consume(mark);
        }
        Ok(match self.stream.fill()?.first() {
            None => Ahead::End,
            Some(b'>') => Ahead::Header,
            Some(b';') => Ahead::Comment,
            Some(_) => Ahead::Other,
        })
    }

    /// The next line without its end and the blanks before it, and how many of its bytes were replaced; `held` bytes of the record are in memory.
    fn line(&mut self, held: u64) -> Result<(std::borrow::Cow<'_, str>, u64)> {
        let start = self.stream.offset();
        self.buffer.clear();
        self.stream.read_line(&mut self.buffer, self.limit)?;
        if held + self.buffer.len() as u64 > self.limit {
            return Err(self.stream.too_long(start, self.limit));
        }
        self.line += 1;
        unicode::text(self.buffer.trim_ascii_end(), self.bad, self.stream.path(), start)
    }

    fn pass(&mut self) -> Result<()> {
        self.stream.skip_line()?;
        self.line += 1;
        Ok(())
    }

    /// Passes over what may stand before the first header; false at the end of the file.
    fn find_header(&mut self) -> Result<bool> {
        loop {
            match self.ahead()? {
                Ahead::Header => return Ok(true),
                Ahead::End => return Ok(false),
                Ahead::Comment => self.pass()?,
                Ahead::Other => {
                    if !self.line(0)?.0.is_empty() {
                        return Err(Error::file(self.stream.path(), format!("line {} is no FASTA: a record begins with a line >id", self.line)));
                    }
                }
            }
        }
    }
}

impl Records for Fasta {
    fn next(&mut self) -> Result<Option<Document>> {
        if !self.find_header()? {
            return Ok(None);
        }
        let (header, mut replaced) = self.line(0)?;
        let id = header[1..].split_ascii_whitespace().next().map(str::to_string);
        let id = id.unwrap_or_else(|| format!("{}:{}", self.name, self.line));
        let mut sequence = String::new();
        loop {
            match self.ahead()? {
                Ahead::Header | Ahead::End => break,
                Ahead::Comment => self.pass()?,
                Ahead::Other => {
                    let (part, n) = self.line(sequence.len() as u64)?;
                    sequence.push_str(&part);
                    replaced += n;
                }
            }
        }
        self.mended.count(replaced);
        Ok(Some(Document { id, label: None, content: Content::Text(sequence) }))
    }

    fn skip(&mut self, n: u64) -> Result<u64> {
        let mut done = 0;
        while done < n && self.find_header()? {
            self.pass()?;
            while let Ahead::Comment | Ahead::Other = self.ahead()? {
                self.pass()?;
            }
            done += 1;
        }
        Ok(done)
    }

    fn mended(&self) -> Mended {
        self.mended
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Packing;
    use super::*;

    fn open(bytes: &[u8], bad: BadBytes, limit: u64) -> Fasta {
        let stream = ByteStream::new("g.fa".as_ref(), Packing::Plain, std::io::Cursor::new(bytes.to_vec())).unwrap();
        Fasta::new(stream, "g.fa", bad, limit)
    }

    fn read(bytes: &[u8]) -> Result<Vec<(String, String)>> {
        let mut fasta = open(bytes, BadBytes::Refuse, 1 << 20);
        let documents: Result<Vec<Document>> = std::iter::from_fn(|| fasta.next().transpose()).collect();
        Ok(documents?.into_iter().map(|d| (d.id, if let Content::Text(t) = d.content { t } else { panic!("tokens") })).collect())
    }

    #[test]
    fn records() {
        let file = b"\xef\xbb\xbf\r\n;made by hand\n>chr1 Homo sapiens\r\nACGTacgtN\r\nAC \r\n\r\n>\tchr2\n;inside\nM*\n>empty\n>\n-acgt";
        let want = [("chr1", "ACGTacgtNAC"), ("chr2", "M*"), ("empty", ""), ("g.fa:11", "-acgt")];
        assert_eq!(read(file).unwrap(), want.map(|(a, b)| (a.to_string(), b.to_string())));
        assert_eq!(read(b"").unwrap(), []);
        for mask in 0..16u32 {
            let mut fasta = open(file, BadBytes::Refuse, 1 << 20);
            for (i, (id, _)) in want.iter().enumerate() {
                match mask >> i & 1 {
                    1 => assert_eq!(fasta.next().unwrap().unwrap().id, *id),
                    _ => assert_eq!(fasta.skip(1).unwrap(), 1),
                }
            }
            assert_eq!(fasta.skip(3).unwrap(), 0);
        }
    }

    #[test]
    fn what_is_no_fasta_is_said() {
        let say = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert_eq!(say(b"\nACGT\n>x\n"), "g.fa: line 2 is no FASTA: a record begins with a line >id");
        assert!(say(b">x\nAC\xff").contains("g.fa: byte 5 (0xff) is not UTF-8"));
        let said = open(b">x\nACGT\nACGT\n", BadBytes::Refuse, 8).next().unwrap_err().to_string();
        assert_eq!(said, "g.fa: the document at byte 8 has more than 8 bytes, the most that is read as one; split it");
        let mut lossy = open(b">x\nA\xffC\n", BadBytes::Replace, 8);
        assert_eq!(lossy.next().unwrap().unwrap().content, Content::Text("A\u{fffd}C".into()));
        assert_eq!(Records::mended(&lossy), Mended { documents: 1, bytes: 1 });
    }
}
