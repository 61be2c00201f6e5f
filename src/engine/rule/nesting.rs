//! How deep brackets lie within each other in a YAML text, told before the parser begins: the time that it takes grows with the length
//! of a text times its depth.
//!
//! This is no parser. Brackets in remarks, in blocks of text and in texts that are quoted within a line are left out; wherever it is in
//! doubt they count, so that nothing is deeper than it is told to be.

/// Brackets may lie within each other as deep as this.
const DEPTH_MAX: usize = 64;

/// The line, from 1, where brackets lie deeper than [`DEPTH_MAX`].
pub fn too_deep(text: &str) -> Option<u64> {
    let mut scan = Scan::default();
    let deep = text.lines().position(|line| {
        scan.line(line);
        scan.deepest > DEPTH_MAX
    });
    deep.map(|at| at as u64 + 1)
}

#[derive(Default)]
struct Scan {
    depth: usize,
    deepest: usize,
    /// The character before, without spaces; within brackets also that of the line before.
    before: Option<char>,
    block: Option<Block>,
}

/// A block of text.
struct Block {
    /// It is indented deeper than this.
    parent: usize,
    /// Its own indent, as its first line has it.
    own: Option<usize>,
}

impl Scan {
    fn line(&mut self, line: &str) {
        let inner = line.trim_start_matches(' ');
        let indent = line.len() - inner.len();
        if self.is_text(indent, inner.trim().is_empty()) {
            return;
        }
        if self.depth == 0 {
            self.before = None;
        }
        let mut spaced = true;
        let mut rest = inner;
        while let Some(letter) = rest.chars().next() {
            if letter == '#' && spaced {
                break;
            }
            let mut length = letter.len_utf8();
            match letter {
                '[' | '{' => self.depth += 1,
                ']' | '}' => self.depth = self.depth.saturating_sub(1),
                '\'' | '"' if self.may_quote(spaced) => length = quoted(rest, letter).unwrap_or(length),
                _ => {}
            }
            self.deepest = self.deepest.max(self.depth);
            spaced = letter.is_whitespace();
            if !spaced {
                self.before = Some(letter);
            }
            rest = &rest[length..];
        }
        if self.depth == 0 && begins_block(&inner[..inner.len() - rest.len()]) {
            // What stands behind the dashes of a list is indented by them.
            let dashes = inner.len() - inner.trim_start_matches(['-', '?', ' ']).len();
            self.block = Some(Block { parent: indent + dashes, own: None });
        }
    }

    /// Whether a line belongs to a block of text.
    fn is_text(&mut self, indent: usize, is_blank: bool) -> bool {
        let Some(block) = &mut self.block else { return false };
        if is_blank {
            return true;
        }
        let own = *block.own.get_or_insert(indent.max(block.parent + 1));
        if indent < own {
            self.block = None;
        }
        indent >= own
    }

    /// Whether a quote that stands here begins a text, and is no letter of one.
    fn may_quote(&self, spaced: bool) -> bool {
        match self.before {
            None | Some('[' | '{' | ',') => true,
            Some(':') => spaced,
            Some('-' | '?') => spaced && self.depth == 0,
            _ => false,
        }
    }
}

/// The length of a quoted text that ends on its line.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && quote == '"' {
            letters.next();
        } else if letter == quote {
            if quote == '\'' && letters.next_if(|(_, next)| *next == quote).is_some() {
                continue;
            }
            return Some(at + 1);
        }
    }
    None
}

/// Whether a block of text follows: `key: |`, `- >-` and the like.
fn begins_block(line: &str) -> bool {
    let line = line.trim_end().trim_end_matches(|letter: char| matches!(letter, '+' | '-' | '1'..='9'));
    let before = line.strip_suffix(['|', '>']);
    before.is_some_and(|before| before.is_empty() || before.ends_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(too_deep(text), expected, "{text:.80}");
    }

    #[test]
    fn brackets_within_brackets() {
        let open = |count: usize| "[".repeat(count);
        check(&format!("a: {}{}\n", open(64), "]".repeat(64)), None);
        check(&format!("a: {}", open(65)), Some(1));
        check(&format!("a: 1\nb:\n  c: &x {{d: {}", open(64)), Some(3));
        check(&"- [\n".repeat(100), Some(65));
        check(&"a: [1, 2]\n".repeat(100), None);
        // Remarks close nothing.
        check(&"[ # ]\n".repeat(65), Some(65));
    }

    #[test]
    fn brackets_in_texts_are_none() {
        let many = "[".repeat(100);
        for text in [
            format!("a: '{many}'\nb: \"\\\"{many}\"\nc: ['it''s {many}', \"{many}\"]\n# {many}\nd: 1 # {many}\n"),
            format!("a: |\n  {many}\n\n  {many}\nb: 1\n"),
            format!("- a: >-\n    {many}\n  b: 1\n"),
        ] {
            check(&text, None);
        }
        // What only looks like one hides nothing.
        check(&format!("- a: |\n  b: {many}\n"), Some(2));
        check(&format!("a: it's\nb: {many}'\n"), Some(2));
        check(&format!("a: [b\n  'c, {many} ']\n"), Some(2));
        check(&format!("a: |\n  x\nb: {many}\n"), Some(3));
    }
}
