//! Who is calling: tokens of devices, products and operators.
//!
//! A token is 256 random bits as text. The server keeps its SHA-256 only, so a copy of the database lets nobody in; a
//! plain hash is enough, because nobody can guess 256 bits and so there is nothing that stretching would slow down.
//! Every live token is in memory, where [`Auth::verify`] finds it; the database is asked at the start and told of changes.
//!
//! A token has one of four forms: the text; a client certificate of the server's own authority, known by its digest; an
//! access key (see [`access_key`]); or a pre-shared key (see [`psk`]). All are listed, expire and are revoked alike.
//!
//! Deliberately absent: what a principal may do. A device's doors take [`Principal::Device`] and [`Principal::Product`],
//! the operator API takes [`Principal::Operator`], and neither takes the other.

pub mod access_key;
pub mod certificate;
mod index;
pub mod psk;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use access_key::{AccessKey, MasterKey, MasterKeyError, Secret};
use index::{Digest, Index};
use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast;
use updraft_core::id::{DeviceId, InvalidName, ProductName};
use updraft_core::store::StoreError;
use updraft_core::time::Timestamp;

use crate::artifacts::write_private;
use crate::store::{PskRow, TokenForm, TokenKind, TokenRow, Tokens};

/// What every token begins with, so that people and secret scanners know one when they see it.
pub const TOKEN_PREFIX: &str = "updt_";
/// Length of a token: the prefix and 256 bits in hex.
pub const TOKEN_BYTES: usize = TOKEN_PREFIX.len() + 64;
/// Longest note on a token, in bytes: a sentence.
pub const NOTE_BYTES_MAX: usize = 256;
/// Most tokens that are not revoked: twice the largest fleet this server is built for. It bounds the memory of the index.
pub const TOKENS_MAX: usize = 2_000_000;
/// The file in the data folder with an operator's token, for the command line on the same machine.
pub const OPERATOR_TOKEN_FILE: &str = "operator.token";
/// Most revocations that wait for those who want to know of them: operators revoke by hand or by script, and whoever listens
/// takes them at once.
const REVOCATIONS_WAITING_MAX: usize = 4_096;
/// The operator that token stands for.
const LOCAL_OPERATOR: &str = "local";

/// Names an operator. The rule is that of devices' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorName(DeviceId);

impl OperatorName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for OperatorName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.parse().map(Self)
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a token can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Device = 1,
    Product = 2,
    Operator = 3,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// One device.
    Device(DeviceId),
    /// Any device of a product, which names itself: for factories.
    Product(ProductName),
    /// An operator.
    Operator(OperatorName),
}

impl Principal {
    fn new(kind: Kind, name: &str) -> Result<Self, InvalidName> {
        Ok(match kind {
            Kind::Device => Self::Device(name.parse()?),
            Kind::Product => Self::Product(name.parse()?),
            Kind::Operator => Self::Operator(name.parse()?),
        })
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Device(_) => Kind::Device,
            Self::Product(_) => Kind::Product,
            Self::Operator(_) => Kind::Operator,
        }
    }

    /// The name of the device, product or operator.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Device(id) => id.as_str(),
            Self::Product(name) => name.as_str(),
            Self::Operator(name) => name.as_str(),
        }
    }
}

/// A token's text. Printing it for debugging does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Draws a token.
    fn draw() -> Result<Self, AuthError> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(|_| AuthError::Random)?;
        Ok(Self(format!("{TOKEN_PREFIX}{}", hex::encode(bits))))
    }

    /// The secret text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why credentials could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no random bytes.
    #[error("the system's random source failed")]
    Random,
    /// The master key of access keys cannot be used.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// There is no token of that ID.
    #[error("there is no token {0}")]
    Unknown(String),
    /// There are [`TOKENS_MAX`] tokens.
    #[error("there are {TOKENS_MAX} tokens, the most there may be; revoke those that are not needed")]
    TooMany,
    /// A pre-shared key that is not revoked goes by that identity.
    #[error("the identity {identity} is that of token {id} of {subject}; revoke that first")]
    IdentityTaken {
        /// The identity.
        identity: String,
        /// The token's ID.
        id: String,
        /// Whom it stands for.
        subject: String,
    },
    /// A pre-shared key was asked for that is not for a device.
    #[error("a pre-shared key is for a device")]
    NotADevice,
    /// The operator's token file cannot be read or written.
    #[error("cannot use {}; check its owner and mode", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What is wanted of a token to be made, whatever its form.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whom it stands for.
    pub principal: Principal,
    /// When it ends; `None`: never.
    pub expires: Option<Timestamp>,
    /// What it is for; at most [`NOTE_BYTES_MAX`] bytes are kept.
    pub note: String,
}

/// The tokens of one server. Cloning is cheap.
#[derive(Clone)]
pub struct Auth {
    shared: Arc<Shared>,
}

struct Shared {
    index: Index,
    master: MasterKey,
    revocations: broadcast::Sender<Principal>,
    /// Behind one lock, so that the index changes in the order of the database.
    tokens: Mutex<Tokens>,
}

impl Auth {
    /// Loads all live tokens. `master` is what the secrets of access keys, and pre-shared keys, follow from.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub fn open(mut tokens: Tokens, master: MasterKey, now: Timestamp) -> Result<Self, AuthError> {
        let index = Index::new();
        tokens.each_live(now, |row| {
            // A row that no longer makes a name lets nobody in.
            if let Ok(principal) = Principal::new(kind(row.kind), &row.subject) {
                insert(&index, &row, &principal);
            }
        })?;
        index.shrink();
        let (revocations, _) = broadcast::channel(REVOCATIONS_WAITING_MAX);
        let tokens = Mutex::new(tokens);
        Ok(Self { shared: Arc::new(Shared { index, master, revocations, tokens }) })
    }

    /// Whom a presented token stands for; `None` if it is malformed, unknown, revoked or expired, without a word about
    /// which. Costs one SHA-256 of fixed length and one lookup in memory, whatever was presented.
    #[must_use]
    pub fn verify(&self, presented: &str, now: Timestamp) -> Option<Principal> {
        if presented.len() != TOKEN_BYTES || !presented.starts_with(TOKEN_PREFIX) {
            return None;
        }
        self.shared.index.find(&digest(presented.as_bytes()), TokenForm::Text, now)
    }

    /// Whom a certificate of the server's own authority stands for, given as DER; `None` if it is unknown, revoked or
    /// expired. That it comes with its key, and from that authority, is for TLS to find out.
    #[must_use]
    pub fn certificate(&self, der: &[u8], now: Timestamp) -> Option<Principal> {
        self.shared.index.find(&digest(der), TokenForm::Certificate, now)
    }

    /// The access key of an ID, to check a signature by; `None` if the ID is malformed, unknown, revoked or expired.
    #[must_use]
    pub fn access_key(&self, id: &str, now: Timestamp) -> Option<AccessKey> {
        if !access_key::is_id(id) {
            return None;
        }
        let principal = self.shared.index.find(&digest(id.as_bytes()), TokenForm::AccessKey, now)?;
        Some(AccessKey { principal, secret: self.shared.master.secret(id) })
    }

    /// Makes a token. When this returns it is durable, and verified from then on. Blocks on the database.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn create(&self, new: NewToken, now: Timestamp) -> Result<(Token, TokenRow), AuthError> {
        let token = Token::draw()?;
        let row = self.add(TokenForm::Text, digest(token.reveal().as_bytes()), None, new, now)?;
        Ok((token, row))
    }

    /// Makes an access key: its ID and its secret. As [`Auth::create`] otherwise.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn create_access_key(
        &self,
        new: NewToken,
        now: Timestamp,
    ) -> Result<(String, Secret, TokenRow), AuthError> {
        let id = access_key::draw_id()?;
        let secret = self.shared.master.secret(&id);
        let row = self.add(TokenForm::AccessKey, digest(id.as_bytes()), None, new, now)?;
        Ok((id, secret, row))
    }

    /// Takes in a certificate of the server's own authority, as DER: it lets in whom it was made for from when this
    /// returns. Blocks on the database.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn add_certificate(&self, der: &[u8], new: NewToken, now: Timestamp) -> Result<TokenRow, AuthError> {
        self.add(TokenForm::Certificate, digest(der), None, new, now)
    }

    fn add(
        &self,
        form: TokenForm,
        hash: Digest,
        psk: Option<PskRow>,
        new: NewToken,
        now: Timestamp,
    ) -> Result<TokenRow, AuthError> {
        let mut id = [0; 6];
        getrandom::fill(&mut id).map_err(|_| AuthError::Random)?;
        let NewToken { principal, expires, note } = new;
        let row = TokenRow {
            id: format!("t{}", hex::encode(id)),
            hash,
            form,
            kind: match principal.kind() {
                Kind::Device => TokenKind::Device,
                Kind::Product => TokenKind::Product,
                Kind::Operator => TokenKind::Operator,
            },
            subject: principal.name().to_owned(),
            created: now,
            expires,
            revoked: None,
            note: note[..note.floor_char_boundary(NOTE_BYTES_MAX)].to_owned(),
            psk,
        };
        let mut tokens = self.store();
        if self.shared.index.len() >= TOKENS_MAX {
            return Err(AuthError::TooMany);
        }
        // Of all that is presented, only identities are not drawn at random here.
        if let Some(psk) = &row.psk
            && let Some(TokenRow { id, subject, .. }) = tokens.presented(&row.hash)?
        {
            return Err(AuthError::IdentityTaken { identity: psk.identity.clone(), id, subject });
        }
        tokens.insert(&row)?;
        insert(&self.shared.index, &row, &principal);
        Ok(row)
    }

    /// Revokes a token: nothing that begins after this returned is let in by it. Revoking twice changes nothing. Blocks on
    /// the database.
    ///
    /// # Errors
    /// [`AuthError::Unknown`], [`AuthError::Store`].
    pub fn revoke(&self, id: &str, now: Timestamp) -> Result<TokenRow, AuthError> {
        let mut tokens = self.store();
        let unknown = || AuthError::Unknown(id.to_owned());
        let row = tokens.get(id)?.ok_or_else(unknown)?;
        if row.revoked.is_some() {
            // What it was presented by may be another's since.
            return Ok(row);
        }
        let row = tokens.revoke(id, now)?.ok_or_else(unknown)?;
        self.shared.index.remove(&row.hash);
        if let Ok(principal) = Principal::new(kind(row.kind), &row.subject) {
            // Nobody may be listening.
            let _ = self.shared.revocations.send(principal);
        }
        Ok(row)
    }

    /// Tells whom each token stood for that is revoked from when this returns: for those who let clients in for longer than
    /// a request.
    #[must_use]
    pub fn revocations(&self) -> broadcast::Receiver<Principal> {
        self.shared.revocations.subscribe()
    }

    /// Tokens after `after`, ordered by ID, revoked ones among them. Blocks on the database.
    ///
    /// # Errors
    /// [`AuthError::Store`].
    pub fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<TokenRow>, AuthError> {
        Ok(self.store().list(after, limit)?)
    }

    /// Sees to it that the data folder holds a token of an operator, readable by its owner only: the right to read the
    /// folder is the right to operate the server. A file whose token lets somebody in is left as it is.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn keep_operator_token(&self, folder: &Path, now: Timestamp) -> Result<(), AuthError> {
        let path = folder.join(OPERATOR_TOKEN_FILE);
        let failed = |source| AuthError::File { path: path.clone(), source };
        match std::fs::read_to_string(&path) {
            Ok(text) if matches!(self.verify(text.trim(), now), Some(Principal::Operator(_))) => {
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
        let name = OperatorName::from_str(LOCAL_OPERATOR).expect("the name is fixed and follows the rule");
        let note = format!("made by the server for {OPERATOR_TOKEN_FILE}");
        let new = NewToken { principal: Principal::Operator(name), expires: None, note };
        let (token, _) = self.create(new, now)?;
        write_private(&path, format!("{}\n", token.reveal()).as_bytes()).map_err(failed)
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Tokens> {
        // The database keeps its own order; a panic elsewhere leaves nothing half done here.
        self.shared.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(index: &Index, row: &TokenRow, principal: &Principal) {
    match (&row.psk, principal) {
        (Some(psk), Principal::Device(device)) => {
            index.insert_psk(&row.hash, device, psk.key.as_deref(), row.expires);
        }
        (None, _) => index.insert(&row.hash, row.form, principal, row.expires),
        // Nobody makes such; it would let nobody in.
        (Some(_), Principal::Product(_) | Principal::Operator(_)) => {}
    }
}

fn kind(kind: TokenKind) -> Kind {
    match kind {
        TokenKind::Device => Kind::Device,
        TokenKind::Product => Kind::Product,
        TokenKind::Operator => Kind::Operator,
    }
}

fn digest(presented: &[u8]) -> Digest {
    Sha256::digest(presented).into()
}

#[cfg(test)]
mod tests;
