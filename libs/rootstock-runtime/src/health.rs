//! What is ready and what is not.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use crate::Shutdown;

/// The process's list of components, each ready or not ready with a reason.
///
/// Ready means: may be sent requests. A component that only makes the service worse while it is
/// missing (the gateway without its catalog still serves what it knows) does not belong here after
/// the start. Once the [`Shutdown`] is triggered nothing is ready any more, so that a load balancer
/// stops sending before the listeners close.
#[derive(Debug, Clone)]
pub struct Readiness {
    components: Arc<watch::Sender<BTreeMap<String, State>>>,
    shutdown: Shutdown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Ready,
    NotReady(String),
}

/// The side of a [`Readiness`] that one component reports to. Dropping it forgets the component.
#[derive(Debug)]
pub struct Component {
    name: String,
    components: Arc<watch::Sender<BTreeMap<String, State>>>,
}

/// A component that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NotReady {
    /// Which.
    pub component: String,
    /// Why, for the operator.
    pub reason: String,
}

impl Readiness {
    /// No components yet: ready until `shutdown`.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            components: Arc::new(watch::Sender::default()),
            shutdown,
        }
    }

    /// Adds a component, not ready because it is "starting". Names are unique in a process:
    /// `catalog.database`, not `database`.
    #[must_use = "dropping it forgets the component"]
    pub fn register(&self, name: impl Into<String>) -> Component {
        let component = Component {
            name: name.into(),
            components: Arc::clone(&self.components),
        };
        component.not_ready("starting");
        component
    }

    /// Whether everything is ready.
    pub fn is_ready(&self) -> bool {
        self.not_ready().is_empty()
    }

    /// Everything that is not ready, by name.
    pub fn not_ready(&self) -> Vec<NotReady> {
        let mut missing: Vec<NotReady> = self
            .components
            .borrow()
            .iter()
            .filter_map(|(component, state)| match state {
                State::Ready => None,
                State::NotReady(reason) => Some(NotReady {
                    component: component.clone(),
                    reason: reason.clone(),
                }),
            })
            .collect();
        if self.shutdown.is_triggered() {
            missing.push(NotReady {
                component: "process".to_owned(),
                reason: "shutting down".to_owned(),
            });
        }
        missing
    }

    /// Whether the process is ending: nothing becomes ready any more.
    pub fn is_ending(&self) -> bool {
        self.shutdown.is_triggered()
    }

    /// Waits until everything is ready; `false` when the process ends first.
    pub async fn wait_ready(&self) -> bool {
        let mut changes = self.watch();
        loop {
            if self.shutdown.is_triggered() {
                return false;
            }
            if self.is_ready() {
                return true;
            }
            changes.changed().await;
        }
    }

    /// Follows changes from now on.
    pub fn watch(&self) -> ReadinessChanges {
        ReadinessChanges {
            receiver: self.components.subscribe(),
            shutdown: self.shutdown.clone(),
        }
    }
}

/// Wakes when a [`Readiness`] may have changed.
#[derive(Debug)]
pub struct ReadinessChanges {
    receiver: watch::Receiver<BTreeMap<String, State>>,
    shutdown: Shutdown,
}

impl ReadinessChanges {
    /// Waits for the next change: of a component, or that the process ends. Returns at once when
    /// the process is ending already.
    pub async fn changed(&mut self) {
        tokio::select! {
            // The sender lives in every `Readiness` and `Component`; when all are gone nothing
            // changes any more except by the end.
            Ok(()) = self.receiver.changed() => {}
            () = self.shutdown.triggered() => {}
        }
    }
}

impl Component {
    /// Reports that this component may be used.
    pub fn ready(&self) {
        self.set(State::Ready);
    }

    /// Reports that this component may not be used, and why.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(State::NotReady(reason.into()));
    }

    fn set(&self, state: State) {
        let changed = self.components.send_if_modified(|components| {
            if components.get(&self.name) == Some(&state) {
                return false;
            }
            components.insert(self.name.clone(), state.clone());
            true
        });
        if changed {
            match state {
                State::Ready => tracing::info!(component = self.name, "ready"),
                State::NotReady(reason) => tracing::info!(component = self.name, reason, "not ready"),
            }
        }
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.components
            .send_if_modified(|components| components.remove(&self.name).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(readiness: &Readiness) -> Vec<(String, String)> {
        readiness
            .not_ready()
            .into_iter()
            .map(|missing| (missing.component, missing.reason))
            .collect()
    }

    #[test]
    fn everything_has_to_be_ready_and_says_why_not() {
        let readiness = Readiness::new(Shutdown::new());
        assert!(readiness.is_ready(), "nothing to wait for");
        let database = readiness.register("catalog.database");
        let model = readiness.register("gateway.model");
        assert_eq!(
            reasons(&readiness),
            [("catalog.database", "starting"), ("gateway.model", "starting")]
                .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
        );
        database.ready();
        model.not_ready("revision 7 of 12");
        assert_eq!(
            reasons(&readiness),
            [("gateway.model".to_owned(), "revision 7 of 12".to_owned())]
        );
        drop(model);
        assert!(readiness.is_ready(), "a component that is gone is not waited for");
    }

    #[test]
    fn nothing_is_ready_while_the_process_ends() {
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        readiness.register("it").ready();
        shutdown.trigger();
        assert!(!readiness.is_ready());
    }

    #[tokio::test]
    async fn waiting_ends_with_readiness_or_with_the_process() {
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let component = readiness.register("it");
        let (ready, ()) = tokio::join!(readiness.wait_ready(), async { component.ready() });
        assert!(ready);
        component.not_ready("lost");
        let (ready, ()) = tokio::join!(readiness.wait_ready(), async { shutdown.trigger() });
        assert!(!ready);
    }
}
