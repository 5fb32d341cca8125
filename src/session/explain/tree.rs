//! A plan as a tree: from the lines of EXPLAIN to JSON, XML and YAML in PostgreSQL's shape.
//!
//! One rule: every operator is a node with "Node Type" and its inputs in "Plans". There are no costs, with or without
//! COSTS: nothing here estimates them.

use std::fmt::Write;

use crate::sql::statement::ExplainFormat;

enum Property {
    Text(String),
    Number(String),
    Flag(bool),
    List(Vec<String>),
}

struct ExplainNode {
    properties: Vec<(&'static str, Property)>,
    plans: Vec<ExplainNode>,
}

/// The lines of EXPLAIN TEXT in another format, as one text.
pub fn render(lines: &[String], format: ExplainFormat, verbose: bool) -> String {
    let mut times = Vec::new();
    let mut flat: Vec<(usize, ExplainNode)> = Vec::new();
    // Depths of the operators that PostgreSQL has no node for: the lines below them move up.
    let mut left_out: Vec<usize> = Vec::new();
    for line in lines {
        if let Some(ms) = line.strip_prefix("Execution Time: ") {
            let ms = ms.trim_end_matches(" ms").to_string();
            times.push(("Execution Time", Property::Number(ms)));
        } else if !line.starts_with("Rows: ") {
            let text = line.trim_start();
            let depth = (line.len() - text.len()) / 2;
            let text = text.strip_prefix("->").unwrap_or(text).trim();
            left_out.retain(|above| *above < depth);
            match text.split([':', ',']).next() {
                Some("CooperativeExec") => left_out.push(depth),
                // The row that a projection without FROM is of.
                Some("PlaceholderRowExec") if !flat.is_empty() => {}
                _ => flat.push((depth - left_out.len(), node(text, verbose))),
            }
        }
    }
    let head = flat.first().is_some_and(|(_, node)| node.is_head());
    if head {
        // The lines after the head are its input.
        for (depth, _) in &mut flat[1..] {
            *depth += 1;
        }
    }
    let mut nodes = flat.into_iter().peekable();
    let mut roots = Vec::new();
    while let Some((depth, node)) = nodes.next() {
        roots.push(with_inputs(node, depth, &mut nodes));
    }
    // CTEs stand below the plan that reads them.
    let is_cte = |node: &ExplainNode| matches!(&node.properties[0].1, Property::Text(kind) if kind.starts_with("CTE "));
    let split = roots.iter().skip(1).position(is_cte).map(|at| at + 1);
    let ctes = roots.split_off(split.unwrap_or(roots.len()));
    if let [root] = &mut roots[..] {
        root.plans.splice(0..0, ctes.into_iter().flat_map(below_cte));
    }
    let root = match roots.len() {
        1 => roots.pop().expect("one"),
        _ => ExplainNode {
            properties: vec![("Node Type", Property::Text("Append".to_string()))],
            plans: roots,
        },
    };
    let mut out = String::new();
    match format {
        ExplainFormat::Text => unreachable!("text stays lines"),
        ExplainFormat::Json => json(&root, &times, &mut out),
        ExplainFormat::Xml => xml(&root, &times, &mut out),
        ExplainFormat::Yaml => yaml(&root, &times, &mut out),
    }
    out
}

/// The plan of a CTE, from a node that holds it and its name.
fn below_cte(cte: ExplainNode) -> impl Iterator<Item = ExplainNode> {
    let name = match cte.properties.into_iter().next() {
        Some((_, Property::Text(name))) => name,
        _ => String::new(),
    };
    cte.plans.into_iter().map(move |mut plan| {
        plan.properties[1].1 = Property::Text("InitPlan".to_string());
        let name = Property::Text(name.clone());
        plan.properties.insert(2, ("Subplan Name", name));
        plan
    })
}

fn with_inputs(
    mut node: ExplainNode,
    depth: usize,
    nodes: &mut std::iter::Peekable<impl Iterator<Item = (usize, ExplainNode)>>,
) -> ExplainNode {
    while let Some((below, input)) = nodes.next_if(|(below, _)| *below > depth) {
        let mut input = with_inputs(input, below, nodes);
        let relationship = if node.plans.is_empty() { "Outer" } else { "Inner" };
        let relationship = Property::Text(relationship.to_string());
        input.properties.insert(1, ("Parent Relationship", relationship));
        node.plans.push(input);
    }
    node
}

impl ExplainNode {
    fn is_head(&self) -> bool {
        matches!(&self.properties[0].1, Property::Text(kind) if kind == "ModifyTable" || kind.starts_with("Create "))
    }
}

/// `SortExec: expr=[a@0 ASC], metrics=[output_rows=2, ...]`
fn node(text: &str, verbose: bool) -> ExplainNode {
    let (text, metrics) = text.split_once(", metrics=[").unwrap_or((text, ""));
    let (kind, detail) = text.split_once(": ").unwrap_or((text, ""));
    let string = |text: &str| Property::Text(text.to_string());
    let mut properties = Vec::new();
    if let Some(relation) = kind.strip_prefix("Insert on ") {
        properties.push(("Node Type", string("ModifyTable")));
        properties.push(("Operation", string("Insert")));
        properties.push(("Relation Name", string(relation)));
    } else {
        properties.push(("Node Type", Property::Text(node_type(kind.trim_end_matches(':')))));
    }
    properties.push(("Parallel Aware", Property::Flag(false)));
    properties.push(("Async Capable", Property::Flag(false)));
    if let Some(rows) = metrics
        .split(", ")
        .find_map(|metric| metric.strip_prefix("output_rows="))
    {
        properties.push(("Actual Rows", Property::Number(number(rows))));
        properties.push(("Actual Loops", Property::Number("1".to_string())));
    }
    if !detail.is_empty() {
        match kind {
            "FilterExec" => properties.push(("Filter", string(detail))),
            "CTE Scan" => properties.push(("CTE Name", string(detail))),
            _ if is_scan(kind) => {
                let (name, rest) = detail.split_once(", columns=[").unwrap_or((detail, ""));
                properties.push(("Relation Name", string(name)));
                properties.push(("Alias", string(name)));
                let (columns, rest) = rest.split_once(']').unwrap_or((rest, ""));
                if verbose {
                    let columns = columns.split(", ").filter(|column| !column.is_empty());
                    properties.push(("Output", Property::List(columns.map(str::to_string).collect())));
                }
                let rest = rest.trim_start_matches(", ");
                if !rest.is_empty() {
                    properties.push(("Details", string(rest)));
                }
            }
            "SortExec" => {
                let keys = detail.strip_prefix("expr=[").and_then(|rest| rest.split_once(']'));
                let keys = keys.map_or(detail, |(keys, _)| keys);
                properties.push((
                    "Sort Key",
                    Property::List(keys.split(", ").map(str::to_string).collect()),
                ));
            }
            _ => properties.push(("Details", string(detail))),
        }
    }
    ExplainNode {
        properties,
        plans: Vec::new(),
    }
}

/// Whether an operator reads a relation.
fn is_scan(kind: &str) -> bool {
    matches!(kind, "TopicScan" | "ViewScan" | "SystemScan")
}

/// `2`, or `2.5 K` as the engine shortens large ones.
fn number(text: &str) -> String {
    let (digits, unit) = text.trim_end_matches(']').split_once(' ').unwrap_or((text, ""));
    let scale = match unit {
        "K" => 1e3,
        "M" => 1e6,
        "B" => 1e9,
        "T" => 1e12,
        _ => 1.0,
    };
    let number = digits.trim_end_matches(']').parse::<f64>().unwrap_or(0.0);
    (number * scale).round().to_string()
}

/// PostgreSQL's name of an operator where it has one, else the operator's own in words.
fn node_type(kind: &str) -> String {
    let known = match kind {
        "ProjectionExec" | "PlaceholderRowExec" | "EmptyExec" | "FilterExec" => "Result",
        "AggregateExec" => "Aggregate",
        "SortExec" => "Sort",
        "SortPreservingMergeExec" => "Gather Merge",
        "CoalescePartitionsExec" => "Gather",
        "HashJoinExec" => "Hash Join",
        "NestedLoopJoinExec" | "CrossJoinExec" => "Nested Loop",
        "SortMergeJoinExec" => "Merge Join",
        "GlobalLimitExec" | "LocalLimitExec" => "Limit",
        "UnionExec" | "InterleaveExec" => "Append",
        "WindowAggExec" | "BoundedWindowAggExec" => "WindowAgg",
        "LazyMemoryExec" => "Function Scan",
        "Values" => "Values Scan",
        _ if is_scan(kind) => "Seq Scan",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_string();
    }
    let kind = kind.strip_suffix("Exec").unwrap_or(kind);
    let mut words = String::new();
    let mut before = ' ';
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push(' ');
        }
        words.push(letter);
        before = letter;
    }
    words
}

/// A string of JSON, and of YAML in double quotes.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn scalar(property: &Property, list: impl Fn(&[String]) -> String) -> String {
    match property {
        Property::Text(text) => quoted(text),
        Property::Number(number) => number.clone(),
        Property::Flag(flag) => flag.to_string(),
        Property::List(items) => list(items),
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn json(root: &ExplainNode, times: &[(&str, Property)], out: &mut String) {
    out.push_str("[\n  {\n    \"Plan\": ");
    json_node(root, 2, out);
    for (name, property) in times {
        let _ = write!(out, ",\n    {}: {}", quoted(name), scalar(property, json_list));
    }
    out.push_str("\n  }\n]");
}

fn json_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

fn json_node(node: &ExplainNode, depth: usize, out: &mut String) {
    out.push('{');
    for (index, (name, property)) in node.properties.iter().enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        indent(out, depth + 1);
        let _ = write!(out, "{}: {}", quoted(name), scalar(property, json_list));
    }
    if !node.plans.is_empty() {
        out.push_str(",\n");
        indent(out, depth + 1);
        out.push_str("\"Plans\": [");
        for (index, plan) in node.plans.iter().enumerate() {
            out.push_str(if index == 0 { "\n" } else { ",\n" });
            indent(out, depth + 2);
            json_node(plan, depth + 2, out);
        }
        out.push('\n');
        indent(out, depth + 1);
        out.push(']');
    }
    out.push('\n');
    indent(out, depth);
    out.push('}');
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn xml(root: &ExplainNode, times: &[(&str, Property)], out: &mut String) {
    out.push_str("<explain xmlns=\"http://www.postgresql.org/2009/explain\">\n  <Query>\n");
    xml_node(root, 2, out);
    for (name, property) in times {
        xml_property(name, property, 2, out);
    }
    out.push_str("  </Query>\n</explain>");
}

fn xml_property(name: &str, property: &Property, depth: usize, out: &mut String) {
    let tag = name.replace(' ', "-");
    indent(out, depth);
    let value = match property {
        Property::List(items) => {
            let _ = writeln!(out, "<{tag}>");
            for item in items {
                indent(out, depth + 1);
                let _ = writeln!(out, "<Item>{}</Item>", escaped(item));
            }
            indent(out, depth);
            let _ = writeln!(out, "</{tag}>");
            return;
        }
        Property::Text(text) => escaped(text),
        Property::Number(number) => number.clone(),
        Property::Flag(flag) => flag.to_string(),
    };
    let _ = writeln!(out, "<{tag}>{value}</{tag}>");
}

fn xml_node(node: &ExplainNode, depth: usize, out: &mut String) {
    indent(out, depth);
    out.push_str("<Plan>\n");
    for (name, property) in &node.properties {
        xml_property(name, property, depth + 1, out);
    }
    if !node.plans.is_empty() {
        indent(out, depth + 1);
        out.push_str("<Plans>\n");
        for plan in &node.plans {
            xml_node(plan, depth + 2, out);
        }
        indent(out, depth + 1);
        out.push_str("</Plans>\n");
    }
    indent(out, depth);
    out.push_str("</Plan>\n");
}

fn yaml(root: &ExplainNode, times: &[(&str, Property)], out: &mut String) {
    out.push_str("- Plan: \n");
    yaml_node(root, 2, false, out);
    for (name, property) in times {
        indent(out, 1);
        let _ = writeln!(out, "{name}: {}", scalar(property, json_list));
    }
    out.truncate(out.trim_end().len());
}

/// `listed`: the first line has the dash of a list's item in its indentation.
fn yaml_node(node: &ExplainNode, depth: usize, listed: bool, out: &mut String) {
    for (index, (name, property)) in node.properties.iter().enumerate() {
        match listed && index == 0 {
            true => {
                indent(out, depth - 1);
                out.push_str("- ");
            }
            false => indent(out, depth),
        }
        match property {
            Property::List(items) => {
                let _ = writeln!(out, "{name}: ");
                for item in items {
                    indent(out, depth + 1);
                    let _ = writeln!(out, "- {}", quoted(item));
                }
            }
            _ => {
                let _ = writeln!(out, "{name}: {}", scalar(property, json_list));
            }
        }
    }
    if !node.plans.is_empty() {
        indent(out, depth);
        out.push_str("Plans: \n");
        for plan in &node.plans {
            yaml_node(plan, depth + 2, true, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 4] = [
        "SortExec: expr=[a@0 ASC], metrics=[output_rows=2, elapsed_compute=1ms]",
        "  FilterExec: a@0 > \"1\", metrics=[output_rows=2]",
        "Rows: 2",
        "Execution Time: 1.500 ms",
    ];

    fn rendered(format: ExplainFormat) -> String {
        render(&LINES.map(str::to_string), format, false)
    }

    #[test]
    fn a_plan_in_json_has_the_shape_that_clients_read() {
        let plan: serde_json::Value = serde_json::from_str(&rendered(ExplainFormat::Json)).expect("it is JSON");
        assert_eq!(plan[0]["Plan"]["Node Type"], "Sort");
        assert_eq!(plan[0]["Plan"]["Sort Key"][0], "a@0 ASC");
        assert_eq!(plan[0]["Plan"]["Actual Rows"], 2);
        assert_eq!(plan[0]["Plan"]["Plans"][0]["Filter"], "a@0 > \"1\"");
        assert_eq!(plan[0]["Plan"]["Plans"][0]["Parent Relationship"], "Outer");
        assert_eq!(plan[0]["Execution Time"], 1.5);
    }

    #[test]
    fn a_cte_stands_below_the_plan_that_reads_it() {
        let lines = ["CTE Scan: c", "CTE c", "  FilterExec: a@0 > 1", "    TopicScan: t"];
        let text = render(&lines.map(str::to_string), ExplainFormat::Json, false);
        let plan: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let root = &plan[0]["Plan"];
        assert_eq!(root["Node Type"], "CTE Scan");
        assert_eq!(root["CTE Name"], "c");
        assert_eq!(root["Plans"][0]["Parent Relationship"], "InitPlan");
        assert_eq!(root["Plans"][0]["Subplan Name"], "CTE c");
        assert_eq!(root["Plans"][0]["Plans"][0]["Parent Relationship"], "Outer");
    }

    #[test]
    fn a_scan_names_its_relation_as_postgresql_does() {
        let lines = ["CooperativeExec", "  TopicScan: t, columns=[a, b], rows=2"];
        let text = render(&lines.map(str::to_string), ExplainFormat::Json, true);
        let plan: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let root = &plan[0]["Plan"];
        assert_eq!(root["Node Type"], "Seq Scan");
        assert_eq!(root["Relation Name"], "t");
        assert_eq!(root["Alias"], "t");
        assert_eq!(root["Output"], serde_json::json!(["a", "b"]));
        assert_eq!(root["Details"], "rows=2");
    }

    #[test]
    fn a_plan_in_xml_and_yaml_is_the_same_tree() {
        let xml = rendered(ExplainFormat::Xml);
        assert!(xml.contains("<Node-Type>Sort</Node-Type>"), "{xml}");
        assert!(xml.contains("<Filter>a@0 &gt; \"1\"</Filter>"), "{xml}");
        let yaml = rendered(ExplainFormat::Yaml);
        assert!(yaml.starts_with("- Plan: \n    Node Type: \"Sort\"\n"), "{yaml}");
        assert!(
            yaml.contains("\n    Plans: \n      - Node Type: \"Result\"\n        Parent"),
            "{yaml}"
        );
    }
}
