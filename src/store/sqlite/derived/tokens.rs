//! The check of tokens: each row is that of a token which the log created and did not revoke.
//!
//! The log has the ids of tokens alone. What it no longer has cannot be compared.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::super::segments::ChangeRow;
use super::super::tokens;
use super::Comparison;
use crate::store::StoreError;
use bookd_core::change::Cause;
use bookd_core::ids::Revision;
use bookd_core::token::{TokenId, Tokens};

/// What the log says of tokens.
pub(super) struct TokenLog {
    stored: Tokens,
    /// Whether the note is there that callers need credentials, and whether a change named a token.
    has_note: bool,
    has_named: bool,
    /// The oldest change.
    oldest: Option<Revision>,
    /// The tokens that were created by a change which is kept, and since neither revoked nor
    /// dropped.
    created: BTreeMap<String, Revision>,
    /// Those that are stored, and were revoked or dropped.
    gone: Vec<TokenId>,
}

impl TokenLog {
    /// What the log says before its first change.
    pub(super) fn new(connection: &Connection) -> Result<Self, StoreError> {
        Ok(Self {
            stored: tokens::load(connection)?,
            has_note: tokens::has_note(connection)?,
            has_named: false,
            oldest: None,
            created: BTreeMap::new(),
            gone: Vec::new(),
        })
    }

    /// Reads a change, which is the next one.
    pub(super) fn add(&mut self, change: &ChangeRow) {
        let entry = &change.entry;
        self.oldest.get_or_insert(entry.revision);
        for id in change.tokens() {
            self.has_named = true;
            if entry.cause == Cause::CreateToken {
                self.created.insert(id.clone(), entry.revision);
            } else {
                self.created.remove(id);
                let id = TokenId::parse(id).ok();
                self.gone
                    .extend(id.filter(|id| self.stored.find(id).is_some()));
            }
        }
    }
}

impl Comparison<'_> {
    /// Compares the rows of tokens with the log.
    pub(super) fn tokens(&mut self, log: TokenLog) {
        let stored = log.stored;
        if !log.has_note && (log.has_named || !stored.is_empty()) {
            self.differs("the note that callers need credentials is missing".to_owned());
        }
        let mut created = log.created;
        for token in stored.iter() {
            self.examined += 1;
            let (id, revision) = (token.id.as_str(), token.revision);
            let is_kept = log.oldest.is_some_and(|oldest| oldest <= revision);
            let logged = created.remove(id);
            if is_kept && logged != Some(revision) {
                self.differs(format!(
                    "token {id} is of revision {revision}, which did not create it"
                ));
            }
        }
        for (id, revision) in created {
            self.differs(format!(
                "token {id}, which revision {revision} created, is not there"
            ));
        }
        for id in log.gone {
            self.differs(format!("token {id} was revoked, and is there"));
        }
    }
}
