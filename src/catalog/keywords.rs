//! The keywords of PostgreSQL 15, as `pg_get_keywords()` has them.
//!
//! One rule: they are PostgreSQL's, not those of the parser here.

use std::sync::LazyLock;

/// A keyword.
#[derive(Debug)]
pub struct SqlKeyword {
    pub word: &'static str,
    /// U, C, T or R: the extent to which it is reserved.
    pub category: &'static str,
    /// It may name a column without AS.
    pub is_bare_label: bool,
}

impl SqlKeyword {
    /// The category in words.
    pub fn category_in_words(&self) -> &'static str {
        match self.category {
            "U" => "unreserved",
            "C" => "unreserved (cannot be function or type name)",
            "T" => "reserved (can be function or type name)",
            _ => "reserved",
        }
    }

    pub fn label_in_words(&self) -> &'static str {
        match self.is_bare_label {
            true => "can be bare label",
            false => "requires AS",
        }
    }
}

/// All of them, sorted.
pub fn keywords() -> &'static [SqlKeyword] {
    static KEYWORDS: LazyLock<Vec<SqlKeyword>> = LazyLock::new(|| {
        let lines = include_str!("system/data/keywords.tsv").lines();
        let keyword = |line: &'static str| {
            let mut parts = line.split('\t');
            Some(SqlKeyword {
                word: parts.next()?,
                category: parts.next()?,
                is_bare_label: parts.next()? == "t",
            })
        };
        lines.filter_map(keyword).collect()
    });
    &KEYWORDS
}

/// Whether a word, in lower case, names a column only behind AS.
pub fn requires_as(word: &str) -> bool {
    let all = keywords();
    let found = all.binary_search_by(|keyword| keyword.word.cmp(word));
    found.is_ok_and(|at| !all[at].is_bare_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keywords_are_sorted_and_complete() {
        assert_eq!(keywords().len(), 460);
        assert!(keywords().is_sorted_by_key(|keyword| keyword.word));
        assert!(requires_as("day"));
        assert!(!requires_as("value"));
        assert!(!requires_as("nothing"));
    }
}
