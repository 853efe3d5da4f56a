//! keywheel's domain: what a connection is, how far its rotation got, and the ports that stores,
//! sealers and issuers implement.
//!
//! * [`Connection`] is the record: identity, sealed credential, and the state of its [`Rotation`]. It is
//!   plain data; the engine in `keywheel-rotation` decides what happens to it.
//! * [`ConnectionStore`] keeps records with compare-and-swap, leases with fences, and a journal.
//!   [`MemoryStore`] is a complete one; `keywheel-sqlite` and `keywheel-postgres` are durable.
//! * [`DeadLetters`] keeps the events that a receiver never took; the same stores implement it.
//! * [`Sealer`] seals secrets before they reach a store; [`KeyRing`] is one with keys of your own.
//! * [`CredentialIssuer`] mints, proves and removes secrets.
//! * Every change appends an [`Event`] to the connection's journal, in the same transaction, and each
//!   [`Entry`] is chained to the one before by SHA-256: [`verify_journal`] finds what was changed,
//!   removed or moved.
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `conformance` | no | the suites that hold an implementation of a port to its contract |

#[cfg(feature = "conformance")]
pub mod conformance;
mod dead_letter;
mod event;
mod id;
mod instant;
mod issuer;
mod memory;
mod read;
mod record;
mod seal;
mod sink;
mod store;

pub use self::dead_letter::{DeadLetter, DeadLetters};
pub use self::event::{
    Actor, BrokenJournal, Digest, Entry, Event, EventKind, EventSink, JournalHead, UnreadableEvent,
    verify_journal,
};
pub use self::id::{
    ConnectionId, ConnectionName, Consumer, InvalidName, Marker, Namespace, RotationId,
};
pub use self::issuer::{
    Access, CredentialIssuer, Inspection, IssuerError, IssuerErrorKind, Listed, Minted, Proof,
    Removal,
};
pub use self::memory::MemoryStore;
pub use self::record::{
    Candidate, Cause, Completed, Connection, Credential, DeadMarker, Debt, DebtReason, DecodeError,
    Delivery, Held, HeldCertificate, Mode, Offer, Origin, Pause, Phase, Rotation, RotationRequest,
    RotationSettings, Run, Seconds, Secrets, SignIn, SignInEnded, Stray, Trouble, TroubleKind,
};
pub use self::seal::{
    Fingerprint, KeyRing, ResealError, Resealed, Resealer, SealContext, SealError, SealErrorKind,
    Sealed, Sealer, Sealing,
};
pub use self::sink::{NewSecret, SecretSink, SinkError};
pub use self::store::{
    Claimed, ConnectionStore, ConnectionStoreExt, Cursor, Fence, Holder, Lease, LeaseChange, Page,
    Save, StoreError, StoreErrorKind, Tombstone, Version, Versioned, Wake,
};
