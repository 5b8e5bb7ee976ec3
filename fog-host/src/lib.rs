//! The fog host: an HTTP server that runs the device's components, by digest.
