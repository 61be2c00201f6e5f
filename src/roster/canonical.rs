//! The canonical form of a roster file: CSV with every known column in our order, then the others by name, rows sorted by their bytes.
//!
//! Two files with the same rows have the same canonical bytes, whatever the order of their rows and columns. Reading the canonical
//! form gives back the same rows, each of them once: a dump that lists a row twice says no more than one that does not, and has to be
//! the same version. It is what is stored, compared and hashed.

use super::columns::FileSpec;
use super::text::{self, Layout, Row};

/// Lines on their way into the canonical form.
pub struct Lines {
    header: Vec<String>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    /// No line yet, under these columns.
    pub fn new(header: Vec<String>) -> Lines {
        Lines { header, bytes: Vec::new(), ends: Vec::new() }
    }

    /// Adds a row with a cell for every column.
    pub fn push<'c>(&mut self, cells: impl Iterator<Item = &'c str>) {
        write_line(&mut self.bytes, cells);
        self.ends.push(self.bytes.len());
    }

    /// The bytes of the file.
    pub fn finish(self) -> Vec<u8> {
        let line = |index: u32| {
            let index = index as usize;
            let start = if index == 0 { 0 } else { self.ends[index - 1] };
            &self.bytes[start..self.ends[index]]
        };
        // The first bytes in one number decide nearly every comparison without a look at the lines.
        let head = |index: u32| {
            let mut head = [0; 16];
            let line = line(index);
            let length = line.len().min(16);
            head[..length].copy_from_slice(&line[..length]);
            u128::from_be_bytes(head)
        };
        let mut order: Vec<(u128, u32)> = (0..self.ends.len() as u32).map(|index| (head(index), index)).collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| line(a.1).cmp(line(b.1))));
        let mut file = Vec::with_capacity(self.bytes.len() + 256);
        write_line(&mut file, self.header.iter().map(String::as_str));
        let mut before: &[u8] = &[];
        for (_, index) in order {
            let own = line(index);
            if own != before {
                file.extend_from_slice(own);
            }
            before = own;
        }
        file
    }
}

/// The columns of the canonical form of a file with this layout.
pub fn columns(spec: &FileSpec, layout: &Layout) -> Vec<String> {
    let extras = layout.extras.iter().map(|(name, _)| name.clone());
    spec.known.iter().map(|name| (*name).to_owned()).chain(extras).collect()
}

/// The cells of a row in the order of [`columns`].
pub fn cells<'r>(spec: &FileSpec, row: &Row<'r>) -> impl Iterator<Item = &'r str> {
    let known = (0..spec.known.len()).map(|slot| row.get(slot).unwrap_or_default());
    let extras = (0..row.layout.extras.len()).map(|index| row.extra(index).unwrap_or_default());
    known.chain(extras)
}

/// The canonical form of a file that was read before, without the refused lines (sorted).
pub fn canonical(spec: &FileSpec, json: bool, bytes: &[u8], layout: &Layout, refused: &[u64]) -> Vec<u8> {
    let mut lines = Lines::new(columns(spec, layout));
    let again = text::read(spec, json, bytes, &mut |row| {
        if refused.binary_search(&row.line).is_err() {
            lines.push(cells(spec, row));
        }
        Ok(())
    });
    debug_assert!(again.is_ok(), "a file that was read once can be read again");
    lines.finish()
}

fn write_line<'c>(bytes: &mut Vec<u8>, cells: impl Iterator<Item = &'c str>) {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        if cell.bytes().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n')) {
            bytes.push(b'"');
            bytes.extend(cell.bytes().flat_map(|byte| [byte].into_iter().chain((byte == b'"').then_some(b'"'))));
            bytes.push(b'"');
        } else {
            bytes.extend_from_slice(cell.as_bytes());
        }
    }
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(json: bool, bytes: &[u8]) -> String {
        let spec = FileSpec::get("shifts").unwrap();
        let layout = text::read(spec, json, bytes, &mut |_| Ok(())).unwrap().layout;
        String::from_utf8(canonical(spec, json, bytes, &layout, &[])).unwrap()
    }

    #[test]
    fn one_form_for_all_spellings() {
        let expected = "user_id,start,end,valid_from,valid_to,accepted_at,floor,note\n\
                        \"a\"\"b,c\",2026-01-01,2026-01-02,,,,2,\"x\ny\"\n\
                        u1,2026-01-03,2026-01-04,,,,3,\n";
        let csv = "\u{FEFF}Floor,note,END,start,user_id\r\n3,,2026-01-04,2026-01-03,u1\r\n3,,2026-01-04,2026-01-03,u1\r\n2,\"x\ny\",2026-01-02,2026-01-01,\"a\"\"b,c\"\r\n";
        assert_eq!(form(false, csv.as_bytes()), expected);
        assert_eq!(form(false, expected.as_bytes()), expected, "the canonical form is its own");
        let json = r#"{"user_id":"u1","start":"2026-01-03","end":"2026-01-04","floor":3}
            {"note":"x\ny","user_id":"a\"b,c","start":"2026-01-01","end":"2026-01-02","floor":2}"#;
        assert_eq!(form(true, json.as_bytes()), expected);
    }
}
