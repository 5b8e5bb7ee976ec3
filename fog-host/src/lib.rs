//! The fog host: an HTTP server that runs the device's components, by digest.
//!
//! A device pushes a component once (`PUT /v1/modules/{digest}`) and then asks
//! for ranges of its stages by the Open Inference Protocol v2, whose model name
//! may be the digest itself. Names and versions are aliases to digests.
//!
//! What runs a component is the same sandbox as on the device, on threads of its
//! own with a bounded queue before them: the asynchronous side never computes,
//! and a request that would have to wait too long is refused at once.
//!
//! | file          | subject                                             |
//! |---------------|-----------------------------------------------------|
//! | `server`      | the listening socket, its life and its end          |
//! | `running`     | a host on a thread of its own, for synchronous code |
//! | `api`         | the routes, one file for each group                 |
//! | `grpc`        | the same over gRPC                                  |
//! | `stamp`       | when bytes arrived                                  |
//! | `turns`       | which request is next                               |
//! | `access`      | who may do what                                     |
//! | `clients`     | fairness between clients                            |
//! | `quota`       | what each client keeps, and may                     |
//! | `trusted`     | whose modules are taken                             |
//! | `uploads`     | modules that come in parts                          |
//! | `audit`       | the log of changes and refusals                     |
//! | `inference`   | what an inference goes through                      |
//! | `observe`     | statistics and metrics                              |
//! | `seen`        | the last minutes of clients and devices             |
//! | `overview`    | what the page at `/` shows                          |
//! | `traced`      | the spans of an inference                           |
//! | `host`        | what the routes share                               |
//! | `about`       | what the host says of itself and its models         |
//! | `modules`     | loaded modules, by digest                           |
//! | `catalog`     | names and versions, and the digests they stand for  |
//! | `repository`  | what is stored                                      |
//! | `store`       | where: a directory or a bucket                      |
//! | `follow`      | what other hosts of a shared store changed          |
//! | `preload`     | components that are there from the beginning        |
//! | `pool`        | the workers                                         |
//! | `threads`     | the asynchronous threads                            |
//! | `file`        | files of settings                                   |
//! | `error`       | what the client is told, and what the log is told   |

mod about;
mod access;
mod api;
mod audit;
mod catalog;
mod clients;
mod config;
mod error;
mod file;
mod follow;
mod grpc;
mod host;
mod inference;
mod modules;
mod observe;
mod overview;
mod pool;
mod preload;
mod quota;
mod repository;
mod running;
mod seen;
mod server;
mod stamp;
mod store;
mod threads;
mod traced;
mod trusted;
mod turns;
mod uploads;

pub use access::Scope;
pub use clients::ClientLimits;
pub use config::{FogConfig, StoreLocation};
pub use file::FileError;
pub use leeway_telemetry::Collector;
pub use leeway_tls::TlsError;
pub use leeway_tls::server::TlsFiles;
pub use preload::{Preload, PreloadError};
pub use repository::RepositoryError;
pub use running::Running;
pub use server::{BindError, FogHost, Reload};
pub use threads::runtime;
