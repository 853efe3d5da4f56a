use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keywheel_connection::{NewSecret, SecretSink, SinkError};

use crate::{Effects, Fate};

/// A sink that keeps what it was given, but for what comes late, and whose calls have fates.
#[derive(Clone, Debug)]
pub struct Shelf {
    name: &'static str,
    effects: Effects,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    broken: bool,
    order: u64,
    given: Vec<(u64, String)>,
}

impl Shelf {
    /// Returns an empty one.
    #[must_use]
    pub fn new(name: &'static str, effects: Effects) -> Self {
        Self {
            name,
            effects,
            state: Arc::default(),
        }
    }

    /// Makes every call fail, or none.
    pub fn set_broken(&self, broken: bool) {
        self.state().broken = broken;
    }

    /// Returns the secrets that it was given, with their generations, in order.
    #[must_use]
    pub fn given(&self) -> Vec<(u64, String)> {
        self.state().given.clone()
    }

    /// Returns the secret that it holds.
    #[must_use]
    pub fn holds(&self) -> Option<String> {
        self.state().given.last().map(|(_, text)| text.clone())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, new: &NewSecret<'_>) {
        let mut state = self.state();
        if new.order() < state.order {
            return;
        }
        state.order = new.order();
        state
            .given
            .push((new.generation, new.secret.expose().to_owned()));
    }
}

#[async_trait]
impl SecretSink for Shelf {
    fn name(&self) -> &str {
        self.name
    }

    async fn publish(&self, new: &NewSecret<'_>) -> Result<(), SinkError> {
        let away = || SinkError::new("the shelf is away; bring it back");
        let fate = self.effects.begin("publish").await;
        if fate == Some(Fate::Refused) || self.state().broken {
            return Err(away());
        }
        if fate == Some(Fate::Twice) {
            self.put(new);
        }
        self.put(new);
        self.effects.end(fate).await;
        if fate == Some(Fate::AnswerLost) {
            return Err(away());
        }
        Ok(())
    }
}
