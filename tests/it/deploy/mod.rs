//! The walk: verdicts and decisions as tables, calls against a server of our own making.

mod check_url;
mod decisions;
mod failures;
mod following;
mod history;
mod listener;
mod observations;
mod register;
mod render;
mod repository;
mod service;
mod surroundings;
mod trap;
mod verdicts;
