//! Signals: 34.
