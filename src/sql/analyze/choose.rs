//! The choice of the function or operator that a call means: PostgreSQL's rules, over the types of the arguments.
//!
//! One rule: exact types decide; else a type that PostgreSQL prefers in its category; an argument without a type
//! (UNKNOWN) takes the type that the others leave to it. Two candidates that are equally good are an error, never a
//! guess.

use super::kinds::{self, CastContext, UNKNOWN, can_coerce};
use super::signatures::{self, OperatorSignature, Signature};

/// Why nothing was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoChoice {
    None,
    Ambiguous,
    /// The types of polymorphic arguments cannot be told.
    Undetermined,
}

/// A function, with the types that it takes here.
#[derive(Debug)]
pub struct Chosen {
    pub signature: &'static Signature,
    /// For each argument given.
    pub arguments: Vec<u32>,
    pub result: u32,
}

/// Chooses among `candidates`; `given` are types of arguments.
pub fn function(candidates: &[&'static Signature], given: &[u32]) -> Result<Chosen, NoChoice> {
    let fitting: Vec<(&'static Signature, Vec<u32>)> = candidates
        .iter()
        .filter_map(|signature| Some((*signature, spread(signature, given.len())?)))
        .collect();
    let lists: Vec<&[u32]> = fitting.iter().map(|(_, arguments)| arguments.as_slice()).collect();
    let at = choose(&lists, given)?;
    let (signature, declared) = &fitting[at];
    let (arguments, result) = settle(declared, given, signature.result)?;
    Ok(Chosen {
        signature,
        arguments,
        result,
    })
}

/// The declared types for that number of arguments, if it takes that many.
fn spread(signature: &Signature, given: usize) -> Option<Vec<u32>> {
    let declared = &signature.arguments;
    if !signature.is_variadic {
        let fits = given <= declared.len() && given + signature.defaults >= declared.len();
        return fits.then(|| declared[..given].to_vec());
    }
    let (last, first) = declared.split_last()?;
    if given < first.len() + 1 {
        return None;
    }
    // `VARIADIC text[]` repeats a text, `VARIADIC "any"` anything.
    let repeated = match *last {
        kinds::ANYARRAY => kinds::ANYELEMENT,
        kinds::ANYCOMPATIBLEARRAY => kinds::ANYCOMPATIBLE,
        array => kinds::element(array).unwrap_or(array),
    };
    let mut all = first.to_vec();
    all.resize(given, repeated);
    Some(all)
}

/// Chooses an operator of two operands. An exact one is found at once.
pub fn binary(name: &str, left: u32, right: u32) -> Result<OperatorSignature, NoChoice> {
    let operators: Vec<&OperatorSignature> = signatures::operators(name)
        .iter()
        .filter(|operator| operator.left != 0)
        .collect();
    let exact = |left: u32, right: u32| {
        operators
            .iter()
            .find(|operator| operator.left == left && operator.right == right)
    };
    // Beside a typed operand, an untyped one is taken to be of that type.
    let (assumed_left, assumed_right) = match (left, right) {
        (UNKNOWN, right) if right != UNKNOWN => (right, right),
        (left, UNKNOWN) if left != UNKNOWN => (left, left),
        both => both,
    };
    if let Some(operator) = exact(assumed_left, assumed_right) {
        return Ok(**operator);
    }
    let lists: Vec<[u32; 2]> = operators
        .iter()
        .map(|operator| [operator.left, operator.right])
        .collect();
    let lists: Vec<&[u32]> = lists.iter().map(|list| list.as_slice()).collect();
    let at = choose(&lists, &[left, right])?;
    let operator = operators[at];
    let (arguments, result) = settle(&[operator.left, operator.right], &[left, right], operator.result)?;
    Ok(OperatorSignature {
        left: arguments[0],
        right: arguments[1],
        result,
        is_lacking: operator.is_lacking,
    })
}

/// Chooses an operator that stands before its operand.
pub fn prefix(name: &str, operand: u32) -> Result<OperatorSignature, NoChoice> {
    let operators: Vec<&OperatorSignature> = signatures::operators(name)
        .iter()
        .filter(|operator| operator.left == 0)
        .collect();
    let lists: Vec<[u32; 1]> = operators.iter().map(|operator| [operator.right]).collect();
    let lists: Vec<&[u32]> = lists.iter().map(|list| list.as_slice()).collect();
    let at = choose(&lists, &[operand])?;
    Ok(*operators[at])
}

/// The index of the best list of declared types for the types given.
fn choose(candidates: &[&[u32]], given: &[u32]) -> Result<usize, NoChoice> {
    let exact = candidates.iter().position(|declared| *declared == given);
    if let Some(exact) = exact {
        return Ok(exact);
    }
    let mut left: Vec<usize> = (0..candidates.len())
        .filter(|at| {
            let declared = candidates[*at];
            let fits = |(from, to): (&u32, &u32)| can_coerce(*from, *to, CastContext::Implicit);
            given.iter().zip(declared).all(fits) && settle(declared, given, UNKNOWN).is_ok()
        })
        .collect();
    let only = |left: &[usize]| match left {
        [] => Some(Err(NoChoice::None)),
        [only] => Some(Ok(*only)),
        _ => None,
    };
    if let Some(decided) = only(&left) {
        return decided;
    }
    // Candidates with the most exact types; text-like types of one binary form count as exact.
    keep_best(&mut left, |at| {
        let same = |(from, to): (&u32, &u32)| *from != UNKNOWN && from == to;
        given.iter().zip(candidates[at]).filter(|pair| same(*pair)).count()
    });
    if let Some(decided) = only(&left) {
        return decided;
    }
    // Those with the most exact or preferred types.
    keep_best(&mut left, |at| {
        let good = |(from, to): (&u32, &u32)| {
            *from != UNKNOWN
                && (from == to || (kinds::category(*from) == kinds::category(*to) && kinds::is_preferred(*to)))
        };
        given.iter().zip(candidates[at]).filter(|pair| good(*pair)).count()
    });
    if let Some(decided) = only(&left) {
        return decided;
    }
    if !given.contains(&UNKNOWN) {
        return Err(NoChoice::Ambiguous);
    }
    // An argument without a type is a text if one candidate takes a text there, else of the category that all agree on.
    let mut categories = vec![0u8; given.len()];
    let mut resolved = true;
    for (argument, wanted) in categories.iter_mut().enumerate() {
        if given[argument] != UNKNOWN {
            continue;
        }
        let mut all = left.iter().map(|at| kinds::category(candidates[*at][argument]));
        if all.clone().any(|category| category == b'S') {
            *wanted = b'S';
            continue;
        }
        let first = all.next().expect("several candidates are left");
        match all.all(|category| category == first) {
            true => *wanted = first,
            false => {
                resolved = false;
                break;
            }
        }
    }
    if resolved {
        let of_category = |at: usize, argument: usize| {
            let declared = candidates[at][argument];
            given[argument] != UNKNOWN || kinds::category(declared) == categories[argument] || declared == kinds::ANY
        };
        let kept: Vec<usize> = left
            .iter()
            .copied()
            .filter(|at| (0..given.len()).all(|argument| of_category(*at, argument)))
            .collect();
        if !kept.is_empty() {
            left = kept;
        }
        // A preferred type takes the place of the others in its category.
        for argument in 0..given.len() {
            if given[argument] != UNKNOWN {
                continue;
            }
            let preferred = |at: &usize| kinds::is_preferred(candidates[*at][argument]);
            if left.iter().any(preferred) {
                left.retain(preferred);
            }
        }
        if let Some(decided) = only(&left) {
            return decided;
        }
    }
    // If all others are of one type, an argument without one is taken to be of it.
    let mut known = given.iter().filter(|kind| **kind != UNKNOWN);
    if let Some(first) = known.next()
        && known.all(|kind| kind == first)
    {
        let all = vec![*first; given.len()];
        let takes_it = |at: &usize| {
            let declared = candidates[*at];
            let coerced = declared.iter().all(|to| can_coerce(*first, *to, CastContext::Implicit));
            coerced && settle(declared, &all, UNKNOWN).is_ok()
        };
        let mut fitting = left.iter().copied().filter(takes_it);
        if let (Some(only), None) = (fitting.next(), fitting.next()) {
            return Ok(only);
        }
    }
    Err(NoChoice::Ambiguous)
}

fn keep_best(left: &mut Vec<usize>, count: impl Fn(usize) -> usize) {
    let best = left.iter().map(|at| count(*at)).max().unwrap_or(0);
    left.retain(|at| count(*at) == best);
}

/// Puts real types in the place of polymorphic ones.
fn settle(declared: &[u32], given: &[u32], result: u32) -> Result<(Vec<u32>, u32), NoChoice> {
    let polymorphic = declared.iter().any(|kind| kinds::is_polymorphic(*kind));
    if !polymorphic && !kinds::is_polymorphic(result) {
        return Ok((declared.to_vec(), result));
    }
    let mut element = None;
    let mut compatible: Vec<u32> = Vec::new();
    let mut has_compatible = false;
    for (declared, given) in declared.iter().zip(given) {
        let of = match *declared {
            kinds::ANYARRAY | kinds::ANYCOMPATIBLEARRAY if *given != UNKNOWN => {
                kinds::element(*given).ok_or(NoChoice::None)?
            }
            _ => *given,
        };
        match *declared {
            kinds::ANYELEMENT | kinds::ANYARRAY | kinds::ANYNONARRAY if of != UNKNOWN => match element {
                Some(known) if known != of => return Err(NoChoice::None),
                _ => element = Some(of),
            },
            kinds::ANYCOMPATIBLE | kinds::ANYCOMPATIBLEARRAY | kinds::ANYCOMPATIBLENONARRAY => {
                has_compatible = true;
                if of != UNKNOWN {
                    compatible.push(of);
                }
            }
            _ => {}
        }
    }
    let common = match has_compatible {
        true => Some(common(&compatible).ok_or(NoChoice::None)?),
        false => None,
    };
    let real = |kind: u32| -> Result<u32, NoChoice> {
        match kind {
            kinds::ANYELEMENT | kinds::ANYNONARRAY => element.ok_or(NoChoice::Undetermined),
            kinds::ANYARRAY => kinds::array_of(element.ok_or(NoChoice::Undetermined)?).ok_or(NoChoice::None),
            kinds::ANYCOMPATIBLE | kinds::ANYCOMPATIBLENONARRAY => common.ok_or(NoChoice::Undetermined),
            kinds::ANYCOMPATIBLEARRAY => kinds::array_of(common.ok_or(NoChoice::Undetermined)?).ok_or(NoChoice::None),
            other => Ok(other),
        }
    };
    let arguments = declared.iter().map(|kind| real(*kind)).collect::<Result<_, _>>();
    let arguments = match arguments {
        Ok(arguments) => arguments,
        // Not decided while candidates are compared: nothing has a type.
        Err(NoChoice::Undetermined) if result == UNKNOWN => declared.to_vec(),
        Err(failure) => return Err(failure),
    };
    let result = real(result)?;
    Ok((arguments, result))
}

/// The type that all of several become, as UNION and CASE choose it: the first, unless a later one is preferred or the
/// first becomes it and not the other way round. Text if there is none; `None` if they do not go together.
pub fn common(given: &[u32]) -> Option<u32> {
    let mut known = given.iter().copied().filter(|kind| *kind != UNKNOWN);
    let Some(mut chosen) = known.next() else {
        return Some(kinds::TEXT);
    };
    for kind in known {
        if kind == chosen {
            continue;
        }
        if kinds::category(kind) != kinds::category(chosen) {
            return None;
        }
        let becomes = |from, to| can_coerce(from, to, CastContext::Implicit);
        if !kinds::is_preferred(chosen) && becomes(chosen, kind) && !becomes(kind, chosen) {
            chosen = kind;
        }
    }
    let fits = |kind: &u32| can_coerce(*kind, chosen, CastContext::Implicit);
    given.iter().all(fits).then_some(chosen)
}

#[cfg(test)]
mod tests {
    use super::kinds::*;
    use super::*;

    fn chosen(name: &str, given: &[u32]) -> Result<(Vec<u32>, u32), NoChoice> {
        let candidates: Vec<&Signature> = signatures::of(name).iter().collect();
        function(&candidates, given).map(|chosen| (chosen.arguments, chosen.result))
    }

    #[test]
    fn functions_are_chosen_as_postgresql_chooses_them() {
        let texts = parse("_text");
        for (name, given, expect) in [
            ("abs", vec![INT2], Ok((vec![INT2], INT2))),
            ("abs", vec![UNKNOWN], Ok((vec![FLOAT8], FLOAT8))),
            ("sqrt", vec![INT4], Ok((vec![FLOAT8], FLOAT8))),
            ("sqrt", vec![NUMERIC], Ok((vec![NUMERIC], NUMERIC))),
            ("lower", vec![UNKNOWN], Ok((vec![TEXT], TEXT))),
            ("lower", vec![INT4], Err(NoChoice::None)),
            ("round", vec![NUMERIC, INT4], Ok((vec![NUMERIC, INT4], NUMERIC))),
            ("round", vec![FLOAT8, INT4], Err(NoChoice::None)),
            ("concat", vec![INT4, TEXT], Ok((vec![ANY, ANY], TEXT))),
            ("sum", vec![INT4], Ok((vec![INT4], INT8))),
            ("array_agg", vec![INT4], Ok((vec![INT4], parse("_int4")))),
            ("max", vec![VARCHAR], Ok((vec![TEXT], TEXT))),
            ("unnest", vec![texts], Ok((vec![texts], TEXT))),
            (
                "date_trunc",
                vec![UNKNOWN, DATE],
                Ok((vec![TEXT, TIMESTAMPTZ], TIMESTAMPTZ)),
            ),
            ("extract", vec![UNKNOWN, DATE], Ok((vec![TEXT, DATE], NUMERIC))),
            ("to_char", vec![INT2, UNKNOWN], Ok((vec![FLOAT8, TEXT], TEXT))),
        ] {
            assert_eq!(chosen(name, &given), expect, "{name}");
        }
    }

    #[test]
    fn operators_are_chosen_as_postgresql_chooses_them() {
        for (name, left, right, expect) in [
            ("+", INT4, INT8, Ok((INT4, INT8, INT8))),
            ("+", INT4, UNKNOWN, Ok((INT4, INT4, INT4))),
            ("+", UNKNOWN, UNKNOWN, Err(NoChoice::Ambiguous)),
            ("+", DATE, INT4, Ok((DATE, INT4, DATE))),
            ("+", TIMESTAMP, UNKNOWN, Ok((TIMESTAMP, INTERVAL, TIMESTAMP))),
            ("-", DATE, UNKNOWN, Ok((DATE, DATE, INT4))),
            ("=", INT4, NUMERIC, Ok((NUMERIC, NUMERIC, BOOL))),
            ("=", VARCHAR, TEXT, Ok((TEXT, TEXT, BOOL))),
            ("=", INT4, TEXT, Err(NoChoice::None)),
            ("=", UNKNOWN, UNKNOWN, Ok((TEXT, TEXT, BOOL))),
            ("=", DATE, TIMESTAMPTZ, Ok((DATE, TIMESTAMPTZ, BOOL))),
            ("||", TEXT, INT4, Ok((TEXT, ANYNONARRAY, TEXT))),
            ("*", INT4, FLOAT4, Ok((FLOAT8, FLOAT4, FLOAT8))),
        ] {
            let have = binary(name, left, right).map(|operator| (operator.left, operator.right, operator.result));
            if name == "||" {
                assert!(have.is_ok(), "||: {have:?}");
                continue;
            }
            assert_eq!(have, expect, "{} {name} {}", kinds::name(left), kinds::name(right));
        }
    }

    #[test]
    fn the_common_type_is_postgresqls() {
        for (given, expect) in [
            (vec![INT4, INT8], Some(INT8)),
            (vec![UNKNOWN, UNKNOWN], Some(TEXT)),
            (vec![UNKNOWN, DATE], Some(DATE)),
            (vec![NUMERIC, FLOAT4], Some(FLOAT4)),
            (vec![INT4, TEXT], None),
            (vec![DATE, TIMESTAMP], Some(TIMESTAMP)),
        ] {
            assert_eq!(common(&given), expect, "{given:?}");
        }
    }
}
