//! A panic in the work on a message: the client gets an error, its transaction has failed, the conversation goes on.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::server::open_empty_engine;
use crate::session::RowsTag;
use crate::wire::frontend::Phase;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short message");
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

/// Types of messages with the SQLSTATE of errors and the status of ReadyForQuery: `C ZT EXX000`.
fn spoken(mut bytes: &[u8]) -> String {
    let mut spoken = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        let (body, rest) = rest.split_at(length);
        let kind = char::from(head[0]);
        spoken.push(match kind {
            'E' => {
                let state = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'C'));
                format!("E{}", String::from_utf8_lossy(&state.expect("a SQLSTATE")[1..]))
            }
            'Z' => format!("Z{}", char::from(body[0])),
            kind => kind.to_string(),
        });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "whole messages");
    spoken.join(" ")
}

#[tokio::test]
async fn a_panic_fails_the_transaction_and_the_conversation_goes_on() {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let session = Session::new(
        open_empty_engine().await,
        "me".to_string(),
        "millstream".to_string(),
        Default::default(),
    );
    let mut socket = Socket::new(server);
    socket.enter(Phase::Session);
    let (_stop, stopped) = watch::channel(false);
    let mut connection = Connection::new(socket, session.expect("a user and the database"), stopped);
    let prepared = connection
        .session
        .prepare("SELECT 1", &[])
        .await
        .expect("it is planned");
    let fields = prepared.fields.clone().expect("a column");
    let one: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let row = RecordBatch::try_from_iter([("a", one)]).expect("a column of a row");
    // A row is in the output when the next one panics.
    let rows = futures::stream::iter([Ok(row)]).chain(futures::stream::once(async { panic!("in a row") }));
    let portal = Portal::running(prepared, fields, rows.boxed(), RowsTag::Select);
    connection.portals.insert("p".to_string(), portal);
    let sent = [
        message(b'Q', b"BEGIN\0"),
        message(b'E', b"p\0\0\0\0\0"),
        message(b'E', b"p\0\0\0\0\0"),
        message(b'S', b""),
        message(b'Q', b"SELECT 1\0"),
        message(b'Q', b"ROLLBACK\0"),
        message(b'Q', b"SELECT 1\0"),
        message(b'X', b""),
    ];
    client.write_all(&sent.concat()).await.expect("there is room");
    let ended = connection.run().await;
    assert!(matches!(ended, Ended::Gone), "{ended}");
    drop(connection);
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.expect("answers can be read");
    assert_eq!(spoken(&answers), "C ZT D EXX000 ZE E25P02 ZE C ZI T D C ZI");
}
