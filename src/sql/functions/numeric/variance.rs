//! Variances and standard deviations: of exact numbers as NUMERIC, by PostgreSQL's digits, of floats by `moments`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::column::{Numbers, is_exact};
use super::real;
use super::total::Total;
use crate::error::SqlError;
use crate::sql::functions::fail;
use crate::sql::functions::moments::{self, Moment};
use crate::sql::functions::once::{self, EachOnce};
use crate::types::decimal::{Decimal, quotient_scale};
use crate::types::varying::Numeric;

/// `var_pop`, `var_samp`, `stddev_pop` and `stddev_samp`, over the engine's.
pub fn all(engines: &HashMap<String, Arc<AggregateUDF>>) -> Vec<Arc<AggregateUDF>> {
    let names = [
        ("var_pop", false, false),
        ("var_samp", true, false),
        ("stddev_pop", false, true),
        ("stddev_samp", true, true),
    ];
    names
        .map(|(name, sample, root)| {
            Arc::new(AggregateUDF::from(Variance {
                name,
                sample,
                root,
                engines: engines[name].clone(),
                signature: Signature::user_defined(Volatility::Immutable),
            }))
        })
        .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Variance {
    name: &'static str,
    /// Of a sample, not of all.
    sample: bool,
    /// The standard deviation.
    root: bool,
    engines: Arc<AggregateUDF>,
    signature: Signature,
}

impl AggregateUDFImpl for Variance {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [only] if is_exact(only) => Ok(vec![only.clone()]),
            [_] => Ok(vec![DataType::Float64]),
            _ => self.engines.coerce_types(arguments),
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match is_exact(&arguments[0]) {
            true => Ok(DataType::LargeBinary),
            false => Ok(DataType::Float64),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if arguments.is_distinct {
            return Ok(once::state_fields(&arguments));
        }
        if !is_exact(arguments.input_fields[0].data_type()) {
            return Ok(moments::state_fields(&arguments));
        }
        let field = |suffix| {
            let name = format_state_name(arguments.name, suffix);
            Arc::new(Field::new(name, DataType::LargeBinary, true))
        };
        Ok(vec![field("sum"), field("squares")])
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let data_type = arguments.expr_fields[0].data_type();
        let (moment, sample, root, exact) = (self.moment(), self.sample, self.root, is_exact(data_type));
        let make = move || -> Box<dyn Accumulator> {
            match exact {
                true => Box::new(Moments {
                    sample,
                    root,
                    sum: Total::default(),
                    squares: Total::default(),
                }),
                false => moments::accumulator(moment),
            }
        };
        Ok(match arguments.is_distinct {
            true => Box::new(EachOnce::new(data_type, Box::new(move || Ok(make())))?),
            false => make(),
        })
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match is_exact(arguments.expr_fields[0].data_type()) {
            true => self.accumulator(arguments),
            false => Ok(moments::sliding(self.moment())),
        }
    }
}

impl Variance {
    fn moment(&self) -> Moment {
        match (self.sample, self.root) {
            (false, false) => Moment::VarPop,
            (true, false) => Moment::VarSamp,
            (false, true) => Moment::StddevPop,
            (true, true) => Moment::StddevSamp,
        }
    }
}

/// Sums of values and of their squares.
#[derive(Debug)]
struct Moments {
    sample: bool,
    root: bool,
    sum: Total,
    squares: Total,
}

impl Moments {
    fn change(&mut self, values: &ArrayRef, weight: i64) -> Result<(), SqlError> {
        let numbers = Numbers::of(values).expect("planned over exact numbers");
        for row in 0..values.len() {
            if let Some(number) = numbers.get(row) {
                self.sum.add(&number, weight)?;
                self.squares.add(&number.multiply(&number)?, weight)?;
            }
        }
        Ok(())
    }

    /// As numeric.c has it: (n * squares - sum^2) / (n * (n - 1)), or / n^2.
    fn result(&self) -> Result<Option<Numeric>, SqlError> {
        let count = self.sum.count();
        let (Some(sum), Some(squares)) = (self.sum.sum(), self.squares.sum()) else {
            return Ok(None);
        };
        if self.sample && count < 2 {
            return Ok(None);
        }
        let (Some(sum), Some(squares)) = (sum.finite(), squares.finite()) else {
            return Ok(Some(Numeric::NaN));
        };
        let all = Decimal::whole(count);
        let dividend = all.multiply(&squares)?.subtract(&sum.multiply(&sum)?)?;
        if dividend.is_zero() || dividend.is_negative() {
            return Ok(Some(Numeric::ZERO));
        }
        let others = Decimal::whole(if self.sample { count - 1 } else { count });
        let divisor = all.multiply(&others)?;
        let scale = quotient_scale(
            dividend.first_group(),
            divisor.first_group(),
            (dividend.scale, divisor.scale),
        );
        let variance = dividend.divide(&divisor)?;
        match self.root {
            true => Ok(Some(real::square_root_at(&variance, scale)?.into())),
            false => Ok(Some(variance.into())),
        }
    }
}

impl Accumulator for Moments {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], 1).map_err(fail)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], -1).map_err(fail)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (states, total) in states.iter().zip([&mut self.sum, &mut self.squares]) {
            for state in states.as_binary::<i64>().iter().flatten() {
                total.merge(&Total::restore(state)).map_err(fail)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let states = [&self.sum, &self.squares].map(|total| ScalarValue::LargeBinary(Some(total.saved())));
        Ok(states.into())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let result = self.result().map_err(fail)?;
        Ok(ScalarValue::LargeBinary(result.map(|number| number.encoded())))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sum.bytes() + self.squares.bytes()
    }
}
