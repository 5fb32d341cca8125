//! Variances, covariances and regressions of doubles.
//!
//! One rule: the sums are those of PostgreSQL's float.c (Youngs and Cramer), in the same order, so that the last digit
//! is the same. Rows that leave a frame are not subtracted: a frame's sums are made anew, as in PostgreSQL.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::fail;
use super::overflow::float_overflow;
use crate::error::SqlError;

/// The functions of the sums.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Moment {
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    Corr,
    CovarPop,
    CovarSamp,
    AvgX,
    AvgY,
    Sxx,
    Syy,
    Sxy,
    R2,
    Slope,
    Intercept,
}

/// The aggregates of two arguments, the dependent one first.
pub fn all() -> Vec<Arc<AggregateUDF>> {
    let names = [
        ("corr", Moment::Corr),
        ("covar_pop", Moment::CovarPop),
        ("covar_samp", Moment::CovarSamp),
        ("regr_avgx", Moment::AvgX),
        ("regr_avgy", Moment::AvgY),
        ("regr_sxx", Moment::Sxx),
        ("regr_syy", Moment::Syy),
        ("regr_sxy", Moment::Sxy),
        ("regr_r2", Moment::R2),
        ("regr_slope", Moment::Slope),
        ("regr_intercept", Moment::Intercept),
    ];
    names
        .map(|(name, moment)| {
            Arc::new(AggregateUDF::from(Regression {
                name,
                moment,
                signature: Signature::exact(vec![DataType::Float64, DataType::Float64], Volatility::Immutable),
            }))
        })
        .into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Regression {
    name: &'static str,
    moment: Moment,
    signature: Signature,
}

impl AggregateUDFImpl for Regression {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_fields(&arguments))
    }

    fn accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(accumulator(self.moment))
    }

    fn create_sliding_accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(sliding(self.moment))
    }
}

/// The fields of the states of an accumulator.
pub fn state_fields(arguments: &StateFieldsArgs) -> Vec<FieldRef> {
    let field = |suffix| {
        let name = format_state_name(arguments.name, suffix);
        Arc::new(Field::new(name, DataType::Float64, true))
    };
    ["n", "sx", "sxx", "sy", "syy", "sxy"].map(field).into()
}

/// Over all rows that come.
pub fn accumulator(moment: Moment) -> Box<dyn Accumulator> {
    Box::new(MomentsOfAll {
        moment,
        sums: MomentSums::default(),
    })
}

/// Over frames that rows leave as well.
pub fn sliding(moment: Moment) -> Box<dyn Accumulator> {
    Box::new(MomentFrame {
        moment,
        rows: VecDeque::new(),
    })
}

/// The number of rows, and sums of x, of y, and of the products of their distances from the mean.
#[derive(Clone, Copy, Default, Debug)]
struct MomentSums {
    n: f64,
    sx: f64,
    sxx: f64,
    sy: f64,
    syy: f64,
    sxy: f64,
}

impl MomentSums {
    fn add(&mut self, y: f64, x: f64) -> Result<(), SqlError> {
        let before = *self;
        self.n += 1.0;
        self.sx += x;
        self.sy += y;
        if before.n == 0.0 {
            if !x.is_finite() {
                (self.sxx, self.sxy) = (f64::NAN, f64::NAN);
            }
            if !y.is_finite() {
                (self.syy, self.sxy) = (f64::NAN, f64::NAN);
            }
            return Ok(());
        }
        let (from_x, from_y) = (x * self.n - self.sx, y * self.n - self.sy);
        let scale = 1.0 / (self.n * before.n);
        self.sxx += from_x * from_x * scale;
        self.syy += from_y * from_y * scale;
        self.sxy += from_x * from_y * scale;
        let was_x = before.sx.is_infinite() || x.is_infinite();
        let was_y = before.sy.is_infinite() || y.is_infinite();
        self.check(was_x, was_y)
    }

    /// The variance's own sums, which divide where those of two columns multiply.
    fn add_one(&mut self, x: f64) -> Result<(), SqlError> {
        let before = *self;
        self.n += 1.0;
        self.sx += x;
        if before.n == 0.0 {
            if !x.is_finite() {
                self.sxx = f64::NAN;
            }
            return Ok(());
        }
        let from = x * self.n - self.sx;
        self.sxx += from * from / (self.n * before.n);
        if self.sx.is_infinite() || self.sxx.is_infinite() {
            if !before.sx.is_infinite() && !x.is_infinite() {
                return Err(float_overflow());
            }
            self.sxx = f64::NAN;
        }
        Ok(())
    }

    /// 22003 for a sum of finite numbers that is infinite; a sum of infinite ones has no distances.
    fn check(&mut self, was_x: bool, was_y: bool) -> Result<(), SqlError> {
        let x = self.sx.is_infinite() || self.sxx.is_infinite();
        let y = self.sy.is_infinite() || self.syy.is_infinite();
        if !x && !y && !self.sxy.is_infinite() {
            return Ok(());
        }
        if (x && !was_x) || (y && !was_y) || (self.sxy.is_infinite() && !was_x && !was_y) {
            return Err(float_overflow());
        }
        for sum in [&mut self.sxx, &mut self.syy, &mut self.sxy] {
            if sum.is_infinite() {
                *sum = f64::NAN;
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &MomentSums) -> Result<(), SqlError> {
        if self.n == 0.0 {
            *self = *other;
            return Ok(());
        }
        if other.n == 0.0 {
            return Ok(());
        }
        let before = *self;
        self.n += other.n;
        self.sx += other.sx;
        self.sy += other.sy;
        let x = before.sx / before.n - other.sx / other.n;
        let y = before.sy / before.n - other.sy / other.n;
        let both = before.n * other.n;
        self.sxx += other.sxx + both * x * x / self.n;
        self.syy += other.syy + both * y * y / self.n;
        self.sxy += other.sxy + both * x * y / self.n;
        let was = |l: f64, r: f64| !l.is_finite() || !r.is_finite();
        self.check(was(before.sx, other.sx), was(before.sy, other.sy))
    }

    fn result(&self, moment: Moment) -> Option<f64> {
        let MomentSums {
            n,
            sx,
            sxx,
            sy,
            syy,
            sxy,
        } = *self;
        let least = match moment {
            Moment::VarSamp | Moment::StddevSamp | Moment::CovarSamp => 2.0,
            _ => 1.0,
        };
        if n < least {
            return None;
        }
        Some(match moment {
            Moment::VarPop => sxx / n,
            Moment::VarSamp => sxx / (n - 1.0),
            Moment::StddevPop => (sxx / n).sqrt(),
            Moment::StddevSamp => (sxx / (n - 1.0)).sqrt(),
            Moment::CovarPop => sxy / n,
            Moment::CovarSamp => sxy / (n - 1.0),
            Moment::AvgX => sx / n,
            Moment::AvgY => sy / n,
            Moment::Sxx => sxx,
            Moment::Syy => syy,
            Moment::Sxy => sxy,
            Moment::Corr if sxx == 0.0 || syy == 0.0 => return None,
            Moment::Corr => sxy / (sxx * syy).sqrt(),
            Moment::R2 | Moment::Slope | Moment::Intercept if sxx == 0.0 => return None,
            Moment::R2 if syy == 0.0 => 1.0,
            Moment::R2 => (sxy * sxy) / (sxx * syy),
            Moment::Slope => sxy / sxx,
            Moment::Intercept => (sy - sx * sxy / sxx) / n,
        })
    }

    fn take(&mut self, row: (f64, Option<f64>)) -> Result<(), SqlError> {
        match row {
            (y, Some(x)) => self.add(y, x),
            (x, None) => self.add_one(x),
        }
    }
}

/// Calls for each row without a NULL: with the first argument, and the second if there is one.
fn each_row(
    columns: &[ArrayRef],
    mut call: impl FnMut((f64, Option<f64>)) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    let columns: Vec<&Float64Array> = columns
        .iter()
        .map(|column| column.as_primitive::<Float64Type>())
        .collect();
    for row in 0..columns[0].len() {
        if columns.iter().all(|column| column.is_valid(row)) {
            call((columns[0].value(row), columns.get(1).map(|column| column.value(row))))?;
        }
    }
    Ok(())
}

#[derive(Debug)]
struct MomentsOfAll {
    moment: Moment,
    sums: MomentSums,
}

impl Accumulator for MomentsOfAll {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each_row(values, |row| self.sums.take(row)).map_err(fail)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let columns: Vec<&Float64Array> = states.iter().map(|state| state.as_primitive::<Float64Type>()).collect();
        for row in 0..columns[0].len() {
            let sum = |at: usize| columns[at].value(row);
            let other = MomentSums {
                n: sum(0),
                sx: sum(1),
                sxx: sum(2),
                sy: sum(3),
                syy: sum(4),
                sxy: sum(5),
            };
            self.sums.merge(&other).map_err(fail)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let MomentSums {
            n,
            sx,
            sxx,
            sy,
            syy,
            sxy,
        } = self.sums;
        Ok([n, sx, sxx, sy, syy, sxy]
            .map(|sum| ScalarValue::Float64(Some(sum)))
            .into())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.sums.result(self.moment)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// The rows of a frame.
#[derive(Debug)]
struct MomentFrame {
    moment: Moment,
    rows: VecDeque<(f64, Option<f64>)>,
}

impl Accumulator for MomentFrame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each_row(values, |row| {
            self.rows.push_back(row);
            Ok(())
        })
        .map_err(fail)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each_row(values, |_| {
            self.rows.pop_front();
            Ok(())
        })
        .map_err(fail)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sums = MomentSums::default();
        self.rows.iter().try_for_each(|row| sums.take(*row)).map_err(fail)?;
        Ok(ScalarValue::Float64(sums.result(self.moment)))
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        datafusion::common::internal_err!("frames are not merged")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        datafusion::common::internal_err!("frames are not merged")
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.rows.capacity() * size_of::<(f64, Option<f64>)>()
    }
}
