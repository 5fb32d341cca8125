//! Functions that ask the server about itself: `pg_table_size(x)` and its kind answer from `millstream.topics`, a
//! transaction's number is the newest LSN.

use sqlparser::ast::{self, FunctionArg, FunctionArgExpr, FunctionArguments, SetExpr};

use super::scope::Scope;
use super::typed::Typed;
use super::{Analyzer, Result};

impl Analyzer<'_> {
    /// The call as a query; `None` for any other function.
    pub fn size_call(&self, name: &str, call: &ast::Function, scope: &Scope) -> Result<Option<Typed>> {
        let select = match name {
            "pg_relation_size" | "pg_table_size" | "pg_total_relation_size" => {
                // Names of the argument's own are not captured.
                r#"SELECT "~s"."~v" FROM (SELECT topics.oid AS "~k", topics.bytes AS "~v" FROM millstream.topics) AS "~s"
                   WHERE "~s"."~k" = NULL::regclass"#
            }
            "pg_indexes_size" => "SELECT 0::bigint",
            "pg_database_size" | "pg_tablespace_size" => {
                "SELECT CAST(sum(sized.bytes) AS bigint) FROM millstream.topics AS sized"
            }
            "txid_current" | "pg_current_xact_id" => "SELECT wal.newest_lsn FROM millstream.wal AS wal",
            _ => return Ok(None),
        };
        let parsed = sqlparser::parser::Parser::new(&sqlparser::dialect::PostgreSqlDialect {})
            .try_with_sql(select)
            .and_then(|mut parser| parser.parse_query());
        let mut query = parsed.expect("the template is a query");
        if let SetExpr::Select(select) = query.body.as_mut()
            && let Some(ast::Expr::BinaryOp { right, .. }) = &mut select.selection
            && let ast::Expr::Cast { expr, .. } = right.as_mut()
            && let FunctionArguments::List(list) = &call.args
            && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(relation))) = list.args.first()
        {
            **expr = relation.clone();
        }
        let bytes = self.scalar_subquery(&query, scope, None)?;
        let zero = super::number::integer(0, None);
        let (given, common) = self.unify(vec![bytes, zero], "COALESCE")?;
        let function = self.scalar("coalesce").expect("it is the engine's");
        let exprs = given.into_iter().map(|typed| typed.expr).collect();
        let expr = function.call(exprs);
        Ok(Some(Typed::new(expr, common, None)))
    }
}
