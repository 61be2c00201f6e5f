//! Cuts JSON text at its brackets and commas, whatever is wrong inside the pieces: one damaged element takes none of its neighbours with
//! it. Looks at every byte once and never recurses, so that depth costs nothing but a byte of memory a level.

use crate::event::Reason;

/// What follows where a text cannot be cut any further, and why.
pub type Rest<'a> = Option<(&'a str, Reason)>;

/// The elements of an array, without white space around them; an element may be empty where a comma is too many. What follows a bracket
/// that closes nothing, or an array that does not end, is the rest.
pub fn elements(array: &str) -> (Vec<&str>, Rest<'_>) {
    let mut cut = Cut { text: array, open: Vec::new(), at: 1, from: 1, torn: false };
    let mut found = Vec::new();
    loop {
        let Some(end) = cut.piece(b']') else {
            let mut rest = array[cut.from..].trim();
            // The last element is whole, and only the bracket is missing.
            if cut.at == array.len() && cut.open.is_empty() && !cut.torn && !rest.is_empty() {
                found.push(std::mem::take(&mut rest));
            }
            let reason = if cut.at < array.len() { Reason::Syntax } else { Reason::Truncated };
            return (found, Some((rest, reason)));
        };
        let (piece, closed) = end;
        // `[]` has no element.
        if !(closed && piece.is_empty() && found.is_empty()) {
            found.push(piece);
        }
        if closed {
            let after = array[cut.from..].trim();
            return (found, (!after.is_empty()).then_some((after, Reason::Syntax)));
        }
    }
}

/// The members of an object: each key as it is written, without its quotes, with its value; none where it is no whole object.
pub fn members(object: &str) -> Option<Vec<(&str, &str)>> {
    let mut cut = Cut { text: object, open: Vec::new(), at: 1, from: 1, torn: false };
    let mut found = Vec::new();
    loop {
        let (piece, closed) = cut.piece(b'}')?;
        let key = piece.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        match key.and_then(|(key, rest)| Some((key, rest.trim_start().strip_prefix(':')?.trim_start()))) {
            Some(member) => found.push(member),
            None if closed && piece.is_empty() && found.is_empty() => {}
            None => return None,
        }
        if closed {
            return object[cut.from..].trim().is_empty().then_some(found);
        }
    }
}

/// Objects one after the other; what begins with anything else, or does not end, is the rest.
pub fn objects(text: &str) -> (Vec<&str>, Rest<'_>) {
    let (mut found, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        if !rest.starts_with('{') {
            return (found, Some((rest, Reason::Syntax)));
        }
        let mut cut = Cut { text: rest, open: Vec::new(), at: 0, from: 0, torn: false };
        let Some(end) = cut.value() else {
            let reason = if cut.at < rest.len() { Reason::Syntax } else { Reason::Truncated };
            return (found, Some((rest, reason)));
        };
        found.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    (found, None)
}

struct Cut<'a> {
    text: &'a str,
    /// Brackets that are open.
    open: Vec<u8>,
    /// The next byte to look at.
    at: usize,
    /// Where the piece in hand begins.
    from: usize,
    /// A text does not end.
    torn: bool,
}

impl<'a> Cut<'a> {
    /// Takes the next byte outside of texts; `None` where a bracket closes nothing, or at the end.
    fn step(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        let byte = *bytes.get(self.at)?;
        match byte {
            b'"' => {
                let mut escaped = false;
                let text = bytes[self.at + 1..].iter().position(|byte| {
                    let ends = !escaped && *byte == b'"';
                    escaped = !escaped && *byte == b'\\';
                    ends
                });
                let Some(length) = text else {
                    (self.at, self.torn) = (bytes.len(), true);
                    return None;
                };
                self.at += length + 1;
            }
            b'{' | b'[' => self.open.push(byte),
            b'}' | b']' if self.open.last() != Some(&if byte == b'}' { b'{' } else { b'[' }) => return None,
            b'}' | b']' => _ = self.open.pop(),
            _ => {}
        }
        self.at += 1;
        Some(byte)
    }

    /// The piece up to the next comma or to `close`, and whether it was that.
    fn piece(&mut self, close: u8) -> Option<(&'a str, bool)> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if self.open.is_empty() && (byte == b',' || byte == close) {
                let piece = self.text[self.from..self.at].trim();
                self.at += 1;
                self.from = self.at;
                return Some((piece, byte == close));
            }
            self.step()?;
        }
    }

    /// Where the value that begins here ends.
    fn value(&mut self) -> Option<usize> {
        loop {
            self.step()?;
            if self.open.is_empty() {
                return Some(self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn arrays() {
        let check = |text: &str, expected: &[&str], rest: Rest<'_>| {
            assert_eq!(elements(text), (expected.to_vec(), rest), "{text}")
        };
        check("[]", &[], None);
        check("[ ]", &[], None);
        check("[1]", &["1"], None);
        check(r#"[ {"a":[1,2]} , "x,]" ,null]"#, &[r#"{"a":[1,2]}"#, r#""x,]""#, "null"], None);
        check(r#"["\"],", "\\"]"#, &[r#""\"],""#, r#""\\""#], None);
        check(r#"[{"a": bad},{"b":1}]"#, &[r#"{"a": bad}"#, r#"{"b":1}"#], None);
        check("[1,,2,]", &["1", "", "2", ""], None);
        check("[1] 2", &["1"], Some(("2", Reason::Syntax)));
        check("[1,{\"a\":2", &["1"], Some(("{\"a\":2", Reason::Truncated)));
        check("[1,\"a", &["1"], Some(("\"a", Reason::Truncated)));
        check("[1,", &["1"], Some(("", Reason::Truncated)));
        check("[1,{} ", &["1", "{}"], Some(("", Reason::Truncated)));
        check("[1,{\"a\":[2},3]", &["1"], Some(("{\"a\":[2},3]", Reason::Syntax)));
        let deep = format!("[1,{}{},2]", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(elements(&deep).0.len(), 3);
    }

    #[test]
    fn members_of_objects() {
        let check = |text: &str, expected: Option<&[(&str, &str)]>| {
            assert_eq!(members(text).as_deref(), expected, "{text}");
        };
        check("{}", Some(&[]));
        check(r#"{"a":1, "b" : [1,{"c":2}]}"#, Some(&[("a", "1"), ("b", r#"[1,{"c":2}]"#)]));
        check(r#"{"a": bad, "b":2}"#, Some(&[("a", "bad"), ("b", "2")]));
        for broken in [r#"{"a":1"#, r#"{"a"}"#, r#"{a:1}"#, r#"{"a":1,}"#, r#"{"a":[1}"#, r#"{} x"#] {
            check(broken, None);
        }
    }

    #[test]
    fn objects_one_after_the_other() {
        let check = |text: &str, expected: &[&str], rest: Rest<'_>| {
            assert_eq!(objects(text), (expected.to_vec(), rest), "{text}")
        };
        check(r#"{"a":"}{"} {}"#, &[r#"{"a":"}{"}"#, "{}"], None);
        check("{bad}{}", &["{bad}", "{}"], None);
        check("{}x{}", &["{}"], Some(("x{}", Reason::Syntax)));
        check("{}{\"a\"", &["{}"], Some(("{\"a\"", Reason::Truncated)));
        check("{}{]{}", &["{}"], Some(("{]{}", Reason::Syntax)));
    }

    proptest::proptest! {
        /// Whole JSON is cut where the JSON reader cuts it.
        #[test]
        fn whole_text_is_cut_as_the_reader_cuts_it(values in proptest::collection::vec(value(), 0..6), pretty: bool) {
            let array = Value::Array(values.clone());
            let text = if pretty { serde_json::to_string_pretty(&array).unwrap() } else { array.to_string() };
            let (found, rest) = elements(&text);
            proptest::prop_assert_eq!(rest, None);
            let found: Vec<Value> = found.into_iter().map(|text| serde_json::from_str(text).unwrap()).collect();
            proptest::prop_assert_eq!(&found, &values);
            let object: serde_json::Map<String, Value> = (0..).map(|n: u32| format!("k{n}")).zip(values).collect();
            let text = Value::Object(object.clone()).to_string();
            let found = members(&text).unwrap().into_iter().map(|(key, text)| (key.to_owned(), serde_json::from_str(text).unwrap()));
            proptest::prop_assert_eq!(found.collect::<serde_json::Map<String, Value>>(), object);
        }
    }

    fn value() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\[\\]{},:\"\\\\ a-c]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[\\[\\]{},:\"\\\\ a-c]{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
