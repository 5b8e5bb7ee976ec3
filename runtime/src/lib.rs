//! The device: sandbox, calibration, link and fog estimates, offloader.
