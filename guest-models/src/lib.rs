//! The four reference models, with their validation and test data, embedded.
