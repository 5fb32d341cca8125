//! A server whose disk has less room than is to be kept free: its refusals, its work that goes on, its messages.

use crate::support::{self, Server, value};

#[tokio::test]
async fn on_a_nearly_full_disk_rows_are_refused_and_all_else_goes_on() {
    let (_scratch, data_dir) = support::data_dir();
    let server = Server::start(&data_dir);
    let client = support::connect(&server).await;
    client
        .batch_execute("CREATE TOPIC t (a INT); CREATE TOPIC u (a INT); INSERT INTO t VALUES (1), (2)")
        .await
        .expect("there is room");
    assert_eq!(value(&client, "SELECT refusing FROM millstream.disk").await, "f");
    assert_eq!(
        value(
            &client,
            "SELECT available_bytes > mark_bytes AND total_bytes >= available_bytes FROM millstream.disk"
        )
        .await,
        "t"
    );
    drop(client);
    assert!(server.stop().success());

    // No disk has as much.
    let server = Server::start_with(&data_dir, &["--disk-reserve-mib", "1099511627776"]);
    let client = support::connect(&server).await;
    assert_eq!(value(&client, "SELECT refusing FROM millstream.disk").await, "t");
    for refused in ["INSERT INTO t VALUES (3)", "INSERT INTO t SELECT a FROM t"] {
        let error = client.simple_query(refused).await.expect_err(refused);
        assert_eq!(support::state(&error), "53100");
        let said = error.as_db_error().expect("the server's").message().to_string();
        assert!(said.contains("MiB are left on the disk"), "{said}");
    }
    // Before any data is sent.
    let copy = client.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await;
    let error = copy.err().expect("it is refused");
    assert_eq!(support::state(&error), "53100");
    // The driver still sends the end of that COPY over the first connection.
    let client = support::connect(&server).await;
    assert_eq!(value(&client, "SELECT count(*) FROM t").await, "2");
    client
        .batch_execute("DROP TOPIC u; CREATE VIEW w AS SELECT a FROM t; SELECT * FROM w")
        .await
        .expect("what adds no rows goes on");
    drop(client);
    assert!(server.stop().success());

    let server = Server::start_with(&data_dir, &["--disk-reserve-mib", "0"]);
    let client = support::connect(&server).await;
    client
        .batch_execute("INSERT INTO t VALUES (3)")
        .await
        .expect("the mark is off");
}
