//! The canonical CREATE statement of a relation.
//!
//! One rule: parsing the text again gives the same definition (OIDs, schema ids and derived values aside).

use std::fmt::Write;

use super::{Column, Relation, Snapshot, Topic, View, quote_ident, quote_literal, quote_qualified};

/// CREATE TOPIC, CREATE TABLE ... APPEND ONLY, CREATE VIEW or CREATE MATERIALIZED VIEW, with `;` at the end.
/// `snapshot` knows the relations that a view reads.
pub fn show_create(relation: &Relation, snapshot: &Snapshot) -> String {
    match relation {
        Relation::Topic(topic) => show_create_topic(topic),
        Relation::View(view) => show_create_view(view, snapshot),
    }
}

fn show_create_topic(topic: &Topic) -> String {
    let word = if topic.is_table { "TABLE" } else { "TOPIC" };
    let mut items: Vec<String> = topic.columns.iter().map(column_text).collect();
    items.extend(
        topic
            .checks
            .iter()
            .map(|check| format!("CONSTRAINT {} CHECK ({})", quote_ident(&check.name), check.expr)),
    );
    items.extend(topic.watermark.as_ref().map(|watermark| {
        let column = quote_ident(&watermark.column);
        let mut text = format!("WATERMARK FOR {column} AS {column}");
        if watermark.delay_us != 0 {
            text += &format!(" - INTERVAL '{}'", interval_text(watermark.delay_us));
        }
        if let Some(max_ahead_us) = watermark.max_ahead_us {
            text += &format!(" WITH (max_ahead = '{}')", interval_text(max_ahead_us));
        }
        text
    }));
    let mut text = format!("CREATE {word} {} (", quote_qualified(&topic.schema, &topic.name));
    if !items.is_empty() {
        text += "\n    ";
        text += &items.join(",\n    ");
        text += "\n";
    }
    text += ")";
    if topic.is_table {
        text += " APPEND ONLY";
    }
    if !topic.partition_by.is_empty() {
        let columns: Vec<String> = topic.partition_by.iter().map(|name| quote_ident(name)).collect();
        write!(text, "\nPARTITION BY ({})", columns.join(", ")).expect("writing to a String does not fail");
    }
    text += &options_text(&topic.options, "\n");
    text + ";"
}

fn column_text(column: &Column) -> String {
    let mut text = format!("{} {}", quote_ident(&column.name), column.spelling());
    if column.not_null {
        text += " NOT NULL";
    }
    if let Some(default) = &column.default {
        write!(text, " DEFAULT {default}").expect("writing to a String does not fail");
    }
    if let Some(generated) = &column.generated {
        write!(text, " GENERATED ALWAYS AS ({generated}) STORED").expect("writing to a String does not fail");
    }
    text
}

fn show_create_view(view: &View, snapshot: &Snapshot) -> String {
    let word = if view.materialized { "MATERIALIZED VIEW" } else { "VIEW" };
    let columns: Vec<String> = view.columns.iter().map(|column| quote_ident(&column.name)).collect();
    let emit = if view.on_window_close {
        "\nEMIT ON WINDOW CLOSE"
    } else {
        ""
    };
    format!(
        "CREATE {word} {} ({}){} AS\n{}{emit};",
        quote_qualified(&view.schema, &view.name),
        columns.join(", "),
        options_text(&view.options, " "),
        view.definition_as_written(snapshot).trim().trim_end_matches(';'),
    )
}

fn options_text(options: &std::collections::BTreeMap<String, String>, before: &str) -> String {
    if options.is_empty() {
        return String::new();
    }
    let options: Vec<String> = options
        .iter()
        .map(|(name, value)| {
            if !value.is_empty() && value.len() < 10 && value.bytes().all(|b| b.is_ascii_digit()) {
                format!("{} = {value}", quote_ident(name))
            } else {
                format!("{} = {}", quote_ident(name), quote_literal(value))
            }
        })
        .collect();
    format!("{before}WITH ({})", options.join(", "))
}

/// A length of time, microseconds, as the text of an INTERVAL: `1 hour 30 minutes`, `250 milliseconds`.
pub fn interval_text(us: i64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
        (1, "microsecond"),
    ];
    let sign = if us < 0 { "-" } else { "" };
    let mut rest = us.unsigned_abs();
    let mut parts = Vec::new();
    for (unit_us, unit) in UNITS {
        let count = rest / unit_us;
        rest %= unit_us;
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            parts.push(format!("{sign}{count} {unit}{plural}"));
        }
    }
    if parts.is_empty() {
        return "0 seconds".to_string();
    }
    parts.join(" ")
}
