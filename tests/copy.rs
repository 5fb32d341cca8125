//! COPY FROM STDIN and TO STDOUT in text, csv and binary, by a driver: formats, errors with their place, all or nothing.

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::Client;
use tokio_postgres::error::DbError;

use crate::support::{self, Server, bag, value};

async fn started() -> (tempfile::TempDir, Server, Client) {
    let (scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    let create = "CREATE TOPIC t (a INT, b TEXT, c NUMERIC(8,2), d TIMESTAMP, e BOOLEAN);
                  CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(a) AS s FROM t";
    client.batch_execute(create).await.expect("a topic and a view");
    (scratch, server, client)
}

/// Sends `data` in pieces of `piece` bytes, so that rows are cut anywhere.
async fn copy_in(
    client: &Client,
    sql: &str,
    data: impl AsRef<[u8]>,
    piece: usize,
) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in::<_, Bytes>(sql).await?;
    let mut sink = std::pin::pin!(sink);
    for part in data.as_ref().chunks(piece) {
        if sink.send(Bytes::copy_from_slice(part)).await.is_err() {
            // The server has ended this COPY; `finish` gives the reason.
            break;
        }
    }
    sink.finish().await
}

async fn copy_out(client: &Client, sql: &str) -> String {
    String::from_utf8(copy_out_bytes(client, sql).await).expect("text")
}

async fn copy_out_bytes(client: &Client, sql: &str) -> Vec<u8> {
    let stream = client
        .copy_out(sql)
        .await
        .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    let parts: Vec<Bytes> = stream
        .try_collect()
        .await
        .unwrap_or_else(|error| panic!("{error:?}: {sql}"));
    parts.concat()
}

async fn refused(client: &Client, sql: &str, data: impl AsRef<[u8]>) -> DbError {
    let error = copy_in(client, sql, data, 1000).await.expect_err("the COPY must fail");
    error
        .as_db_error()
        .unwrap_or_else(|| panic!("{sql}: an error of the server: {error:?}"))
        .clone()
}

#[tokio::test]
async fn text_goes_in_and_comes_out_as_it_was() {
    let (_scratch, _server, client) = started().await;
    let data = "1\tplain\t1.50\t2024-01-01 00:00:00\tt\n\
                2\ttab\\tnewline\\nback\\\\slash\t-0.25\t2024-01-01 00:00:00.123456\tf\n\
                \\N\t\t\\N\t\\N\t\\N\n\
                4\tgröße\t0.00\t1969-12-31 23:59:59\tt\n";
    for piece in [1, 7, 1000] {
        assert_eq!(
            copy_in(&client, "COPY t FROM STDIN", data, piece)
                .await
                .expect("a good COPY"),
            4
        );
    }
    assert_eq!(value(&client, "SELECT n FROM v").await, "12");
    let escaped = bag(&client, "SELECT DISTINCT b FROM t WHERE a = 2").await.expect("t");
    assert_eq!(escaped, [["tab\tnewline\nback\\slash"]]);
    let out = copy_out(&client, "COPY (SELECT DISTINCT * FROM t ORDER BY a) TO STDOUT").await;
    let sorted: Vec<&str> = data.lines().collect();
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        [sorted[0], sorted[1], sorted[3], sorted[2]]
    );
    let whole = copy_out(&client, "COPY t TO STDOUT").await;
    assert_eq!(whole.lines().count(), 12);
}

#[tokio::test]
async fn csv_quotes_headers_and_columns_are_read_and_written() {
    let (_scratch, _server, client) = started().await;
    let data = "b,a\nplain,1\n\"with, comma\",2\n\"say \"\"hi\"\"\",3\n\"two\nlines\",4\n,5\n\"\",6\n";
    for piece in [1, 1000] {
        let sql = "COPY t (b, a) FROM STDIN WITH (FORMAT csv, HEADER)";
        assert_eq!(copy_in(&client, sql, data, piece).await.expect("a good COPY"), 6);
    }
    assert_eq!(value(&client, "SELECT s FROM v").await, "42");
    assert_eq!(
        value(&client, "SELECT count(*) FROM t WHERE b IS NULL").await,
        "2",
        "unquoted empty is NULL"
    );
    assert_eq!(
        value(&client, "SELECT count(*) FROM t WHERE b = ''").await,
        "2",
        "quoted empty is empty"
    );
    let out = copy_out(
        &client,
        "COPY (SELECT DISTINCT b, a FROM t ORDER BY a) TO STDOUT WITH (FORMAT csv, HEADER)",
    )
    .await;
    assert_eq!(out, data);

    let inserted = "COPY (WITH x AS (INSERT INTO t VALUES (8, 'w') RETURNING *) INSERT INTO t SELECT a + 1, b FROM x RETURNING a, b) TO STDOUT";
    assert_eq!(copy_out(&client, inserted).await, "9\tw\n");
    assert_eq!(value(&client, "SELECT count(*) FROM t WHERE b = 'w'").await, "2");

    let semicolons = copy_in(
        &client,
        "COPY t (a, b) FROM STDIN (FORMAT csv, DELIMITER ';', NULL 'null')",
        "7;null\n",
        100,
    );
    assert_eq!(semicolons.await.expect("a good COPY"), 1);
    assert_eq!(
        value(&client, "SELECT count(*) FROM t WHERE a = 7 AND b IS NULL").await,
        "1"
    );
    let out = copy_out(
        &client,
        "COPY (SELECT a, b FROM t WHERE a = 7) TO STDOUT (FORMAT csv, FORCE_QUOTE *)",
    )
    .await;
    assert_eq!(out, "\"7\",\n");
}

#[tokio::test]
async fn defaults_checks_and_watermarks_hold_for_copied_rows() {
    let (_scratch, _server, client) = started().await;
    let create = "CREATE TOPIC e (id INT NOT NULL, kind TEXT DEFAULT 'web', ts TIMESTAMP, twice INT GENERATED ALWAYS AS (id * 2) STORED,
                  CHECK (id < 100), WATERMARK FOR ts AS ts - INTERVAL '1 second')";
    client.batch_execute(create).await.expect("a topic");
    let sql = "COPY e (id, ts) FROM STDIN (FORMAT csv)";
    copy_in(&client, sql, "1,2024-01-01 00:00:05\n2,2024-01-01 00:00:25\n", 100)
        .await
        .expect("a good COPY");
    copy_in(&client, sql, "3,2024-01-01 00:00:06\n", 100)
        .await
        .expect("late rows are kept");
    let rows = bag(&client, "SELECT id, kind, twice, _watermark FROM e")
        .await
        .expect("e");
    let (one, two) = (["1", "web", "2", "NULL"], ["2", "web", "4", "NULL"]);
    assert_eq!(rows, [one, two, ["3", "web", "6", "2024-01-01 00:00:24"]]);
    let windowed = bag(&client, "SELECT id FROM TUMBLE(e, ts, INTERVAL '10 seconds')")
        .await
        .expect("windows");
    assert_eq!(windowed, [["1"], ["2"]]);

    let error = refused(&client, sql, "4,2024-01-01 00:00:30\n100,2024-01-01 00:00:31\n").await;
    assert_eq!(error.code().code(), "23514");
    let error = refused(&client, "COPY e (ts) FROM STDIN", "2024-01-01 00:00:30\n").await;
    assert_eq!(error.code().code(), "23502");
    assert_eq!(value(&client, "SELECT count(*) FROM e").await, "3");
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_is_kept() {
    let (_scratch, server, client) = started().await;
    let cases: &[(&str, &str, &str, &str)] = &[
        (
            "COPY t FROM STDIN (FORMAT csv)",
            "1,a,1,,\n2,b,2,,\nx,c,3,,\n",
            "22P02",
            "COPY t, line 3, column a: \"x\"",
        ),
        (
            "COPY t FROM STDIN",
            "1\ta\t1\t\\N\t\\N\n2\tb\n",
            "22P04",
            "COPY t, line 2: \"2\tb\"",
        ),
        (
            "COPY t FROM STDIN",
            "1\ta\t1\t\\N\t\\N\textra\n",
            "22P04",
            "COPY t, line 1: \"1\ta\t1\t\\N\t\\N\textra\"",
        ),
        (
            "COPY t (a, d) FROM STDIN",
            "1\t2024-13-01 00:00:00\n",
            "22008",
            "COPY t, line 1, column d: \"2024-13-01 00:00:00\"",
        ),
        (
            "COPY t (c) FROM STDIN",
            "1\n1000000\n",
            "22003",
            "COPY t, line 2, column c: \"1000000\"",
        ),
        (
            "COPY t (b) FROM STDIN (FORMAT csv)",
            "\"open\n",
            "22P04",
            "COPY t, line ",
        ),
    ];
    for (sql, data, state, context) in cases {
        let error = refused(&client, sql, data).await;
        assert_eq!(error.code().code(), *state, "{sql}: {}", error.message());
        let place = error.where_().unwrap_or_default();
        assert!(
            place.starts_with(context),
            "{sql}: {place:?} must start with {context:?}"
        );
        assert_eq!(
            value(&client, "SELECT count(*) FROM t").await,
            "0",
            "{sql}: nothing is kept"
        );
        assert_eq!(value(&client, "SELECT n FROM v").await, "0", "{sql}: in views neither");
    }
    for (sql, state) in [
        ("COPY nosuch FROM STDIN", "42P01"),
        ("COPY t (nosuch) FROM STDIN", "42703"),
        ("COPY t FROM STDIN (FORMAT nosuch)", "22023"),
        ("COPY t FROM STDIN (nosuch 1)", "42601"),
        ("COPY v FROM STDIN", "42809"),
    ] {
        // A connection each: after a COPY that did not even begin, this driver takes the next answers for others.
        let client = support::connect(&server).await;
        assert_eq!(refused(&client, sql, "").await.code().code(), state, "{sql}");
    }
}

#[tokio::test]
async fn a_copy_belongs_to_its_transaction() {
    let (_scratch, server, client) = started().await;
    let other = support::connect(&server).await;
    client.batch_execute("BEGIN").await.expect("BEGIN");
    copy_in(&client, "COPY t (a) FROM STDIN", "1\n2\n", 100)
        .await
        .expect("a good COPY");
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, "2");
    assert_eq!(value(&other, "SELECT count(*) FROM t").await, "0");
    client.batch_execute("ROLLBACK").await.expect("ROLLBACK");
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, "0");

    client.batch_execute("BEGIN").await.expect("BEGIN");
    copy_in(&client, "COPY t (a) FROM STDIN", "3\n", 100)
        .await
        .expect("a good COPY");
    client.batch_execute("COMMIT").await.expect("COMMIT");
    assert_eq!(value(&other, "SELECT s FROM v").await, "3");
}

#[tokio::test]
async fn a_big_copy_is_one_commit_that_survives_a_kill() {
    let (scratch, server, client) = started().await;
    let rows = 60_000_u64;
    let mut data = String::new();
    for row in 0..rows {
        data.push_str(&format!(
            "{row},row number {row},{}.25,2024-01-01 00:{:02}:00,t\n",
            row % 1000,
            row % 60
        ));
    }
    assert_eq!(
        copy_in(&client, "COPY t FROM STDIN (FORMAT csv)", &data, 60_000)
            .await
            .expect("a big COPY"),
        rows
    );
    assert_eq!(value(&client, "SELECT count(DISTINCT _lsn) FROM t").await, "1");
    let sum = (0..rows).sum::<u64>().to_string();
    assert_eq!(value(&client, "SELECT s FROM v").await, sum);
    server.kill();

    let server = Server::start(&scratch.path().join("data"));
    let client = support::connect(&server).await;
    assert_eq!(value(&client, "SELECT s FROM v").await, sum);
    assert_eq!(
        copy_out(&client, "COPY t TO STDOUT (FORMAT csv)").await.lines().count() as u64,
        rows
    );
}

const EVERY_TYPE_COLUMNS: &str =
    "b BOOLEAN, i2 SMALLINT, i4 INTEGER, i8 BIGINT, f4 REAL, f8 DOUBLE PRECISION, n NUMERIC(18,2),
    bare NUMERIC, t TEXT, vc VARCHAR(5), c CHAR(4), u UUID, j JSON, jb JSONB, by BYTEA, d DATE, ti TIME, ts TIMESTAMP,
    tz TIMESTAMPTZ, iv INTERVAL, ai INT[], at TEXT[], an NUMERIC(8,3)[], au UUID[]";

/// PostgreSQL 15's answer to `COPY every TO STDOUT (FORMAT binary)`, in hexadecimal digits.
const EVERY_TYPE: &str = "\
    5047434f50590aff0d0a0000000000000000000018000000010100000002fffe0000000400000007000000087fffffff\
    ffffffff000000043fc00000000000083fb999999999999a00000012000500030000000204d2162e23340d801e780000\
    000c0002ffff00000006000108fc00000014746162096e65770a6c616e67206772c3b6c39f6500000005616263646500\
    000005c3a920202000000010a0eebc999c0b4ef8bb6d6bb9bd380a11000000097b202261223a31207d00000011017b22\
    61223a205b312c206e756c6c5d7d0000000300ff5c000000040000227900000008000000141dd75fff00000008fffca2\
    fec4c07ee0000000080002b0d427c1f800000000100000000000319750fffffffe000000010000002800000001000000\
    010000001700000003000000010000000400000001ffffffff00000004fffffffd000000280000000100000001000000\
    190000000400000001000000016100000003622063ffffffff00000000000000360000000100000000000006a4000000\
    02000000010000000c0002000000000003000113880000000e00030001400000030009270f2706000000280000000100\
    00000000000b86000000010000000100000010a0eebc999c0b4ef8bb6d6bb9bd380a110018ffffffffffffffffffffff\
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
    ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff0018000000010000000002\
    80000000000480000000000000088000000000000000000000047fc0000000000008fff00000000000000000000a0001\
    ffff4000000200640000000a000100010000000000010000000000000000000000042020202000000010000000000000\
    00000000000000000000000000046e756c6c000000030122220000000000000004ffffffff0000000800000000000000\
    0000000008ff1fe2ffc59c600000000008000000000000000000000010000000000000000000000000fffffff4000000\
    0c0000000000000000000000170000000c0000000000000000000000190000002e0000000100000000000006a4000000\
    02000000010000000800000000000000030000000a000100010000000300010000000c000000000000000000000b86ff\
    ff";

/// And its answer without the FORMAT.
const EVERY_TYPE_TEXT: [&str; 3] = [
    r#"t	-2	7	9223372036854775807	1.5	0.1	1234567890123456.78	0.000123	tab\tnew\nlang größe	abcde	é   	a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11	{ "a":1 }	{"a": [1, null]}	\\x00ff5c	2024-02-29	23:59:59.999999	1969-12-31 23:59:59.5	2023-12-31 22:00:00+00	1 mon -2 days +00:00:03.25	{1,NULL,-3}	{a,"b c",NULL,""}	{1.500,-99999.999}	{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"#,
    r"\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N	\N",
    r#"f	-32768	-2147483648	-9223372036854775808	NaN	-Infinity	-0.01	10000			    	00000000-0000-0000-0000-000000000000	null	""	\\x	1999-12-31	00:00:00	0001-01-01 00:00:00	2000-01-01 00:00:00+00	-1 years	{}	{}	{0.000,10000.000}	{}"#,
];

#[tokio::test]
async fn what_postgresql_wrote_in_binary_is_read_and_written_back() {
    let digits: Vec<char> = EVERY_TYPE.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two digits");
    let data: Vec<u8> = digits.chunks(2).map(byte).collect();

    let (_scratch, server, client) = started().await;
    for (name, piece) in [("whole", data.len()), ("pieces", 7), ("bytes", 1)] {
        let create = format!("CREATE TOPIC {name} ({EVERY_TYPE_COLUMNS})");
        client.batch_execute(&create).await.expect("a topic");
        let sql = format!("COPY {name} FROM STDIN (FORMAT binary)");
        assert_eq!(copy_in(&client, &sql, &data, piece).await.expect("a good COPY"), 3);
        let text = copy_out(&client, &format!("COPY {name} TO STDOUT")).await;
        assert_eq!(text.lines().collect::<Vec<_>>(), EVERY_TYPE_TEXT, "{name}");
        let back = copy_out_bytes(&client, &format!("COPY BINARY {name} TO STDOUT")).await;
        assert_eq!(back, data, "{name}");
    }
    // Rows written in one format equal those written in the other.
    let create = format!("CREATE TOPIC texts ({EVERY_TYPE_COLUMNS})");
    client.batch_execute(&create).await.expect("a topic");
    let text = EVERY_TYPE_TEXT.join("\n");
    assert_eq!(
        copy_in(&client, "COPY texts FROM STDIN", text, 100)
            .await
            .expect("a good COPY"),
        3
    );
    let back = copy_out_bytes(&client, "COPY (SELECT * FROM texts) TO STDOUT WITH BINARY").await;
    assert_eq!(back, data);
    drop(server);
}

#[tokio::test]
async fn bad_binary_data_is_named_and_nothing_is_kept() {
    let (_scratch, server, client) = started().await;
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let sql = "COPY t (a, b) FROM STDIN (FORMAT binary)";
    let good = b"\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x01x";
    let cases: &[(&[u8], &str, &str)] = &[
        (b"\0\x01\0\0\0\x04\0\0\0\x02", "22P04", "COPY t, line 2"),
        (b"\0\x02\0\0\0\x05\0\0\0\0\x02", "22P03", "COPY t, line 2, column a"),
        (b"\0\x02\0\0\0\x04\0\0", "22P04", "COPY t, line 2, column a"),
        (b"\xff\xffmore", "22P04", "COPY t, line 2"),
    ];
    for (tail, state, place) in cases {
        let error = refused(&client, sql, [&header[..], good, tail].concat()).await;
        assert_eq!((error.code().code(), error.where_()), (*state, Some(*place)), "{error}");
        assert_eq!(value(&client, "SELECT count(*) FROM t").await, "0", "nothing is kept");
    }
    let create = "CREATE TOPIC named (id INT NOT NULL)";
    client.batch_execute(create).await.expect("a topic");
    let rows = b"\0\x01\0\0\0\x04\0\0\0\x01\0\x01\xff\xff\xff\xff";
    let error = refused(&client, "COPY named FROM STDIN BINARY", [&header[..], rows].concat()).await;
    assert_eq!(
        (error.code().code(), error.where_()),
        ("23502", Some("COPY named, line 2"))
    );
    let error = refused(&client, sql, "1\tx\n2\ty\n3\tz\n4\tv\n5\tw\n").await;
    assert_eq!(error.message(), "COPY file signature not recognized");
    for (options, state) in [
        ("DELIMITER ','", "42601"),
        ("NULL ''", "42601"),
        ("HEADER", "0A000"),
        ("QUOTE '!'", "0A000"),
        ("FORMAT csv", "42601"),
    ] {
        let client = support::connect(&server).await;
        let sql = format!("COPY t FROM STDIN (FORMAT binary, {options})");
        assert_eq!(refused(&client, &sql, "").await.code().code(), state, "{sql}");
    }
}

/// tokio-postgres' own binary reader and writer, which look for header and first row in one message.
#[tokio::test]
async fn a_drivers_binary_reader_and_writer_work() {
    use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
    use tokio_postgres::types::Type;

    let (_scratch, _server, client) = started().await;
    let types = [Type::INT4, Type::TEXT, Type::BOOL];
    let sink = client
        .copy_in("COPY t (a, b, e) FROM STDIN BINARY")
        .await
        .expect("a COPY");
    let mut writer = std::pin::pin!(BinaryCopyInWriter::new(sink, &types));
    for row in 0..1000_i32 {
        let text = (row % 3 > 0).then(|| format!("row {row}"));
        writer
            .as_mut()
            .write(&[&row, &text, &(row % 2 == 0)])
            .await
            .expect("a row");
    }
    assert_eq!(writer.finish().await.expect("a good COPY"), 1000);
    assert_eq!(value(&client, "SELECT s FROM v").await, "499500");

    let sql = "COPY (SELECT a, b, e FROM t ORDER BY a) TO STDOUT (FORMAT binary)";
    let stream = client.copy_out(sql).await.expect("a COPY");
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &types)
        .try_collect()
        .await
        .expect("rows");
    assert_eq!(rows.len(), 1000);
    for (at, row) in (0_i32..).zip(&rows) {
        assert_eq!(row.get::<i32>(0), at);
        assert_eq!(row.get::<Option<String>>(1), (at % 3 > 0).then(|| format!("row {at}")));
        assert_eq!(row.get::<bool>(2), at % 2 == 0);
    }
}

#[tokio::test]
async fn a_copy_that_is_too_large_for_memory_is_in_files_before_it_is_committed() {
    let (_scratch, data_dir) = support::data_dir();
    let files = || {
        let listed = std::fs::read_dir(data_dir.join("segments")).expect("the directory exists");
        listed.count()
    };
    let data: String = (0..20_000).map(|i| format!("{i}\t{}\n", "x".repeat(1000))).collect();
    let copy = "COPY big FROM STDIN";
    let mut server = Server::start(&data_dir);
    let mut client = support::connect(&server).await;
    let create = "CREATE TOPIC big (a INT, b TEXT)";
    client.batch_execute(create).await.expect("a topic");
    for is_killed in [false, true] {
        client.batch_execute("BEGIN").await.expect("begun");
        let rows = copy_in(&client, copy, &data, 1 << 20).await.expect("a good COPY");
        assert_eq!((rows, files()), (20_000, 1));
        assert_eq!(value(&client, "SELECT sum(a) FROM big").await, "199990000");
        if is_killed {
            server.kill();
            server = Server::start(&data_dir);
            client = support::connect(&server).await;
        } else {
            client.batch_execute("ROLLBACK").await.expect("rolled back");
            // A thread of the query may let go of it a moment later.
            for _ in 0..1000 {
                if files() > 0 {
                    client.batch_execute("SELECT 1").await.expect("an answer");
                }
            }
        }
        assert_eq!(files(), 0);
        assert_eq!(value(&client, "SELECT count(*) FROM big").await, "0");
    }
    let rows = copy_in(&client, copy, &data, 1 << 20).await.expect("a good COPY");
    assert_eq!(rows, 20_000);
    // Written once: the log has the name of the file.
    let eights = value(&client, "SELECT bytes / 1048576 / 8 FROM millstream.wal").await;
    assert_eq!(eights, "0", "times 8 MiB");
    server.kill();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    assert_eq!(value(&client, "SELECT sum(a) FROM big").await, "199990000");
}
