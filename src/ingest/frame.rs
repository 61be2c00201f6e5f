//! Finds the records in a text file: a line each, or a JSON value or CSV row that goes on over several lines.
//!
//! White space between records is no record. Where a value that seemed to go on turns out not to, its first line is given alone and
//! the lines after it are looked at again, so that half a line never takes its neighbours with it.

use memchr::memchr_iter;

use super::array::Array;
use super::lines::{End, Line, Lines};
use crate::decode::csv::Header;
use crate::decode::{Decoder, RawRecord, Refusal};
use crate::event::Reason;

/// Deepest nesting of which every bracket is remembered.
const DEPTH: usize = 1_024;

/// What the lines of a file are.
pub enum Shape {
    /// JSON, one value a line or over several.
    Json,
    /// CSV; `None` until the header was read.
    Csv(Option<Header>),
}

/// Gives the records of a text file to a decoder, one by one.
pub struct Frames {
    /// The lines.
    pub lines: Lines,
    shape: Shape,
    array: Option<Array>,
}

/// The record that `bytes` make up, found where `line` begins.
pub fn record<'a>(number: i64, byte: u64, bytes: &'a [u8]) -> RawRecord<'a> {
    RawRecord { offset: number, byte, at: None, value: Some(bytes) }
}

fn push(line: &Line, decoder: &mut Decoder) {
    decoder.push(&record(line.number, line.byte, &line.bytes));
}

fn refuse(line: &Line, reason: Reason, decoder: &mut Decoder) {
    decoder.push_reject(&record(line.number, line.byte, &line.bytes), Refusal::new(reason));
}

impl Frames {
    /// The records of `lines`.
    pub fn new(lines: Lines, shape: Shape) -> Frames {
        Frames { lines, shape, array: None }
    }

    /// Reads on until something was pushed, or past a blank line; false at the end.
    pub fn step(&mut self, decoder: &mut Decoder) -> bool {
        let Some(line) = self.lines.next_line() else {
            return self.array_end(decoder);
        };
        let torn = line.end == End::Torn;
        if self.array.is_some() {
            self.array_line(line, decoder);
            if torn && !self.lines.waiting() {
                self.array_end(decoder);
            }
        } else if torn {
            refuse(&line, Reason::Truncated, decoder);
        } else if !line.is_blank() {
            match self.shape {
                Shape::Json => self.json(line, decoder),
                Shape::Csv(_) => self.csv(line, decoder),
            }
        }
        true
    }

    /// The first line of which not all records were given.
    pub fn next_number(&self) -> i64 {
        match &self.array {
            Some(array) => array.pending().unwrap_or(self.lines.number()),
            None => self.lines.number() + 1,
        }
    }

    /// Whether more may come of the line on which the record at `offset` was found.
    pub fn is_within(&self, offset: i64) -> bool {
        self.array.is_some() && self.next_number() <= offset
    }

    fn json(&mut self, line: Line, decoder: &mut Decoder) {
        let first = line.first();
        if first == Some(b'[') && (line.end == End::Bound || !Nesting::whole(&line.bytes)) {
            self.array = Some(Array::new(&line));
            return self.array_line(line, decoder);
        }
        if line.end == End::Bound {
            return push(&self.whole(line, decoder), decoder);
        }
        if first == Some(b'{') && !Nesting::whole(&line.bytes) {
            return self.document(line, decoder);
        }
        push(&line, decoder);
    }

    /// A line that was cut at the bound, with all that is kept of what follows of it.
    fn whole(&mut self, mut line: Line, decoder: &Decoder) -> Line {
        while line.end == End::Bound && line.bytes.len() < decoder.limits().kept_bytes {
            let Some(piece) = self.lines.next_line() else { return line };
            line.bytes.extend_from_slice(&piece.bytes);
            line.end = piece.end;
        }
        if line.end == End::Bound {
            self.lines.skip();
        }
        line
    }

    /// A line of a JSON array whose elements are records; what follows the array is looked at as a line of its own.
    fn array_line(&mut self, line: Line, decoder: &mut Decoder) {
        let Some(array) = &mut self.array else { return };
        let again = array.feed(line, decoder);
        self.array.take_if(|array| array.is_over());
        self.lines.put_back(again.into_iter());
    }

    /// The end of the input; false where no array is open.
    fn array_end(&mut self, decoder: &mut Decoder) -> bool {
        let Some(array) = &mut self.array else { return false };
        let again = array.finish(self.lines.number(), self.lines.byte(), decoder);
        self.array.take_if(|array| array.is_over());
        self.lines.put_back(again.into_iter());
        true
    }

    /// A JSON object that goes on over several lines.
    fn document(&mut self, first: Line, decoder: &mut Decoder) {
        let mut nesting = Nesting::default();
        nesting.scan(&first.bytes);
        let mut size = first.bytes.len();
        let mut lines = vec![first];
        let stop = loop {
            if nesting.is_open().is_none() {
                break Stop::Broken;
            }
            let Some(next) = self.lines.next_line() else { break Stop::Ended };
            size += next.bytes.len() + 1;
            let (end, goes_on) = (next.end, next.is_blank() || nesting.goes_on(next.first()));
            nesting.scan(&next.bytes);
            lines.push(next);
            match end {
                End::Torn => break Stop::Torn,
                _ if !goes_on || end == End::Bound => break Stop::Foreign,
                _ if size > decoder.limits().document_bytes => break Stop::TooLarge,
                _ if nesting.is_open() == Some(false) => return decoder.push_document(&joined(&lines).record(&lines)),
                _ => {}
            }
        };
        self.give_up(lines, &stop, decoder);
    }

    /// A value that did not go on as it seemed: its lines are one reject, up to the first that can begin another record.
    fn give_up(&mut self, mut lines: Vec<Line>, stop: &Stop, decoder: &mut Decoder) {
        let begins = |line: &Line| line.bytes.first() == Some(&b'{');
        let other = match stop {
            Stop::Foreign => lines[1..].iter().position(begins).unwrap_or(lines.len() - 2),
            Stop::Broken | Stop::TooLarge => lines[1..].iter().position(begins).unwrap_or(lines.len() - 1),
            // At the end of the input an inner object may look like that: only whole ones count.
            Stop::Ended | Stop::Torn => {
                let whole = |line: &Line| begins(line) && Nesting::whole(&line.bytes);
                lines[1..].iter().position(whole).unwrap_or(lines.len() - 1)
            }
        };
        let rest = lines.split_off(other + 1);
        let text = joined(&lines);
        match stop {
            Stop::TooLarge => decoder.push_reject(&text.record(&lines), Refusal::new(Reason::TooLarge)),
            Stop::Torn if rest.is_empty() => decoder.push_reject(&text.record(&lines), Refusal::new(Reason::Truncated)),
            _ => decoder.push_document(&text.record(&lines)),
        }
        self.lines.put_back(rest.into_iter());
    }

    fn csv(&mut self, line: Line, decoder: &mut Decoder) {
        if line.end == End::Bound {
            return refuse(&self.whole(line, decoder), Reason::TooLarge, decoder);
        }
        let mut quotes = Quotes::default();
        quotes.scan(&line.bytes);
        let mut size = line.bytes.len();
        let mut lines = vec![line];
        let mut reason = Reason::Syntax;
        while quotes.open && !quotes.broken && size <= decoder.limits().record_bytes {
            let Some(next) = self.lines.next_line() else {
                reason = Reason::Truncated;
                break;
            };
            size += next.bytes.len() + 1;
            quotes.scan(&next.bytes);
            let stop = matches!(next.end, End::Bound | End::Torn);
            lines.push(next);
            if stop {
                quotes.open = true;
                break;
            }
        }
        let text = joined(&lines);
        let taken = if quotes.open || quotes.broken {
            Err(Refusal::new(reason))
        } else {
            self.row(&lines[0], &text.0, lines.len() > 1, decoder)
        };
        if let Err(refusal) = taken {
            decoder.push_reject(&record(lines[0].number, lines[0].byte, &lines[0].bytes), refusal);
            self.lines.put_back(lines.drain(1..));
        }
    }

    /// Takes one row of CSV, or the header. An error is for the caller to refuse.
    fn row(&mut self, first: &Line, text: &[u8], several: bool, decoder: &mut Decoder) -> Result<(), Refusal> {
        let plain = std::str::from_utf8(text).ok().filter(|text| !text.contains('\0'));
        let plain = plain.ok_or_else(|| Refusal::new(Reason::Encoding))?.trim_end_matches('\r');
        let parsed = if plain.contains('"') { Some(quoted(plain)?) } else { None };
        let cells: Vec<&str> = match &parsed {
            Some(row) => row.iter().collect(),
            None => plain.split(',').collect(),
        };
        let Shape::Csv(header) = &mut self.shape else { return Ok(()) };
        let Some(header) = header else {
            let names = header.insert(Header::new(cells, decoder.limits()));
            if names.is_row() {
                // It is no header: what it was is counted like the rows after it, none of which can be used.
                decoder.push_reject(&record(first.number, first.byte, text), Refusal::new(Reason::Syntax));
            }
            return Ok(());
        };
        let fields = header.fields(&cells);
        if several && fields.is_err() {
            // A stray quote made one row of several lines.
            return fields.map(|_| ());
        }
        let decoded = fields.and_then(|fields| fields.draft(decoder.hints()));
        decoder.push_row(&record(first.number, first.byte, text), decoded);
        Ok(())
    }
}

/// Why a value over several lines was given up.
enum Stop {
    /// What was read cannot be JSON.
    Broken,
    /// The last line does not belong to it.
    Foreign,
    /// It is longer than the bound.
    TooLarge,
    /// The input ended.
    Ended,
    /// The input could not be read any further.
    Torn,
}

/// The text of several lines.
struct Joined(Vec<u8>);

fn joined(lines: &[Line]) -> Joined {
    Joined(lines.iter().map(|line| line.bytes.as_slice()).collect::<Vec<_>>().join(&b'\n'))
}

impl Joined {
    fn record(&self, lines: &[Line]) -> RawRecord<'_> {
        record(lines[0].number, lines[0].byte, &self.0)
    }
}

/// Follows the quotes of CSV over lines: a quote opens only at the start of a cell, elsewhere it is a character.
#[derive(Default)]
struct Quotes {
    open: bool,
    /// Something but a comma stood after a closing quote.
    broken: bool,
}

impl Quotes {
    fn scan(&mut self, line: &[u8]) {
        let mut start = !self.open;
        let mut bytes = line.iter().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' if self.open && bytes.peek() == Some(&&b'"') => _ = bytes.next(),
                b'"' if self.open => {
                    self.open = false;
                    self.broken |= !matches!(bytes.peek(), None | Some(b',' | b'\r'));
                }
                b'"' if start => self.open = true,
                _ => {}
            }
            start = *byte == b',' && !self.open;
        }
    }
}

fn quoted(text: &str) -> Result<csv::StringRecord, Refusal> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut row = csv::StringRecord::new();
    let read = reader.read_record(&mut row);
    // The lines were joined because they are one row: if the reader sees another, something would be lost.
    let whole = reader.position().byte() as usize >= text.trim_end_matches(['\r', '\n']).len();
    if matches!(read, Ok(true)) && whole { Ok(row) } else { Err(Refusal::new(Reason::Syntax)) }
}

/// Follows the nesting of JSON over lines.
#[derive(Default)]
pub struct Nesting {
    open: Vec<u8>,
    /// Brackets that are open beyond [`DEPTH`]: they are only counted.
    deeper: usize,
    in_string: bool,
    escaped: bool,
    broken: bool,
    last: u8,
}

impl Nesting {
    /// Whether a line is a whole value by itself.
    pub fn whole(bytes: &[u8]) -> bool {
        // Equal numbers of both brackets settle nearly every line without looking at each byte.
        let bytes = bytes.trim_ascii_end();
        let count = |bracket| memchr_iter(bracket, bytes).count();
        if bytes.ends_with(b"}") && count(b'{') == count(b'}') && !bytes.starts_with(b"[") {
            return true;
        }
        let mut nesting = Nesting::default();
        nesting.scan(bytes);
        nesting.is_open() == Some(false)
    }

    /// Takes the bytes of a line.
    pub fn scan(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.take(*byte));
        // A text cannot hold a line break.
        self.broken |= self.in_string;
    }

    /// Takes one byte.
    pub fn take(&mut self, byte: u8) {
        if self.in_string {
            self.in_string = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => return,
            b'"' => self.in_string = true,
            b'{' | b'[' if self.open.len() == DEPTH => self.deeper += 1,
            b'}' | b']' if self.deeper > 0 => self.deeper -= 1,
            b'{' | b'[' => self.open.push(byte),
            b'}' => self.broken |= self.open.pop() != Some(b'{'),
            b']' => self.broken |= self.open.pop() != Some(b'['),
            _ => {}
        }
        self.last = byte;
    }

    /// Whether objects or lists are open, or a text is; `None` where the text cannot be JSON.
    pub fn is_open(&self) -> Option<bool> {
        (!self.broken).then_some(!self.open.is_empty() || self.in_string)
    }

    /// Whether a text is open.
    pub fn in_string(&self) -> bool {
        self.in_string
    }

    /// Whether a line that begins with `first` can go on what is open.
    pub fn goes_on(&self, first: Option<u8>) -> bool {
        let Some(first) = first else { return true };
        let value = !matches!(first, b'}' | b']' | b',' | b':');
        match (self.open.last(), self.last) {
            (_, b':') => value,
            (Some(b'{'), b'{' | b',') => matches!(first, b'"' | b'}'),
            (Some(b'{'), _) => matches!(first, b'}' | b',' | b':'),
            (Some(b'['), b'[' | b',') => value || first == b']',
            (Some(b'['), _) => matches!(first, b']' | b','),
            _ => false,
        }
    }
}
