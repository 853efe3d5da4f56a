//! Runnable examples: `cargo run --example quickstart` is where to begin.
