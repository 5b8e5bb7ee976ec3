//! A certified component for tests.

#[path = "../../../runtime/src/testing.rs"]
mod model;

use leeway_contract::EngineClaim;

/// The bytes of a module of this name and version.
pub(crate) fn component(name: &str, version: &str) -> Vec<u8> {
    let scaling = model::TestModel::scaling(2.0);
    let model = model::TestModel { name: name.into(), version: version.into(), ..scaling };
    model.component(&EngineClaim::of_compiled("48.0.0", "a table"))
}
