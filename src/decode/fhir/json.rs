//! Reading FHIR JSON leniently: texts, codings in any wrapping, references, base64.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Longest decoded query or detail that is kept, in bytes.
const DECODED_MAX: usize = 64 << 10;

/// A system and a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding<'a> {
    /// The code system, where stated.
    pub system: Option<&'a str>,
    /// The code, where stated.
    pub code: Option<&'a str>,
    /// Its display name, where stated.
    pub display: Option<&'a str>,
}

impl Coding<'_> {
    /// Whether the system contains `part`.
    pub fn of(&self, part: &str) -> bool {
        self.system.is_some_and(|system| system.contains(part))
    }

    /// Whether this is a code of DICOM.
    pub fn dicom(&self) -> bool {
        self.of("dicom.nema.org") || self.of("1.2.840.10008.2.16.4") || self.system == Some("DCM")
    }
}

/// A text that is not empty.
pub fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// The elements of a list, or the one value that stands in its place.
pub fn each(value: &Value) -> impl Iterator<Item = &Value> {
    let many = value.as_array().map_or(&[][..], Vec::as_slice);
    let one = (!value.is_array() && !value.is_null()).then_some(value);
    many.iter().chain(one)
}

/// The codings of a bare coding, a concept, or a list of either.
pub fn codings(value: &Value) -> impl Iterator<Item = Coding<'_>> {
    each(value).flat_map(|one| each(&one["coding"]).chain(Some(one))).filter_map(|coding| {
        let found =
            Coding { system: text(&coding["system"]), code: text(&coding["code"]), display: text(&coding["display"]) };
        found.code.map(|_| found)
    })
}

/// Whether one of the codings has the code.
pub fn has_code(value: &Value, code: &str) -> bool {
    codings(value).any(|coding| coding.code == Some(code))
}

/// Type and id of a reference: relative or absolute, with or without history; `None` for contained and other ones.
pub fn reference(text: &str) -> Option<(&str, &str)> {
    let text = text.split("/_history/").next().unwrap_or(text);
    let (before, id) = text.rsplit_once('/')?;
    let kind = before.rsplit('/').next().unwrap_or(before);
    let is_type = kind.starts_with(|c: char| c.is_ascii_uppercase()) && kind.bytes().all(|b| b.is_ascii_alphabetic());
    let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    (is_type && is_id).then_some((kind, id))
}

/// The id of a reference; of one without a type, such as a URN, all of it.
pub fn reference_id(text: &str) -> Option<&str> {
    match reference(text) {
        Some((_, id)) => Some(id),
        None => (!text.starts_with('#')).then_some(text),
    }
}

/// The resource inside the event with this local id.
pub fn contained<'a>(event: &'a Value, local: &str) -> Option<&'a Value> {
    each(&event["contained"]).find(|resource| text(&resource["id"]) == Some(local))
}

/// The first identifier of a resource that has a value.
pub fn first_identifier(resource: &Value) -> Option<&str> {
    each(&resource["identifier"]).find_map(|identifier| text(&identifier["value"])).and_then(cx_id)
}

/// The type of what an element refers to: as its link says, as the resource inside the event says, or as stated beside an identifier.
pub fn target<'a>(event: &'a Value, element: &'a Value) -> Option<&'a str> {
    let link = text(&element["reference"]);
    let linked = link.and_then(|link| match link.strip_prefix('#') {
        Some(local) => contained(event, local).and_then(|resource| text(&resource["resourceType"])),
        None => reference(link).map(|(kind, _)| kind),
    });
    // The stated type is the end of an address that may be left out.
    linked.or_else(|| text(&element["type"])?.rsplit('/').next())
}

/// The id of an HL7 v2 CX (`id^^^&oid&ISO`), or the text itself.
pub fn cx_id(text: &str) -> Option<&str> {
    let id = text.split('^').next().unwrap_or(text).trim();
    (!id.is_empty()).then_some(id)
}

/// Decodes base64 leniently, white space and missing padding allowed; `None` where it is not base64 of UTF-8.
pub fn base64_text(value: &Value) -> Option<String> {
    let encoded: Vec<u8> =
        text(value)?.bytes().filter(|b| !b.is_ascii_whitespace()).take(DECODED_MAX / 3 * 4).collect();
    let decoded = String::from_utf8(LENIENT.decode(encoded).ok()?).ok()?;
    let decoded = decoded.trim().to_owned();
    (!decoded.is_empty()).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        assert_eq!(reference("Patient/example/_history/1"), Some(("Patient", "example")));
        assert_eq!(reference("https://a.example/fhir/Patient/5"), Some(("Patient", "5")));
        assert_eq!(reference("Patient"), None);
        assert_eq!(reference("#p1"), None);
        assert_eq!(reference("http://example.org/blah/blah.pdf"), None);
        assert_eq!(reference_id("urn:uuid:1"), Some("urn:uuid:1"));
        assert_eq!(reference_id("#p1"), None);
    }

    #[test]
    fn cx_and_base64() {
        assert_eq!(cx_id("12^^^&1.2.3&ISO"), Some("12"));
        assert_eq!(cx_id("12"), Some("12"));
        assert_eq!(cx_id("^^^&1.2.3&ISO"), None);
        assert_eq!(base64_text(&Value::from("aGk")), Some("hi".into()));
        assert_eq!(base64_text(&Value::from(" a G\nk=")), Some("hi".into()));
        assert_eq!(base64_text(&Value::from("/w==")), None);
        assert_eq!(base64_text(&Value::from("%%")), None);
    }

    #[test]
    fn codings_in_any_wrapping() {
        let codes = |json: &str| {
            let value: Value = serde_json::from_str(json).unwrap();
            codings(&value).map(|c| c.code.unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(codes(r#"{"code":"a"}"#), ["a"]);
        assert_eq!(codes(r#"[{"code":"a"},{"code":"b"}]"#), ["a", "b"]);
        assert_eq!(codes(r#"[{"coding":[{"code":"a"},{"code":"b"}]},{"coding":{"code":"c"}}]"#), ["a", "b", "c"]);
        assert_eq!(codes(r#""a""#), [""; 0]);
        assert_eq!(codes("null"), [""; 0]);
    }
}
