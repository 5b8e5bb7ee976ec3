//! The relay with real sockets: all bytes arrive, in order, as late as they
//! should; peers that vanish harm nobody.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::outage::Outages;
use super::*;

const MS: Duration = Duration::from_millis(1);

/// A server that sends back what it receives, until the process ends.
fn echo_server() -> SocketAddr {
    serve(|mut stream| {
        let mut reader = stream.try_clone().unwrap();
        let _ = io::copy(&mut reader, &mut stream);
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// A server that does `serve` to each of its connections.
fn serve(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    addr
}

fn connect(link: &Link) -> TcpStream {
    let stream = TcpStream::connect(link.addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Sends one byte, waits for its echo, and tells how long that took.
fn ping(stream: &mut TcpStream) -> Duration {
    let sent = Instant::now();
    stream.write_all(&[7]).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    sent.elapsed()
}

/// The profile with all times shortened and all rates raised by `factor`.
fn faster(profile: &LinkProfile, factor: u32) -> LinkProfile {
    LinkProfile {
        up_bits_per_s: profile.up_bits_per_s * u64::from(factor),
        down_bits_per_s: profile.down_bits_per_s * u64::from(factor),
        delay: profile.delay / factor,
        jitter: profile.jitter / factor,
        outages: profile
            .outages
            .map(|o| Outages { every: o.every / factor, lasting: o.lasting / factor }),
        ..profile.clone()
    }
}

/// Sends `bytes` random bytes and returns whether the same bytes came back.
fn round_trip_is_intact(link: &Link, seed: u64, bytes: usize) -> bool {
    let mut sent = vec![0; bytes];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut sent);
    let mut stream = connect(link);
    let mut writer = stream.try_clone().unwrap();
    let mut received = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            // Pieces of uneven length, so that reads and segments differ.
            for piece in sent.chunks(3_001) {
                writer.write_all(piece).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut received).unwrap();
    });
    received == sent
}

#[test]
fn every_byte_of_several_connections_arrives_in_order_over_every_profile() {
    let target = echo_server();
    for profile in LinkProfile::all() {
        let link = Link::start(faster(profile, 50), 1, target).unwrap();
        thread::scope(|scope| {
            let transfers: Vec<_> = (0..4)
                .map(|seed| {
                    scope.spawn({
                        let link = &link;
                        move || round_trip_is_intact(link, seed, 60_000)
                    })
                })
                .collect();
            for transfer in transfers {
                assert!(transfer.join().unwrap(), "{}", profile.name);
            }
        });
        let stats = link.shutdown();
        assert_eq!((stats.connections, stats.refused), (4, 0));
        assert_eq!(stats.bytes, [240_000; 2]);
    }
}

#[test]
fn a_lossy_link_with_jitter_and_outages_loses_nothing() {
    let profile = LinkProfile {
        up_bits_per_s: 200_000_000,
        down_bits_per_s: 200_000_000,
        delay: MS,
        jitter: MS,
        loss: 0.02,
        outages: Some(Outages { every: MS * 50, lasting: MS * 20 }),
        ..LinkProfile::ideal("rough")
    };
    let link = Link::start(profile, 3, echo_server()).unwrap();
    assert!(round_trip_is_intact(&link, 9, 200_000));
    assert!(link.stats().losses.iter().sum::<u64>() > 0);
}

#[test]
fn a_round_trip_takes_the_delay_of_both_ways_and_little_more() {
    let link =
        |delay| Link::start(LinkProfile { delay, ..LinkProfile::ideal("x") }, 0, echo_server());
    for delay in [MS / 10, MS * 3 / 2, MS * 10] {
        let link = link(delay).unwrap();
        let mut stream = connect(&link);
        let mut times: Vec<Duration> = (0..40).map(|_| ping(&mut stream)).collect();
        times.sort();
        assert!(times[0] >= delay * 2, "{delay:?}: {:?}", times[0]);
        assert!(times[0] < delay * 2 + MS, "{delay:?}: {:?}", times[0]);
    }
}

#[test]
fn the_ethernet_profile_has_a_round_trip_below_a_millisecond() {
    let link = Link::start(LinkProfile::named("ethernet").unwrap(), 0, echo_server()).unwrap();
    let mut stream = connect(&link);
    let mut times: Vec<Duration> = (0..200).map(|_| ping(&mut stream)).collect();
    times.sort();
    assert!(times[10] < MS, "one in twenty within {:?}", times[10]);
}

#[test]
fn opening_a_connection_costs_a_round_trip() {
    let profile = LinkProfile { delay: MS * 20, ..LinkProfile::ideal("x") };
    let link = Link::start(profile, 0, echo_server()).unwrap();
    let opened = Instant::now();
    let mut stream = connect(&link);
    ping(&mut stream);
    let first = opened.elapsed();
    assert!((MS * 80..MS * 300).contains(&first), "{first:?}");
    assert!((0..5).any(|_| ping(&mut stream) < MS * 60));
}

#[test]
fn a_large_transfer_is_as_slow_as_the_rate() {
    // 300 kB at 24 Mbit/s: 0.1 s, a little more with the headers.
    let profile = LinkProfile { up_bits_per_s: 24_000_000, ..LinkProfile::ideal("x") };
    let link = Link::start(profile, 0, echo_server()).unwrap();
    let start = Instant::now();
    assert!(round_trip_is_intact(&link, 0, 300_000));
    let took = start.elapsed();
    assert!((MS * 100..MS * 500).contains(&took), "{took:?}");
}

#[test]
fn nothing_passes_while_the_link_is_down_and_nothing_is_lost() {
    let link = Link::start(LinkProfile::ideal("x"), 0, echo_server()).unwrap();
    let mut stream = connect(&link);
    ping(&mut stream);
    link.set_down(true);
    stream.write_all(b"held").unwrap();
    let mut late = connect(&link);
    late.write_all(b"late").unwrap();
    stream.set_read_timeout(Some(MS * 100)).unwrap();
    let error = stream.read(&mut [0; 4]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));

    link.set_down(false);
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for (stream, wanted) in [(&mut stream, b"held"), (&mut late, b"late")] {
        let mut seen = [0; 4];
        stream.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, wanted);
    }
}

#[test]
fn a_target_that_refuses_is_a_reset_for_the_device() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let link = Link::start(LinkProfile::ideal("x"), 0, nobody).unwrap();
    let error = connect(&link).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(link.shutdown().refused, 1);
}

#[test]
fn a_reset_reaches_the_other_end_as_a_reset_and_other_connections_live_on() {
    // Resets when it hears an `r`, echoes anything else.
    let target = serve(|mut stream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            if byte == *b"r" {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            stream.write_all(&byte).unwrap();
        }
    });
    let profile = LinkProfile { delay: MS, ..LinkProfile::ideal("x") };
    let link = Link::start(profile, 0, target).unwrap();
    let (mut doomed, mut bystander) = (connect(&link), connect(&link));
    ping(&mut doomed);
    ping(&mut bystander);
    doomed.write_all(b"r").unwrap();
    assert_eq!(doomed.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    ping(&mut bystander);
}

#[test]
fn a_device_that_vanishes_ends_its_connection_at_the_target() {
    let (sender, ended) = std::sync::mpsc::channel();
    let target = serve(move |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        sender.send(()).unwrap();
    });
    let link = Link::start(LinkProfile::ideal("x"), 0, target).unwrap();
    drop(connect(&link));
    ended.recv_timeout(Duration::from_secs(10)).expect("the target sees the end");
}

#[test]
fn a_shutdown_ends_open_connections_and_waits_for_nothing() {
    let slow = LinkProfile { delay: Duration::from_secs(3_600), ..LinkProfile::ideal("x") };
    let link = Link::start(slow, 0, echo_server()).unwrap();
    let mut stream = connect(&link);
    stream.write_all(b"never arrives").unwrap();
    link.set_down(true);
    let start = Instant::now();
    link.shutdown();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
}
