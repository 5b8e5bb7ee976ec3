//! Modules that come in parts.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use leeway_contract::Digest;
use serde_json::json;

use crate::support::{Answer, Client, component, request, start};
use crate::testing::TestModel;

fn part(client: &Client, path: &str, component: &[u8], first: usize, end: usize) -> Answer {
    let range = format!("bytes {first}-{}/{}", end - 1, component.len());
    client.put_with(path, ("content-range", &range), &component[first..end])
}

#[test]
fn parts_make_a_module() {
    let (_host, client) = start();
    let component = component(&TestModel::scaling(2.0));
    let (digest, length) = (Digest::of(&component), component.len());
    let path = format!("/v1/modules/{digest}");
    assert_eq!(client.head(&path).header("upload-offset"), Some("0"));
    let first = part(&client, &path, &component, 0, 1000);
    assert_eq!((first.status, first.header("upload-offset")), (202, Some("1000")));
    assert_eq!(first.json(), json!({ "digest": digest, "offset": 1000, "total": length }));
    let missing = client.head(&path);
    assert_eq!((missing.status, missing.header("upload-offset")), (404, Some("1000")));
    // Neither a gap nor what is here already.
    for first in [999, 1001] {
        let refused = part(&client, &path, &component, first, length);
        assert!(refused.error(409).contains("wanted 1000"));
        assert_eq!(refused.header("upload-offset"), Some("1000"));
    }
    assert_eq!(part(&client, &path, &component, 1000, length).status, 201);
    let input = request(json!([1, 2, 3, 4]));
    assert_eq!(client.infer(digest, &input).values(), [2.0, 4.0, 6.0, 8.0]);
    assert_eq!(part(&client, &path, &component, 0, length).status, 200);
}

#[test]
fn what_came_before_a_connection_broke_stays() {
    let (host, client) = start();
    let component = component(&TestModel::scaling(2.0));
    let (path, length) = (format!("/v1/modules/{}", Digest::of(&component)), component.len());
    let mut stream = TcpStream::connect(host.local_addr()).unwrap();
    write!(
        stream,
        "PUT {path} HTTP/1.1\r\nHost: fog\r\nContent-Length: {length}\r\n\
         Content-Range: bytes 0-{}/{length}\r\n\r\n",
        length - 1
    )
    .unwrap();
    stream.write_all(&component[..length / 2]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    let here = client.head(&path);
    assert_eq!(here.header("upload-offset"), Some(&*(length / 2).to_string()));
    assert_eq!(part(&client, &path, &component, length / 2, length).status, 201);
}

#[test]
fn parts_of_something_else_begin_anew() {
    let (_host, client) = start();
    let component = component(&TestModel::scaling(2.0));
    let (path, length) = (format!("/v1/modules/{}", Digest::of(&component)), component.len());
    let other = vec![7; length];
    assert_eq!(part(&client, &path, &other, 0, 500).status, 202);
    let error = part(&client, &path, &component, 500, length).error(400);
    assert!(error.contains("fetch: "), "{error}");
    assert_eq!(client.head(&path).header("upload-offset"), Some("0"));
    assert_eq!(part(&client, &path, &component, 0, length).status, 201);
}

#[test]
fn ranges_that_are_none_are_refused() {
    let (_host, client) = start();
    let path = format!("/v1/modules/{}", Digest::of(b"x"));
    for range in ["", "bytes 0-9", "bytes 0-9/5", "bytes 5-4/10", "lines 0-9/10"] {
        let answer = client.put_with(&path, ("content-range", range), b"0123456789");
        assert!(answer.error(400).contains("FIRST-LAST/TOTAL"), "{range}");
    }
    let huge = "bytes 0-9/99999999999";
    client.put_with(&path, ("content-range", huge), b"0123456789").error(413);
    // More than the part is said to be.
    client.put_with(&path, ("content-range", "bytes 0-3/10"), b"0123456789").error(413);
}
