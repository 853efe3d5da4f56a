mod callback;
mod command;
mod file;

pub use self::callback::{CallbackSink, OwnedSecret};
pub use self::command::CommandSink;
pub use self::file::FileSink;
