//! The text form in which Prometheus reads numbers (exposition format 0.0.4), and nothing else.
//!
//! Small enough to be exact: every family has its help and type before its samples, names and labels are what the format allows, and
//! label values are escaped. The tests read it back with a parser that was written from the format's description.

use std::fmt::Write;

/// The media type of what [`Text`] makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How the values of a family move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Only upwards, or back to nothing at a start.
    Counter,
    /// Up and down.
    Gauge,
}

/// A text that grows family by family.
#[derive(Debug, Default)]
pub struct Text {
    text: String,
    family: &'static str,
}

impl Text {
    /// Begins a family; the samples that follow belong to it.
    pub fn family(&mut self, name: &'static str, sort: Sort, help: &str) -> &mut Text {
        let sort = match sort {
            Sort::Counter => "counter",
            Sort::Gauge => "gauge",
        };
        self.family = name;
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {sort}").expect("a string takes everything");
        self
    }

    /// A sample of the family, with its labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Text {
        self.text.push_str(self.family);
        for (index, (name, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let before = if index == 0 { '{' } else { ',' };
            write!(self.text, "{before}{name}=\"{value}\"").expect("a string takes everything");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        writeln!(self.text, " {value}").expect("a string takes everything");
        self
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text
    }
}

/// What the tests of this folder read a text back with.
#[cfg(test)]
pub mod reader {
    use std::collections::{BTreeMap, BTreeSet};

    /// Samples by name and labels.
    pub type Samples = BTreeMap<(String, Labels), f64>;
    type Labels = Vec<(String, String)>;

    /// Reads a text, or says what is wrong with it. Written from the description of the format: a `# HELP` and a `# TYPE` line before
    /// the samples of a family, all lines of a family together, no sample twice, names and escapes as the format allows.
    pub fn read(text: &str) -> Result<Samples, String> {
        let mut samples = Samples::new();
        let (mut seen, mut family) = (BTreeSet::new(), String::new());
        if !text.ends_with('\n') {
            return Err("the last line is not ended".into());
        }
        for line in text.lines() {
            let wrong = |what: &str| format!("{what}: {line}");
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().unwrap_or_default().to_owned();
                if !seen.insert(family.clone()) {
                    return Err(wrong("a family comes twice"));
                }
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, sort) = rest.split_once(' ').ok_or_else(|| wrong("no type"))?;
                if name != family || !["counter", "gauge"].contains(&sort) {
                    return Err(wrong("a type out of place"));
                }
                if (sort == "counter") != name.ends_with("_total") {
                    return Err(wrong("counters, and only they, end in _total"));
                }
            } else {
                let (name, labels, value) = sample(line).ok_or_else(|| wrong("no sample"))?;
                if name != family {
                    return Err(wrong("a sample outside its family"));
                }
                if samples.insert((name, labels), value).is_some() {
                    return Err(wrong("a sample comes twice"));
                }
            }
        }
        Ok(samples)
    }

    fn sample(line: &str) -> Option<(String, Labels, f64)> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (label, after) = rest.split_once("=\"")?;
                let (value, after) = quoted(after)?;
                labels.push((is_name(label, false)?.to_owned(), value));
                rest = match after.split_at_checked(1)? {
                    (",", after) => after,
                    ("}", after) => break rest = after,
                    _ => return None,
                };
            }
        }
        let value = rest.strip_prefix(' ')?.parse().ok()?;
        Some((is_name(name, true)?.to_owned(), labels, value))
    }

    fn is_name(name: &str, colon: bool) -> Option<&str> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
        (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(good)).then_some(name)
    }

    fn quoted(text: &str) -> Option<(String, &str)> {
        let mut value = String::new();
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => return Some((value, &text[at + 1..])),
                '\\' => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    _ => return None,
                }),
                c => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_labels_survive_and_make_no_line() {
        let hostile = "a\"b\\c\nphiwatch_x 1 {},=";
        let mut text = Text::default();
        text.family("phiwatch_x", Sort::Gauge, "a\nb\\")
            .sample(&[("source", hostile), ("k", "")], 1.5)
            .sample(&[], -1.0);
        text.family("phiwatch_y_total", Sort::Counter, "c").sample(&[], 3e9);
        let read = reader::read(&text.finish()).unwrap();
        let labels = vec![("source".to_owned(), hostile.to_owned()), ("k".to_owned(), String::new())];
        assert_eq!(read[&("phiwatch_x".to_owned(), labels)], 1.5);
        assert_eq!(read[&("phiwatch_x".to_owned(), vec![])], -1.0);
        assert_eq!(read[&("phiwatch_y_total".to_owned(), vec![])], 3e9);
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn the_reader_refuses_what_the_format_refuses() {
        for wrong in [
            "a 1\n",
            "# HELP a x\n# TYPE a gauge\na 1",
            "# HELP a x\n# TYPE a gauge\na one\n",
            "# HELP a x\n# TYPE a gauge\na 1\na 2\n",
            "# HELP a x\n# TYPE a gauge\nb 1\n",
            "# HELP a x\n# TYPE a counter\na 1\n",
            "# HELP a x\n# TYPE a gauge\na{b=\"\\x\"} 1\n",
            "# HELP a x\n# TYPE a gauge\na{1=\"\"} 1\n",
        ] {
            assert!(reader::read(wrong).is_err(), "{wrong}");
        }
    }
}
