//! Clients for AWS: who we are, where we call, how long we wait, and what an error means.

mod connect;
mod credentials;
pub mod failure;
mod http;
mod json;
mod operations;
pub mod query;
pub mod raw;
pub mod reply;
mod retry;
mod signed;

pub use connect::{Clients, Identity, PUBLIC_REGION, Settings, Timeouts, Variables, connect, connect_with};
pub use failure::Failure;
