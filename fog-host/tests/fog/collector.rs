//! A collector of spans on the loopback interface, with TLS or without.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use leeway_fog_host::TlsFiles;
use leeway_tls::server::ClientCertificate;
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;

use crate::secure::fixture;

/// A collector that hands over every request's body.
pub fn collector() -> (String, Receiver<Value>) {
    listening("http", |stream| stream)
}

/// One whose certificate the fixtures' authority has signed.
pub fn tls_collector() -> (String, Receiver<Value>) {
    let files = TlsFiles {
        certificate: fixture("host.pem"),
        key: fixture("host.key"),
        client_authority: None,
    };
    let config = files.load(ClientCertificate::Optional).unwrap();
    listening("https", move |stream| {
        StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
    })
}

fn listening<S: Read + Write>(
    scheme: &str,
    accept: impl Fn(TcpStream) -> S + Send + Sync + 'static,
) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    let accept = Arc::new(accept);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, accept, sender) = (stream.unwrap(), Arc::clone(&accept), sender.clone());
            std::thread::spawn(move || serve(BufReader::new(accept(stream)), &sender));
        }
    });
    (url, receiver)
}

/// Answers requests until the connection ends, or the client does not like it.
fn serve<S: Read + Write>(mut reader: BufReader<S>, sender: &Sender<Value>) {
    while let Some(body) = next(&mut reader) {
        // Before the answer: who has that knows that the spans are here.
        let _ = sender.send(serde_json::from_slice(&body).unwrap());
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        reader.get_mut().write_all(answer).and_then(|()| reader.get_mut().flush()).unwrap();
    }
}

fn next(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            return Some(body);
        }
    }
}

/// The spans of the next requests, until there are so many.
pub fn spans(receiver: &Receiver<Value>, wanted: usize) -> Vec<Value> {
    let mut spans = Vec::new();
    while spans.len() < wanted {
        let body = receiver.recv_timeout(Duration::from_secs(60)).expect("spans arrive");
        let resource = &body["resourceSpans"][0];
        let service = &resource["resource"]["attributes"][0]["value"]["stringValue"];
        for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
            let mut span = span.clone();
            span["service"] = service.clone();
            spans.push(span);
        }
    }
    spans
}
