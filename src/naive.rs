//! Definitions that quicker code is held to, where several tests need the same.

/// Whether `text` matches `pattern`, in which `*` is any text, also none, and `?` is one character: as slow as it is short.
pub fn matches(pattern: &str, text: &str) -> bool {
    fn all(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|cut| all(rest, &text[cut..])),
            (['?', rest @ ..], [_, tail @ ..]) => all(rest, tail),
            ([p, rest @ ..], [t, tail @ ..]) => p == t && all(rest, tail),
            _ => false,
        }
    }
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    all(&chars(pattern), &chars(text))
}
