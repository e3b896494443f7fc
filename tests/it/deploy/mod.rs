//! The walk: verdicts and decisions as tables, calls against a server of our own making.

mod advice;
mod batches;
mod check_url;
mod deadlines;
mod decisions;
mod denied;
mod failures;
pub mod following;
mod going_back;
mod history;
mod images;
mod listener;
mod measured;
mod observations;
mod origin;
mod pacing;
mod platforms;
mod register;
mod render;
mod repository;
pub mod service;
mod stages;
mod strategies;
mod surroundings;
mod trap;
mod verdicts;
