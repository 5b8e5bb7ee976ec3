//! More requests than workers, slow models and clients that leave.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use leeway_fog_host::FogConfig;
use serde_json::json;

use crate::support::{Client, request, start_with};
use crate::testing::{Behaviour, TestModel};

fn config() -> FogConfig {
    FogConfig {
        workers: 1,
        queue: 1,
        request_time: Duration::from_millis(1500),
        ..FogConfig::default()
    }
}

#[test]
fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let (host, client) = start_with(config());
    let spin = client.push(&TestModel::behaving(Behaviour::Spin));
    let input = request(json!([1, 2, 3, 4]));
    let ask = || {
        let (client, input) = (Client::new(&host), input.clone());
        std::thread::spawn(move || client.infer(spin, &input))
    };
    let running = ask();
    std::thread::sleep(Duration::from_millis(300));
    let waiting = ask();
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    let refused = client.infer(spin, &input);
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert!(refused.error(503).contains("overloaded"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait >= 1);
    // The others are answered in their time: the first was interrupted in the
    // model, the second found no worker, or one with too little time left.
    assert!(running.join().unwrap().error(504).contains("interrupted at its deadline"));
    waiting.join().unwrap().error(504);
    // And then there is room again.
    let good = client.push(&TestModel::scaling(2.0));
    assert_eq!(client.infer(good, &input).values(), [2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn a_queued_request_whose_client_has_gone_is_dropped() {
    let (host, client) = start_with(config());
    let spin = client.push(&TestModel::behaving(Behaviour::Spin));
    let good = client.push(&TestModel::scaling(2.0));
    let input = request(json!([1, 2, 3, 4]));
    let running = {
        let (client, input) = (Client::new(&host), input.clone());
        std::thread::spawn(move || client.infer(spin, &input))
    };
    std::thread::sleep(Duration::from_millis(300));

    let mut leaving = TcpStream::connect(host.local_addr()).unwrap();
    let body = input.to_string();
    let path = format!("/v2/models/{spin}/infer");
    let length = body.len();
    write!(leaving, "POST {path} HTTP/1.1\r\nHost: fog\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    client.infer(good, &input).error(503);
    drop(leaving);
    std::thread::sleep(Duration::from_millis(200));

    // Its place is free, and its 1.5 s are not spent.
    assert_eq!(client.infer(good, &input).values(), [2.0, 4.0, 6.0, 8.0]);
    running.join().unwrap().error(504);
}

#[test]
fn a_running_request_whose_client_has_gone_is_interrupted() {
    let config = FogConfig { request_time: Duration::from_secs(40), ..config() };
    let (host, client) = start_with(config);
    let spin = client.push(&TestModel::behaving(Behaviour::Spin));
    let good = client.push(&TestModel::scaling(2.0));
    let input = request(json!([1, 2, 3, 4]));
    let body = input.to_string();
    let length = body.len();
    let mut leaving = TcpStream::connect(host.local_addr()).unwrap();
    let path = format!("/v2/models/{spin}/infer");
    write!(leaving, "POST {path} HTTP/1.1\r\nHost: fog\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    drop(leaving);
    // The only worker would be at it for as long as this request may take.
    assert_eq!(client.infer(good, &input).values(), [2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn many_clients_at_once_each_get_their_own_answer() {
    let config = FogConfig { workers: 2, instances_per_worker: 1, ..FogConfig::default() };
    let (host, client) = start_with(config);
    let models = [client.push(&TestModel::scaling(2.0)), client.push(&TestModel::scaling(3.0))];
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let client = Client::new(&host);
            scope.spawn(move || {
                for i in 0..50u32 {
                    let (x, which) = ((thread * 1000 + i) as f32, (i % 2) as usize);
                    let mut request = request(json!([x, x, x, x]));
                    request["id"] = format!("{thread}-{i}").into();
                    let answer = client.infer(models[which], &request);
                    assert_eq!(answer.values(), [x * (which as f32 + 2.0); 4]);
                    assert_eq!(answer.json()["id"], format!("{thread}-{i}"));
                }
            });
        }
    });
}

#[test]
fn a_body_that_does_not_arrive_in_time_is_given_up() {
    let config = FogConfig { request_time: Duration::from_millis(300), ..config() };
    let (host, client) = start_with(config);
    let digest = client.push(&TestModel::scaling(2.0));
    let mut slow = TcpStream::connect(host.local_addr()).unwrap();
    let path = format!("/v2/models/{digest}/infer");
    write!(slow, "POST {path} HTTP/1.1\r\nHost: fog\r\nContent-Length: 100\r\n\r\n{{").unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut slow, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn a_request_that_says_at_its_end_that_it_is_too_late_is_refused_before_its_tensors_are_read() {
    let (_host, client) = start_with(config());
    let digest = client.push(&TestModel::scaling(2.0));
    let mut wrong = request(json!(["no number", 2, 3, 4]));
    assert!(client.infer(digest, &wrong).error(400).contains("numbers"));
    wrong["parameters"] = json!({ "timeout": 1 });
    let refused = client.infer(digest, &wrong);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.error(503).contains("overloaded"));
    let metrics = String::from_utf8(client.get("/metrics").body).unwrap();
    assert!(metrics.contains("leeway_refusals_total{reason=\"deadline\"} 1"), "{metrics}");
    // In time, it is told what is wrong.
    wrong["parameters"] = json!({ "timeout": 1_000_000 });
    assert!(client.infer(digest, &wrong).error(400).contains("numbers"));
}
