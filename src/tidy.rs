//! The house rules, checked as a test: who may import whom, a header in every file, length, lists, words.
//!
//! It reads the source as text, comments and literals blanked out, so that it needs no compiler and sees every file, also one that
//! nobody has declared. What a lint can check (long functions, clocks and files in pure modules, printing) is left to clippy: see
//! `clippy.toml`. It must not grow into a style guide: a rule stands here only if breaking it has cost somebody an evening.

use std::fs;
use std::path::Path;

/// Module and what it may import; the row with the longest matching name holds. A module may always import itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("event", &[]),
    // Definitions for tests alone.
    ("naive", &[]),
    ("roster", &["event"]),
    ("decode", &["event"]),
    ("engine", &["event", "roster"]),
    ("keys", &["event"]),
    ("ingest", &["event", "roster"]),
    // Files are decoded where they are read: how a CSV, Parquet or JSON file is cut depends on what is in it.
    ("ingest/files", &["event", "decode"]),
    ("ingest/convert", &["event", "decode"]),
    ("ingest/array", &["event", "decode"]),
    ("ingest/frame", &["event", "decode"]),
    ("ingest/row_groups", &["event", "decode"]),
    ("ingest/inbox", &["event", "decode"]),
    ("history", &["event", "keys"]),
    ("store", &["event", "keys"]),
    ("notify", &["event", "store"]),
    ("inquiry", &["event", "roster", "engine", "history", "store"]),
    ("report", &["event", "roster", "inquiry", "store", "notify"]),
    ("console", &["event", "roster", "inquiry", "store", "notify"]),
    ("pipeline", &["event", "roster", "decode", "engine", "ingest", "history", "store", "notify"]),
    // The snapshot is written as durably as a key is, and the function that does it stands with the keys.
    ("pipeline/keep", &["event", "roster", "decode", "engine", "ingest", "history", "store", "notify", "keys"]),
    // The oracle judges the engine: it must not lean on it.
    ("sim/oracle", &["event"]),
    (
        "sim",
        &[
            "event", "roster", "decode", "engine", "keys", "ingest", "history", "store", "notify", "inquiry", "report",
            "console", "pipeline", "settings",
        ],
    ),
    ("app", EVERYTHING),
    ("cli", EVERYTHING),
    ("settings", EVERYTHING),
    ("schemas", EVERYTHING),
    ("lib", EVERYTHING),
    ("main", EVERYTHING),
    ("tidy", &[]),
];
const EVERYTHING: &[&str] = &["*"];

/// Lines of a file before its tests.
const LINES_MAX: usize = 400;
/// Files that were longer when the rule came: they may shrink, never grow; a file that has come under the limit leaves the list.
const LONG: &[(&str, usize)] = &[];

/// Words that say nothing about what a thing is (DESIGN, section 3).
const WORDS: &[&str] = &["manager", "handler", "processor", "util", "utils", "context"];

/// Left-overs of unfinished work.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// A source file: its path below `src`, and its text.
struct File {
    path: String,
    text: String,
}

#[test]
fn the_house_is_tidy() {
    let files = sources();
    assert!(files.len() > 50, "the sources were found");
    let mut problems: Vec<String> = files.iter().flat_map(problems).collect();
    problems.extend(unlisted(&files));
    problems.extend(stale(&files));
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the sources can be read") {
            let path = entry.expect("the sources can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
                files.push(File { path: name, text: fs::read_to_string(&path).expect("the sources are UTF-8") });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// What is wrong with one file.
fn problems(file: &File) -> Vec<String> {
    let code = blank(&file.text);
    let lines = before_tests(&code);
    let mut problems = Vec::new();
    if !file.text.starts_with("//! ") {
        problems.push(format!("{}: starts with a `//!` paragraph: what it is, why, what it must not do", file.path));
    }
    for (number, line) in code.lines().enumerate() {
        for word in UNFINISHED.iter().filter(|word| has_word(line, word)) {
            problems.push(format!("{}:{}: `{word}` is unfinished work", file.path, number + 1));
        }
        if let Some(word) = declared(line).iter().find_map(|name| WORDS.iter().find(|word| names(name, word))) {
            let what = "says nothing about what the thing is";
            problems.push(format!("{}:{}: `{word}` {what}", file.path, number + 1));
        }
    }
    if is_test(&file.path) {
        return problems;
    }
    let length_max = LONG.iter().find(|(path, _)| *path == file.path).map_or(LINES_MAX, |(_, length)| *length);
    if lines.len() > length_max {
        let length = lines.len();
        problems.push(format!("{}: {length} lines before its tests, {length_max} at most: cut it", file.path));
    }
    let (module, may) = row(&file.path);
    let Some(may) = may else {
        problems.push(format!("{}: module `{module}` has no row in the import table of src/tidy.rs", file.path));
        return problems;
    };
    for (line, name) in imports(&lines.join("\n"), depth(&file.path)) {
        if name != module && !may.contains(&name.as_str()) && may != EVERYTHING {
            problems.push(format!("{}:{line}: `{module}` may not import `{name}`", file.path));
        }
    }
    problems
}

/// Files with a `SPEC` that the `ALL` of their folder does not list, and detectors without a `SPEC`.
fn unlisted(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        let parts: Vec<&str> = file.path.trim_end_matches(".rs").split('/').collect();
        let parts = if parts.last() == Some(&"mod") { &parts[..parts.len() - 1] } else { &parts[..] };
        let Some((name, folder)) = parts.split_last().filter(|(_, folder)| !folder.is_empty()) else { continue };
        let has_spec = ["static SPEC:", "const SPEC:"].iter().any(|words| blank(&file.text).contains(words));
        if !has_spec && (folder != ["engine", "detect"] || is_test(&file.path)) {
            continue;
        }
        let folder = folder.join("/");
        let parent = [format!("{folder}/mod.rs"), format!("{folder}.rs")];
        let parent = files.iter().find(|file| parent.contains(&file.path)).map(|file| blank(&file.text));
        if !has_spec {
            problems.push(format!("{}: a detector has a `SPEC`", file.path));
        } else if !parent.is_some_and(|text| has_word(&text, &format!("{name}::SPEC"))) {
            problems.push(format!("{}: `{name}::SPEC` is not in `ALL` of {folder}", file.path));
        }
    }
    problems
}

/// Rows of the ratchet that have nothing to hold any more.
fn stale(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, length_max) in LONG {
        let file = files.iter().find(|file| file.path == *path);
        let length = file.map_or(0, |file| before_tests(&blank(&file.text)).len());
        if length <= LINES_MAX {
            problems.push(format!("{path}: {length} lines; take it off the list of long files in src/tidy.rs"));
        } else if length < *length_max {
            problems.push(format!("{path}: {length} lines; lower its row in src/tidy.rs from {length_max}"));
        }
    }
    problems
}

/// The module that a file belongs to, and its row of the table.
fn row(path: &str) -> (&str, Option<&'static [&'static str]>) {
    let path = path.trim_end_matches(".rs");
    let below = |name: &str| path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
    let found = MAY_IMPORT.iter().filter(|(name, _)| below(name)).max_by_key(|(name, _)| name.len());
    (path.split('/').next().unwrap_or(path), found.map(|(_, may)| *may))
}

/// A file that holds tests only.
fn is_test(path: &str) -> bool {
    path == "tidy.rs" || path.split('/').any(|part| part == "tests.rs" || part == "tests" || part == "fixture.rs")
}

/// How many `super::` lead from a file to the root.
fn depth(path: &str) -> usize {
    let parts = path.trim_end_matches(".rs").split('/').count();
    if path.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// The lines before a module of tests that has a body.
fn before_tests(code: &str) -> Vec<&str> {
    let lines: Vec<&str> = code.lines().collect();
    let tests = |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{');
    let end = lines.windows(2).position(tests).unwrap_or(lines.len());
    lines[..end].to_vec()
}

/// The modules of ours that a text names by their path from the root, with their lines.
fn imports(text: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in text.match_indices(&root) {
            // The tail of a longer path starts elsewhere.
            if text[..at].ends_with(|c: char| c == ':' || c == '_' || c.is_alphanumeric()) {
                continue;
            }
            let rest = &text[at + root.len()..];
            let names = rest.strip_prefix('{').map_or_else(|| word(rest).into_iter().collect(), first_words);
            let line = 1 + text[..at].matches('\n').count();
            // A macro at the root is named like a module and imports nothing.
            found.extend(
                names.into_iter().filter(|name| !rest.starts_with(&format!("{name}!"))).map(|name| (line, name)),
            );
        }
    }
    found
}

/// The first word of each entry of a `{...}` group, whose groups inside belong to their entry.
fn first_words(group: &str) -> Vec<String> {
    let (mut depth, mut entry, mut entries) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => entries.push(std::mem::take(&mut entry)),
            _ => {}
        }
        if depth == 0 {
            entry.push(c);
        }
    }
    entries.push(entry);
    entries.iter().filter_map(|entry| word(entry.trim_start_matches(|c: char| c == ',' || c.is_whitespace()))).collect()
}

/// The identifier at the start of a text.
fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    // A type or constant at the root is no module.
    word.starts_with(|c: char| c.is_lowercase()).then_some(word)
}

/// Names of types and modules that a line declares.
fn declared(line: &str) -> Vec<String> {
    let keywords = ["struct", "enum", "trait", "mod"];
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).collect();
    words.windows(2).filter(|pair| keywords.contains(&pair[0])).map(|pair| pair[1].to_owned()).collect()
}

/// Whether a name in either case contains a word as one of its parts.
fn names(name: &str, word: &str) -> bool {
    let mut parts = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            parts.push('_');
        }
        parts.extend(c.to_lowercase());
    }
    parts.split('_').any(|part| part == word)
}

/// Whether `text` holds `word` and not only as the tail of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let whole = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| whole(at))
}

/// The text with comments and the insides of literals blanked out, line by line as before.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().filter(|c| **c == '\n'));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins here ends; `at` itself where none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let find = |from: usize, end: &[char]| {
        let found = (from..chars.len()).find(|i| chars[*i..].starts_with(end));
        found.map_or(chars.len(), |i| i + end.len())
    };
    match (chars[at], chars.get(at + 1)) {
        ('/', Some('/')) => find(at, &['\n']).saturating_sub(1).max(at + 2),
        ('/', Some('*')) => find(at, &['*', '/']),
        ('r', Some('"' | '#')) if at == 0 || !chars[at - 1].is_alphanumeric() || chars[at - 1] == 'b' => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            if chars.get(at + 1 + hashes) != Some(&'"') {
                return at;
            }
            let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            find(at + 2 + hashes, &end)
        }
        ('"', _) => quoted_end(chars, at, '"'),
        // A quote is a character if it closes again after one character or an escape; else it is a lifetime.
        ('\'', Some('\\')) => quoted_end(chars, at, '\''),
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
        _ => at,
    }
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

/// Each rule is shown a file that breaks it.
mod planted {
    use super::*;

    /// What is said of a file at `path` with this text; the header is added.
    fn check(path: &str, text: &str, expected: &[&str]) {
        let file = File { path: path.to_owned(), text: format!("//! A file.\n{text}") };
        let found = problems(&file);
        assert_eq!(found.len(), expected.len(), "{path}: {text}\n{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} says {expected:?}");
        }
    }

    #[test]
    fn imports_against_the_table() {
        check("event/time.rs", "use crate::event::Day;\n", &[]);
        check("event/time.rs", "use crate::decode::Hints;\n", &["event/time.rs:2: `event` may not import `decode`"]);
        check("engine/gate.rs", "use crate::{event, decode::{Hints, fields}};", &["may not import `decode`"]);
        check("engine/gate.rs", "use crate::{\n    event,\n    sim,\n};", &[":2: `engine` may not import `sim`"]);
        check("engine/gate.rs", "fn f() {\n    crate::ingest::read();\n}", &[":3: `engine` may not import `ingest`"]);
        check("engine/gate.rs", "use super::super::ingest;", &["may not import `ingest`"]);
        check("engine/mod.rs", "use super::ingest;", &["may not import `ingest`"]);
        check("engine/detect/mod.rs", "use super::subjects::Sizes;", &[]);
        check("ingest/files.rs", "use crate::decode::Hints;", &[]);
        check("ingest/kafka.rs", "use crate::decode::Hints;", &["may not import `decode`"]);
        check("sim/oracle.rs", "use crate::engine::Engine;", &["may not import `engine`"]);
        check("roster/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::sim::Plan;\n}", &[]);
        check("engine/tests.rs", "use crate::sim::Plan;", &[]);
        check("engine/gate.rs", "// crate::ingest\nconst A: &str = \"crate::ingest::x\";", &[]);
        check("engine/gate.rs", "const A: char = '\"'; use crate::ingest::x; const B: char = '\"';", &["`ingest`"]);
        check("attic/mod.rs", "", &["no row in the import table"]);
        check("cli/mod.rs", "use crate::app;", &[]);
    }

    #[test]
    fn headers_and_length() {
        let bare = File { path: "event/time.rs".to_owned(), text: "use std::fmt;\n".to_owned() };
        assert!(problems(&bare)[0].contains("`//!` paragraph"));
        let long = "fn f() {}\n".repeat(LINES_MAX);
        check("event/time.rs", &long, &["401 lines before its tests, 400 at most"]);
        check("event/tests.rs", &long, &[]);
        check("event/time.rs", &format!("#[cfg(test)]\nmod tests {{\n{long}}}"), &[]);
        check("event/time.rs", &format!("#[cfg(test)]\nmod tests;\n{long}"), &["403 lines"]);
        assert!(stale(&[]).iter().all(|problem| problem.contains("take it off the list")));
    }

    #[test]
    fn words_and_unfinished_work() {
        check("event/time.rs", "struct AlertManager;", &["`manager` says nothing"]);
        check("event/time.rs", "mod util;", &["`util`"]);
        check("event/time.rs", "struct Utility;\n// a manager\n", &[]);
        check("event/time.rs", "fn f() {\n    todo!()\n}", &[":3: `todo!` is unfinished work"]);
        check("event/tests.rs", "fn f() { dbg!(1); }", &["dbg!"]);
    }

    #[test]
    fn lists() {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let check = |files: &[File], expected: &[&str]| {
            let found = unlisted(files);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(found.iter().zip(expected).all(|(found, expected)| found.contains(expected)), "{found:?}");
        };
        let list = || file("engine/detect/mod.rs", "static ALL: &[&Spec] = &[&volume::SPEC];");
        let spec = "pub static SPEC: Spec = Spec {};";
        check(&[list(), file("engine/detect/volume/mod.rs", spec), file("engine/detect/volume/tally.rs", "")], &[]);
        check(&[list(), file("engine/detect/slow.rs", spec)], &["`slow::SPEC` is not in `ALL` of engine/detect"]);
        check(&[list(), file("engine/detect/slow.rs", "")], &["a detector has a `SPEC`"]);
        check(&[file("decode.rs", "// cef::SPEC"), file("decode/cef.rs", spec)], &["`cef::SPEC`"]);
    }
}
