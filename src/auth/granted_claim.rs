//! Grants of the claims of JSON Web Tokens, which may be narrowed to the customer that a token is of.

use super::jwt::VerifiedJwt;
use super::rights::Rights;
use crate::proto::v1::Scope;
use bookd_core::reach::Reach;

/// What the tokens of an issuer are granted that have this value in this claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GrantedClaim {
    pub(super) issuer: String,
    pub(super) claim: String,
    pub(super) value: String,
    /// The claim with the address of the only customer, if it is for one.
    pub(super) own: Option<String>,
    pub(super) rights: Rights,
}

impl GrantedClaim {
    /// The rights of a token that has the claim; none where it does not say whose it is.
    pub(super) fn rights_of(&self, jwt: &VerifiedJwt) -> Option<Rights> {
        let Some(own) = &self.own else {
            return Some(self.rights.clone());
        };
        let customer = jwt.address(own)?;
        let narrowed = self.rights.grants().map(|(scopes, reach)| {
            let customer = Some(customer.clone());
            Rights::of(scopes, Reach { customer, ..reach })
        });
        Some(narrowed.collect())
    }

    /// Whether it is another grant of the same claim, prefix and customer.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.issuer, &self.claim, &self.value, &self.own)
            == (&other.issuer, &other.claim, &other.value, &other.own)
            && has_same_prefix(&self.rights, &other.rights)
    }

    /// Whether it asks a token for this claim.
    pub(super) fn asks_for(&self, claim: &str) -> bool {
        self.claim == claim || self.own.as_deref() == Some(claim)
    }
}

/// Whether two grants are on the same calendars.
pub(super) fn has_same_prefix(one: &Rights, other: &Rights) -> bool {
    one.grants()
        .any(|(_, reach)| other.grants().any(|(_, it)| it == reach))
}

/// Refuses a grant for one customer that has scopes which are not of one customer.
pub(super) fn expect_narrow(has_issuer: bool, rights: &Rights) -> Result<(), String> {
    if !has_issuer {
        return Err("`own` names a claim, and wants an `issuer`".to_owned());
    }
    let mut scopes = rights.scopes().iter();
    if scopes.all(|it| matches!(it, Scope::Slots | Scope::Read | Scope::Book)) {
        return Ok(());
    }
    Err("`own` goes with the scopes slots, read and book alone".to_owned())
}
