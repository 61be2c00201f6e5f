//! Changes to a text in the places that matter: odd values, bytes in and out, pieces twice, a cut.

use proptest::prelude::*;

/// Values that have broken somebody's parser.
pub(in crate::sim::tests) const ODD: [&str; 44] = [
    "null",
    "true",
    "0",
    "-0",
    "1e400",
    "-1e-400",
    "0.1",
    "18446744073709551616",
    "-9223372036854775809",
    "9223372036854775807",
    "123456789012345678901234567890123456789012345678901234567890",
    "1.0",
    "01",
    "+1",
    "NaN",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\u{feff}x\"",
    "\"\u{202e}txt\"",
    "\"a\\tb\\nc\"",
    "\"null\"",
    "\"12\"",
    "\"true\"",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "[\"\"]",
    "[\"a\",\"a\"]",
    "[1,\"a\"]",
    "{\"a\":{\"b\":[1,{\"c\":null}]}}",
    "{\"a\":1,\"a\":2}",
    "\"2026-03-08T02:30:00-06:00\"",
    "\"0001-01-01T00:00:00Z\"",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"2016-12-31T23:59:60Z\"",
    "\"2026-01-05T24:00:00Z\"",
    "\"2026-01-05T12:00:00-00:00\"",
    "\"1999-12-31T23:59:59+00:00\"",
    "\"2026-01-05T12:00:00\"",
];

/// One change of a text; the numbers choose the place and the manner.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A value is replaced by an odd one.
    Value(u16, usize),
    /// A byte is overwritten.
    Byte(u16, u8),
    /// Bytes are taken out.
    Out(u16, u8),
    /// Bytes come twice.
    Twice(u16, u8),
    /// Something is put in.
    In(u16, usize),
    /// The end is missing.
    Cut(u16),
}

const SNIPPETS: [&[u8]; 14] = [
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xc3",
    b"\r\n",
    b"\r",
    b"\n",
    b"\"",
    b"\\",
    b"}{",
    b"]",
    b"[[[[[[[[",
    b",",
    b"\"time\":\"x\",",
];

pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<u16>(), 0..ODD.len()).prop_map(|(at, odd)| Change::Value(at, odd)),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(at, length)| Change::Out(at, length)),
        1 => (any::<u16>(), any::<u8>()).prop_map(|(at, length)| Change::Twice(at, length)),
        1 => (any::<u16>(), 0..SNIPPETS.len()).prop_map(|(at, snippet)| Change::In(at, snippet)),
        1 => any::<u16>().prop_map(Change::Cut),
    ];
    proptest::collection::vec(change, 0..4)
}

/// The values of a JSON text that are no objects or lists: strings after a colon, numbers, words.
pub(super) fn values(text: &[u8]) -> Vec<(usize, usize)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() {
        if text[at] == b':' {
            let from = at + 1 + text[at + 1..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let mut to = from;
            if text.get(from) == Some(&b'"') {
                to += 1;
                while to < text.len() && text[to] != b'"' {
                    to += if text[to] == b'\\' { 2 } else { 1 };
                }
                to = (to + 1).min(text.len());
            } else {
                while to < text.len() && !matches!(text[to], b',' | b'}' | b']' | b'[' | b'{') {
                    to += 1;
                }
            }
            found.extend((to > from).then_some((from, to)));
            at = to.max(at + 1);
        } else {
            at += 1;
        }
    }
    found
}

pub(super) fn changed(text: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut text = text.to_vec();
    for change in changes {
        if text.is_empty() {
            break;
        }
        let place = |at: &u16| *at as usize * text.len() / 65_536;
        match change {
            Change::Value(at, odd) => {
                let values = values(&text);
                if let Some((from, to)) = values.get(*at as usize * values.len() / 65_536) {
                    text.splice(from..to, ODD[*odd].bytes());
                }
            }
            Change::Byte(at, byte) => {
                let at = place(at);
                text[at] = *byte;
            }
            Change::Out(at, length) => {
                let at = place(at);
                let to = text.len().min(at + *length as usize);
                text.drain(at..to);
            }
            Change::Twice(at, length) => {
                let at = place(at);
                let piece = text[at..text.len().min(at + *length as usize)].to_vec();
                text.splice(at..at, piece);
            }
            Change::In(at, snippet) => {
                let at = place(at);
                text.splice(at..at, SNIPPETS[*snippet].iter().copied());
            }
            Change::Cut(at) => {
                let at = place(at);
                text.truncate(at);
            }
        }
    }
    text
}
