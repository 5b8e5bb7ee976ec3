//! A device without a fog host.

use std::time::Duration;

use leeway_contract::Digest;

use super::{Fog, FogAnswer, FogError, InferRequest, Pushed, Traffic};

/// Nobody: whatever is asked, there is no answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFog;

fn nobody<T>() -> Result<T, FogError> {
    Err(FogError::Unreachable("this device has no fog host".into()))
}

impl Fog for NoFog {
    fn infer(&self, _: &InferRequest<'_>, _: Duration) -> Result<FogAnswer, FogError> {
        nobody()
    }

    fn probe(&self, _: Duration) -> Result<Traffic, FogError> {
        nobody()
    }

    fn probe_throughput(&self, _: usize, _: Duration) -> Result<Traffic, FogError> {
        nobody()
    }

    fn push(&self, _: Digest, _: &[u8], _: Duration) -> Result<Pushed, FogError> {
        nobody()
    }
}
