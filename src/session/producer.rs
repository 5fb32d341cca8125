//! Idempotent producers: a session whose transactions carry a name and a sequence, so that one that is sent again, because its
//! answer was lost, is not made again.
//!
//! One rule: a transaction that was made before changes nothing and is answered as it was then. The log decides which that are
//! (`log/producers.rs`); here an INSERT by itself is answered before it runs, and any other transaction at its commit.

use std::sync::Arc;

use arrow::array::RecordBatch;
use hashbrown::HashMap;

use super::Session;
use super::outcome::{Outcome, Parameters};
use super::returning::GivenPlaces;
use crate::catalog::Topic;
use crate::error::{SqlError, state};
use crate::log::{Chunk, Extent, Produced, ProducerStamp, Reader, TopicId};
use crate::panics;
use crate::sql::returning;
use crate::sql::statement::Insert;

impl Session {
    /// The place of the present transaction among those of its producer, if the session is one.
    pub(super) fn stamp(&self) -> Result<Option<ProducerStamp>, SqlError> {
        let Some((producer, sequence)) = self.settings.producer() else {
            return Ok(None);
        };
        let sequence = sequence.ok_or_else(|| {
            SqlError::new(
                state::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("the transaction of producer \"{producer}\" has no sequence"),
            )
            .hint("SET millstream.producer_sequence to the number of the transaction; later ones count up from it.")
        })?;
        Ok(Some(ProducerStamp { producer, sequence }))
    }

    /// The transaction with this stamp is there: the next one of the session follows it.
    pub(super) fn produced(&mut self, stamp: &ProducerStamp) {
        Arc::make_mut(&mut self.settings).follow(stamp.sequence);
    }

    pub(super) fn tell_repeated(&mut self, stamp: &ProducerStamp, first: Produced) {
        self.notice(format!(
            "transaction {} of producer \"{}\" was made before, at LSN {}: nothing is written again",
            stamp.sequence, stamp.producer, first.lsn
        ));
    }

    /// The first outcome of an INSERT that is a transaction by itself, if it was made before.
    pub(super) async fn repeated_insert(
        &mut self,
        insert: &Insert,
        parameters: &Parameters,
    ) -> Result<Option<Outcome>, SqlError> {
        if self.batch || self.transaction().explicit {
            return Ok(None);
        }
        let Some(stamp) = self.stamp()? else {
            return Ok(None);
        };
        let first = self.first_outcome(insert, &stamp, parameters).await?;
        if first.is_some() {
            self.produced(&stamp);
        }
        Ok(first)
    }

    /// The first outcome of a producer's INSERT, if it is known.
    pub(super) async fn first_outcome(
        &mut self,
        insert: &Insert,
        stamp: &ProducerStamp,
        parameters: &Parameters,
    ) -> Result<Option<Outcome>, SqlError> {
        let Some(first) = self.engine.log.produced(stamp).await? else {
            return Ok(None);
        };
        let answer = match insert.returning.is_empty() {
            true => Outcome::Command(format!("INSERT 0 {}", first.rows)),
            false => self.repeated_returning(insert, first, parameters).await?,
        };
        self.tell_repeated(stamp, first);
        Ok(Some(answer))
    }

    /// RETURNING over the rows that were inserted then, by partition and offset.
    async fn repeated_returning(
        &mut self,
        insert: &Insert,
        first: Produced,
        parameters: &Parameters,
    ) -> Result<Outcome, SqlError> {
        let topic = self.writable_topic(&insert.into)?;
        let chunks = self.inserted_at(&topic, first).await?;
        let rows: Vec<RecordBatch> = chunks.iter().map(|chunk| chunk.rows.clone()).collect();
        let places = returning::places(insert)?;
        if places.is_empty() {
            return self.returning(insert, &topic, &rows, parameters).await;
        }
        let run = chunks.iter().flat_map(|chunk| chunk.runs.iter()).next();
        let given = GivenPlaces {
            lsn: whole(first.lsn),
            timestamp_us: run.map_or(0, |run| run.timestamp_us),
            watermark: run.and_then(|run| run.watermark),
            first: chunks
                .iter()
                .map(|chunk| (chunk.partition, 0))
                .collect::<HashMap<u32, i64>>(),
        };
        let offsets = |chunk: &Chunk| chunk.base_offset..chunk.base_offset + chunk.rows.num_rows() as u64;
        let rows_of = chunks
            .iter()
            .flat_map(|chunk| offsets(chunk).map(|offset| (chunk.partition, whole(offset))));
        let rows_of: Vec<(u32, i64)> = rows_of.collect();
        let numbered = self.numbered(insert, &topic, &rows, &places, parameters).await?;
        numbered.answer(Some(&given), &rows_of)
    }

    /// The rows of a transaction in one topic; an error if they are not all there.
    async fn inserted_at(&mut self, topic: &Arc<Topic>, first: Produced) -> Result<Vec<Chunk>, SqlError> {
        let reader = Reader {
            topic: TopicId(topic.oid),
            schema_id: topic.schema_id,
            schema: topic.log_schema(),
            ignores_dropped: false,
            since_us: None,
        };
        let log = self.engine.log.clone();
        let load = move || {
            panics::catch(|| {
                let extents = log.read(&reader, first.lsn - 1, first.lsn)?;
                let chunks = extents.iter().map(Extent::load).filter_map(Result::transpose);
                Ok::<_, SqlError>(chunks.collect::<Result<Vec<Chunk>, _>>()?)
            })?
        };
        let chunks = self.compute(load).await?;
        let rows: u64 = chunks.iter().map(|chunk| chunk.rows.num_rows() as u64).sum();
        match rows == first.rows {
            true => Ok(chunks),
            false => Err(SqlError::new(
                state::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!(
                    "the rows that the transaction inserted at LSN {} are not all in \"{}\"",
                    first.lsn, topic.name
                ),
            )
            .hint("Send it again without RETURNING.")),
        }
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).expect("offsets and LSNs fit 63 bits")
}
