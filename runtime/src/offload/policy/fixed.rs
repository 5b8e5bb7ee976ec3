//! The two policies that do not look: everything on the device, everything on
//! the fog host. What any other policy is compared with.

use super::{Context, Decision, Policy, Reason};

/// Every input runs on the device.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllLocal;

impl Policy for AllLocal {
    fn name(&self) -> &'static str {
        "all-local"
    }

    fn decide(&mut self, _: &Context) -> Decision {
        Decision::local(Reason::Always)
    }
}

/// Every input is sent to the fog host, whatever is known of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllFog;

impl Policy for AllFog {
    fn name(&self) -> &'static str {
        "all-fog"
    }

    fn decide(&mut self, _: &Context) -> Decision {
        Decision::fog(Reason::Always)
    }
}
