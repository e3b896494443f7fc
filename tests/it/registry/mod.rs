//! The registry client
