use std::fmt;

use super::world::Moment;

/// What happened, line by line, when somebody wants to read it.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(wanted: bool) -> Self {
        Self {
            lines: wanted.then(Vec::new),
        }
    }

    /// Adds a line. `who` acted, or is `None` for what happens by itself.
    pub(crate) fn note(&mut self, at: Moment, who: Option<usize>, what: fmt::Arguments<'_>) {
        let Some(lines) = &mut self.lines else { return };
        let at = at.date().format("%F %H:%M:%S%.3f");
        let who = who.map_or_else(|| "-".to_owned(), |process| format!("p{process}"));
        lines.push(format!("{at}  {who:<2}  {what}"));
    }

    /// Adds a line that is costly to make.
    pub(crate) fn note_with(&mut self, at: Moment, what: impl FnOnce() -> String) {
        if self.lines.is_some() {
            self.note(at, None, format_args!("{}", what()));
        }
    }

    pub(crate) fn take(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
