//! The bounds of one record, in one place: how long, how deep, how many.
//!
//! They keep a hostile record from taking memory or time. The check looks at every byte once and never recurses; records that are too
//! short to break a bound are not looked at.

use memchr::memchr2_iter;

use crate::event::Reason;

/// The bounds of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest record (a line, a Kafka value), in bytes.
    pub record_bytes: usize,
    /// So many bytes are kept of a record that cannot be used.
    pub kept_bytes: usize,
    /// Longest JSON value that is spread over many lines of a file, in bytes.
    pub document_bytes: usize,
    /// Deepest nesting of objects and lists.
    pub depth: usize,
    /// Most fields of one object, and most columns of a table.
    pub fields: usize,
    /// Most elements of one list.
    pub list: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            record_bytes: 1 << 20,
            kept_bytes: 64 << 20,
            document_bytes: 64 << 20,
            depth: 64,
            fields: 512,
            list: 100_000,
        }
    }
}

/// An open object or list and how many commas it had so far.
struct Open {
    object: bool,
    commas: usize,
}

impl Limits {
    /// Looks for nesting, objects or lists beyond the bounds in JSON text, well formed or not.
    ///
    /// Says whether one object may be followed by another: true for few single objects, those with `}{` in a text.
    ///
    /// # Errors
    /// [`Reason::TooDeep`] or [`Reason::TooMany`].
    pub fn check(&self, text: &str) -> Result<bool, Reason> {
        let bytes = text.as_bytes();
        let (mut opened, mut several) = (0, false);
        for at in memchr2_iter(b'{', b'[', bytes) {
            opened += 1;
            let before = || bytes[..at].iter().rfind(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
            several |= bytes[at] == b'{' && before() == Some(&b'}');
        }
        // A field takes at least five bytes (`"":0,`) and an element two, so a short text with few brackets breaks no bound.
        let short = text.len() <= self.fields.saturating_mul(5).min(self.list.saturating_mul(2));
        if !short || opened > self.depth {
            self.scan(bytes)?;
        }
        Ok(several)
    }

    fn scan(&self, bytes: &[u8]) -> Result<(), Reason> {
        let mut stack: Vec<Open> = Vec::new();
        let (mut in_string, mut escaped) = (false, false);
        for &byte in bytes {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    stack.push(Open { object: byte == b'{', commas: 0 });
                    if stack.len() > self.depth {
                        return Err(Reason::TooDeep);
                    }
                }
                b'}' | b']' => {
                    stack.pop();
                }
                b',' => {
                    if let Some(open) = stack.last_mut() {
                        open.commas += 1;
                        if open.commas >= if open.object { self.fields } else { self.list } {
                            return Err(Reason::TooMany);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), Reason>) {
        let limits = Limits { depth: 3, fields: 2, list: 3, ..Limits::default() };
        assert_eq!(limits.check(text).map(|_| ()), expected, "{text}");
        assert_eq!(limits.scan(text.as_bytes()), expected, "scan {text}");
    }

    #[test]
    fn bounds_are_kept() {
        check("[[[1]]]", Ok(()));
        check("[[[[1]]]]", Err(Reason::TooDeep));
        check(r#"["[[[[[[",1]"#, Ok(()));
        check(r#"["\"[[[[[[",1]"#, Ok(()));
        check("[1,2,3]", Ok(()));
        check("[1,2,3,4]", Err(Reason::TooMany));
        check(r#"{"a":1,"b":2}"#, Ok(()));
        check(r#"{"a":1,"b":2,"c":3}"#, Err(Reason::TooMany));
        check(r#"{"a":",,,,,,"}"#, Ok(()));
        check("]]]]{{{{", Err(Reason::TooDeep));
    }

    #[test]
    fn several_objects_are_told_from_one() {
        let several = |text: &str| Limits::default().check(text).unwrap();
        for one in ["{}", r#"{"a":{}}"#, r#"{"a":[{},{}]}"#, "[{}]", "{}[{}]", r#"{"a":"}","b":{}}"#, "} x {"] {
            assert!(!several(one), "{one}");
        }
        for more in ["{}{}", "{} \n\t{", r#"{"a":"}{"}"#, "{}\r\n{}\r\n"] {
            assert!(several(more), "{more}");
        }
    }

    #[test]
    fn a_list_at_the_default_bound_is_taken() {
        let list = |n: usize| format!("[{}]", vec!["1"; n].join(","));
        assert_eq!(Limits::default().check(&list(100_000)), Ok(false));
        assert_eq!(Limits::default().check(&list(100_001)), Err(Reason::TooMany));
    }
}
