//! Queries: WITH, set operations, ORDER BY and LIMIT around a SELECT; and queries within expressions.

use std::sync::Arc;

use datafusion::common::{Column, ScalarValue, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier, Sort};
use datafusion::logical_expr::{
    Expr, Filter, Limit, LogicalPlan, Operator, Projection, Sort as SortNode, Subquery, Volatility,
};
use sqlparser::ast::{self, SetExpr};

use super::from_part::aliased;
use super::kinds::{self, CastContext};
use super::operators::{binary, comparison, has, is_later};
use super::output::{OutColumn, QueryOutput};
use super::record::all_of;
use super::scope::{Clause, Scope};
use super::typed::{ORDERING, Shape, Typed, at, cast_to, check_operator};
use super::{Analyzer, Result};
use crate::error::{SqlError, SqlState, state};
use crate::sql::functions::single_value;
use crate::sql::plan::subquery::{calls_volatile, outer_references};
use crate::sql::plan::{eval, names};
use crate::types::PgType;

/// The columns wanted beside a query's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Rows,
    /// One more column with the number of each row, in the query's order.
    Numbered,
}

/// 2201W
const INVALID_LIMIT: SqlState = SqlState("2201W");
/// 2201X
const INVALID_OFFSET: SqlState = SqlState("2201X");

/// The order of a query's rows, as LIMIT needs to know it.
pub struct RowOrder<'o> {
    pub sorts: &'o [Sort],
    /// WITH TIES
    pub ties: bool,
    /// The names of the query itself.
    pub own: Option<&'o Scope<'o>>,
}

fn of_variables(clause: &str, position: Option<usize>) -> SqlError {
    let message = format!("argument of {clause} must not contain variables");
    at(SqlError::new(state::INVALID_COLUMN_REFERENCE, message), position)
}

impl Analyzer<'_> {
    pub fn query(&self, query: &ast::Query, parent: Option<&Scope>) -> Result<QueryOutput> {
        self.query_for(query, parent, Wanted::Rows)
    }

    pub fn query_for(&self, query: &ast::Query, parent: Option<&Scope>, wanted: Wanted) -> Result<QueryOutput> {
        crate::stop::check()?;
        let ctes = self.ctes.borrow().len();
        if let Some(with) = &query.with {
            self.define(with, query, parent)?;
        }
        let output = self.body(query, parent, wanted);
        self.ctes.borrow_mut().truncate(ctes);
        output
    }

    fn body(&self, query: &ast::Query, parent: Option<&Scope>, wanted: Wanted) -> Result<QueryOutput> {
        if let SetExpr::Select(select) = query.body.as_ref() {
            return self.select(select, query, parent, wanted);
        }
        let mut output = self.set_expr(&query.body, parent)?;
        let order = order_items(query)?;
        let mut sorts = Vec::with_capacity(order.len());
        for by in order {
            let at = self.output_place(&by.expr, &output.columns)?;
            let column = &output.columns[at];
            check_operator(&column.pg_type, ORDERING, None)?;
            let typed = Typed::new(Expr::Column(column.column.clone()), column.pg_type.clone(), None);
            sorts.push(self.sort(typed, by.options));
        }
        if wanted == Wanted::Numbered {
            output = self.numbered(output, sorts.clone())?;
        }
        if !sorts.is_empty() {
            output.plan = sorted(output.plan, sorts.clone());
        }
        let ties = with_ties(query);
        if ties && sorts.is_empty() {
            return Err(ties_without_order());
        }
        let order = RowOrder {
            sorts: &sorts,
            ties,
            own: None,
        };
        output.plan = self.limited(output.plan, query, parent, &order)?;
        Ok(output)
    }

    /// The output column that an item of ORDER BY names, if there is nothing else to order by.
    fn output_place(&self, expr: &ast::Expr, columns: &[OutColumn]) -> Result<usize> {
        use sqlparser::ast::Spanned;
        if let Some(constant) = super::number::written_constant(expr) {
            return self.place(&constant, self.position(expr.span()), columns.len(), "ORDER BY");
        }
        match expr {
            ast::Expr::Identifier(ident) => {
                let name = names::fold(ident);
                let mut found = columns.iter().enumerate().filter(|(_, column)| column.name == name);
                match (found.next(), found.next()) {
                    (Some((at, _)), None) => Ok(at),
                    (Some(_), Some(_)) => Err(at(
                        SqlError::new(state::AMBIGUOUS_COLUMN, format!("ORDER BY \"{name}\" is ambiguous")),
                        self.position(ident.span),
                    )),
                    (None, _) => Err(at(
                        crate::sql::error::undefined_column(None, &name),
                        self.position(ident.span),
                    )),
                }
            }
            other => Err(at(
                SqlError::new(
                    state::FEATURE_NOT_SUPPORTED,
                    "invalid UNION/INTERSECT/EXCEPT ORDER BY clause",
                )
                .detail("Only result column names can be used, not expressions or functions.")
                .hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause."),
                self.position(other.span()),
            )),
        }
    }

    /// `ORDER BY 2`: the index of that column.
    pub fn place(&self, constant: &ast::Value, position: Option<usize>, columns: usize, clause: &str) -> Result<usize> {
        let number = match constant {
            ast::Value::Number(digits, _) => digits.parse::<i64>().ok(),
            _ => None,
        };
        let Some(number) = number else {
            return Err(at(
                SqlError::new(state::SYNTAX_ERROR, format!("non-integer constant in {clause}")),
                position,
            ));
        };
        match usize::try_from(number) {
            Ok(number) if (1..=columns).contains(&number) => Ok(number - 1),
            _ => Err(at(
                SqlError::new(
                    state::INVALID_COLUMN_REFERENCE,
                    format!("{clause} position {number} is not in select list"),
                ),
                position,
            )),
        }
    }

    /// The rows with a number each, in an order, as the last column.
    pub fn numbered(&self, output: QueryOutput, order: Vec<Sort>) -> Result<QueryOutput> {
        let name = self.internal_name("number");
        let plan = super::window::row_number(output.plan, vec![], order, &name)?;
        let mut columns = output.columns;
        columns.push(OutColumn {
            name: name.clone(),
            column: Column::from_name(&name),
            pg_type: PgType::Int8,
            untyped: false,
            row: None,
            typmod: None,
        });
        Ok(QueryOutput { plan, columns })
    }

    /// LIMIT, OFFSET and FETCH.
    pub fn limited(
        &self,
        plan: LogicalPlan,
        query: &ast::Query,
        parent: Option<&Scope>,
        order: &RowOrder,
    ) -> Result<LogicalPlan> {
        let (mut fetch, skip) = match &query.limit_clause {
            None => (None, None),
            Some(ast::LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) => {
                if !limit_by.is_empty() {
                    return Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \"BY\""));
                }
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(ast::LimitClause::OffsetCommaLimit { .. }) => {
                return Err(SqlError::new(state::SYNTAX_ERROR, "LIMIT #,# syntax is not supported")
                    .hint("Use separate LIMIT and OFFSET clauses."));
            }
        };
        let one = ast::Expr::Value(ast::Value::Number("1".to_string(), false).into());
        if let Some(limit) = &query.fetch {
            if limit.percent {
                return Err(SqlError::unsupported(
                    "FETCH ... PERCENT is not supported",
                    "Give a number of rows.",
                ));
            }
            fetch = fetch.or(Some(limit.quantity.as_ref().unwrap_or(&one)));
        }
        let scope = Scope::new(vec![], parent);
        let count = |expr: Option<&ast::Expr>, clause: &str, negative: SqlState| -> Result<Option<Expr>> {
            let Some(expr) = expr else { return Ok(None) };
            let typed = scope
                .within(Clause::Limit, || self.expr(expr, &scope))
                .map_err(|error| {
                    // Columns of the query itself do not count here.
                    let known = order.own.and_then(|own| {
                        let typed = own.within(Clause::Limit, || self.expr(expr, own)).ok()?;
                        Some(of_variables(clause, typed.position))
                    });
                    known.unwrap_or(error)
                })?;
            if typed.is_null() {
                return Ok(None);
            }
            let position = typed.position;
            let typed = match kinds::can_coerce(typed.oid(), kinds::INT8, CastContext::Assignment) {
                true => self.cast(typed, &PgType::Int8, CastContext::Assignment)?,
                false => self.coerce_to(typed, &PgType::Int8, &format!("argument of {clause}"))?,
            };
            let named = |node: &Expr| matches!(node, Expr::Column(_) | Expr::OuterReferenceColumn(..));
            if has(&typed.expr, named) {
                return Err(of_variables(clause, position));
            }
            if is_later(&typed.expr) {
                return Ok(Some(typed.expr));
            }
            match eval::constant(typed.expr).map_err(|error| at(SqlError::from(error), position))? {
                ScalarValue::Int64(None) => Ok(None),
                ScalarValue::Int64(Some(count)) if count < 0 => {
                    Err(SqlError::new(negative, format!("{clause} must not be negative")))
                }
                value => Ok(Some(Expr::Literal(value, None))),
            }
        };
        let fetch = count(fetch, "LIMIT", INVALID_LIMIT)?;
        let skip = count(skip, "OFFSET", INVALID_OFFSET)?;
        if let (true, Some(fetch)) = (order.ties, &fetch) {
            return self.with_ties(plan, order.sorts, fetch.clone(), skip);
        }
        let is_engines = |count: &Option<Expr>| matches!(count, None | Some(Expr::Literal(..) | Expr::Placeholder(_)));
        if !is_engines(&fetch) || !is_engines(&skip) {
            return self.counted_rows(plan, order.sorts, fetch, skip);
        }
        if fetch.is_none() && skip.is_none() {
            return Ok(plan);
        }
        Ok(LogicalPlan::Limit(Limit {
            skip: skip.map(Box::new),
            fetch: fetch.map(Box::new),
            input: Arc::new(plan),
        }))
    }

    /// LIMIT and OFFSET whose values are known only while the query runs: the rows are numbered. The values are
    /// computed once.
    fn counted_rows(
        &self,
        plan: LogicalPlan,
        sorts: &[Sort],
        fetch: Option<Expr>,
        skip: Option<Expr>,
    ) -> Result<LogicalPlan> {
        let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let number = self.internal_name("number");
        let plan = super::window::row_number(plan, vec![], sorts.to_vec(), &number)?;
        let number = cast_to(Expr::Column(Column::from_name(number)), &PgType::Int8);
        let zero = || Expr::Literal(ScalarValue::Int64(Some(0)), None);
        let once = |expr: Expr, name: String| -> Result<Expr> {
            if matches!(expr, Expr::Literal(..) | Expr::Placeholder(_)) {
                return Ok(expr);
            }
            let one = super::from_part::nothing(true);
            let value = LogicalPlan::Projection(Projection::try_new(vec![expr.alias(&name)], Arc::new(one))?);
            let column = OutColumn {
                column: Column::from_name(&name),
                name,
                pg_type: PgType::Int8,
                untyped: false,
                row: None,
                typmod: None,
            };
            Ok(Expr::ScalarSubquery(self.subquery(self.only_row(value, &column)?)?))
        };
        let mut conditions = Vec::with_capacity(2);
        let skip = skip.map(|skip| once(skip, self.internal_name("offset"))).transpose()?;
        let skipped = match skip {
            Some(skip) => self
                .scalar("coalesce")
                .expect("it is the engine's")
                .call(vec![skip, zero()]),
            None => zero(),
        };
        conditions.push(binary(number.clone(), Operator::Gt, skipped.clone()));
        if let Some(fetch) = fetch {
            let fetch = once(fetch, self.internal_name("limit"))?;
            let past = binary(number, Operator::Minus, skipped);
            let within = binary(past, Operator::LtEq, fetch.clone());
            conditions.push(binary(fetch.is_null(), Operator::Or, within));
        }
        let plan = LogicalPlan::Filter(Filter::try_new(all_of(conditions), Arc::new(plan))?);
        let plan = match sorts.is_empty() {
            true => plan,
            false => sorted(plan, sorts.to_vec()),
        };
        Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
    }

    /// FETCH FIRST n ROWS WITH TIES: the rows after the n-th that equal it come too.
    fn with_ties(&self, plan: LogicalPlan, sorts: &[Sort], fetch: Expr, skip: Option<Expr>) -> Result<LogicalPlan> {
        let columns: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
        let number = self.internal_name("number");
        let plan = super::window::row_number(plan, vec![], sorts.to_vec(), &number)?;
        let rank = self.internal_name("rank");
        let plan = super::window::ranked(plan, sorts.to_vec(), &rank)?;
        let column = |name: &str| Expr::Column(Column::from_name(name));
        let skip = skip.unwrap_or(Expr::Literal(ScalarValue::Int64(Some(0)), None));
        let last = binary(skip.clone(), Operator::Plus, fetch);
        let within = all_of(vec![
            binary(cast_to(column(&rank), &PgType::Int8), Operator::LtEq, last),
            binary(cast_to(column(&number), &PgType::Int8), Operator::Gt, skip),
        ]);
        let plan = LogicalPlan::Filter(Filter::try_new(within, Arc::new(plan))?);
        let plan = sorted(plan, sorts.to_vec());
        Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
    }

    /// Columns of a query without a type yet become text.
    pub fn settle_output(&self, output: QueryOutput) -> Result<QueryOutput> {
        if output.columns.iter().all(|column| column.row.is_none()) {
            return Ok(output);
        }
        // Rows go to a client as text.
        let mut exprs = Vec::with_capacity(output.columns.len());
        let mut columns = output.columns;
        for column in &mut columns {
            let expr = Expr::Column(column.column.clone());
            exprs.push(match column.row.take() {
                Some(shape) => {
                    let text = match super::traversal::shown(&expr, &shape) {
                        Some((shown, pg_type)) => {
                            column.pg_type = pg_type;
                            shown
                        }
                        None => crate::sql::functions::record_text().call(vec![expr]),
                    };
                    let name = column.column.name.clone();
                    column.column = Column::from_name(&name);
                    text.alias(name)
                }
                None => expr,
            });
        }
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(output.plan))?);
        Ok(QueryOutput { plan, columns })
    }

    // ---- queries within expressions

    fn subquery(&self, plan: LogicalPlan) -> Result<Subquery> {
        // The engine computes equal ones once: a volatile one is equal to none.
        let plan = match calls_volatile(&plan) {
            true => aliased(plan, &self.internal_name("volatile"))?,
            false => plan,
        };
        Ok(Subquery {
            outer_ref_columns: outer_references(&plan),
            subquery: Arc::new(plan),
            spans: Spans::new(),
        })
    }

    fn one_column(&self, output: &QueryOutput, position: Option<usize>) -> Result<OutColumn> {
        match output.columns.as_slice() {
            [column] => Ok(column.clone()),
            _ => Err(at(
                SqlError::new(state::SYNTAX_ERROR, "subquery must return only one column"),
                position,
            )),
        }
    }

    /// `(SELECT ...)` as a value.
    pub fn scalar_subquery(&self, query: &ast::Query, scope: &Scope, position: Option<usize>) -> Result<Typed> {
        let output = self.query(query, Some(scope))?;
        let column = self.one_column(&output, position)?;
        if let Some(inlined) = self.inlined(&output.plan, &column, scope)? {
            let inlined = Typed { position, ..inlined };
            return Ok(inlined.modified(column.typmod));
        }
        let plan = match gives_one_row(&output.plan) {
            true => output.plan,
            false => self.only_row(output.plan, &column)?,
        };
        let expr = Expr::ScalarSubquery(self.subquery(plan)?);
        Ok(column.shape().told_over(expr, position).modified(column.typmod))
    }

    /// `(SELECT a, b)` beside a row: a value for each column.
    pub fn row_subquery(&self, query: &ast::Query, scope: &Scope) -> Result<Typed> {
        let output = self.query(query, Some(scope))?;
        let mut fields = Vec::with_capacity(output.columns.len());
        for column in &output.columns {
            let plan = self.only_row(output.plan.clone(), column)?;
            let value = Expr::ScalarSubquery(self.subquery(plan)?);
            fields.push((column.name.clone(), column.shape().told_over(value, None)));
        }
        Ok(Typed::row(fields, None))
    }

    /// A subquery of nothing but expressions is its expression.
    fn inlined(&self, plan: &LogicalPlan, column: &OutColumn, scope: &Scope) -> Result<Option<Typed>> {
        let LogicalPlan::Projection(projection) = plan else {
            return Ok(None);
        };
        let (LogicalPlan::EmptyRelation(empty), [expr]) = (projection.input.as_ref(), projection.expr.as_slice())
        else {
            return Ok(None);
        };
        let mut is_subject = false;
        let mut is_volatile = false;
        datafusion::common::tree_node::TreeNode::apply(expr, |node| {
            is_subject |= matches!(node, Expr::OuterReferenceColumn(..));
            is_volatile |= matches!(node, Expr::ScalarFunction(call)
                if call.func.signature().volatility == Volatility::Volatile);
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        })?;
        if !empty.produce_one_row || (is_volatile && !is_subject) {
            return Ok(None);
        }
        let known = |wanted: &Column| {
            let mut columns = scope.items.iter().flat_map(|item| &item.columns);
            columns.any(|column| column.expr.column_refs().contains(wanted))
        };
        // An aggregate of this query that stands within it.
        let own = |wanted: &Column| {
            let aggregates = scope.aggregates.borrow();
            let own = aggregates.iter().find_map(|aggregate| match aggregate {
                Expr::Alias(alias) if alias.name == wanted.name => Some(alias.expr.as_ref().clone()),
                _ => None,
            });
            own.filter(|_| wanted.relation.is_none())
        };
        let expr = datafusion::common::tree_node::TreeNode::transform_up(expr.clone().unalias(), |node| match node {
            Expr::OuterReferenceColumn(_, column) if known(&column) => {
                Ok(datafusion::common::tree_node::Transformed::yes(Expr::Column(column)))
            }
            Expr::OuterReferenceColumn(field, column) => Ok(match own(&column) {
                Some(aggregate) => datafusion::common::tree_node::Transformed::yes(aggregate),
                None => datafusion::common::tree_node::Transformed::no(Expr::OuterReferenceColumn(field, column)),
            }),
            other => Ok(datafusion::common::tree_node::Transformed::no(other)),
        })?;
        scope.inlined.borrow_mut().push((expr.data.clone(), scope.clause.get()));
        Ok(Some(column.shape().over(expr.data, None)))
    }

    /// A plan of one row, with NULL where there was none; 21000 at run time where there are more.
    fn only_row(&self, plan: LogicalPlan, column: &OutColumn) -> Result<LogicalPlan> {
        let value = Expr::Column(column.column.clone());
        let call = single_value().call(vec![value]);
        let name = self.internal_name("value");
        let aggregate = datafusion::logical_expr::Aggregate::try_new(Arc::new(plan), vec![], vec![call.alias(name)])?;
        Ok(LogicalPlan::Aggregate(aggregate))
    }

    pub fn exists(&self, query: &ast::Query, negated: bool, scope: &Scope) -> Result<Typed> {
        use sqlparser::ast::Spanned;
        let output = self.query(query, Some(scope))?;
        let position = self.position(query.span());
        let expr = Expr::Exists(Exists {
            subquery: self.subquery(output.plan)?,
            negated,
        });
        Ok(Typed::boolean(expr, position))
    }

    pub fn in_subquery(&self, expr: &ast::Expr, query: &ast::Query, negated: bool, scope: &Scope) -> Result<Typed> {
        let value = self.expr(expr, scope)?;
        let typed = self.quantified_subquery("=", value, query, false, scope, None)?;
        Ok(match (negated, typed.expr) {
            (true, Expr::InSubquery(call)) => {
                Typed::boolean(Expr::InSubquery(InSubquery { negated: true, ..call }), typed.position)
            }
            (true, other) => Typed::boolean(Expr::Not(Box::new(other)), typed.position),
            (false, other) => Typed::boolean(other, typed.position),
        })
    }

    /// `value symbol ANY (SELECT ...)`, `value symbol ALL (SELECT ...)`
    pub fn quantified_subquery(
        &self,
        symbol: &str,
        value: Typed,
        query: &ast::Query,
        all: bool,
        scope: &Scope,
        place: Option<usize>,
    ) -> Result<Typed> {
        let output = self.query(query, Some(scope))?;
        let position = value.position;
        let given = value.fields().map_or(1, <[(String, Typed)]>::len);
        // A row against a column of rows.
        let of_rows = match output.columns.as_slice() {
            [column] => value.fields().is_some() && matches!(column.row, Some(Shape::Row(_))),
            _ => false,
        };
        if given != output.columns.len() && !of_rows {
            let message = match given > output.columns.len() {
                true => "subquery has too few columns",
                false => "subquery has too many columns",
            };
            return Err(at(SqlError::new(state::SYNTAX_ERROR, message), position));
        }
        let column_of = |column: &OutColumn| column.shape().over(Expr::Column(column.column.clone()), None);
        if let (None, [column], Some(op)) = (value.fields(), output.columns.as_slice(), comparison(symbol)) {
            let compared = self.binary(symbol, value.clone(), column_of(column), place)?;
            let Expr::BinaryExpr(compared) = compared.expr else {
                unreachable!("a comparison is a binary expression")
            };
            let plan = self.with_column(output.plan, *compared.right)?;
            let subquery = self.subquery(plan)?;
            let expr = match (op, all) {
                (Operator::Eq, false) => Expr::InSubquery(InSubquery::new(compared.left, subquery, false)),
                (Operator::NotEq, true) => Expr::InSubquery(InSubquery::new(compared.left, subquery, true)),
                (op, all) => {
                    let quantifier = if all { SetQuantifier::All } else { SetQuantifier::Any };
                    Expr::SetComparison(SetComparison::new(compared.left, subquery, op, quantifier))
                }
            };
            return Ok(Typed::boolean(expr, position));
        }
        // Row by row: the value is an outer one within the subquery.
        let outer = self.as_outer(&value)?;
        let rows = match value.fields() {
            Some(_) if !of_rows => {
                let fields = output
                    .columns
                    .iter()
                    .map(|column| (column.name.clone(), column_of(column)));
                Typed::row(fields.collect(), None)
            }
            _ => column_of(&output.columns[0]),
        };
        let holds = self.binary(symbol, outer, rows, place)?.expr;
        let among = |condition: Expr| -> Result<Expr> {
            let filtered = LogicalPlan::Filter(Filter::try_new(condition, Arc::new(output.plan.clone()))?);
            Ok(Expr::Exists(Exists {
                subquery: self.subquery(filtered)?,
                negated: false,
            }))
        };
        let decides = match all {
            false => Expr::IsTrue(Box::new(holds.clone())),
            true => Expr::IsFalse(Box::new(holds.clone())),
        };
        let expr = self.decided_by(among(decides)?, among(Expr::IsNull(Box::new(holds)))?, all)?;
        Ok(Typed::boolean(expr, position))
    }

    /// An expression of a query as a subquery of it sees it.
    fn as_outer(&self, typed: &Typed) -> Result<Typed> {
        Ok(match typed.fields() {
            Some(_) if matches!(typed.expr, Expr::Column(_)) => {
                let shape = typed.shape();
                shape.over(super::scope::outer(&typed.expr, &shape)?, typed.position)
            }
            Some(fields) => {
                let fields = fields
                    .iter()
                    .map(|(name, field)| Ok((name.clone(), self.as_outer(field)?)))
                    .collect::<Result<_>>()?;
                Typed::row(fields, typed.position)
            }
            None => {
                let shape = typed.shape();
                Typed {
                    expr: super::scope::outer(&typed.expr, &shape)?,
                    ty: typed.ty.clone(),
                    position: typed.position,
                    typmod: typed.typmod,
                }
            }
        })
    }

    /// A plan whose only column is an expression over its own.
    fn with_column(&self, plan: LogicalPlan, expr: Expr) -> Result<LogicalPlan> {
        if let Expr::Column(_) = &expr {
            return Ok(plan);
        }
        let name = self.internal_name("value");
        Ok(LogicalPlan::Projection(Projection::try_new(
            vec![expr.alias(name)],
            Arc::new(plan),
        )?))
    }

    /// `ARRAY(SELECT ...)`, in the query's order.
    pub fn array_of_query(&self, query: &ast::Query, scope: &Scope, position: Option<usize>) -> Result<Typed> {
        let ordered = query.order_by.is_some();
        let wanted = if ordered { Wanted::Numbered } else { Wanted::Rows };
        let mut output = self.query_for(query, Some(scope), wanted)?;
        let shown = output.columns.len() - usize::from(ordered);
        if shown != 1 {
            return Err(at(
                SqlError::new(state::SYNTAX_ERROR, "subquery must return only one column"),
                position,
            ));
        }
        let column = output.columns[0].clone();
        if matches!(column.row, Some(Shape::Rows(_))) {
            return Err(at(crate::types::multidimensional(), position));
        }
        let shown_column = Typed::new(Expr::Column(column.column.clone()), column.pg_type.clone(), None);
        let element = super::arrays::shaped(shown_column);
        let order = match ordered {
            true => vec![Sort::new(Expr::Column(output.columns[1].column.clone()), true, false)],
            false => {
                let (plan, order) = self.with_order(output.plan)?;
                output.plan = plan;
                order
            }
        };
        let function = crate::sql::functions::functions().aggregate.get("array_agg");
        let function = function.expect("it is the engine's").clone();
        let call = datafusion::logical_expr::expr::AggregateFunction::new_udf(
            function,
            vec![element.expr.clone()],
            false,
            None,
            order,
            None,
        );
        let name = self.internal_name("array");
        let aggregate = datafusion::logical_expr::Aggregate::try_new(
            Arc::new(output.plan),
            vec![],
            vec![Expr::AggregateFunction(call).alias(name)],
        )?;
        let subquery = Expr::ScalarSubquery(self.subquery(LogicalPlan::Aggregate(aggregate))?);
        if let Some(Shape::Row(fields)) = &column.row {
            let function = self.scalar("coalesce").expect("it is the engine's");
            let rows = function.call(vec![subquery, self.empty_rows(fields)]);
            return Ok(Shape::Rows(fields.clone()).over(rows, position));
        }
        let array = PgType::Array(Box::new(element.pg_type()));
        if let PgType::Shaped(item) = element.pg_type() {
            let gathered = super::arrays::gathered(Typed::new(subquery, array, position));
            let empty = self.empty_shaped(&item, position)?;
            let function = self.scalar("coalesce").expect("it is the engine's");
            let expr = function.call(vec![gathered.expr, empty.expr]);
            return Ok(Typed::new(expr, PgType::Shaped(item), position).modified(column.typmod));
        }
        let empty = self.empty_array(&column.pg_type, position)?;
        let function = self.scalar("coalesce").expect("it is the engine's");
        let made = Typed::new(function.call(vec![subquery, empty.expr]), array, position);
        Ok(made.modified(column.typmod))
    }
}

/// Whether a plan has exactly one row for all inputs.
fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => gives_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => gives_one_row(&alias.input),
        LogicalPlan::Sort(sort) => gives_one_row(&sort.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        _ => false,
    }
}

pub fn sorted(plan: LogicalPlan, expr: Vec<Sort>) -> LogicalPlan {
    LogicalPlan::Sort(SortNode {
        expr,
        input: Arc::new(plan),
        fetch: None,
    })
}

pub fn ties_without_order() -> SqlError {
    SqlError::new(
        state::SYNTAX_ERROR,
        "WITH TIES cannot be specified without ORDER BY clause",
    )
}

pub fn with_ties(query: &ast::Query) -> bool {
    query.fetch.as_ref().is_some_and(|fetch| fetch.with_ties)
}

/// The items of ORDER BY.
pub fn order_items(query: &ast::Query) -> Result<&[ast::OrderByExpr]> {
    match &query.order_by {
        None => Ok(&[]),
        Some(ast::OrderBy {
            kind: ast::OrderByKind::Expressions(items),
            ..
        }) => Ok(items),
        Some(_) => Err(SqlError::new(state::SYNTAX_ERROR, "syntax error at or near \"ALL\"")),
    }
}
