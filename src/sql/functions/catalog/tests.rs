//! Catalog functions over a sample catalog.

use datafusion::prelude::{SessionContext, lit};

use super::*;
use crate::catalog::system::sample;

fn facts() -> Arc<Facts> {
    Arc::new(Facts::new(
        Arc::new(sample()),
        &["public".to_string()],
        "root",
        "millstream",
    ))
}

fn literal(value: &SystemValue) -> datafusion::prelude::Expr {
    match value {
        SystemValue::Null => lit(ScalarValue::Utf8(None)),
        SystemValue::Bool(value) => lit(*value),
        SystemValue::Int(value) => lit(*value),
        SystemValue::Float(value) => lit(*value),
        SystemValue::Text(text) => lit(text.clone()),
        SystemValue::List(items) => {
            let items: Vec<ScalarValue> = items.iter().map(|item| ScalarValue::from(text_of(item))).collect();
            lit(ScalarValue::List(ScalarValue::new_list_nullable(
                &items,
                &DataType::Utf8,
            )))
        }
    }
}

/// Checks the printed answer of a function to constants; an error shows as its message.
fn check(name: &str, arguments: &[SystemValue], expect: &str) {
    let function = catalog_function(name, &facts()).expect("the function is there");
    let args: Vec<_> = arguments.iter().map(literal).collect();
    let schema = datafusion::common::DFSchema::empty();
    let context = SessionContext::new();
    let result = context
        .create_physical_expr(function.call(args), &schema)
        .and_then(|expr| {
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
            let batch = arrow::array::RecordBatch::try_new_with_options(
                Arc::new(arrow::datatypes::Schema::empty()),
                vec![],
                &options,
            )?;
            expr.evaluate(&batch)?.to_array(1)
        });
    let text = match result {
        Ok(array) if array.is_null(0) => "NULL".to_string(),
        Ok(array) => arrow::util::display::array_value_to_string(&array, 0).expect("a printable value"),
        Err(error) => error.to_string().trim_start_matches("External error: ").to_string(),
    };
    assert_eq!(text, expect, "{name}({arguments:?})");
}

#[test]
fn types_are_named_with_their_modifiers() {
    check("format_type", &[20.into(), SystemValue::Null], "bigint");
    check("format_type", &[1700.into(), 1179654.into()], "numeric(18,2)");
    check("format_type", &[1043.into(), 14.into()], "character varying(10)");
    check("format_type", &[1043.into(), (-1).into()], "character varying");
    check("format_type", &[1009.into(), (-1).into()], "text[]");
    check("format_type", &[1231.into(), 1179654.into()], "numeric(18,2)[]");
    check("format_type", &[18.into(), SystemValue::Null], "\"char\"");
    check("format_type", &[0.into(), SystemValue::Null], "-");
    check("format_type", &[424_242.into(), SystemValue::Null], "???");
    check("format_type", &[SystemValue::Null, SystemValue::Null], "NULL");
}

#[test]
fn names_lead_to_oids_and_back() {
    check("regclass", &["bids".into()], "16384");
    check("regclass", &["public.\"bids\"".into()], "16384");
    check("regclass", &["pg_catalog.pg_class".into()], "1259");
    check("regclass", &["pg_class".into()], "1259");
    check(
        "regclass",
        &["nowhere".into()],
        "relation \"nowhere\" does not exist (42P01)",
    );
    check("to_regclass", &["nowhere".into()], "NULL");
    check("regclassout", &[16384.into()], "bids");
    check("regclassout", &[13101.into()], "millstream.topics");
    check("regclassout", &[0.into()], "-");
    check("regclassout", &[99_999.into()], "99999");
    check("to_regtype", &["int4".into()], "23");
    check("to_regtype", &["double precision".into()], "701");
    check("to_regtype", &["hstore".into()], "NULL");
    check("regtypeout", &[1007.into()], "integer[]");
    check("regproc", &["pg_catalog.array_in".into()], "750");
    check("regproc", &["pg_catalog.upper(text)".into()], "871");
    check("regnamespaceout", &[2200.into()], "public");
}

#[test]
fn visibility_follows_the_search_path() {
    check("pg_table_is_visible", &[16384.into()], "true");
    check("pg_table_is_visible", &[1259.into()], "true");
    check("pg_table_is_visible", &[13101.into()], "false");
    check("pg_table_is_visible", &[99_999.into()], "NULL");
    check("current_schemas", &[true.into()], "[pg_catalog, public]");
}

#[test]
fn definitions_and_comments_come_from_the_catalog() {
    let definition = " SELECT auction, count(*) AS bids FROM bids GROUP BY auction;";
    check("pg_get_viewdef", &[16385.into(), true.into()], definition);
    check("pg_get_viewdef", &["plain".into()], definition);
    check("pg_get_viewdef", &[16384.into()], "NULL");
    let check_oid = derived(0);
    check(
        "pg_get_constraintdef",
        &[check_oid.into(), true.into()],
        "CHECK ((price >= 0))",
    );
    check("obj_description", &[16384.into(), "pg_class".into()], "all bids");
    check("obj_description", &[16384.into(), "pg_type".into()], "NULL");
    check("col_description", &[16384.into(), 2.into()], "in euro");
    check("pg_get_userbyid", &[10.into()], "millstream");
    check("pg_get_userbyid", &[77.into()], "unknown (OID=77)");
    check("has_table_privilege", &["bids".into(), "select".into()], "true");
}

fn derived(index: usize) -> u32 {
    use crate::catalog::system::{RelationPart, derived_oid};
    derived_oid(16384, RelationPart::Check(index))
}

#[test]
fn the_type_of_a_value_is_its_name() {
    check("pg_typeof", &[1.into()], "bigint");
}

#[test]
fn a_wrong_number_of_arguments_is_no_function() {
    check(
        "pg_table_is_visible",
        &[],
        "function pg_table_is_visible() does not exist (42883)",
    );
}
