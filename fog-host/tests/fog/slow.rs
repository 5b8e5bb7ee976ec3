//! Clients that send too slowly, too little, or what is no HTTP.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use leeway_fog_host::FogConfig;
use serde_json::json;

use crate::support::{request, start_with};
use crate::testing::TestModel;

fn config() -> FogConfig {
    FogConfig {
        workers: 1,
        head_time: Duration::from_millis(300),
        idle_time: Duration::from_secs(60),
        ..FogConfig::default()
    }
}

/// What comes until the host closes the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_head_that_comes_byte_by_byte_is_given_up() {
    let (host, client) = start_with(FogConfig { connections: 20, ..config() });
    let good = client.push(&TestModel::scaling(2.0));
    let mut slow: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(host.local_addr()).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: f").unwrap();
    }
    // There is room for others again, although nobody else lets go.
    let input = request(json!([1, 2, 3, 4]));
    let other = crate::support::Client::new(&host);
    assert_eq!(other.infer(good, &input).values(), [2.0, 4.0, 6.0, 8.0]);
    for stream in &mut slow {
        let answer = rest(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[test]
fn a_connection_that_idles_between_requests_stays_open() {
    let (host, _client) = start_with(config());
    let mut stream = TcpStream::connect(host.local_addr()).unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(500));
        stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: fog\r\n\r\n").unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        // The rest of this answer.
        let mut byte = [0];
        while byte != *b"}" {
            stream.read_exact(&mut byte).unwrap();
        }
    }
}

#[test]
fn heads_that_are_none_get_an_error_or_nothing() {
    let (host, client) = start_with(config());
    let good = client.push(&TestModel::scaling(2.0));
    let long = format!("GET /{} HTTP/1.1\r\nHost: fog\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    let heads: [&[u8]; 10] = [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/echo HTTP/1.1\r\nHost: f\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/echo HTTP/1.1\r\nHost: f\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/echo HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\xff\xff\xff\xff\xff\xff\xff",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for head in heads {
        let mut stream = TcpStream::connect(host.local_addr()).unwrap();
        // The host may have closed it before all of it was sent.
        let _ = stream.write_all(head);
        let _ = stream.shutdown(Shutdown::Write);
        let answer = rest(&mut stream);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{head:?}: {answer}");
    }
    let input = request(json!([1, 2, 3, 4]));
    assert_eq!(client.infer(good, &input).values(), [2.0, 4.0, 6.0, 8.0]);
}
