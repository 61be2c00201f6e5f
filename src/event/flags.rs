//! What was noticed about a record on its way in: a set of bits in memory, words joined with `;` in the column `flags`.

/// A set of the constants below.
pub type Flags = u32;

/// Came later than `settle`: outside the promise of the time contract, never learnt from.
pub const BACKFILL: Flags = 1;
/// Its time lies in the future, judged from the data (DESIGN, section 5).
pub const FUTURE: Flags = 2;
/// The same `source` and `event_id` were seen with other content.
pub const ID_CONFLICT: Flags = 4;
/// Its source is not declared in the settings.
pub const UNDECLARED: Flags = 8;
/// The identifier was made by us from the source and the canonical bytes.
pub const MADE_ID: Flags = 16;
/// A value was not understood and stands in `raw` alone.
pub const PARTIAL: Flags = 32;

const WORDS: [(Flags, &str); 6] = [
    (BACKFILL, "backfill"),
    (FUTURE, "future"),
    (ID_CONFLICT, "id_conflict"),
    (UNDECLARED, "undeclared"),
    (MADE_ID, "made_id"),
    (PARTIAL, "partial"),
];

/// The words of a set joined with `;`, or `None` for the empty set.
pub fn flags_text(flags: Flags) -> Option<String> {
    let words: Vec<&str> = WORDS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word).collect();
    (!words.is_empty()).then(|| words.join(";"))
}

/// The set that `text` spells; words that are not known are left out.
pub fn flags_parse(text: &str) -> Flags {
    let bit = |word: &str| WORDS.iter().find(|(_, w)| *w == word).map_or(0, |(bit, _)| *bit);
    text.split(';').map(bit).fold(0, |all, bit| all | bit)
}
