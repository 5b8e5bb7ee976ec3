//! From an ONNX model to a WebAssembly component with an exact, certified fuel cost.
