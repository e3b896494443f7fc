//! Secrets: 55 to 58.
