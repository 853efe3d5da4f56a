mod decide;
mod error;
mod policy;
mod retire;

use keywheel_core::{AccessToken, KeyId, Secret, TokenRequest};
use keywheel_credentials::{Certificate, prove_certificate};
use keywheel_graph::{
    ApplicationClient, GraphError, KeyCredential, NewKey, Refusal, Sought, Verdict,
};
use tokio::time::{Instant, sleep};

use self::decide::{Sight, Step};
pub use self::error::{RollError, RollErrorKind};
pub use self::policy::RollPolicy;
use crate::access::Given;
use crate::{Method, TenantAccess};

/// How many steps a call takes at most: to look, to add, and to look again when it got no answer.
const STEPS: usize = 8;

/// Replaces the certificate that an application authenticates with.
///
/// Unlike a client secret, a certificate is made by who uses it. So it can be stored before Entra hears of it,
/// and nothing is lost whatever stops in between. The order is what matters:
///
/// 1. **Make a key pair and a certificate, and store both**, beside the ones in use.
/// 2. [`to`](Self::to) registers the new certificate and proves that it works.
/// 3. [`Enrolment::replace_certificate`](crate::Enrolment::replace_certificate) makes it the stored connection's.
/// 4. Once every process has loaded the connection anew, [`Rolled::retire_previous`] removes the old one. It
///    refuses while the stored connection is not by the new certificate: a restart would be locked out.
/// 5. Forget the old pair.
///
/// Stopped anywhere, begin again at 2 with the same two certificates: what was done is found, and not done
/// twice. Steps 2 to 4 may lie days apart.
///
/// ```no_run
/// use keywheel_connection::{Actor, ConnectionId};
/// use keywheel_entra::{CertificateFile, CertificateRoll, EntraParts, Enrolment, TenantAccess};
///
/// # async fn roll(id: ConnectionId, parts: EntraParts, old: CertificateFile, new: CertificateFile)
/// #     -> Result<(), Box<dyn std::error::Error>> {
/// // `old` and `new` are stored: both files, before the first line runs.
/// let access = TenantAccess::load(id, parts.clone()).await?;
/// let roll = CertificateRoll::new(access, old.open()?);
/// let rolled = roll.to(&new.open()?).await?;
///
/// let actor = Actor::named("certificate roll");
/// Enrolment::new(parts.clone()).replace_certificate(id, &new, &actor).await?;
///
/// // Now, or in a later run, when no process uses the old one any more:
/// rolled.retire_previous(&*parts.store, id).await?;
/// // `old` may be forgotten.
/// # Ok(())
/// # }
/// ```
///
/// # What it needs
///
/// A registered and valid certificate vouches for the next one (`addKey` with a proof of possession), which
/// needs no permission. What is registered is read, so that nothing is registered twice, which needs
/// `Application.ReadWrite.OwnedBy` and ownership of itself, or `Application.Read.All`. Where the current
/// certificate has ended or is not taken for a proof, the list of certificates is written instead, which needs
/// the former; the access must then be by a credential that still works, such as a client secret. A
/// [preflight](TenantAccess::preflight) for [`RollCertificates`](crate::Purpose::RollCertificates) tells.
///
/// Registering takes about a minute of waiting: for `settle`, because what an earlier call may have added
/// takes a while to be seen, and for the proofs. Run it in a task.
///
/// Sources: <https://learn.microsoft.com/graph/api/application-addkey>,
/// <https://learn.microsoft.com/graph/api/application-removekey>,
/// <https://learn.microsoft.com/graph/application-rollkey-prooftoken>.
#[derive(Clone, Debug)]
pub struct CertificateRoll {
    access: TenantAccess,
    current: Certificate,
    policy: RollPolicy,
}

/// A certificate that is registered and proven.
#[derive(Clone, Debug)]
#[must_use = "the old certificate is valid until it is retired"]
pub struct Rolled {
    roll: CertificateRoll,
    next: Certificate,
    registration: Registration,
}

/// How a certificate came to be registered.
#[derive(Clone, Debug)]
struct Registration {
    key_id: KeyId,
    restored: Vec<KeyCredential>,
}

impl CertificateRoll {
    /// Returns the roll of the application of `access`, whose `current` certificate is to be replaced.
    #[must_use]
    pub fn new(access: TenantAccess, current: Certificate) -> Self {
        Self {
            access,
            current,
            policy: RollPolicy::default(),
        }
    }

    /// Sets how patiently it looks and proves.
    #[must_use]
    pub fn with_policy(mut self, policy: RollPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Registers `next` if it is not registered yet, and proves that Entra takes it. The current certificate
    /// stays.
    ///
    /// May be stopped anywhere and called again. `next` and its key must be stored before the first call.
    ///
    /// # Errors
    ///
    /// See [`RollErrorKind`]. Whatever the error, calling again is safe.
    pub async fn to(&self, next: &Certificate) -> Result<Rolled, RollError> {
        self.check(next)?;
        let graph = self.access.graph();
        let application = graph.application(self.access.client);
        let registration = self.register(&application, next).await?;
        self.confirm(&application, registration.key_id).await?;
        self.prove(next).await?;
        tracing::info!(
            client_id = %self.access.client, key_id = %registration.key_id, thumbprint = next.thumbprint(),
            "certificate.registered"
        );
        Ok(Rolled {
            roll: self.clone(),
            next: next.clone(),
            registration,
        })
    }

    fn check(&self, next: &Certificate) -> Result<(), RollError> {
        next.check(self.access.now()).map_err(RollError::unusable)?;
        if next.der() == self.current.der() {
            return Err(RollError::new(
                RollErrorKind::Certificate,
                "the new certificate is the current one; make a new pair, and store it",
            ));
        }
        Ok(())
    }

    async fn register(
        &self,
        application: &ApplicationClient<'_>,
        next: &Certificate,
    ) -> Result<Registration, RollError> {
        let mut keys = application
            .keys()
            .await
            .map_err(|error| self.failed(error))?;
        let (mut settled, mut refused) = (false, false);
        let mut restored = Vec::new();
        let mut open = None;
        for _ in 0..STEPS {
            let step = Sight {
                registered: &keys,
                current: &self.current,
                next,
                now: self.access.now(),
                refused,
            }
            .decide();
            if let Step::Take(key_id) = step {
                restored.retain(|one| !decide::is(one, next));
                return Ok(Registration { key_id, restored });
            }
            if !settled {
                let read = application.settled_keys(&self.policy.settling()).await;
                keys = read.map_err(|error| self.failed(error))?;
                settled = true;
                continue;
            }
            settled = false;
            match self.add(application, next, &step).await? {
                Ok(Added::Known(key_id)) => return Ok(Registration { key_id, restored }),
                Ok(Added::Somewhere(put_back)) => restored.extend(put_back),
                // Nothing was changed, so what was read still holds.
                Err(error) if error.refusal() == Some(Refusal::BadProof) => {
                    (settled, refused) = (true, true);
                }
                Err(error) if error.may_have_effect() => open = Some(error),
                Err(error) => return Err(self.not_added(&step, error)),
            }
        }
        Err(open.map_or_else(RollError::unsettled, |error| self.failed(error)))
    }

    /// Adds the certificate. The outer error says that it was not tried.
    async fn add(
        &self,
        application: &ApplicationClient<'_>,
        next: &Certificate,
        step: &Step,
    ) -> Result<Result<Added, GraphError>, RollError> {
        let mut key = NewKey::certificate(next.der());
        key.end_date_time = Some(next.not_after());
        if matches!(step, Step::Write(_)) {
            let settling = self.policy.settling();
            let restored = application.add_key_by_patch(&key, &settling).await;
            return Ok(restored.map(Added::Somewhere));
        }
        let proof = self.possession(application, &self.current).await?;
        let added = application.add_key(&key, &proof).await;
        let somewhere = || Added::Somewhere(Vec::new());
        Ok(added.map(|key| key.key_id.map_or_else(somewhere, Added::Known)))
    }

    /// Signs the proof of possession that `addKey` and `removeKey` want.
    async fn possession(
        &self,
        application: &ApplicationClient<'_>,
        by: &Certificate,
    ) -> Result<Secret, RollError> {
        let read = application.get_with(&["id", "appId"]).await;
        let object = read.map_err(|error| self.failed(error))?.id;
        let proof = by.key_proof(object, self.access.now());
        proof.map_err(RollError::unsigned)
    }

    async fn confirm(
        &self,
        application: &ApplicationClient<'_>,
        key_id: KeyId,
    ) -> Result<(), RollError> {
        let sought = Sought::KeyId(key_id);
        let seen = application
            .confirm_present(&sought, &self.policy.confirm)
            .await;
        match seen.map_err(|error| self.failed(error))?.verdict {
            Verdict::Present => Ok(()),
            _ => Err(RollError::unsettled()),
        }
    }

    /// Gets tokens with exactly this certificate until enough in a row were given, over the span.
    async fn prove(&self, next: &Certificate) -> Result<(), RollError> {
        let (started, spacing) = (Instant::now(), self.policy.spacing());
        let mut good = 0;
        loop {
            match self.proof(next).await {
                Ok(_) => good += 1,
                Err(error) if error.kind() == RollErrorKind::Refused => return Err(error),
                Err(_) if started.elapsed() + spacing <= self.policy.patience => good = 0,
                Err(error) => return Err(error),
            }
            if good >= self.policy.proofs.max(1) {
                return Ok(());
            }
            sleep(spacing).await;
        }
    }

    /// Gets one token with exactly this certificate, and makes one harmless read with it.
    async fn proof(&self, certificate: &Certificate) -> Result<AccessToken, RollError> {
        let request = TokenRequest::new(self.access.cloud.graph_scope());
        let (endpoint, client) = (self.access.endpoint(), self.access.client);
        let token = prove_certificate(&endpoint, client, certificate, &request).await;
        let token = token.map_err(RollError::unproven)?;
        let read = self.access.by(Given(token.clone()));
        match read.validate(Method::Certificate).await {
            Ok(_) => Ok(token),
            Err(error) => Err(RollError::invalid(error)),
        }
    }

    fn failed(&self, error: GraphError) -> RollError {
        RollError::graph(error, self.current.check(self.access.now()).err())
    }

    fn not_added(&self, step: &Step, error: GraphError) -> RollError {
        match step {
            Step::Write(why) => RollError::not_written(*why, self.access.client, error),
            _ => self.failed(error),
        }
    }
}

enum Added {
    Known(KeyId),
    Somewhere(Vec<KeyCredential>),
}

impl Rolled {
    /// Returns the new certificate's key id.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.registration.key_id
    }

    /// Returns the certificates of others that were put back, because they were registered at the same moment
    /// and writing the list had dropped them. Empty unless the current certificate could not vouch for the new
    /// one. Tell the people they belong to.
    #[must_use]
    pub fn restored(&self) -> &[KeyCredential] {
        &self.registration.restored
    }
}
