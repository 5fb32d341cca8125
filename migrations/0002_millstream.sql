-- Summaries over the relations of schema millstream.

-- One row: how much there is.
CREATE VIEW millstream.overview AS
SELECT (SELECT count(*) FROM millstream.topics) AS topics,
       (SELECT coalesce(sum(rows), 0) FROM millstream.partitions)::bigint AS rows,
       (SELECT coalesce(sum(bytes), 0) FROM millstream.partitions)::bigint AS bytes,
       (SELECT count(*) FROM millstream.materialized_views) AS materialized_views,
       (SELECT count(*) FROM millstream.materialized_views WHERE status = 'failed') AS failed_views,
       (SELECT count(*) FROM millstream.sessions) AS sessions,
       (SELECT newest_lsn FROM millstream.wal) AS newest_lsn;

-- Views that stopped, and why.
CREATE VIEW millstream.failed_views AS
SELECT schema, name, reason, frontier, lag_commits
FROM millstream.materialized_views
WHERE status = 'failed';

-- Rows that came behind their topic's watermark, by view.
CREATE VIEW millstream.late_rows AS
SELECT schema, name, late_rows
FROM millstream.materialized_views
WHERE late_rows > 0;
