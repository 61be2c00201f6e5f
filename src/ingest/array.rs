//! A JSON array in a file, element by element, however long it is and wherever its lines break.
//!
//! An element is held up to the bound of one record; the rest of a longer one is read past. An element that cannot go on at the end
//! of a line (an open text, a bracket that closes nothing) is given as it is, and reading goes on with the next line.

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
}

struct Element {
    number: i64,
    byte: u64,
    bytes: Vec<u8>,
    nesting: Nesting,
    /// A number or word, which ends before a comma or bracket.
    bare: bool,
}

impl Array {
    /// The array that begins on `line`; the line itself is still to be fed.
    pub fn new(line: &Line) -> Array {
        Array { number: line.number, byte: line.byte, opened: false, elements: 0, element: None }
    }

    /// Takes a line or a piece of one; gives back what follows the array on it.
    pub fn feed(&mut self, line: Line, decoder: &mut Decoder) -> Option<Line> {
        for (index, &byte) in line.bytes.iter().enumerate() {
            if let Some(element) = &mut self.element {
                match element.take(byte, decoder.limits().record_bytes) {
                    Step::On => continue,
                    Step::Done => {
                        self.give(decoder);
                        continue;
                    }
                    Step::Broken => {
                        self.give(decoder);
                        return None;
                    }
                    // The comma or bracket that ended a bare element still counts.
                    Step::Before => self.give(decoder),
                }
            }
            match byte {
                b'[' if !self.opened => self.opened = true,
                b']' => return Some(self.close(line, index + 1, decoder)),
                _ if !self.opened || byte.is_ascii_whitespace() || byte == b',' => {}
                _ => self.element = Some(Element::new(line.number, line.byte + index as u64, byte)),
            }
        }
        let torn = self.element.as_ref().is_some_and(|element| element.nesting.in_string());
        match &mut self.element {
            Some(_) if torn && line.end == End::Break => self.give(decoder),
            Some(element) if line.end == End::Break => {
                if let Step::Before = element.take(b'\n', decoder.limits().record_bytes) {
                    self.give(decoder);
                }
            }
            _ => {}
        }
        None
    }

    /// The input ended inside the array.
    pub fn finish(mut self, number: i64, byte: u64, decoder: &mut Decoder) {
        if self.element.is_some() {
            self.give(decoder);
        } else {
            decoder.push_reject(&record(number, byte, b""), Refusal::new(Reason::Truncated));
        }
    }

    fn give(&mut self, decoder: &mut Decoder) {
        if let Some(element) = self.element.take() {
            self.elements += 1;
            decoder.push(&record(element.number, element.byte, &element.bytes));
        }
    }

    fn close(&mut self, mut line: Line, used: usize, decoder: &mut Decoder) -> Line {
        if self.elements == 0 {
            decoder.push_reject(&record(self.number, self.byte, b"[]"), Refusal::new(Reason::NotAnEvent));
        }
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
    fn new(number: i64, byte: u64, first: u8) -> Element {
        let mut nesting = Nesting::default();
        nesting.take(first);
        Element { number, byte, bytes: vec![first], nesting, bare: !matches!(first, b'{' | b'[' | b'"') }
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
