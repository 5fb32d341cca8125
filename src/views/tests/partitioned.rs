//! The first rows of partitions in views: kept incrementally, and equal to their batch queries (V1).

use super::aggregates::equal_their_batches;
use super::joins::RETRACTING;

/// Orders are total, or leave alike only rows that show the same: a query breaks ties in any way.
const FIRST_ROWS: &[(&str, &str)] = &[
    ("least", "SELECT k, v FROM a ORDER BY v, k LIMIT 4"),
    (
        "greatest",
        "SELECT k, v, s FROM a ORDER BY v DESC NULLS LAST, k DESC, s LIMIT 3 OFFSET 2",
    ),
    ("shorter", "SELECT v FROM a ORDER BY v DESC LIMIT 5"),
    ("none_first", "SELECT v FROM a ORDER BY v LIMIT 0"),
    ("all_but_some", "SELECT k, v FROM a ORDER BY k NULLS FIRST, v OFFSET 3"),
    ("of_sums", "SELECT k, n FROM sums ORDER BY n DESC, k LIMIT 2"),
    ("past_sums", "SELECT k, sv FROM sums ORDER BY sv DESC, k OFFSET 1"),
    (
        "of_floats",
        "SELECT f FROM a WHERE k IS NOT NULL ORDER BY -f DESC NULLS FIRST FETCH FIRST 6 ROWS ONLY",
    ),
    (
        "with_ties",
        "SELECT k, v FROM a ORDER BY v DESC FETCH FIRST 3 ROWS WITH TIES",
    ),
    (
        "ties_of_sums",
        "SELECT k, n FROM sums ORDER BY n FETCH FIRST 2 ROWS WITH TIES",
    ),
    (
        "joined_with_first",
        "SELECT a.k, a.v, q.v AS w FROM a JOIN (SELECT k, v FROM b ORDER BY v DESC, k LIMIT 3) q ON a.k = q.k",
    ),
    (
        "count_of_first",
        "SELECT s, count(*) AS n FROM (SELECT s, v, k FROM a ORDER BY v, k, s LIMIT 10) q GROUP BY s",
    ),
    (
        "among_first",
        "SELECT k, v FROM a WHERE v IN (SELECT n FROM sums ORDER BY n DESC LIMIT 2)",
    ),
    (
        "newest",
        "SELECT DISTINCT ON (k) k, ts, v FROM a ORDER BY k, ts DESC, v",
    ),
    (
        "newest_of_each",
        "SELECT DISTINCT ON (s, v) v, f FROM a ORDER BY s, v DESC, f",
    ),
    ("one_of_each", "SELECT DISTINCT ON (n) n FROM sums"),
    (
        "of_each_count",
        "SELECT DISTINCT ON (n) n, k, sv FROM sums ORDER BY n, sv DESC, k",
    ),
    (
        "numbered",
        "SELECT k, v, rn FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v, f, ts) AS rn FROM a) q WHERE rn <= 2",
    ),
    (
        "second",
        "SELECT k, v FROM (SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS rn FROM a) q WHERE rn = 2",
    ),
    (
        "third_to_fifth",
        "SELECT v, rn FROM (SELECT v, row_number() OVER (ORDER BY v) AS rn FROM a) q WHERE rn BETWEEN 3 AND 5",
    ),
    (
        "ranked",
        "SELECT * FROM (SELECT k, v, s, rank() OVER (PARTITION BY s ORDER BY v DESC) AS r FROM a) q WHERE r < 3",
    ),
    (
        "densely_ranked",
        "SELECT * FROM (SELECT k, v, s, dense_rank() OVER (PARTITION BY k ORDER BY v) AS d FROM a) q WHERE 2 >= d",
    ),
    (
        "ranked_thrice",
        "SELECT * FROM (SELECT v, rank() OVER w AS r, dense_rank() OVER w AS d, row_number() OVER w AS n FROM a \
         WINDOW w AS (ORDER BY v)) q WHERE d <= 3 AND v > 0",
    ),
    (
        "ranked_sums",
        "SELECT * FROM (SELECT k, n, rank() OVER (PARTITION BY n > 3 ORDER BY n DESC) AS r FROM sums) q WHERE r <= 2",
    ),
    (
        "densely_ranked_counts",
        "SELECT * FROM (SELECT k, s, n, dense_rank() OVER (ORDER BY n DESC) AS d FROM counts) q WHERE d <= 2",
    ),
    (
        "first_of_joined",
        "SELECT * FROM (SELECT a.k, a.v, b.v AS w, row_number() OVER (PARTITION BY a.k ORDER BY a.v, b.v) AS n \
         FROM a LEFT JOIN b ON a.k = b.k AND a.v < b.v) q WHERE n <= 3",
    ),
    (
        "first_by_quotients",
        "SELECT k, n FROM sums ORDER BY 10 / (n + 1), k LIMIT 3",
    ),
    ("of_first", "SELECT k, v + 1 AS w FROM least"),
];

#[test]
fn views_of_first_rows_equal_their_batch_queries() {
    equal_their_batches(&[RETRACTING, FIRST_ROWS].concat());
}
