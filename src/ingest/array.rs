//! A JSON array in a file, element by element, however long it is and wherever its lines break.
//!
//! An element is held up to the bound of one record; the rest of a longer one is read past. An element that cannot go on at the end
//! of a line (an open text, a bracket that closes nothing) is given as it is, and reading goes on with the next line. An element that
//! lines seemed to go on is given up where an object begins that cannot stand there: the lines are read again, within a bound, so that
//! one damaged line does not take those after it. Objects without commas after a lone bracket are lines, not an array.

use super::frame::{Nesting, record};
use super::lines::{End, Line};
use crate::decode::{Decoder, Refusal};
use crate::event::Reason;

/// An array that is being read.
pub struct Array {
    number: i64,
    byte: u64,
    opened: bool,
    elements: u64,
    element: Option<Element>,
    /// The line that was fed last; 0 where the next one is read again.
    at: i64,
    /// A comma followed an object: what was opened is an array indeed.
    established: bool,
    /// No comma is missing before the next element.
    separated: bool,
    /// The line that opens the array has a reject.
    refused: bool,
    over: bool,
}

struct Element {
    number: i64,
    byte: u64,
    bytes: Vec<u8>,
    nesting: Nesting,
    /// A number or word, which ends before a comma or bracket.
    bare: bool,
    /// White space before the line that it begins on.
    indent: usize,
    /// How many of its bytes are on its first line; 0 within that line.
    first: usize,
    /// The lines after its first, to be read again where it does not go on as it seemed.
    lines: Vec<Line>,
    held: usize,
    /// It is too long for its lines to be held.
    long: bool,
}

impl Array {
    /// The array that begins on `line`; the line itself is still to be fed.
    pub fn new(line: &Line) -> Array {
        Array {
            number: line.number,
            byte: line.byte,
            opened: false,
            elements: 0,
            element: None,
            at: 0,
            established: false,
            separated: true,
            refused: false,
            over: false,
        }
    }

    /// The line on which the element begins that is open.
    pub fn pending(&self) -> Option<i64> {
        self.element.as_ref().map(|element| element.number)
    }

    /// Whether nothing more belongs to the array.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Takes a line or a piece of one; gives back the lines that are to be read again, and what follows the array.
    pub fn feed(&mut self, line: Line, decoder: &mut Decoder) -> Vec<Line> {
        let starts = line.number != self.at && line.first() == Some(b'{');
        self.at = line.number;
        match &self.element {
            Some(element) if starts && element.begins(&line) && !element.nesting.goes_on(Some(b'{')) => {
                return self.give_up(Some(line), false, decoder);
            }
            None if starts && self.opened && !self.separated && !self.established => return self.leave(line, decoder),
            _ => {}
        }
        for (index, &byte) in line.bytes.iter().enumerate() {
            if let Some(element) = &mut self.element {
                match element.take(byte, decoder.limits().record_bytes) {
                    Step::On => continue,
                    Step::Done => {
                        self.give(decoder);
                        continue;
                    }
                    Step::Broken => return self.give_up(Some(line), false, decoder),
                    // The comma or bracket that ended a bare element still counts.
                    Step::Before => self.give(decoder),
                }
            }
            match byte {
                b'[' if !self.opened => self.opened = true,
                b']' => return vec![self.close(line, index + 1, decoder)],
                b',' if self.opened => self.comma(),
                _ if !self.opened || byte.is_ascii_whitespace() => {}
                _ => self.element = Some(Element::new(&line, index, byte)),
            }
        }
        self.end_line(line, decoder)
    }

    /// The input ended inside the array; gives back the lines that are to be read again before it is over.
    pub fn finish(&mut self, number: i64, byte: u64, decoder: &mut Decoder) -> Vec<Line> {
        let within = self.element.is_some();
        let again = self.give_up(None, true, decoder);
        self.over = again.is_empty();
        // A line that only looked like an array was refused already.
        if self.over && !within && (self.established || !self.refused) {
            decoder.push_reject(&record(number, byte, b""), Refusal::new(Reason::Truncated));
        }
        again
    }

    fn comma(&mut self) {
        self.established |= !self.separated;
        self.separated = true;
    }

    fn end_line(&mut self, line: Line, decoder: &mut Decoder) -> Vec<Line> {
        let Some(element) = &mut self.element else { return Vec::new() };
        let bound = decoder.limits().record_bytes;
        if line.end == End::Break {
            if element.nesting.in_string() {
                return self.give_up(Some(line), false, decoder);
            }
            if let Step::Before = element.take(b'\n', bound) {
                self.give(decoder);
                return Vec::new();
            }
        }
        element.hold(line, bound);
        Vec::new()
    }

    fn give(&mut self, decoder: &mut Decoder) {
        if let Some(element) = self.element.take() {
            let object = element.bytes.starts_with(b"{") && element.nesting.is_open() == Some(false);
            self.elements += 1;
            self.separated = !object;
            self.refused |= !object && element.number == self.number;
            decoder.push(&record(element.number, element.byte, &element.bytes));
        }
    }

    /// The element does not go on as it seemed. It is refused up to the first line that can begin another record; that line and those
    /// after it, `line` being the last, are given back.
    fn give_up(&mut self, line: Option<Line>, ended: bool, decoder: &mut Decoder) -> Vec<Line> {
        let Some(element) = &mut self.element else { return Vec::new() };
        element.lines.extend(line);
        let mut before = element.number;
        let other = element.lines.iter().position(|line| {
            let starts = std::mem::replace(&mut before, line.number) != line.number;
            // At the end of the input an inner object may look like a record: only whole ones count.
            starts && element.begins(line) && (!ended || Nesting::whole(&line.bytes))
        });
        let Some((other, mut element)) = other.and_then(|other| Some((other, self.element.take()?))) else {
            self.give(decoder);
            return Vec::new();
        };
        let again = element.lines.split_off(other);
        if !element.long {
            let more = |line: &Line| line.bytes.len() + usize::from(line.end == End::Break);
            element.bytes.truncate(element.first + element.lines.iter().map(more).sum::<usize>());
        }
        let large = element.bytes.len() > decoder.limits().record_bytes;
        let refusal = Refusal::new(if large { Reason::TooLarge } else { Reason::Truncated });
        let opening = element.number == self.number;
        if opening && self.elements == 0 {
            element.bytes.insert(0, b'[');
            element.byte = self.byte;
        }
        let bytes = element.bytes.trim_ascii_end();
        decoder.push_reject(&record(element.number, element.byte, bytes), refusal);
        self.elements += 1;
        self.separated = true;
        self.refused |= opening;
        self.at = 0;
        again
    }

    /// No comma stands between the first objects: what seemed to open an array is a damaged line, and lines follow it.
    fn leave(&mut self, line: Line, decoder: &mut Decoder) -> Vec<Line> {
        if !self.refused {
            decoder.push_reject(&record(self.number, self.byte, b"["), Refusal::new(Reason::Syntax));
        }
        self.over = true;
        vec![line]
    }

    fn close(&mut self, mut line: Line, used: usize, decoder: &mut Decoder) -> Line {
        if self.elements == 0 {
            decoder.push_reject(&record(self.number, self.byte, b"[]"), Refusal::new(Reason::NotAnEvent));
        }
        self.over = true;
        line.bytes.drain(..used);
        line.byte += used as u64;
        line
    }
}

enum Step {
    /// The byte belongs to the element.
    On,
    /// The byte ends the element.
    Done,
    /// The element ended before the byte.
    Before,
    /// The byte cannot stand there.
    Broken,
}

impl Element {
    fn new(line: &Line, index: usize, first: u8) -> Element {
        let mut nesting = Nesting::default();
        nesting.take(first);
        Element {
            number: line.number,
            byte: line.byte + index as u64,
            bytes: vec![first],
            nesting,
            bare: !matches!(first, b'{' | b'[' | b'"'),
            indent: indent(line),
            first: 0,
            lines: Vec::new(),
            held: 0,
            long: false,
        }
    }

    /// Whether a line looks like the begin of another record: an object, not further inside than the line of this one.
    fn begins(&self, line: &Line) -> bool {
        line.first() == Some(b'{') && indent(line) <= self.indent
    }

    /// Keeps a line on which the element is still open.
    fn hold(&mut self, line: Line, bound: usize) {
        if self.first == 0 {
            self.first = self.bytes.len();
            return;
        }
        self.held += line.bytes.len();
        // A damaged line and a record after it have room.
        self.long |= self.held > 2 * bound;
        if self.long {
            self.lines = Vec::new();
        } else {
            self.lines.push(line);
        }
    }

    fn take(&mut self, byte: u8, bound: usize) -> Step {
        if self.bare && (byte.is_ascii_whitespace() || matches!(byte, b',' | b']')) {
            return Step::Before;
        }
        // One byte more than the bound tells that the element is too large.
        if self.bytes.len() <= bound {
            self.bytes.push(byte);
        }
        if self.bare {
            return Step::On;
        }
        self.nesting.take(byte);
        match self.nesting.is_open() {
            Some(true) => Step::On,
            Some(false) => Step::Done,
            None => Step::Broken,
        }
    }
}

fn indent(line: &Line) -> usize {
    line.bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}
