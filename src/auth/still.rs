//! Whether a principal that was let in still has its rights: asked again when the message of its call
//! has come, and while a stream is open.

use std::sync::Arc;

use tokio::sync::watch::Receiver;

use super::access::Access;
use super::error::AuthError;
use super::grants::Grants;
use super::principal::{Principal, check};
use super::scopes::MethodScopes;
use bookd_core::token::Tokens;

impl Access {
    /// Refuses a principal that has lost the right to a method which wants these scopes, on any
    /// calendar on which it had the right, since it was let in: before the message of its call came,
    /// for instance.
    ///
    /// # Errors
    ///
    /// Its credential is gone or has expired, or has fewer rights now.
    pub fn still(&self, principal: &Principal, wanted: MethodScopes) -> Result<(), AuthError> {
        match &self.grants {
            None => Ok(()),
            Some(grants) => {
                let grants = Arc::clone(&grants.borrow());
                self.expect_still(&grants, principal, wanted)
            }
        }
    }

    fn expect_still(
        &self,
        grants: &Grants,
        principal: &Principal,
        wanted: MethodScopes,
    ) -> Result<(), AuthError> {
        let now = self.of(grants, &principal.credential)?;
        // Another name is another caller, even with the same credential.
        if now.name != principal.name {
            return Err(AuthError::InvalidCredentials);
        }
        check(&now, wanted)?;
        let reach = now.rights.reach_for(wanted);
        if reach.includes(&principal.rights.reach_for(wanted)) {
            return Ok(());
        }
        Err(AuthError::OutOfReach {
            prefixes: reach.calendars,
        })
    }

    /// The output of `work`, unless the principal loses the right to a method that wants these
    /// scopes before it is there, on any calendar on which it had the right: then the error.
    pub async fn unless_revoked<T>(
        &self,
        principal: &Principal,
        wanted: MethodScopes,
        work: impl Future<Output = T>,
    ) -> Result<T, AuthError> {
        let Some(grants) = &self.grants else {
            return Ok(work.await);
        };
        let mut changes = grants.subscribe();
        let mut tokens = self.tokens.as_ref().map(|it| it.publications());
        let mut work = std::pin::pin!(work);
        loop {
            let grants = Arc::clone(&changes.borrow_and_update());
            if let Some(tokens) = &mut tokens {
                tokens.mark_unchanged();
            }
            self.expect_still(&grants, principal, wanted)?;
            let expired = async {
                match self.left(&principal.credential) {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = changes.changed() => {}
                () = published(&mut tokens) => {}
                () = expired => {}
                done = &mut work => return Ok(done),
            }
        }
    }
}

/// Waits until other tokens of the store are published; for ever where none are.
async fn published(tokens: &mut Option<Receiver<Tokens>>) {
    if let Some(tokens) = tokens
        && tokens.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
