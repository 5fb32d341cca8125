//! RETURNING: the items of an INSERT over the rows that it adds.
//!
//! One rule: an item that may fail is evaluated before the transaction takes the rows, so that an error leaves none behind. The
//! commit decides the places of rows (`_offset` and the other hidden columns), and they go into the answer
//! then: so they stand alone in RETURNING, and in no transaction block. Not here: the items' tree (`sql/returning.rs`).

use std::sync::Arc;

use arrow::array::{
    Array, AsArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Int64Type, Schema};
use futures::StreamExt;
use hashbrown::HashMap;

use super::Session;
use super::outcome::{Outcome, Parameters, Prepared, RowsTag};
use crate::catalog::Topic;
use crate::error::SqlError;
use crate::log::{Append, Appended, Commit, HiddenColumn, Receipt, TopicId};
use crate::query::OwnRows;
use crate::sql::field::OutField;
use crate::sql::returning::{self, ReturnedPlace};
use crate::sql::statement::{Insert, Select};
use crate::sql::system_columns::{ctid, xmin};

impl Session {
    /// The RETURNING items over the inserted rows alone.
    pub(super) async fn returning(
        &mut self,
        insert: &Insert,
        topic: &Arc<Topic>,
        inserted: &[RecordBatch],
        parameters: &Parameters,
    ) -> Result<Outcome, SqlError> {
        let select = returning::returning_select(insert, topic)?;
        let (fields, batches) = self.evaluate(&select, topic, inserted, parameters).await?;
        Ok(answer(fields, batches))
    }

    /// The same with hidden columns: inserts the rows, commits, and answers with the places that they were given.
    pub(super) async fn insert_returning_places(
        &mut self,
        insert: &Insert,
        topic: &Arc<Topic>,
        inserted: Vec<RecordBatch>,
        places: &[(usize, ReturnedPlace)],
        parameters: &Parameters,
        prepared: Option<&Prepared>,
    ) -> Result<Outcome, SqlError> {
        // Offsets of rows count from their statement's first one in their partition, until the commit says where that is.
        let (mut parts, mut rows_of) = (Vec::new(), Vec::new());
        let mut counts: HashMap<u32, i64> = HashMap::new();
        for rows in &inserted {
            let placed = self.place(topic, rows.clone())?;
            for partition in placed.partitions {
                let count = counts.entry(partition).or_default();
                rows_of.push((partition, *count));
                *count += 1;
            }
            parts.extend(placed.rows);
        }
        let numbered = self.numbered(insert, topic, &inserted, places, parameters).await?;
        if let Some(prepared) = prepared {
            prepared.check_fields(&numbered.fields)?;
        }
        for (partition, rows) in parts {
            self.transaction().append(topic, partition, rows)?;
        }
        self.spill().await?;
        let stamp = self.stamp()?;
        let given = self.commit_as(true).await?;
        if let (None, Some(stamp)) = (&given, stamp)
            && let Some(first) = self.first_outcome(insert, &stamp, parameters).await?
        {
            // Another session made the producer's transaction just now.
            return Ok(first);
        }
        let given = given.map(|(commit, receipt)| GivenPlaces::of(&commit, &receipt, TopicId(topic.oid)));
        numbered.answer(given.as_ref(), &rows_of)
    }

    /// The RETURNING items over rows, without their places.
    pub(super) async fn numbered(
        &mut self,
        insert: &Insert,
        topic: &Arc<Topic>,
        rows: &[RecordBatch],
        places: &[(usize, ReturnedPlace)],
        parameters: &Parameters,
    ) -> Result<NumberedRows, SqlError> {
        // The last column numbers the row: all are in one partition for this.
        let select = returning::returning_select_numbered(insert, topic)?;
        let (fields, batches) = self.evaluate(&select, topic, rows, parameters).await?;
        let width = fields.len() - 1;
        Ok(NumberedRows {
            fields: fields[..width].into(),
            places: returning::positions(insert, places, width),
            batches,
        })
    }

    /// The answer of a SELECT over rows that are not the transaction's yet.
    async fn evaluate(
        &mut self,
        select: &Arc<Select>,
        topic: &Arc<Topic>,
        rows: &[RecordBatch],
        parameters: &Parameters,
    ) -> Result<(Arc<[OutField]>, Vec<RecordBatch>), SqlError> {
        let planned = self.plan(select, parameters.types()).await?;
        let inserted = OwnRows {
            schema_id: topic.schema_id,
            schema: topic.log_schema(),
            rows: rows.iter().map(|rows| (0, rows.clone().into())).collect(),
        };
        let (fields, batches) = self.rows_of_plan(&planned, select, parameters, Some(inserted)).await?;
        let batches: Vec<_> = batches.collect().await;
        let batches = batches.into_iter().collect::<Result<Vec<RecordBatch>, SqlError>>()?;
        Ok((fields, batches))
    }
}

fn answer(fields: Arc<[OutField]>, batches: Vec<RecordBatch>) -> Outcome {
    Outcome::Rows {
        fields,
        batches: futures::stream::iter(batches.into_iter().map(Ok)).boxed(),
        tag: RowsTag::Insert,
    }
}

/// Rows of RETURNING before their places are known.
pub(super) struct NumberedRows {
    fields: Arc<[OutField]>,
    /// Where the places stand.
    places: Vec<(usize, ReturnedPlace)>,
    /// With one more column than there are fields: the number of the row.
    batches: Vec<RecordBatch>,
}

impl NumberedRows {
    /// `rows_of` has the partitions of rows, and their offsets from the first one there.
    pub fn answer(self, given: Option<&GivenPlaces>, rows_of: &[(u32, i64)]) -> Result<Outcome, SqlError> {
        let width = self.fields.len();
        let batches = self.batches.into_iter().filter(|rows| rows.num_rows() > 0).map(|rows| {
            let given = given.expect("rows were committed");
            given.fill(&rows, rows_of, width, &self.places)
        });
        let batches = batches.collect::<Result<Vec<RecordBatch>, SqlError>>()?;
        Ok(answer(self.fields, batches))
    }
}

/// The places that a commit gave the rows of one topic.
pub(super) struct GivenPlaces {
    pub lsn: i64,
    pub timestamp_us: i64,
    pub watermark: Option<i64>,
    /// Offset of the first row by partition.
    pub first: HashMap<u32, i64>,
}

impl GivenPlaces {
    fn of(commit: &Commit, receipt: &Receipt, topic: TopicId) -> GivenPlaces {
        let whole = |value: u64| i64::try_from(value).expect("offsets and LSNs fit 63 bits");
        let mut given = GivenPlaces {
            lsn: whole(receipt.lsn),
            timestamp_us: receipt.timestamp_us,
            watermark: None,
            first: HashMap::new(),
        };
        let appends = commit.appends.iter().zip(&receipt.appended);
        for (Append { partition, .. }, Appended { base_offset, watermark }) in
            appends.filter(|(append, _)| append.topic == topic)
        {
            // The rows of a partition are one stretch, in order.
            given.first.entry(*partition).or_insert(whole(*base_offset));
            given.watermark = *watermark;
        }
        given
    }

    /// `rows` has one more column than `width`: the number of the inserted row. `rows_of` has the partitions of these,
    /// and their offsets from the first one there.
    fn fill(
        &self,
        rows: &RecordBatch,
        rows_of: &[(u32, i64)],
        width: usize,
        places: &[(usize, ReturnedPlace)],
    ) -> Result<RecordBatch, SqlError> {
        let count = rows.num_rows();
        let numbers: &Int64Array = rows.column(width).as_primitive::<Int64Type>();
        let numbers = numbers.values().iter();
        let rows_of = numbers.map(|number| rows_of[usize::try_from(*number).expect("rows are counted from 0")]);
        let rows_of: Vec<(u32, i64)> = rows_of.collect();
        let mut columns = rows.columns()[..width].to_vec();
        for (position, column) in places {
            let data_type = columns[*position].data_type().clone();
            let zone = match &data_type {
                DataType::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            let times = |us: i64| TimestampMicrosecondArray::from_value(us, count).with_timezone_opt(zone);
            columns[*position] = match column {
                ReturnedPlace::Hidden(HiddenColumn::Partition) => {
                    let partition = |partition: u32| i32::try_from(partition).expect("partitions are few");
                    let partitions = rows_of.iter().map(|(of, _)| partition(*of));
                    Arc::new(Int32Array::from_iter_values(partitions))
                }
                ReturnedPlace::Hidden(HiddenColumn::Offset) => {
                    let offsets = rows_of.iter().map(|(partition, after)| self.first[partition] + after);
                    Arc::new(Int64Array::from_iter_values(offsets))
                }
                ReturnedPlace::Ctid => {
                    let places = rows_of.iter();
                    let places = places.map(|(of, after)| ctid(*of, self.first[of] + after));
                    Arc::new(Int64Array::from_iter_values(places))
                }
                ReturnedPlace::Xmin => Arc::new(Int64Array::from_value(xmin(self.lsn), count)),
                ReturnedPlace::Hidden(HiddenColumn::Lsn) => Arc::new(Int64Array::from_value(self.lsn, count)),
                ReturnedPlace::Hidden(HiddenColumn::Timestamp) => Arc::new(times(self.timestamp_us)),
                ReturnedPlace::Hidden(HiddenColumn::Watermark) => match self.watermark {
                    Some(us) => Arc::new(times(us)),
                    None => new_null_array(&data_type, count),
                },
            };
        }
        let schema = Arc::new(Schema::new(rows.schema().fields()[..width].to_vec()));
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}
