//! The walk: verdicts and decisions as tables, calls against a server of our own making.

mod decisions;
mod history;
mod register;
mod render;
mod repository;
mod service;
mod verdicts;
