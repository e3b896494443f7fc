//! One integration binary: each module tests one area through the public library or the real binary.

mod aws;
mod commands;
mod config;
mod deploy;
mod document;
mod documented;
mod hints;
mod images;
mod kill;
mod lab_balancer;
mod lab_ecs;
mod lab_front;
mod lab_runtime;
mod lab_secrets;
mod layers;
mod model;
mod ports;
mod program;
mod registry;
mod rehearsal;
mod release;
mod replies;
mod report;
mod scenario;
mod signing;
