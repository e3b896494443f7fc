//! Push: 11 to 18.
