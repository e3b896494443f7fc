//! The walk: verdicts and decisions as tables, calls against a server of our own making.

mod decisions;
mod denied;
mod failures;
mod following;
mod going_back;
mod history;
mod observations;
mod register;
mod render;
mod repository;
mod service;
mod verdicts;
