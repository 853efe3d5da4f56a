use std::error::Error;
use std::fmt;

/// A value that makes no sensible schedule.
///
/// The message names the field, says what is wrong with it and what to give instead. Nothing was
/// computed; correct the field and build again.
///
/// ```
/// use keywheel_schedule::Zone;
///
/// let error = Zone::named("Europe/Berln").unwrap_err();
/// assert_eq!(error.field(), "zone");
/// assert!(error.to_string().contains("did you mean Europe/Berlin?"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSchedule {
    field: &'static str,
    problem: String,
}

impl InvalidSchedule {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }

    /// Returns the name of the field to correct, as in `"interval"` or `"zone"`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

impl Error for InvalidSchedule {}
