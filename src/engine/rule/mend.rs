//! What rsigma 0.23 understands otherwise than Sigma, said so that it understands.
//!
//! - `*` and `?` stand for any characters, also for line breaks (rsigma takes them for `.`, which stops at one): such a value becomes
//!   `contains`, `startswith` or `endswith` of what is between, or a regular expression with the flag `s`.
//! - `base64offset` is a search for three texts, each without the characters that depend on what stands before and behind the value; rsigma
//!   leaves the last of them in, which finds one place in three where the length of the value is no multiple of three.
//! - `windash` lets a dash be any of five characters, and so a slash that begins a word; stars beside it are wildcards. rsigma writes out
//!   all texts, eight dashes at most, and takes stars for themselves.
//! - `null` in a list of values means what it means alone: the field is absent. rsigma never finds it there.
//! - `neq` holds where the field is absent, as `not` does: what is not there is not that.
//! - `'|all'` without a field means that each word stands somewhere in the event, not all of them in one value.
//!
//! By the Sigma specification (appendix on modifiers) and what pySigma does.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rsigma_parser::{Detection, DetectionItem, FieldSpec, Modifier, SigmaString, SigmaValue, SpecialChar, StringPart};

/// Modifiers beside which stars are wildcards.
const TEXT: [Modifier; 6] =
    [Modifier::Contains, Modifier::StartsWith, Modifier::EndsWith, Modifier::Cased, Modifier::All, Modifier::WindAsh];
const PLACES: [Modifier; 3] = [Modifier::Contains, Modifier::StartsWith, Modifier::EndsWith];
const ENCODINGS: [Modifier; 4] = [Modifier::Base64Offset, Modifier::Wide, Modifier::Utf16be, Modifier::Utf16];

/// Mends a detection with all of its parts. Placeholders are expanded by now.
pub fn mend(detection: &mut Detection) {
    match detection {
        Detection::AnyOf(parts) | Detection::And(parts) => parts.iter_mut().for_each(mend),
        // In a block over a list what has no field is the element itself, and no word of the event.
        Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {}
        Detection::Keywords(values) => {
            if values.iter().any(is_wild) {
                let item = DetectionItem { field: FieldSpec::new(None, Vec::new()), values: std::mem::take(values) };
                *detection = mended(item);
            }
        }
        Detection::AllOf(items) => {
            if items.iter().any(needs_mending) {
                let all = std::mem::take(items).into_iter();
                *detection = Detection::And(all.map(mended).collect());
            }
        }
    }
}

/// An empty text is no value of a native event: decoders leave it out, and whoever asks for it means that the field is absent.
pub fn empty_is_absent(detection: &mut Detection) {
    match detection {
        Detection::AnyOf(parts) | Detection::And(parts) => parts.iter_mut().for_each(empty_is_absent),
        Detection::AllOf(items) => {
            let whole = [Modifier::All, Modifier::Neq, Modifier::Cased];
            let is_whole = |item: &&mut DetectionItem| {
                item.field.name.is_some() && item.field.modifiers.iter().all(|one| whole.contains(one))
            };
            for value in items.iter_mut().filter(is_whole).flat_map(|item| &mut item.values) {
                if matches!(value, SigmaValue::String(text) if text.as_plain().is_some_and(|text| text.is_empty())) {
                    *value = SigmaValue::Null;
                }
            }
        }
        Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {}
    }
}

fn has(item: &DetectionItem, modifier: Modifier) -> bool {
    item.field.has_modifier(modifier)
}

fn is_text(item: &DetectionItem) -> bool {
    item.field.modifiers.iter().all(|modifier| TEXT.contains(modifier))
}

fn is_wild(value: &SigmaValue) -> bool {
    matches!(value, SigmaValue::String(text) if !text.is_plain())
}

fn is_words(item: &DetectionItem) -> bool {
    item.field.name.is_none() && has(item, Modifier::All) && item.values.len() > 1
}

/// Whether the value is to be looked for as a pattern.
fn is_pattern(value: &SigmaValue, field: &FieldSpec) -> bool {
    is_wild(value) || (field.has_modifier(Modifier::WindAsh) && matches!(value, SigmaValue::String(_)))
}

/// Whether it asks for an absent field among other values.
fn has_absent(item: &DetectionItem) -> bool {
    item.field.name.is_some() && item.values.len() > 1 && item.values.contains(&SigmaValue::Null)
}

fn needs_mending(item: &DetectionItem) -> bool {
    is_words(item)
        || has(item, Modifier::Neq)
        || has_absent(item)
        || has(item, Modifier::Base64Offset)
        || (is_text(item) && item.values.iter().any(|value| is_pattern(value, &item.field)))
}

/// The item as one that means the same, of which nothing is left to mend.
fn mended(item: DetectionItem) -> Detection {
    if !needs_mending(&item) {
        return Detection::AllOf(vec![item]);
    }
    if has(&item, Modifier::Neq) {
        return other_than(item);
    }
    let splits = has(&item, Modifier::Base64Offset) || is_words(&item);
    let all = has(&item, Modifier::All);
    let (apart, plain): (Vec<_>, Vec<_>) = item.values.into_iter().partition(|value| {
        splits || is_pattern(value, &item.field) || (item.field.name.is_some() && *value == SigmaValue::Null)
    });
    let is_keyword = item.field.name.is_none()
        && item.field.modifiers.iter().all(|one| matches!(one, Modifier::All | Modifier::Contains));
    let one = |value: SigmaValue| match is_keyword && !is_wild(&value) {
        true => Detection::Keywords(vec![value]),
        false => Detection::AllOf(vec![single(&item.field, value)]),
    };
    let mut parts: Vec<Detection> = apart.into_iter().map(one).collect();
    if is_keyword && !plain.is_empty() {
        parts.push(Detection::Keywords(plain));
    } else if !plain.is_empty() {
        let mut field = item.field.clone();
        // Of one value all are met where it is met.
        field.modifiers.retain(|modifier| plain.len() > 1 || *modifier != Modifier::All);
        parts.push(Detection::AllOf(vec![DetectionItem { field, values: plain }]));
    }
    match (parts.len(), all) {
        (1, _) => parts.remove(0),
        (_, true) => Detection::And(parts),
        (_, false) => Detection::AnyOf(parts),
    }
}

/// What is none of the values: also an absent field, unless `null` is one of them.
fn other_than(mut item: DetectionItem) -> Detection {
    let field = |modifiers: Vec<Modifier>| FieldSpec::new(item.field.name.clone(), modifiers);
    let is_there = DetectionItem { field: field(vec![Modifier::Exists]), values: vec![SigmaValue::Bool(true)] };
    let is_absent = DetectionItem { field: field(Vec::new()), values: vec![SigmaValue::Null] };
    let before = item.values.len();
    item.values.retain(|value| *value != SigmaValue::Null);
    match (item.values.len() < before, item.values.is_empty()) {
        (true, true) => Detection::AllOf(vec![is_there]),
        (true, false) => Detection::AllOf(vec![is_there, item]),
        (false, _) if item.field.name.is_none() => Detection::AllOf(vec![item]),
        (false, _) => Detection::AnyOf(vec![Detection::AllOf(vec![item]), Detection::AllOf(vec![is_absent])]),
    }
}

/// The item of one value.
fn single(field: &FieldSpec, value: SigmaValue) -> DetectionItem {
    let without = |gone: &[Modifier]| -> Vec<Modifier> {
        field.modifiers.iter().filter(|one| **one != Modifier::All && !gone.contains(one)).copied().collect()
    };
    let item = |mut modifiers: Vec<Modifier>, more: &[Modifier], texts: Vec<SigmaValue>| {
        modifiers.extend(more);
        DetectionItem { field: FieldSpec::new(field.name.clone(), modifiers), values: texts }
    };
    let text = match &value {
        SigmaValue::String(text) => text,
        SigmaValue::Null => return item(Vec::new(), &[], vec![value]),
        _ => return item(without(&[]), &[], vec![value]),
    };
    if field.has_modifier(Modifier::Base64Offset) {
        let texts = offsets(&bytes(text, field)).into_iter().map(|text| SigmaValue::from_raw_string(&text)).collect();
        return item(without(&[PLACES.as_slice(), ENCODINGS.as_slice()].concat()), &[Modifier::Contains], texts);
    }
    if !is_pattern(&value, field) {
        return item(without(&[]), &[], vec![value]);
    }
    match wild(text, field) {
        Wild::Plain(place, text) => item(without(&PLACES), &[place], vec![SigmaValue::from_raw_string(&text)]),
        Wild::Pattern(pattern) => {
            let cased = field.has_modifier(Modifier::Cased);
            let flags: &[Modifier] = if cased { &[] } else { &[Modifier::IgnoreCase] };
            let gone = [PLACES.as_slice(), &[Modifier::Cased, Modifier::WindAsh]].concat();
            let more = [&[Modifier::Re, Modifier::DotAll], flags].concat();
            item(without(&gone), &more, vec![SigmaValue::from_raw_string(&pattern)])
        }
    }
}

/// What a value with wildcards asks for.
enum Wild {
    /// This text, there.
    Plain(Modifier, String),
    /// This regular expression, anywhere.
    Pattern(String),
}

fn wild(text: &SigmaString, field: &FieldSpec) -> Wild {
    let is = |modifier| field.has_modifier(modifier);
    let any = StringPart::Special(SpecialChar::WildcardMulti);
    // Words without a field may stand anywhere in a value.
    let anywhere = field.name.is_none() || is(Modifier::Contains);
    let (mut begins, mut ends) = (!anywhere && !is(Modifier::EndsWith), !anywhere && !is(Modifier::StartsWith));
    let mut parts = text.parts.as_slice();
    while let Some((_, rest)) = parts.split_first().filter(|(first, _)| **first == any) {
        (parts, begins) = (rest, false);
    }
    while let Some((_, rest)) = parts.split_last().filter(|(last, _)| **last == any) {
        (parts, ends) = (rest, false);
    }
    let place = match (begins, ends) {
        (false, false) => Some(Modifier::Contains),
        (true, false) => Some(Modifier::StartsWith),
        (false, true) => Some(Modifier::EndsWith),
        (true, true) => None,
    };
    let dashes = is(Modifier::WindAsh);
    if let ([StringPart::Plain(text)], Some(place), true) = (parts, place, field.name.is_some() && !dashes) {
        return Wild::Plain(place, text.clone());
    }
    let body = parts.iter().map(|part| match part {
        StringPart::Plain(text) if dashes => dashed(text),
        StringPart::Plain(text) => regex::escape(text),
        StringPart::Special(SpecialChar::WildcardMulti) => ".*".to_owned(),
        StringPart::Special(SpecialChar::WildcardSingle) => ".".to_owned(),
    });
    let (start, end) = (if begins { "^" } else { "" }, if ends { "$" } else { "" });
    Wild::Pattern(format!("{start}{}{end}", body.collect::<String>()))
}

/// A regular expression for a text in which dashes, and slashes that begin a word, may be any of the characters that stand for one.
fn dashed(text: &str) -> String {
    let mut pattern = String::new();
    let mut letters = text.chars().peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        let in_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let begins = letter == '/' && !in_word(before) && letters.peek().copied().is_some_and(in_word);
        match letter {
            '-' | '\u{2013}' | '\u{2014}' | '\u{2015}' => pattern.push_str(DASHES),
            _ if begins => pattern.push_str(DASHES),
            _ => pattern.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4]))),
        }
        before = letter;
    }
    pattern
}

/// Hyphen, slash, en dash, em dash, horizontal bar.
const DASHES: &str = r"[-/\x{2013}\x{2014}\x{2015}]";

/// The bytes that are looked for, as the modifiers of a field encode them.
fn bytes(text: &SigmaString, field: &FieldSpec) -> Vec<u8> {
    let plain = text.as_plain().unwrap_or_else(|| text.original.clone());
    let is = |modifier| field.has_modifier(modifier);
    let pairs = |pair: fn(u16) -> [u8; 2]| plain.encode_utf16().flat_map(pair).collect::<Vec<u8>>();
    match () {
        () if is(Modifier::Wide) => pairs(u16::to_le_bytes),
        () if is(Modifier::Utf16be) => pairs(u16::to_be_bytes),
        () if is(Modifier::Utf16) => [&[0xFF, 0xFE], pairs(u16::to_le_bytes).as_slice()].concat(),
        () => plain.into_bytes(),
    }
}

/// The three texts as which bytes stand in Base64, by where they begin, without what depends on their neighbours.
fn offsets(bytes: &[u8]) -> Vec<String> {
    let texts = (0..3).map(|before| {
        let encoded = BASE64_STANDARD.encode([&vec![0; before], bytes].concat());
        // Of each group of three bytes a part of one is four thirds of a character, and what is begun is not known.
        let start = [0, 2, 3][before];
        let end = (before + bytes.len()) * 8 / 6;
        encoded.get(start..end).unwrap_or_default().to_owned()
    });
    let mut texts: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
    texts.dedup();
    texts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rsigma_eval::compiler::compile_rule;
    use rsigma_eval::{JsonEvent, evaluate_rule};
    use rsigma_parser::parse_sigma_yaml;
    use serde_json::{Value, json};

    use super::*;
    use crate::naive;

    /// Whether a rule with this selection holds for an event.
    fn holds(selection: &str, event: &Value) -> bool {
        let text = format!("title: t\nlogsource: {{category: x}}\ndetection:\n  s: {selection}\n  condition: s\n");
        let mut rule = parse_sigma_yaml(&text).unwrap().rules.pop().expect(selection);
        rule.detection.named.values_mut().for_each(mend);
        evaluate_rule(&compile_rule(&rule).expect(selection), &JsonEvent::borrow(event)).is_some()
    }

    fn check(selection: &str, text: &str, expected: bool) {
        assert_eq!(holds(selection, &json!({"f": text})), expected, "{selection} on {text:?}");
    }

    #[test]
    fn stars_cross_line_breaks() {
        for (selection, text, expected) in [
            ("{f: '*foo*'}", "a\nfoo\nb", true),
            ("{f: '*foo*'}", "a\nFOO", true),
            ("{f: '*foo'}", "a\nfoo", true),
            ("{f: '*foo'}", "foo\n", false),
            ("{f: 'foo*'}", "foo\nb", true),
            ("{f: 'foo*'}", "a\nfoo", false),
            ("{f: 'foo*bar'}", "foo\nbar", true),
            ("{f: 'foo*bar'}", "foo\nbar\n", false),
            ("{f|contains: 'foo?bar'}", "a\nfoo\nbar\n", true),
            ("{f|startswith: 'a*b'}", "a\nb c", true),
            ("{f|startswith: 'a*b'}", "c a\nb", false),
            ("{f|endswith: 'a*b'}", "c a\nb", true),
            ("{f|endswith: 'a*b'}", "a\nb c", false),
            ("{f|cased: '*Foo*'}", "a\nfoo", false),
            ("{f|cased: 'F*o'}", "F\no", true),
            ("{f|cased: 'F*o'}", "f\no", false),
            ("{f: '*'}", "a\nb", true),
            ("{f: ['x', '*foo*', 'b.r*z']}", "x", true),
            ("{f: ['x', '*foo*', 'b.r*z']}", "b.r\nz", true),
            ("{f: ['x', '*foo*', 'b.r*z']}", "bar\nz", false),
            ("{f|contains|all: ['x', 'f*o']}", "f\no x", true),
            ("{f|contains|all: ['x', 'f*o']}", "f\no", false),
            ("['x', 'f*o']", "a f\no b", true),
            ("['x', 'f*o']", "a x b", true),
            (r"{f: 'a\*b*'}", "a*b\nc", true),
            (r"{f: 'a\*b*'}", "ab\nc", false),
        ] {
            check(selection, text, expected);
        }
    }

    #[test]
    fn dashes_are_any_of_five() {
        for (selection, text, expected) in [
            ("{f|windash|contains: ' -x'}", "cmd /x", true),
            ("{f|windash|contains: ' -x'}", "cmd \u{2014}x", true),
            ("{f|windash|contains: ' -x'}", "cmd +x", false),
            ("{f|windash|contains: ' /x'}", "cmd -x", true),
            ("{f|windash|contains: 'a/x'}", "a-x", false),
            ("{f|windash|contains: ' -x *foo'}", "cmd /x a\nfoo", true),
            ("{f|windash: '* -x*'}", "cmd /x a", true),
            ("{f|windash: 'cmd -x'}", "CMD /X", true),
            ("{f|windash: 'cmd -x'}", "cmd -x y", false),
            ("{f|windash|endswith: ' -x'}", "cmd /x", true),
            ("{f|windash|contains|all: [' -x', ' -y']}", "cmd /x /y", true),
            ("{f|windash|contains|all: [' -x', ' -y']}", "cmd /x", false),
            ("{f|windash|contains: ' -a-b-c-d-e-f-g-h-i'}", "z /a/b-c-d-e-f-g-h/i", true),
        ] {
            check(selection, text, expected);
        }
    }

    #[test]
    fn what_is_absent_is_no_value() {
        let (some, none, null, empty) = (json!({"f": "x"}), json!({"g": "x"}), json!({ "f": null }), json!({"f": ""}));
        for (selection, expected) in [
            ("{f: null}", [false, true, true, false]),
            ("{f: [null, x]}", [true, true, true, false]),
            ("{f: [null, y]}", [false, true, true, false]),
            ("{f|contains: [null, y]}", [false, true, true, false]),
            ("{f|neq: x}", [false, true, true, true]),
            ("{f|neq: [x, y]}", [false, true, true, true]),
            ("{f|neq: y}", [true, true, true, true]),
            ("{f|neq: null}", [true, false, false, true]),
            ("{f|neq: [null, x]}", [false, false, false, true]),
        ] {
            let found = [&some, &none, &null, &empty].map(|event| holds(selection, event));
            assert_eq!(found, expected, "{selection}");
        }
    }

    #[test]
    fn words_stand_anywhere_in_the_event() {
        let selection = "{'|all': ['foo', 'z*o']}";
        assert!(holds(selection, &json!({"f": "a foo", "g": {"h": "z\no"}})));
        assert!(holds(selection, &json!({"f": "z o foo"})));
        assert!(!holds(selection, &json!({"f": "foo"})));
    }

    #[test]
    fn encoded_texts_are_found_wherever_they_begin() {
        // Published with the modifier (Sigma specification): the three encodings of `foobar`, and what depends on neighbours is left out.
        assert_eq!(offsets(b"foobar"), ["Zm9vYmFy", "Zvb2Jhc", "mb29iYX"]);
        let encoded = |before: &str, text: &[u8], after: &str| {
            BASE64_STANDARD.encode([before.as_bytes(), text, after.as_bytes()].concat())
        };
        for text in ["IEX (New-Object", "abc", "abcd", "ab"] {
            for before in ["", "q", "qq"] {
                for after in ["", "y", "yy", "yyy"] {
                    check(
                        &format!("{{f|base64offset|contains: '{text}'}}"),
                        &encoded(before, text.as_bytes(), after),
                        true,
                    );
                }
            }
        }
        let wide: Vec<u8> = "IEX".encode_utf16().flat_map(u16::to_le_bytes).collect();
        check("{f|wide|base64offset|contains: 'IEX'}", &encoded("qq", &wide, "zz"), true);
        check("{f|base64offset|contains: 'IEX (New'}", &encoded("q", b"IEX (Old", "z"), false);
        check("{f|base64offset|contains|all: ['IEX (New', 'Object']}", &encoded("q", b"IEX (New-Object", "z"), true);
        check("{f|base64offset|contains|all: ['IEX (New', 'Nothing']}", &encoded("q", b"IEX (New-Object", "z"), false);
    }

    proptest! {
        #[test]
        fn wildcards_mean_what_their_definition_says(
            values in proptest::collection::vec("[ab.*?\n]{1,6}", 1..4),
            text in "[ab.\n]{0,6}",
            place in 0..4_usize,
            all in proptest::bool::ANY,
        ) {
            let (before, modifier, after) =
                [("", "", ""), ("*", "|contains", "*"), ("", "|startswith", "*"), ("*", "|endswith", "")][place];
            let all = all && values.len() > 1;
            let selection = json!({ (format!("f{modifier}{}", if all { "|all" } else { "" })): &values }).to_string();
            let one = |value: &String| naive::matches(&format!("{before}{value}{after}"), &text);
            let expected = if all { values.iter().all(one) } else { values.iter().any(one) };
            prop_assert_eq!(holds(&selection, &json!({"f": &text})), expected, "{} on {:?}", selection, text);
        }
    }
}
