//! Programs of patterns: the match that PostgreSQL prefers.
//!
//! One rule: of all matches that begin first the longest is taken, or the shortest if the pattern prefers that. The
//! compiler's own order is Perl's, so an automaton of all matches finds the end, and groups are found within it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use regex::{Regex, RegexBuilder};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, MatchKind};

use super::Flags;
use super::limits::{check, too_complex};
use super::syntax::{Translated, invalid, translate};
use crate::error::SqlError;

/// A program, bytes.
pub const PROGRAM_BYTES_MAX: usize = 10 << 20;
/// Bytes that are kept of a search.
pub const CACHE_BYTES_MAX: usize = 2 << 20;
/// Programs that a thread keeps.
const KEPT_MAX: usize = 8;

/// A compiled pattern.
pub struct Program {
    /// Finds where a match begins, and all of it if the pattern is not ambiguous.
    search: Regex,
    pub groups: usize,
    ends: Option<Ends>,
}

/// Finds where the preferred match ends, and its groups.
struct Ends {
    automaton: DFA,
    cache: RefCell<Cache>,
    shortest: bool,
    /// The pattern up to the end of the text; only if there are groups.
    whole: Option<Regex>,
}

/// From and to, bytes.
pub type Span = (usize, usize);

/// A match: the whole, then each group that took part.
pub type RegexMatch = Vec<Option<Span>>;

fn of_compiler(error: regex::Error) -> SqlError {
    match error {
        regex::Error::CompiledTooBig(_) => too_complex(),
        _ => invalid("invalid regexp (reg version 0.8)"),
    }
}

fn regex(pattern: &str) -> Result<Regex, SqlError> {
    RegexBuilder::new(pattern)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .build()
        .map_err(of_compiler)
}

/// The program of a pattern; each thread keeps those that it used last.
pub fn compiled(pattern: &str, flags: Flags) -> Result<Rc<Program>, SqlError> {
    type Kept = VecDeque<(String, Flags, Rc<Program>)>;
    thread_local! {
        static KEPT: RefCell<Kept> = const { RefCell::new(VecDeque::new()) };
    }
    let known = KEPT.with_borrow(|kept| {
        let known = kept.iter().find(|(text, known, _)| *known == flags && text == pattern);
        known.map(|(_, _, program)| program.clone())
    });
    if let Some(program) = known {
        return Ok(program);
    }
    check(pattern)?;
    let program = Rc::new(Program::new(&translate(pattern, flags)?)?);
    KEPT.with_borrow_mut(|kept| {
        kept.truncate(KEPT_MAX - 1);
        kept.push_front((pattern.to_string(), flags, program.clone()));
    });
    Ok(program)
}

impl Program {
    fn new(translated: &Translated) -> Result<Program, SqlError> {
        let search = regex(&translated.pattern)?;
        let ends = match translated.ambiguous {
            true => Ends::new(translated)?,
            false => None,
        };
        Ok(Program {
            search,
            groups: translated.groups,
            ends,
        })
    }

    pub fn is_match(&self, text: &str) -> bool {
        self.search.is_match(text)
    }

    /// Matches, one after another.
    pub fn count(&self, text: &str) -> usize {
        self.search.find_iter(text).count()
    }

    /// The first match that begins at `from`, bytes, or later.
    pub fn find(&self, text: &str, from: usize) -> Option<RegexMatch> {
        if from > text.len() {
            return None;
        }
        let Some(ends) = &self.ends else {
            if self.groups == 0 {
                let found = self.search.find_at(text, from)?;
                return Some(vec![Some((found.start(), found.end()))]);
            }
            let found = self.search.captures_at(text, from)?;
            return Some(spans(&found));
        };
        let first = self.search.find_at(text, from)?;
        let end = ends.of(text, first.start()).unwrap_or(first.end());
        let Some(whole) = &ends.whole else {
            return Some(vec![Some((first.start(), end))]);
        };
        let found = whole
            .captures_at(&text[..end], first.start())
            .filter(|found| found.get(0).is_some_and(|all| all.start() == first.start()))
            .or_else(|| self.search.captures_at(text, from))?;
        Some(spans(&found))
    }
}

fn spans(found: &regex::Captures) -> RegexMatch {
    found
        .iter()
        .map(|group| group.map(|group| (group.start(), group.end())))
        .collect()
}

impl Ends {
    /// `None` if there can be no automaton: letters beyond ASCII at the edges of words.
    fn new(translated: &Translated) -> Result<Option<Ends>, SqlError> {
        let configuration = DFA::config()
            .match_kind(MatchKind::All)
            .unicode_word_boundary(true)
            .cache_capacity(CACHE_BYTES_MAX)
            .skip_cache_capacity_check(true);
        let automaton = DFA::builder()
            .configure(configuration)
            .thompson(thompson::Config::new().nfa_size_limit(Some(PROGRAM_BYTES_MAX)))
            .build(&translated.pattern);
        let Ok(automaton) = automaton else {
            return Ok(None);
        };
        let whole = match translated.groups {
            0 => None,
            _ => Some(regex(&format!("(?:{})\\z", translated.pattern))?),
        };
        Ok(Some(Ends {
            cache: RefCell::new(automaton.create_cache()),
            automaton,
            shortest: translated.shortest,
            whole,
        }))
    }

    /// The end of the preferred match that begins at `from`.
    fn of(&self, text: &str, from: usize) -> Option<usize> {
        let input = Input::new(text)
            .range(from..)
            .anchored(Anchored::Yes)
            .earliest(self.shortest);
        let mut cache = self.cache.borrow_mut();
        let found = self.automaton.try_search_fwd(&mut cache, &input).ok()??;
        Some(found.offset())
    }
}
