//! Integration tests: the real program, real servers, another engine, and faults.
//!
//! One binary, so that servers start once and linking happens once. `support` runs the program,
//! `services` provisions what it is tested against; each other module is one subject.

// Tests may print, panic and read the environment.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used
)]

mod cli;
mod concurrency;
mod duckdb;
mod etl;
mod evolution;
mod faults;
mod feed;
mod files;
mod flush;
mod interop;
mod kill;
mod layout;
#[path = "../support/made_up.rs"]
mod made_up;
mod mapped;
mod memory;
mod postgres;
mod queries;
mod s3;
#[path = "../support/services.rs"]
mod services;
mod support;
mod tidy;
mod upkeep;
mod weave;
mod work;
