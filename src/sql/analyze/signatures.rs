//! PostgreSQL's functions over the types here: names, arguments, results.
//!
//! `functions.txt` has a line for each: name, kind, arguments, result, names of the arguments (with how many of them have
//! defaults), and the columns of a record. Kinds are `f` for a function, `s` for one that returns rows, `a` for an aggregate, `w`
//! for a window function; a `v` after it means that the last argument repeats. `operator_functions.txt` has those that
//! compute an operator: name, operator, operands, result. `lacking_*.txt` have those over types that are not here, so that a choice
//! is PostgreSQL's. Not here: their implementations (`functions`).

use std::collections::HashMap;
use std::sync::LazyLock;

use super::kinds;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FunctionKind {
    Function,
    Rows,
    Aggregate,
    Window,
}

/// A function by its arguments.
#[derive(Debug)]
pub struct Signature {
    pub name: &'static str,
    pub kind: FunctionKind,
    /// OIDs.
    pub arguments: Vec<u32>,
    pub result: u32,
    /// The last argument repeats.
    pub is_variadic: bool,
    /// Empty if they have no names.
    pub names: Vec<&'static str>,
    /// Arguments at the end that need not be given.
    pub defaults: usize,
    /// Of a record.
    pub columns: Vec<(&'static str, u32)>,
    /// The operator that it is the function of.
    pub symbol: Option<&'static str>,
    /// PostgreSQL has it over a type that is not here: it may be chosen, and nothing computes it.
    pub is_lacking: bool,
}

/// Functions that PostgreSQL does not have, or has by its grammar only.
const OWN: &str = "\
current_catalog\tf\t\tname
current_date\tf\t\tdate
current_role\tf\t\tname
current_time\tf\t\ttime
current_timestamp\tf\t\ttimestamptz
current_timestamp\tf\tint4\ttimestamptz
localtime\tf\t\ttime
localtime\tf\tint4\ttime
localtimestamp\tf\t\ttimestamp
localtimestamp\tf\tint4\ttimestamp
millstream_version\tf\t\ttext
proctime\tf\t\ttimestamptz
rw_version\tf\t\ttext
system_user\tf\t\ttext
time_bucket\tf\tinterval,timestamp\ttimestamp
time_bucket\tf\tinterval,timestamp,timestamp\ttimestamp
time_bucket\tf\tinterval,timestamptz\ttimestamptz
time_bucket\tf\tinterval,timestamptz,timestamptz\ttimestamptz
date_bin\tf\tinterval,timestamp\ttimestamp
date_bin\tf\tinterval,timestamptz\ttimestamptz
any_value\ta\tanyelement\tanyelement
user\tf\t\tname
~pg_try_advisory_lock\tf\tbool,int8,int8\tbool
~pg_try_advisory_lock\tf\tbool,int8,int4,int4\tbool
~pg_try_advisory_lock_shared\tf\tbool,int8,int8\tbool
~pg_try_advisory_lock_shared\tf\tbool,int8,int4,int4\tbool
~pg_try_advisory_xact_lock\tf\tbool,int8,int8\tbool
~pg_try_advisory_xact_lock\tf\tbool,int8,int4,int4\tbool
~pg_try_advisory_xact_lock_shared\tf\tbool,int8,int8\tbool
~pg_try_advisory_xact_lock_shared\tf\tbool,int8,int4,int4\tbool
~pg_advisory_unlock\tf\tbool,int8,int8\tbool
~pg_advisory_unlock\tf\tbool,int8,int4,int4\tbool
~pg_advisory_unlock_shared\tf\tbool,int8,int8\tbool
~pg_advisory_unlock_shared\tf\tbool,int8,int4,int4\tbool
to_regrole\tf\ttext\tregrole
pg_is_in_backup\tf\t\tbool
";

fn read(line: &'static str) -> Signature {
    let mut columns = line.split('\t');
    let mut next = || columns.next().unwrap_or_default();
    let name = next();
    let (kind, is_variadic) = match next() {
        kind if kind.ends_with('v') => (&kind[..1], true),
        kind => (kind, false),
    };
    let kind = match kind {
        "s" => FunctionKind::Rows,
        "a" => FunctionKind::Aggregate,
        "w" => FunctionKind::Window,
        _ => FunctionKind::Function,
    };
    let list = |text: &'static str| text.split(',').filter(|item| !item.is_empty());
    let arguments = list(next()).map(kinds::parse).collect();
    let result = kinds::parse(next());
    let (names, defaults) = match next() {
        names if names.contains('*') => names.split_once('*').expect("it is there"),
        names => (names, "0"),
    };
    let columns = list(next()).map(|column| {
        let (name, kind) = column.rsplit_once(' ').expect("a column has a type");
        (name, kinds::parse(kind))
    });
    Signature {
        name,
        kind,
        arguments,
        result,
        is_variadic,
        names: list(names).collect(),
        defaults: defaults.parse().expect("a number"),
        columns: columns.collect(),
        symbol: None,
        is_lacking: false,
    }
}

/// The function of an operator: its name, the operator, operands and result.
fn read_operator(line: &'static str) -> Signature {
    let mut columns = line.split('\t');
    let mut next = || columns.next().expect("a line has five columns");
    let (name, symbol) = (next(), next());
    let operands = [next(), next()];
    Signature {
        name,
        kind: FunctionKind::Function,
        arguments: operands
            .iter()
            .filter(|kind| **kind != "-")
            .map(|kind| kinds::parse(kind))
            .collect(),
        result: kinds::parse(next()),
        is_variadic: false,
        names: vec![],
        defaults: 0,
        columns: vec![],
        symbol: Some(symbol),
        is_lacking: false,
    }
}

/// All functions of a name.
pub fn of(name: &str) -> &'static [Signature] {
    static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Signature>>> = LazyLock::new(|| {
        let mut functions: HashMap<&'static str, Vec<Signature>> = HashMap::new();
        for line in include_str!("functions.txt").lines().chain(OWN.lines()) {
            let signature = read(line);
            functions.entry(signature.name).or_default().push(signature);
        }
        for line in include_str!("operator_functions.txt").lines() {
            let signature = read_operator(line);
            functions.entry(signature.name).or_default().push(signature);
        }
        for line in include_str!("lacking_functions.txt").lines() {
            let signature = Signature {
                is_lacking: true,
                ..read(line)
            };
            functions.entry(signature.name).or_default().push(signature);
        }
        functions
    });
    FUNCTIONS.get(name).map_or(&[], Vec::as_slice)
}

/// An operator by its operands. `left` is 0 for one that stands before its operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OperatorSignature {
    pub left: u32,
    pub right: u32,
    pub result: u32,
    /// [`Signature::is_lacking`]
    pub is_lacking: bool,
}

/// All operators of a name.
pub fn operators(name: &str) -> &'static [OperatorSignature] {
    static OPERATORS: LazyLock<HashMap<&'static str, Vec<OperatorSignature>>> = LazyLock::new(|| {
        let mut operators: HashMap<&'static str, Vec<OperatorSignature>> = HashMap::new();
        let lacking = include_str!("lacking_operators.txt").lines().map(|line| (line, true));
        let known = include_str!("operators.txt").lines().map(|line| (line, false));
        for (line, is_lacking) in known.chain(lacking) {
            let mut columns = line.split('\t');
            let mut next = || columns.next().expect("a line has four columns");
            let name = next();
            let mut kind = || match next() {
                "-" => 0,
                known => kinds::parse(known),
            };
            let signature = OperatorSignature {
                left: kind(),
                right: kind(),
                result: kind(),
                is_lacking,
            };
            operators.entry(name).or_default().push(signature);
        }
        operators
    });
    OPERATORS.get(name).map_or(&[], Vec::as_slice)
}

/// The name of the implementation of a PostgreSQL function.
pub fn computed_by(name: &str) -> &str {
    match name {
        "char_length" | "character_length" => "length",
        "string_to_table" => "string_to_array",
        "pow" => "power",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_can_be_read() {
        assert_eq!(of("abs").len(), 6);
        assert!(of("nope").is_empty());
        assert!(of("concat")[0].is_variadic);
        assert_eq!(of("make_interval")[0].defaults, 7);
        assert_eq!(of("json_each")[0].columns.len(), 2);
        assert!(operators("-").iter().any(|operator| operator.left == 0));
    }
}
