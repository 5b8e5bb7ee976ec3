//! `leeway-fog` as a program of its own.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

/// A running program, killed at the latest with this.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
}

impl Program {
    /// Starts one with a store in `directory`, on a free port.
    pub fn start(directory: &Path, arguments: &[&str]) -> Self {
        let log = directory.join("log");
        let mut child = command(directory)
            .args(["--workers", "1"])
            .args(if arguments.contains(&"--listen") {
                &[][..]
            } else {
                &["--listen", "127.0.0.1:0"]
            })
            .args(arguments)
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let address = loop {
            let text = std::fs::read_to_string(&log).unwrap();
            if let Some((_, rest)) = text.split_once("serving address=") {
                break rest.split_whitespace().next().unwrap().parse().unwrap();
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended: {text}");
            assert!(start.elapsed() < Duration::from_secs(60), "it does not serve: {text}");
            std::thread::sleep(Duration::from_millis(10));
        };
        Self { child, address }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// A connection to it.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leeway-fog"));
    command.args(["--store".as_ref(), directory.join("fog").as_os_str()]);
    command.env("NO_COLOR", "1").env("RUST_LOG", "info");
    command
}

/// What the program does with these arguments alone, to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leeway-fog"))
        .env("NO_COLOR", "1")
        .args(arguments)
        .output()
        .unwrap()
}
