//! Malformed messages of each kind, cut and changed at every byte.

use super::*;

#[track_caller]
fn refused(kind: u8, body: &[u8], expected: &str) {
    let error = decode(kind, body).expect_err("it is malformed");
    assert_eq!(
        (error.state, error.message.as_str()),
        (state::PROTOCOL_VIOLATION, expected)
    );
}

/// A well-formed body of each kind.
const WHOLE: [(u8, &[u8]); 12] = [
    (b'Q', b"SELECT 1\0"),
    (b'P', b"name\0SELECT $1\0\0\x02\0\0\0\x17\0\0\0\0"),
    (
        b'B',
        b"portal\0name\0\0\x02\0\0\0\x01\0\x03\0\0\0\x01x\xff\xff\xff\xff\0\0\0\0\0\x01\0\x01",
    ),
    (b'D', b"Sname\0"),
    (b'C', b"Pname\0"),
    (b'E', b"portal\0\0\0\0\x05"),
    (b'H', b""),
    (b'S', b""),
    (b'X', b""),
    (b'd', b"1\t2\n"),
    (b'c', b""),
    (b'f', b"no more\0"),
];

#[test]
fn a_message_is_taken_apart() {
    let Ok(Frontend::Parse(parse)) = decode(WHOLE[1].0, WHOLE[1].1) else {
        panic!("a Parse")
    };
    assert_eq!((parse.name, parse.query), ("name", "SELECT $1"));
    assert_eq!(parse.types().collect::<Vec<_>>(), [23, 0]);
    let Ok(Frontend::Bind(bind)) = decode(WHOLE[2].0, WHOLE[2].1) else {
        panic!("a Bind")
    };
    assert_eq!((bind.portal, bind.statement), ("portal", "name"));
    assert_eq!(bind.parameter_formats.iter().collect::<Vec<_>>(), [0, 1]);
    let values: Vec<_> = bind.parameters.iter().collect();
    assert_eq!(values, [Some(b"x".as_slice()), None, Some(b"")]);
    assert_eq!((bind.parameters.len(), bind.result_formats.len()), (3, 1));
    let execute = Frontend::Execute {
        portal: "portal",
        rows_max: 5,
    };
    assert_eq!(decode(b'E', WHOLE[5].1), Ok(execute));
    assert_eq!(decode(b'C', WHOLE[4].1), Ok(Frontend::Close(Target::Portal("name"))));
}

#[test]
fn malformed_messages_are_refused_in_postgresqls_words() {
    let insufficient = "insufficient data left in message";
    let string = "invalid string in message";
    refused(b'B', b"\0\0", insufficient);
    refused(b'B', b"", string);
    refused(b'B', b"\0\0\0\0\0\x01\0\0\0\x05x", insufficient);
    refused(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0", insufficient);
    refused(b'B', b"\0\0\xff\xff\0\0", insufficient);
    refused(b'B', b"\0\0\0\0\xff\xff\0\0", insufficient);
    refused(b'B', b"\0\0\0\0\0\0\0\0\0", "invalid message format");
    refused(b'P', b"", string);
    refused(b'P', b"\0", string);
    refused(b'P', b"\0SELECT 1\0", insufficient);
    refused(b'P', b"\0SELECT 1\0\xff\xff\0\0\0\x17", insufficient);
    refused(b'D', b"", "no data left in message");
    refused(b'D', b"S", string);
    refused(b'D', b"x\0", "invalid DESCRIBE message subtype 120");
    refused(b'C', b"", "no data left in message");
    refused(b'C', b"x\0", "invalid CLOSE message subtype 120");
    refused(b'E', b"", string);
    refused(b'E', b"\0\0\0", insufficient);
    refused(b'Q', b"SELECT 1", string);
    refused(b'Q', b"SELECT 1\0SELECT 2\0", "invalid message format");
    refused(b'S', b"\0", "invalid message format");
    refused(b'f', b"", string);
    refused(b'?', b"", "invalid frontend message type 63");
    let error = decode(b'Q', b"SELECT '\xff'\0").expect_err("no UTF-8");
    assert_eq!(error.state, state::CHARACTER_NOT_IN_REPERTOIRE);
    assert_eq!(error.message, "invalid byte sequence for encoding \"UTF8\": 0xff");
}

#[test]
fn lengths_are_checked_before_the_message_is_there() {
    let session = |bytes: &[u8]| length(Phase::Session, bytes).map_err(|error| error.message.clone());
    assert_eq!(session(b""), Ok(None));
    assert_eq!(session(b"Q\0\0\0"), Ok(None));
    assert_eq!(session(b"Q\0\0\0\x04"), Ok(Some(5)));
    assert_eq!(session(b"Q\x3f\xff\xff\xff"), Ok(Some(0x3fff_ffff + 1)));
    let bad = Err("invalid message length".to_string());
    for head in [
        b"d\0\0\0\x01",
        b"d\0\0\0\x03",
        b"Q\x40\0\0\x03",
        b"Q\xff\xff\xff\xff",
        b"S\0\0\x27\x15",
    ] {
        assert_eq!(session(head), bad, "{head:?}");
    }
    assert_eq!(session(b"?"), Err("invalid frontend message type 63".to_string()));
    assert_eq!(session(b"p"), Err("invalid frontend message type 112".to_string()));

    let opening = |bytes: &[u8]| length(Phase::Opening, bytes).map_err(|error| error.message.clone());
    let bad = Err("invalid length of startup packet".to_string());
    assert_eq!(opening(b"\0\0\0"), Ok(None));
    assert_eq!(opening(b"\0\0\0\x08"), Ok(Some(8)));
    assert_eq!(opening(b"\0\0\0\x07"), bad);
    assert_eq!(opening(&10_005_u32.to_be_bytes()), bad);
    assert_eq!(opening(b"GET / HTTP/1.1"), bad);

    let login = |bytes: &[u8]| length(Phase::Login, bytes).map_err(|error| error.message.clone());
    assert_eq!(login(b"p\0\0\0\x04"), Ok(Some(5)));
    assert_eq!(login(b"p\x3f\xff\xff\xff"), Err("invalid message length".to_string()));
    let other = Err("expected SASL response, got message type 81".to_string());
    assert_eq!(login(b"Q"), other);
}

#[test]
fn a_packet_that_opens_a_connection_is_taken_apart() {
    let packet = |version: u32, rest: &[u8]| [&[0, 0, 0, 0], &version.to_be_bytes()[..], rest].concat();
    assert_eq!(opening(&packet(80_877_103, b"")), Ok(Opening::Ssl));
    assert_eq!(opening(&packet(80_877_104, b"")), Ok(Opening::Gss));
    let cancel = packet(80_877_102, b"\0\0\0\x07abcdefgh");
    let key = b"abcdefgh".as_slice();
    assert_eq!(opening(&cancel), Ok(Opening::Cancel { session: 7, key }));
    for short in [&b""[..], b"\0\0\0\x07", b"\0\0\0\x07abc"] {
        assert!(opening(&packet(80_877_102, short)).is_err());
    }
    let startup = packet(196_610, b"user\0me\0database\0\0\0");
    let expected = Startup {
        major: 3,
        minor: 2,
        parameters: vec![("user", "me"), ("database", "")],
    };
    assert_eq!(opening(&startup), Ok(Opening::Startup(expected)));
    for bad in [
        &b""[..],
        b"user",
        b"user\0",
        b"user\0me",
        b"user\0me\0",
        b"user\0me\0\0x",
        b"\0\0",
    ] {
        let error = opening(&packet(196_608, bad)).expect_err("it does not end as it should");
        assert_eq!(
            error.message, "invalid startup packet layout: expected terminator as last byte",
            "{bad:?}"
        );
    }
}

#[test]
fn the_first_message_of_a_login_is_taken_apart() {
    let whole = b"SCRAM-SHA-256\0\0\0\0\x02n,";
    assert_eq!(
        sasl_initial_response(whole),
        Ok(("SCRAM-SHA-256", Some(b"n,".as_slice())))
    );
    assert_eq!(sasl_initial_response(b"X\0\xff\xff\xff\xff"), Ok(("X", None)));
    for end in 0..whole.len() {
        assert!(sasl_initial_response(&whole[..end]).is_err(), "cut at {end}");
    }
    assert!(sasl_initial_response(b"X\0\xff\xff\xff\xfe").is_err());
}

#[test]
fn a_message_cut_anywhere_or_with_any_byte_changed_is_decoded_or_refused() {
    for (kind, body) in WHOLE {
        assert!(decode(kind, body).is_ok(), "{}", char::from(kind));
        for end in 0..body.len() {
            let cut = decode(kind, &body[..end]);
            assert!(kind == b'd' || cut.is_err(), "{} cut at {end}", char::from(kind));
        }
        for at in 0..body.len() {
            for byte in 0..=255 {
                let mut changed = body.to_vec();
                changed[at] = byte;
                if let Ok(Frontend::Bind(bind)) = decode(kind, &changed) {
                    assert_eq!(bind.parameters.iter().count(), bind.parameters.len());
                }
            }
        }
    }
}
