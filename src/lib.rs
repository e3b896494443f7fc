//! `steady`: a service from source to *steady state* on Amazon ECS.
//!
//! # Layout
//!
//! In reading order; each layer imports only those below it, and `tests/it/layers.rs` holds it to that.
//!
//! - [`commands`]: one verb, one file: its arguments and its `run`.
//! - [`deploy`]: the walk from source to steady state, and back; emits [`deploy::event`]s and never prints.
//! - [`report`]: shows events and results: bars, lines, JSON.
//! - [`config`]: `steady.yaml`, environment and flags become one `Plan`.
//! - [`lab`]: the rehearsal of AWS that `--lab` starts; shares nothing with the above but `error` and `aws_model`.
//! - [`image`]: images as data: references, layouts, layers assembled from files, engines.
//! - [`registry`]: the OCI distribution client that pushes them.
//! - [`document`]: task definitions, dockerruns and service documents: lossless JSON, templates, shapes.
//! - [`aws`]: clients, raw JSON through the SDK, errors with their next action.
//! - [`transport`]: certificates and proxies, for AWS's APIs and for registries.
//! - [`aws_model`]: AWS's own service models as data, with a validator.
//! - [`error`]: one error: what, where, why, what next.

pub mod aws;
pub mod aws_model;
pub mod commands;
pub mod config;
pub mod deploy;
pub mod document;
pub mod error;
pub mod image;
pub mod lab;
pub mod registry;
pub mod report;
pub mod transport;
