//! The `gotgan` program: everything is in [`gotgan::cli`].

use std::process::ExitCode;

/// Measured faster than the system's allocator for the engine's allocation pattern.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gotgan::cli::main()
}
