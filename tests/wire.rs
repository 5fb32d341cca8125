//! Wire bytes: protocol corners that no driver reaches.

use crate::support::raw::{
    self, Raw, bare, bind, describe, error, execute, kinds, named, parse, query, rows, status, tags,
};
use crate::support::{self, Server};

struct Wire {
    raw: Raw,
    server: Server,
    _scratch: tempfile::TempDir,
}

fn started() -> Wire {
    let (scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let mut raw = Raw::connect(&server);
    raw.query("CREATE TOPIC t (a INT, b TEXT)");
    let messages = raw.query("INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 5) AS g");
    assert_eq!(tags(&messages), ["INSERT 0 5"]);
    Wire {
        raw,
        server,
        _scratch: scratch,
    }
}

impl Wire {
    fn send(&mut self, messages: &[Vec<u8>]) -> Vec<raw::Message> {
        self.raw.write(&messages.concat());
        self.raw.until_ready()
    }
}

#[test]
fn several_statements_in_one_query_are_one_transaction() {
    let mut wire = started();
    let messages = wire
        .raw
        .query("SELECT a FROM t WHERE a < 3 ORDER BY a; INSERT INTO t VALUES (6, 'x'); SELECT 1");
    assert_eq!(kinds(&messages), "T D D C C T D C Z");
    assert_eq!(tags(&messages), ["SELECT 2", "INSERT 0 1", "SELECT 1"]);
    assert_eq!(status(&messages), 'I');

    let messages = wire
        .raw
        .query("INSERT INTO t VALUES (7, 'x'); SELECT 1/0; INSERT INTO t VALUES (8, 'x')");
    let spoken = kinds(&messages);
    assert!(
        spoken == "C E Z" || spoken == "C T E Z",
        "W1: one error, and nothing after it: {spoken}"
    );
    assert_eq!(error(&messages).0, "22012");
    assert_eq!(rows(&wire.raw.query("SELECT count(*) FROM t WHERE a > 6")), [["0"]]);

    // A syntax error anywhere runs nothing.
    let messages = wire.raw.query("INSERT INTO t VALUES (9, 'x'); SELEC 1");
    assert_eq!(kinds(&messages), "E Z");
    assert_eq!(rows(&wire.raw.query("SELECT count(*) FROM t WHERE a > 6")), [["0"]]);
}

#[test]
fn an_empty_query_is_answered() {
    let mut wire = started();
    for sql in ["", " ", ";", "-- nothing", "/* nothing */ ;"] {
        assert_eq!(kinds(&wire.raw.query(sql)), "I Z", "{sql:?}");
    }
    let messages = wire.send(&[parse("", "", &[]), bind("", "", 0, &[], 0), execute("", 0), bare('S')]);
    assert_eq!(kinds(&messages), "1 2 I Z");
}

#[test]
fn a_failed_transaction_says_so_in_every_way() {
    let mut wire = started();
    assert_eq!(status(&wire.raw.query("BEGIN")), 'T');
    assert_eq!(status(&wire.raw.query("SELECT 1/0")), 'E');
    let messages = wire.raw.query("SELECT 1");
    assert_eq!((error(&messages).0.as_str(), status(&messages)), ("25P02", 'E'));
    let messages = wire.send(&[
        parse("", "SELECT 1", &[]),
        bind("", "", 0, &[], 0),
        execute("", 0),
        bare('S'),
    ]);
    assert_eq!((error(&messages).0.as_str(), status(&messages)), ("25P02", 'E'));
    let messages = wire.raw.query("COMMIT");
    assert_eq!(
        (tags(&messages), status(&messages)),
        (vec!["ROLLBACK".to_string()], 'I')
    );
}

#[test]
fn after_an_error_messages_are_skipped_until_sync() {
    let mut wire = started();
    let messages = wire.send(&[
        parse("", "SELECT nosuch FROM t", &[]),
        bind("", "", 0, &[], 0),
        describe('P', ""),
        execute("", 0),
        parse("later", "SELECT 1", &[]),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "E Z");
    assert_eq!(error(&messages).0, "42703");
    let messages = wire.send(&[bind("", "later", 0, &[], 0), bare('S')]);
    assert_eq!(error(&messages).0, "26000", "what was skipped was not done");
    assert_eq!(rows(&wire.raw.query("SELECT 1")), [["1"]]);
}

#[test]
fn after_an_error_a_simple_query_is_skipped_too() {
    let mut wire = started();
    let messages = wire.send(&[
        parse("", "SELECT nosuch FROM t", &[]),
        query("INSERT INTO t VALUES (6, 'skipped')"),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "E Z");
    assert_eq!(rows(&wire.raw.query("SELECT count(*) FROM t")), [["5"]]);
}

#[test]
fn a_nul_in_a_parameter_is_refused_whatever_its_type() {
    let mut wire = started();
    for text in ["SELECT $1::int", "SELECT $1::text"] {
        let messages = wire.send(&[
            parse("", text, &[]),
            bind("", "", 0, &[Some(b"1\0 2")], 0),
            execute("", 0),
            bare('S'),
        ]);
        assert_eq!(error(&messages).0, "22021", "{text}");
    }
}

#[test]
fn a_declared_cursor_is_a_portal() {
    let mut wire = started();
    wire.raw.query("BEGIN");
    wire.raw.query("DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a");
    let messages = wire.send(&[describe('P', "c"), execute("c", 2), bare('S')]);
    assert_eq!(kinds(&messages), "T D D s Z");
    assert_eq!(rows(&messages).concat(), ["1", "2"]);
    assert_eq!(rows(&wire.raw.query("FETCH 1 FROM c")), [["3"]], "both read on");
    let messages = wire.send(&[execute("c", 0), execute("c", 0), bare('S')]);
    assert_eq!(rows(&messages).concat(), ["4", "5"]);
    assert_eq!(tags(&messages), ["SELECT 2", "SELECT 0"]);
    let messages = wire.send(&[named('C', 'P', "c"), bare('S')]);
    assert_eq!(kinds(&messages), "3 Z");
    assert_eq!(error(&wire.raw.query("FETCH 1 FROM c")).0, "34000", "it was closed");
    wire.raw.query("ROLLBACK");
}

#[test]
fn a_portal_is_a_cursor() {
    let mut wire = started();
    wire.raw.query("BEGIN");
    let messages = wire.send(&[
        parse("", "SELECT a FROM t ORDER BY a", &[]),
        bind("p", "", 0, &[], 0),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "1 2 Z");
    assert_eq!(tags(&wire.raw.query("MOVE 1 FROM p")), ["MOVE 1"]);
    assert_eq!(rows(&wire.send(&[execute("p", 1), bare('S')])), [["2"]]);
    let messages = wire.send(&[
        parse("f", "FETCH 2 FROM p", &[]),
        describe('S', "f"),
        bind("", "f", 0, &[], 0),
        execute("", 0),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "1 t T 2 D D C Z");
    assert_eq!(rows(&messages).concat(), ["3", "4"]);
    assert_eq!(tags(&wire.raw.query("CLOSE p")), ["CLOSE CURSOR"]);
    let messages = wire.send(&[execute("p", 0), bare('S')]);
    assert_eq!(error(&messages).0, "34000");
    wire.raw.query("ROLLBACK");
}

#[test]
fn a_binary_cursor_sends_binary_values() {
    let mut wire = started();
    wire.raw.query("BEGIN");
    wire.raw.query("DECLARE c BINARY CURSOR FOR SELECT a FROM t ORDER BY a");
    let messages = wire.raw.query("FETCH 1 FROM c");
    assert_eq!(kinds(&messages), "T D C Z");
    let columns = &messages[0].body;
    assert_eq!(columns[columns.len() - 2..], [0, 1], "the format of the only column");
    assert_eq!(raw::values(&messages[1]), [Some(1_i32.to_be_bytes().to_vec())]);
    assert_eq!(tags(&wire.raw.query("MOVE 1 FROM c")), ["MOVE 1"]);
    // Bind says the formats of a statement that is prepared, and an Execute of the cursor itself has none.
    let messages = wire.send(&[
        parse("", "FETCH 1 FROM c", &[]),
        bind("", "", 0, &[], 0),
        execute("", 0),
        execute("c", 1),
        bare('S'),
    ]);
    assert_eq!(rows(&messages).concat(), ["3", "4"]);
    let shown = wire
        .raw
        .query("SELECT name, is_binary, is_holdable, statement FROM pg_cursors");
    let declared = "DECLARE c BINARY CURSOR FOR SELECT a FROM t ORDER BY a";
    assert_eq!(rows(&shown), [["c", "t", "f", declared]]);
    wire.raw.query("ROLLBACK");
}

#[test]
fn portals_are_among_the_cursors() {
    let mut wire = started();
    wire.raw.query("BEGIN");
    wire.send(&[
        parse("s", "SELECT a FROM t ORDER BY a", &[]),
        bind("p", "s", 0, &[], 0),
        execute("p", 1),
        bind("q", "s", 0, &[], 0),
        bare('S'),
    ]);
    let all =
        "SELECT name, statement, is_binary, is_holdable, creation_time > '2020-01-01' FROM pg_cursors ORDER BY name";
    let of = |name: &str| {
        [name, "SELECT a FROM t ORDER BY a", "f", "f", "t"]
            .map(str::to_string)
            .to_vec()
    };
    assert_eq!(rows(&wire.raw.query(all)), [of("p"), of("q")]);
    wire.send(&[named('C', 'P', "q"), bare('S')]);
    assert_eq!(rows(&wire.raw.query(all)), [of("p")]);
    // A query of the extended protocol sees itself.
    let messages = wire.send(&[
        parse("", "SELECT name FROM pg_cursors ORDER BY name", &[]),
        bind("", "", 0, &[], 0),
        execute("", 0),
        bare('S'),
    ]);
    assert_eq!(rows(&messages), [[""], ["p"]]);
    wire.raw.query("COMMIT");
    assert!(rows(&wire.raw.query(all)).is_empty());
}

#[test]
fn parameters_of_regclass_are_read_by_name_and_number() {
    let mut wire = started();
    let messages = wire.send(&[
        parse("s", "SELECT $1::regclass, $2::regtype[], $1::oid", &[]),
        describe('S', "s"),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "1 t T Z");
    let (regclass, regtypes) = (2205_u32.to_be_bytes(), 2211_u32.to_be_bytes());
    assert_eq!(messages[1].body, [[0, 2].as_slice(), &regclass, &regtypes].concat());
    let named: [Option<&[u8]>; 2] = [Some(b"pg_class"), Some(b"{int,NULL,text}")];
    let messages = wire.send(&[bind("", "s", 0, &named, 0), execute("", 0), bare('S')]);
    assert_eq!(rows(&messages), [["pg_class", "{integer,NULL,text}", "1259"]]);
    let messages = wire.send(&[bind("", "s", 0, &named, 1), execute("", 0), bare('S')]);
    let row = messages.iter().find(|message| message.kind == 'D').expect("a row");
    let values: Vec<Vec<u8>> = raw::values(row).into_iter().flatten().collect();
    // What was sent in binary is read in binary.
    let sent: [Option<&[u8]>; 2] = [Some(&values[0]), Some(&values[1])];
    assert_eq!(values[0], 1259_u32.to_be_bytes());
    let messages = wire.send(&[bind("", "s", 1, &sent, 0), execute("", 0), bare('S')]);
    assert_eq!(rows(&messages), [["pg_class", "{integer,NULL,text}", "1259"]]);
    let unknown: [Option<&[u8]>; 2] = [Some(b"nosuch"), None];
    let messages = wire.send(&[bind("", "s", 0, &unknown, 0), bare('S')]);
    assert_eq!(error(&messages).0, "42P01");
}

#[test]
fn a_notification_comes_with_the_commit_to_who_listens() {
    let mut wire = started();
    let mut other = Raw::connect(&wire.server);
    wire.raw.query("LISTEN c");
    other.query("BEGIN; NOTIFY c, 'taken back'; ROLLBACK");
    other.query("BEGIN");
    other.query("NOTIFY c, 'one'");
    other.query("SELECT pg_notify('c', 'two ' || a) FROM t WHERE a = 2");
    other.query("COMMIT");
    // Without a query of its own.
    let told: Vec<_> = std::iter::from_fn(|| wire.raw.next()).take(2).collect();
    assert_eq!(kinds(&told), "A A");
    let payloads: Vec<String> = told
        .iter()
        .map(|message| String::from_utf8_lossy(&message.body[4..]).replace('\0', " "))
        .collect();
    assert_eq!(payloads, ["c one ", "c two 2 "]);
    wire.raw.query("BEGIN");
    other.query("NOTIFY c");
    assert_eq!(
        kinds(&wire.raw.query("SELECT 1")),
        "T D C Z",
        "not inside a transaction"
    );
    assert_eq!(kinds(&wire.raw.query("COMMIT")), "C A Z");
    wire.raw.query("UNLISTEN *");
    other.query("NOTIFY c");
    assert_eq!(kinds(&wire.raw.query("SELECT 1")), "T D C Z");
}

#[test]
fn an_error_is_sent_before_sync() {
    let mut wire = started();
    wire.raw.write(
        &[
            parse("", "COPY nosuch FROM STDIN", &[]),
            bind("", "", 0, &[], 0),
            execute("", 0),
        ]
        .concat(),
    );
    // A driver that is about to send COPY data waits for this answer, and sends Sync only after it.
    let answer: Vec<_> = std::iter::from_fn(|| wire.raw.next()).take(3).collect();
    assert_eq!(kinds(&answer), "1 2 E");
    assert_eq!(kinds(&wire.send(&[bare('S')])), "Z");
}

#[test]
fn a_pipeline_up_to_sync_is_one_transaction() {
    let mut wire = started();
    let insert = |value: &'static [u8]| [bind("", "ins", 0, &[Some(value)], 0), execute("", 0)].concat();
    let messages = wire.send(&[
        parse("ins", "INSERT INTO t VALUES ($1, 'p')", &[23]),
        insert(b"10"),
        insert(b"11"),
        insert(b"x"),
        insert(b"12"),
        bare('S'),
    ]);
    assert_eq!(error(&messages).0, "22P02");
    assert_eq!(rows(&wire.raw.query("SELECT count(*) FROM t WHERE b = 'p'")), [["0"]]);
    let messages = wire.send(&[parse("ins", "INSERT INTO t VALUES ($1, 'p')", &[23]), bare('S')]);
    let again = kinds(&messages);
    assert!(
        again == "1 Z" || error(&messages).0 == "42P05",
        "the failed pipeline may have kept `ins`: {again}"
    );
    let messages = wire.send(&[insert(b"10"), insert(b"11"), bare('S'), insert(b"12"), bare('S')]);
    assert_eq!(kinds(&messages), "2 C 2 C Z");
    assert_eq!(kinds(&wire.raw.until_ready()), "2 C Z");
    assert_eq!(
        rows(
            &wire
                .raw
                .query("SELECT count(*), count(DISTINCT _lsn) FROM t WHERE b = 'p'")
        ),
        [["3", "2"]]
    );
}

#[test]
fn describe_tells_parameters_and_columns() {
    let mut wire = started();
    let messages = wire.send(&[
        parse("q", "SELECT a, b FROM t WHERE a = $1 AND b LIKE $2", &[]),
        describe('S', "q"),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "1 t T Z");
    let parameters = &messages
        .iter()
        .find(|message| message.kind == 't')
        .expect("parameters")
        .body;
    assert_eq!(
        *parameters,
        [[0, 2].as_slice(), &23_u32.to_be_bytes(), &25_u32.to_be_bytes()].concat()
    );
    let columns = &messages
        .iter()
        .find(|message| message.kind == 'T')
        .expect("columns")
        .body;
    assert_eq!(columns[..4], [0, 2, b'a', 0]);
    assert_eq!(
        columns[10..14],
        23_u32.to_be_bytes(),
        "the type of column a: {columns:?}"
    );

    let messages = wire.send(&[
        parse("i", "INSERT INTO t VALUES ($1, $2)", &[]),
        describe('S', "i"),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "1 t n Z");
    let messages = wire.send(&[
        parse("r", "INSERT INTO t VALUES ($1, $2) RETURNING a + 1", &[]),
        describe('S', "r"),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "1 t T Z");
    let messages = wire.send(&[describe('S', "nosuch"), bare('S')]);
    assert_eq!(error(&messages).0, "26000");
    let messages = wire.send(&[describe('P', "nosuch"), bare('S')]);
    assert_eq!(error(&messages).0, "34000");
}

#[test]
fn a_portal_answers_in_portions() {
    let mut wire = started();
    let messages = wire.send(&[
        parse("", "SELECT a FROM t ORDER BY a", &[]),
        bind("p", "", 0, &[], 0),
        execute("p", 2),
        execute("p", 2),
        execute("p", 2),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "1 2 D D s D D s D C Z");
    assert_eq!(rows(&messages).concat(), ["1", "2", "3", "4", "5"]);

    let messages = wire.send(&[execute("p", 0), bare('S')]);
    assert_eq!(error(&messages).0, "34000", "a portal ends with its transaction");
    let messages = wire.send(&[named('C', 'P', "nosuch"), named('C', 'S', "nosuch"), bare('S')]);
    assert_eq!(kinds(&messages), "3 3 Z", "closing what is not there is no error");
}

#[test]
fn a_portal_lives_over_syncs_inside_a_transaction() {
    let mut wire = started();
    wire.raw.query("BEGIN");
    let messages = wire.send(&[
        parse("", "SELECT a FROM t ORDER BY a", &[]),
        bind("p", "", 0, &[], 0),
        execute("p", 3),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "1 2 D D D s Z");
    let mut other = Raw::connect(&wire.server);
    other.query("INSERT INTO t VALUES (0, 'other')");
    let messages = wire.send(&[execute("p", 0), bare('S')]);
    assert_eq!(rows(&messages).concat(), ["4", "5"]);
    assert_eq!(status(&messages), 'T');
    wire.raw.query("COMMIT");
}

#[test]
fn binary_parameters_and_results_keep_their_values() {
    let mut wire = started();
    let sql = "SELECT $1::int2, $2::int4, $3::int8, $4::float8, $5::bool, $6::text, $7::bytea, $8::timestamp";
    let values: [&[u8]; 8] = [
        &7_i16.to_be_bytes(),
        &(-7_i32).to_be_bytes(),
        &i64::MAX.to_be_bytes(),
        &0.1_f64.to_be_bytes(),
        &[1],
        "größe".as_bytes(),
        &[0, 255],
        // 2024-01-01 00:00:00.000001 in microseconds since 2000-01-01
        &757_382_400_000_001_i64.to_be_bytes(),
    ];
    let parameters = values.map(Some);
    let messages = wire.send(&[
        parse("", sql, &[]),
        bind("", "", 1, &parameters, 1),
        execute("", 0),
        bare('S'),
    ]);
    assert_eq!(kinds(&messages), "1 2 D C Z", "{messages:?}");
    let row = messages.iter().find(|message| message.kind == 'D').expect("a row");
    assert_eq!(raw::values(row), values.map(|value| Some(value.to_vec())));
    let messages = wire.send(&[bind("", "", 1, &parameters, 0), execute("", 0), bare('S')]);
    assert_eq!(
        rows(&messages).concat(),
        [
            "7",
            "-7",
            "9223372036854775807",
            "0.1",
            "t",
            "größe",
            "\\x00ff",
            "2024-01-01 00:00:00.000001"
        ]
    );

    let messages = wire.send(&[bind("", "", 1, &[None; 8], 1), execute("", 0), bare('S')]);
    assert_eq!(rows(&messages).concat(), ["NULL"; 8]);
    let mut short = parameters;
    short[1] = Some(&[0, 1]);
    let messages = wire.send(&[bind("", "", 1, &short, 1), execute("", 0), bare('S')]);
    assert_eq!(error(&messages).0, "08P01");
    short[1] = Some(&[0, 0, 0, 1, 0]);
    let messages = wire.send(&[bind("", "", 1, &short, 1), execute("", 0), bare('S')]);
    assert_eq!(error(&messages).0, "22P03");
    let messages = wire.send(&[bind("", "", 1, &parameters[..3], 1), bare('S')]);
    assert_eq!(error(&messages).0, "08P01");
}

#[test]
fn a_running_query_can_be_cancelled_and_the_session_goes_on() {
    let mut wire = started();
    wire.raw.write(&query(
        "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b, generate_series(1, 100000) c",
    ));
    // A cancel that comes before the query has begun is lost, as in PostgreSQL: ask until the answer has come.
    let (answered, ended) = std::sync::mpsc::channel();
    let key = wire.raw.key.clone();
    let messages = std::thread::scope(|scope| {
        let server = &wire.server;
        scope.spawn(move || {
            loop {
                let mut cancelling = Raw::open(server);
                cancelling.write(&raw::cancel(&key));
                assert!(cancelling.until_closed().is_empty(), "a cancel request is not answered");
                if ended.recv_timeout(std::time::Duration::from_millis(50)).is_ok() {
                    break;
                }
            }
        });
        let messages = wire.raw.until_ready();
        answered.send(()).expect("the canceller listens");
        messages
    });
    assert_eq!(error(&messages).0, "57014");
    // A cancel that comes late may hit the next query; the one after is whole.
    wire.raw.query("SELECT 1");
    assert_eq!(rows(&wire.raw.query("SELECT 2")), [["2"]]);
}

#[test]
fn a_wrong_secret_cancels_nothing() {
    let mut wire = started();
    let mut wrong = wire.raw.key.clone();
    wrong.1.iter_mut().for_each(|byte| *byte ^= 0x55);
    let mut cancelling = Raw::open(&wire.server);
    cancelling.write(&raw::cancel(&wrong));
    assert!(cancelling.until_closed().is_empty());
    assert_eq!(rows(&wire.raw.query("SELECT 1")), [["1"]]);
}

#[test]
fn copy_in_by_hand_ends_done_failed_or_interrupted() {
    let mut wire = started();
    wire.raw.write(&query("COPY t (a) FROM STDIN"));
    assert_eq!(wire.raw.next().map(|message| message.kind), Some('G'));
    let messages = wire.send(&[raw::copy_data(b"21\n2"), raw::copy_data(b"2\n"), bare('c')]);
    assert_eq!(tags(&messages), ["COPY 2"]);

    wire.raw.write(&query("COPY t (a) FROM STDIN"));
    assert_eq!(wire.raw.next().map(|message| message.kind), Some('G'));
    let messages = wire.send(&[raw::copy_data(b"23\n"), raw::copy_fail("changed my mind")]);
    let (state, message) = error(&messages);
    assert_eq!(state, "57014");
    assert!(message.contains("changed my mind"), "{message}");

    // After a bad line the rest of the data on its way is swallowed.
    wire.raw.write(&query("COPY t (a) FROM STDIN"));
    assert_eq!(wire.raw.next().map(|message| message.kind), Some('G'));
    let messages = wire.send(&[raw::copy_data(b"x\n"), raw::copy_data(b"24\n"), bare('c')]);
    assert_eq!(kinds(&messages), "E Z", "W1");
    assert_eq!(
        rows(&wire.raw.query("SELECT a FROM t WHERE a > 20 ORDER BY a")),
        [["21"], ["22"]]
    );

    // A client that goes away in the middle leaves nothing.
    let mut leaving = Raw::connect(&wire.server);
    leaving.write(&[query("COPY t (a) FROM STDIN"), raw::copy_data(b"25\n")].concat());
    assert_eq!(leaving.next().map(|message| message.kind), Some('G'));
    drop(leaving);
    assert_eq!(rows(&wire.raw.query("SELECT count(*) FROM t WHERE a > 22")), [["0"]]);
}

#[test]
fn what_is_no_protocol_is_refused_without_harm() {
    let mut wire = started();
    let mut garbage = Raw::open(&wire.server);
    garbage.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    garbage.until_closed();

    let mut unknown = Raw::connect(&wire.server);
    unknown.write(&raw::odd('?', b"what"));
    let answer = unknown.until_closed();
    assert!(
        answer.iter().all(|message| matches!(message.kind, 'E' | 'Z')),
        "{answer:?}"
    );

    let mut bad_text = Raw::connect(&wire.server);
    bad_text.write(&raw::odd('Q', b"SELECT '\xff'\0"));
    let answer = bad_text.until_ready();
    assert_eq!(error(&answer).0, "22021");
    assert_eq!(rows(&bad_text.query("SELECT 'ÿ'")), [["ÿ"]], "the session goes on");

    assert_eq!(rows(&wire.raw.query("SELECT count(*) FROM t")), [["5"]]);
}

#[test]
fn notices_come_before_the_command_they_belong_to() {
    let mut wire = started();
    let messages = wire.raw.query("CREATE TOPIC IF NOT EXISTS t (a INT)");
    let order: Vec<char> = messages.iter().map(|message| message.kind).collect();
    assert_eq!(order, ['N', 'C', 'Z']);
    assert_eq!(raw::field(&messages[0], 'C').as_deref(), Some("42P07"));
    assert_eq!(raw::field(&messages[0], 'V').as_deref(), Some("NOTICE"));

    let messages = wire
        .raw
        .query("CREATE MATERIALIZED VIEW listed AS SELECT array_agg(a) AS a FROM t");
    assert_eq!(messages[0].kind, 'N', "what is recomputed is said: {messages:?}");

    let messages = wire.raw.query("SET application_name = 'me'");
    assert!(
        messages
            .iter()
            .any(|message| message.kind == 'S' && message.body.starts_with(b"application_name\0me\0"))
    );
}

#[test]
fn late_rows_are_told_to_the_one_who_sent_them() {
    let mut wire = started();
    wire.raw
        .query("CREATE TOPIC e (id INT, ts TIMESTAMP, WATERMARK FOR ts AS ts)");
    wire.raw.query(
        "CREATE MATERIALIZED VIEW w AS SELECT window_start, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '10 seconds') GROUP BY window_start",
    );
    let messages = wire
        .raw
        .query("INSERT INTO e VALUES (1, '2024-01-01 00:00:05'), (2, '2024-01-01 00:00:30')");
    assert!(
        messages.iter().all(|message| message.kind != 'N'),
        "nothing is late yet: {messages:?}"
    );
    let messages = wire.raw.query(
        "INSERT INTO e VALUES (3, '2024-01-01 00:00:06'), (4, '2024-01-01 00:00:07'), (5, '2024-01-01 00:00:31')",
    );
    let notice = messages
        .iter()
        .find(|message| message.kind == 'N')
        .expect("a notice about late rows");
    let text = raw::field(notice, 'M').expect("a message");
    assert!(text.contains('2') && text.contains('w'), "{text}");
}

#[test]
fn a_statement_too_deep_is_an_error() {
    let mut wire = started();
    let deep = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    assert!(matches!(error(&wire.raw.query(&deep)).0.as_str(), "54001" | "54000"));
    let long = format!("SELECT 1{}", " + 1".repeat(20_000));
    let messages = wire.raw.query(&long);
    assert!(
        kinds(&messages) == "T D C Z" || error(&messages).0.starts_with("54"),
        "{}",
        kinds(&messages)
    );
    assert_eq!(rows(&wire.raw.query("SELECT 1")), [["1"]]);
}
