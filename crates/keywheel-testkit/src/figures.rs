use std::path::PathBuf;
use std::{env, fs};

/// Tells what a test measured. What a test that passes prints is shown to nobody, so it is written down too,
/// in the folder that `KEYWHEEL_FIGURES` names: `cargo xtask test` shows what is in it.
///
/// # Panics
///
/// Panics when the folder can't be written to.
pub fn figure(name: &str, text: &str) {
    #[expect(clippy::print_stdout, reason = "for who runs the test alone")]
    {
        println!("{text}");
    }
    if let Some(folder) = env::var_os("KEYWHEEL_FIGURES").map(PathBuf::from) {
        let path = folder.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
