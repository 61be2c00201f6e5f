//! The lines of a decompressed stream, with their numbers and places, in bounded memory.
//!
//! A line that is longer than the bound comes in pieces; what follows can be skipped without being held. Lines that were looked at
//! too early can be put back. All bytes that were read are hashed.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use memchr::memchr;
use sha2::{Digest, Sha256};

/// How a line, or a piece of one, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a line break.
    Break,
    /// With the input.
    Input,
    /// At the bound: the line goes on.
    Bound,
    /// Where the input could not be read any further.
    Torn,
}

/// A line without its line break.
#[derive(Debug, Clone)]
pub struct Line {
    /// From 1.
    pub number: i64,
    /// Offset of its first byte.
    pub byte: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub end: End,
}

impl Line {
    /// Whether it holds nothing but white space.
    pub fn is_blank(&self) -> bool {
        self.first().is_none()
    }

    /// The first byte that is no white space and no byte order mark.
    pub fn first(&self) -> Option<u8> {
        let bytes = self.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.bytes);
        bytes.iter().find(|byte| !byte.is_ascii_whitespace()).copied()
    }
}

/// Reads lines.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    bound: usize,
    hash: Sha256,
    number: i64,
    byte: u64,
    /// The line before was cut at the bound and goes on.
    within: bool,
    queue: VecDeque<Line>,
    failure: Option<io::Error>,
    torn: bool,
}

impl Lines {
    /// Reads from `reader`; a piece of a line holds at most `bound` bytes.
    pub fn new(reader: Box<dyn BufRead + Send>, bound: usize) -> Lines {
        let queue = VecDeque::new();
        Lines {
            reader,
            bound,
            hash: Sha256::new(),
            number: 0,
            byte: 0,
            within: false,
            queue,
            failure: None,
            torn: false,
        }
    }

    /// The next line, or the next piece of a long one; `None` at the end of what can be read. Where the input is torn, there is one
    /// last line, maybe empty, that says so.
    pub fn next_line(&mut self) -> Option<Line> {
        if let Some(line) = self.queue.pop_front() {
            return Some(line);
        }
        if self.torn {
            return None;
        }
        if !self.within {
            self.number += 1;
        }
        let mut line = Line { number: self.number, byte: self.byte, bytes: Vec::new(), end: End::Input };
        line.end = self.read(&mut |bytes| line.bytes.extend_from_slice(bytes), self.bound);
        self.within = line.end == End::Bound;
        self.torn = line.end == End::Torn;
        let nothing = line.bytes.is_empty() && line.end == End::Input;
        if nothing {
            self.number -= 1;
        }
        (!nothing).then_some(line)
    }

    /// Skips what is left of a line that was cut at the bound.
    pub fn skip(&mut self) {
        // Pieces of it may have been put back.
        while let Some(piece) = self.queue.pop_front() {
            if piece.end != End::Bound {
                return;
            }
        }
        while self.within {
            self.within = self.read(&mut |_| {}, self.bound) == End::Bound;
        }
    }

    /// Puts lines back, to be read next in their order.
    pub fn put_back(&mut self, lines: impl DoubleEndedIterator<Item = Line>) {
        lines.rev().for_each(|line| self.queue.push_front(line));
    }

    /// Whether lines that were put back wait to be read.
    pub fn waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The number of the last line that was read.
    pub fn number(&self) -> i64 {
        self.number
    }

    /// Offset of the first byte that was not read.
    pub fn byte(&self) -> u64 {
        self.byte
    }

    /// SHA-256 of all bytes that were read.
    pub fn sha256(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// Why nothing more can be read, where it is not the end of the input.
    pub fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Reads up to a line break, the end or `bound` bytes; the line break is taken and not given.
    fn read(&mut self, keep: &mut impl FnMut(&[u8]), bound: usize) -> End {
        let mut left = bound;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok([]) => return End::Input,
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.failure = Some(error);
                    return End::Torn;
                }
            };
            let here = &buffer[..buffer.len().min(left + 1)];
            let found = memchr(b'\n', here);
            let kept = found.unwrap_or(here.len().min(left));
            let used = if found.is_some() { kept + 1 } else { kept };
            keep(&here[..kept]);
            self.hash.update(&here[..used]);
            self.reader.consume(used);
            self.byte += used as u64;
            left -= kept;
            if found.is_some() {
                return End::Break;
            }
            if left == 0 {
                return End::Bound;
            }
        }
    }
}
