use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::SealError;

/// What a [`Sealer`](super::Sealer) answers: at once, or when a service has.
///
/// ```
/// use keywheel_connection::{SealError, SealErrorKind, Sealing};
/// use keywheel_core::Secret;
///
/// fn open(service: Option<&str>) -> Sealing<'_, Secret> {
///     match service {
///         Some(service) => Sealing::later(async move { Ok(ask(service).await) }),
///         None => Sealing::ready(Err(SealError::new(SealErrorKind::KeyMissing, "vault"))),
///     }
/// }
///
/// async fn ask(service: &str) -> Secret {
///     # let _ = service;
///     // ...
///     # Secret::new("value")
/// }
/// # drop((open(None), open(Some("vault"))));
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Sealing<'a, T>(State<'a, T>);

enum State<'a, T> {
    Ready(Option<Result<T, SealError>>),
    /// Boxed twice, so that an answer that is there is handed on in two registers. Whoever has to be waited for
    /// takes longer than that.
    Later(Box<Answer<'a, T>>),
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SealError>> + Send + 'a>>;

impl<'a, T> Sealing<'a, T> {
    /// Returns an answer that is there already.
    pub const fn ready(answer: Result<T, SealError>) -> Self {
        Self(State::Ready(Some(answer)))
    }

    /// Returns an answer that has to be waited for.
    pub fn later(answer: impl Future<Output = Result<T, SealError>> + Send + 'a) -> Self {
        Self(State::Later(Box::new(Box::pin(answer))))
    }
}

// Nothing in it is pinned but what is in the box.
impl<T> Unpin for Sealing<'_, T> {}

impl<T> Future for Sealing<'_, T> {
    type Output = Result<T, SealError>;

    /// # Panics
    ///
    /// Panics when it is polled after it has answered, as futures do.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(answer) => {
                Poll::Ready(answer.take().expect("it is polled until it answers"))
            }
            State::Later(answer) => answer.as_mut().as_mut().poll(context),
        }
    }
}

impl<T> fmt::Debug for Sealing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use keywheel_core::Secret;

    use super::*;
    use crate::Sealed;

    #[test]
    fn an_answer_fits_two_registers() {
        assert_eq!(size_of::<Sealing<'_, Sealed>>(), 16);
        assert_eq!(size_of::<Sealing<'_, Secret>>(), 16);
    }
}
