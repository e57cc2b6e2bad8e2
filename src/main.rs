//! The program: reads the command line, makes the runtime, and says what went wrong.

use std::process::ExitCode;

use clap::Parser as _;
use salesos_webhooks::cli::{self, Cli};

/// A delivery makes some hundred small allocations: with the C library's allocator they took a quarter of a node's CPU.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The first to be installed is the one that every TLS connection of the process uses.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match actix::System::new().block_on(cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("salesos-webhooks: {error:#}");
            ExitCode::FAILURE
        }
    }
}
