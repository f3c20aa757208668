//! Who calls, and what they may do: the credentials of a call lead to a principal, and the grants
//! of the operator say which scopes it has.
//!
//! The door of the API (`api/services`) asks [`Access::admit`] once for each call, before its
//! message is read. A server without credentials lets everybody do everything.

mod access;
mod credentials;
mod error;
mod fetched_keys;
mod file;
mod granted_claim;
mod grants;
mod jwks;
mod jwks_client;
mod jwt;
mod principal;
mod rates;
mod refusal_log;
mod rights;
mod scopes;
mod secret;
mod still;
mod store_tokens;

pub use access::{Access, CallOrigin};
pub use credentials::{TOKEN_CHARACTERS_MAX, TOKEN_CHARACTERS_MIN, TokenHash};
pub use error::AuthError;
pub use fetched_keys::KeyFetches;
pub use grants::{Grant, GrantConfig, GrantError, Grants};
pub use jwt::Issuer;
pub use principal::Principal;
pub use rates::{Rate, Rates};
pub use rights::Rights;
pub use scopes::{MethodScopes, Scopes, bits_of, named_by};
pub use secret::{RANDOM_BYTES, Secret};
