//! From the bytes of one roster file to its rows of text: CSV with a header line, or JSON lines with the same names.
//!
//! Tolerant of a byte-order mark, CRLF, column order, and case and spaces in header names. A file that looks half-written is refused
//! whole; a row that cannot be read is refused by itself. Nothing here knows what a column means. No complaint quotes a value, since
//! a value may name a person.

use std::collections::BTreeSet;

use csv::StringRecord;
use serde_json::{Map, Value};

use super::columns::FileSpec;

/// Why something was refused and what to do; never quotes a value.
pub type Complaint = String;

/// A file that was refused whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Line from 1, where one is to blame.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: Complaint,
}

/// What one pass over a file found out.
#[derive(Debug)]
pub struct Scan {
    /// Where its columns stand.
    pub layout: Layout,
    /// Rows that are not blank.
    pub rows: u64,
    /// Those that were refused, by line.
    pub refused: Vec<(u64, Complaint)>,
}

/// Where each column stands in the records of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Place of each known column, in the order of [`FileSpec::known`].
    slots: Vec<Option<usize>>,
    /// Known columns from which no fact follows, as far as the file has them.
    bare: Vec<(String, usize)>,
    /// Columns we do not know, with their places, by name.
    pub extras: Vec<(String, usize)>,
    width: usize,
}

impl Layout {
    /// The columns that we do not know, and those from which no fact follows, with their places.
    pub fn others(&self) -> impl Iterator<Item = &(String, usize)> {
        self.extras.iter().chain(&self.bare)
    }
}

/// One row of text.
pub struct Row<'a> {
    /// Line from 1.
    pub line: u64,
    /// Where its columns stand.
    pub layout: &'a Layout,
    record: &'a StringRecord,
}

impl<'a> Row<'a> {
    /// The cell of a known column, trimmed; `None` where it is empty.
    pub fn get(&self, slot: usize) -> Option<&'a str> {
        self.layout.slots[slot].and_then(|place| self.cell(place))
    }

    /// The cells of the first `N` known columns.
    pub fn known<const N: usize>(&self) -> [Option<&'a str>; N] {
        std::array::from_fn(|slot| self.get(slot))
    }

    /// The cell of unknown column number `index` of the layout.
    pub fn extra(&self, index: usize) -> Option<&'a str> {
        self.cell(self.layout.extras[index].1)
    }

    /// The cells of the other columns of the layout, in their order.
    pub fn others(&self) -> impl Iterator<Item = Option<&'a str>> {
        self.layout.others().map(|(_, place)| self.cell(*place))
    }

    fn cell(&self, place: usize) -> Option<&'a str> {
        self.record.get(place).map(trimmed).filter(|cell| !cell.is_empty())
    }
}

/// Most cells have nothing to trim, and two bytes show it.
fn trimmed(cell: &str) -> &str {
    match cell.as_bytes() {
        [] => cell,
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => cell,
        _ => cell.trim(),
    }
}

/// Reads all rows of a file; `each` says what is wrong with a row, if anything.
///
/// # Errors
/// Why the whole file is refused.
pub fn read(
    spec: &FileSpec,
    json: bool,
    bytes: &[u8],
    each: &mut dyn FnMut(&Row<'_>) -> Result<(), Complaint>,
) -> Result<Scan, Refused> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(refused(None, "is UTF-16; export it as UTF-8"));
    }
    if bytes.contains(&0) {
        return Err(refused(None, "holds NUL bytes; it was probably copied only in part"));
    }
    if json { read_json(spec, bytes, each) } else { read_csv(spec, bytes, each) }
}

fn refused(line: Option<u64>, what: impl Into<String>) -> Refused {
    Refused { line, what: what.into() }
}

/// A header name as we compare it: lower case, `_` for spaces, without a mark in front.
fn normal(name: &str) -> String {
    let name = name.trim().trim_start_matches('\u{FEFF}').to_lowercase();
    name.split_whitespace().collect::<Vec<_>>().join("_")
}

fn layout(spec: &FileSpec, names: &[String]) -> Result<Layout, Refused> {
    let mut extras: Vec<(String, usize)> = Vec::new();
    let mut slots = vec![None; spec.known.len()];
    for (place, name) in names.iter().enumerate() {
        let known = spec.known.iter().position(|known| known == name);
        let twice = match known {
            Some(slot) => slots[slot].replace(place).is_some(),
            None => extras.iter().any(|(extra, _)| extra == name),
        };
        // A column without a name cannot be asked for; spreadsheets leave such columns behind.
        if name.is_empty() {
            continue;
        }
        if twice {
            return Err(refused(Some(1), format!("has the column `{name}` twice")));
        }
        if known.is_none() {
            extras.push((name.clone(), place));
        }
    }
    extras.sort();
    for (slot, name) in spec.known.iter().enumerate().take(spec.required) {
        if slots[slot].is_none() {
            let hint = if names.len() == 1 { "; columns are separated by commas" } else { "" };
            return Err(refused(Some(1), format!("lacks the column `{name}`{hint}")));
        }
    }
    let place = |name: &&str| Some(((*name).to_owned(), slots[spec.slot(name)]?));
    let bare = spec.bare.iter().filter_map(place).collect();
    Ok(Layout { slots, bare, extras, width: names.len() })
}

fn read_csv(
    spec: &FileSpec,
    bytes: &[u8],
    each: &mut dyn FnMut(&Row<'_>) -> Result<(), Complaint>,
) -> Result<Scan, Refused> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = match reader.headers() {
        Ok(header) => header.iter().map(normal).collect::<Vec<_>>(),
        Err(_) => return Err(refused(Some(1), "has a header that is not UTF-8")),
    };
    if header.is_empty() {
        return Err(refused(None, "is empty; a header line is the least it needs"));
    }
    let layout = layout(spec, &header)?;
    let (mut rows, mut bad, mut last) = (0, Vec::new(), None);
    let mut record = StringRecord::new();
    loop {
        let read = reader.read_record(&mut record);
        let more = match read {
            Ok(more) => more,
            Err(error) => {
                rows += 1;
                let line = error.position().map_or(0, |position| first_byte(bytes, position).0);
                bad.push((line, "is not UTF-8".into()));
                continue;
            }
        };
        if !more {
            break;
        }
        let (line, start) = record.position().map_or((0, 0), |p| first_byte(bytes, p));
        last = Some((line, start, record.len()));
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        rows += 1;
        let checked = if record.len() == layout.width {
            each(&Row { line, layout: &layout, record: &record })
        } else {
            Err(format!("has {} columns, the header has {}", record.len(), layout.width))
        };
        if let Err(what) = checked {
            bad.push((line, what));
        }
    }
    half_written(bytes, last, layout.width)?;
    Ok(Scan { layout, rows, refused: bad })
}

/// Line and place of a record's first byte: the reader's position stands before blank lines and before the `\n` of a CRLF.
fn first_byte(bytes: &[u8], position: &csv::Position) -> (u64, usize) {
    let start = position.byte() as usize;
    let blank = bytes[start..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let newlines = bytes[start..start + blank].iter().filter(|byte| **byte == b'\n').count();
    (position.line() + newlines as u64, start + blank)
}

/// Refuses a file that ends inside a row: short of columns without a line end, or inside quotes.
fn half_written(bytes: &[u8], last: Option<(u64, usize, usize)>, width: usize) -> Result<(), Refused> {
    let Some((line, start, cells)) = last else { return Ok(()) };
    let tail = bytes.get(start..).unwrap_or_default();
    let quotes = tail.iter().filter(|byte| **byte == b'"').count();
    let open_line = !matches!(tail.last(), Some(b'\n' | b'\r'));
    if quotes % 2 == 1 || (open_line && cells < width) {
        return Err(refused(Some(line), "ends inside a row: the file is half-written"));
    }
    Ok(())
}

fn read_json(
    spec: &FileSpec,
    bytes: &[u8],
    each: &mut dyn FnMut(&Row<'_>) -> Result<(), Complaint>,
) -> Result<Scan, Refused> {
    // The first pass collects the names, since each line may have others; the second one reads.
    let mut names = BTreeSet::new();
    for (_, line) in lines(bytes) {
        if let Ok(object) = serde_json::from_slice::<Map<String, Value>>(line) {
            names.extend(object.keys().map(|name| normal(name)));
        }
    }
    let names: Vec<String> = names.into_iter().collect();
    let has_lines = lines(bytes).next().is_some();
    if has_lines && names.is_empty() {
        return Err(refused(Some(1), "holds no JSON object"));
    }
    let layout = if has_lines {
        layout(spec, &names)?
    } else {
        Layout { slots: vec![None; spec.known.len()], ..Layout::default() }
    };
    let (mut rows, mut bad) = (0, Vec::new());
    let mut record = StringRecord::new();
    for (number, line) in lines(bytes) {
        rows += 1;
        let checked = match serde_json::from_slice::<Map<String, Value>>(line) {
            Ok(object) => fill(&mut record, &names, &object)
                .and_then(|()| each(&Row { line: number, layout: &layout, record: &record })),
            Err(error) if error.is_eof() && bytes.ends_with(line) => {
                return Err(refused(Some(number), "ends inside a row: the file is half-written"));
            }
            Err(_) => Err("is not a JSON object".into()),
        };
        if let Err(what) = checked {
            bad.push((number, what));
        }
    }
    Ok(Scan { layout, rows, refused: bad })
}

/// The lines of a file that are not blank, with their numbers from 1.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let numbered = bytes.split(|byte| *byte == b'\n').zip(1_u64..).map(|(line, number)| (number, line));
    numbered.filter(|(_, line)| !line.trim_ascii().is_empty())
}

fn fill(record: &mut StringRecord, names: &[String], object: &Map<String, Value>) -> Result<(), Complaint> {
    let mut cells = vec![String::new(); names.len()];
    for (name, value) in object {
        let name = normal(name);
        let Ok(place) = names.binary_search(&name) else { continue };
        if !cells[place].is_empty() {
            return Err(format!("has `{name}` twice"));
        }
        cells[place] =
            plain(value).ok_or_else(|| format!("`{name}` is neither text, number, true, false nor a list of them"))?;
    }
    record.clear();
    cells.iter().for_each(|cell| record.push_field(cell));
    Ok(())
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        Value::Array(values) => {
            let parts: Option<Vec<String>> =
                values.iter().map(|v| if v.is_array() { None } else { plain(v) }).collect();
            parts.map(|parts| parts.join(";"))
        }
        Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows as `line:user|role|extras`, refused rows as `line!what`, a refused file as `!what`.
    fn shown(json: bool, bytes: &[u8]) -> Vec<String> {
        let spec = FileSpec::get("users").unwrap();
        let mut seen = Vec::new();
        let result = read(spec, json, bytes, &mut |row| {
            let [user, _, role] = row.known();
            let extras: Vec<_> = (0..row.layout.extras.len())
                .filter_map(|i| Some(format!("{}={}", row.layout.extras[i].0, row.extra(i)?)))
                .collect();
            seen.push(format!("{}:{}|{}|{}", row.line, user.unwrap_or("-"), role.unwrap_or("-"), extras.join(",")));
            Ok(())
        });
        match result {
            Ok(scan) => seen.extend(scan.refused.iter().map(|(line, what)| format!("{line}!{what}"))),
            Err(refused) => seen = vec![format!("{}!{}", refused.line.unwrap_or(0), refused.what)],
        }
        seen
    }

    fn check(json: bool, bytes: &[u8], expected: &[&str]) {
        assert_eq!(shown(json, bytes), expected, "{}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn csv() {
        check(false, b"user_id,role\nu1,nurse\n", &["2:u1|nurse|"]);
        check(false, b"\xEF\xBB\xBFUser ID, ROLE ,Badge No\r\nu1,nurse,7\r\n", &["2:u1|nurse|badge_no=7"]);
        check(false, b"role,user_id\n nurse , u1 ", &["2:u1|nurse|"]);
        check(false, b"user_id,role\n\n,\nu1,\"a, \"\"b\"\"\nc\"\nu2,d\n", &["4:u1|a, \"b\"\nc|", "6:u2|d|"]);
        check(false, b"user_id,role\nu1\nu2,x\n", &["3:u2|x|", "2!has 1 columns, the header has 2"]);
        check(false, b"user_id,role\nu\xFF,x\nu2,x\n", &["3:u2|x|", "2!is not UTF-8"]);
        check(false, b"user_id\n", &[]);
    }

    #[test]
    fn csv_refused_whole() {
        let half = "ends inside a row: the file is half-written";
        check(false, b"user_id,role\nu1,nurse\nu2", &[&format!("3!{half}")]);
        check(false, b"user_id,role\nu1,\"nurse\nu2,x\n", &[&format!("2!{half}")]);
        check(false, b"", &["0!is empty; a header line is the least it needs"]);
        check(false, b"id,role\nu1,nurse\n", &["1!lacks the column `user_id`"]);
        check(false, b"user_id;role\nu1;nurse\n", &["1!lacks the column `user_id`; columns are separated by commas"]);
        check(false, b"user_id,User_ID\nu1,u2\n", &["1!has the column `user_id` twice"]);
        check(false, b"\xFF\xFEu\0", &["0!is UTF-16; export it as UTF-8"]);
        check(false, b"user_id\nu1\n\0\0\0", &["0!holds NUL bytes; it was probably copied only in part"]);
    }

    #[test]
    fn json_lines() {
        check(
            true,
            b"\xEF\xBB\xBF{\"user_id\":\"u1\",\"role\":null,\"floor\":3}\r\n\n{\"Role\":[\"a\",\"b\"],\"user_id\":\"u2\"}",
            &["1:u1|-|floor=3", "3:u2|a;b|"],
        );
        check(
            true,
            b"{\"user_id\":\"u1\"}\n[1]\n{\"user_id\":{}}\n",
            &[
                "1:u1|-|",
                "2!is not a JSON object",
                "3!`user_id` is neither text, number, true, false nor a list of them",
            ],
        );
        check(true, b"{\"user_id\":\"u1\"}\n{\"user_id\":\"u", &["2!ends inside a row: the file is half-written"]);
        check(true, b"{\"id\":1}\n", &["1!lacks the column `user_id`; columns are separated by commas"]);
        check(true, b"", &[]);
    }
}
