//! Commands of AccessService: the tokens of the store. With `--store` they work on the file instead,
//! while no server holds it.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::PagedList;
use super::options::{LimitArgs, SafetyArgs};
use super::requests::with_safety;
use crate::cli::words::{enumerated, length};
#[cfg(feature = "server")]
use crate::config::StoreUrl;

/// Tokens of the store.
#[derive(Subcommand, Clone, Debug)]
pub enum TokenCommand {
    /// Create a token, and print it this once
    #[command(
        after_help = "Examples:\n  bookd token create front-desk --scopes read,book --prefix acme/ --expires 90d\n  \
                      bookd token create root --scopes admin --store sqlite:bookd.db"
    )]
    Create(CreateTokenArgs),
    /// List the tokens: not the tokens themselves, which nobody keeps
    #[command(after_help = "Example:\n  bookd token list")]
    List {
        /// Which store
        #[command(flatten)]
        place: TokenPlace,
        /// How many
        #[command(flatten)]
        limit: LimitArgs,
    },
    /// Revoke a token: from then on it opens nothing
    #[command(after_help = "Example:\n  bookd token revoke bookd_k7x2q5m4hb")]
    Revoke {
        /// Its id, with which the token begins, such as bookd_k7x2q5m4hb
        token: String,
        /// Which store
        #[command(flatten)]
        place: TokenPlace,
        /// Safety
        #[command(flatten)]
        safety: SafetyArgs,
    },
}

/// A token to create.
#[derive(Args, Clone, Debug)]
pub struct CreateTokenArgs {
    /// The name of who sends it: it stands in what they change, and stays when a token is renewed
    pub name: String,
    /// What they may do, with commas
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    pub scopes: Vec<ScopeWord>,
    /// On which calendars: those whose ids begin so, such as acme/; default all
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true
    )]
    pub prefix: String,
    /// How long it lasts, such as 90d; default for ever
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    pub expires: Option<String>,
    /// Which store
    #[command(flatten)]
    pub place: TokenPlace,
    /// Safety
    #[command(flatten)]
    pub safety: SafetyArgs,
}

/// Where the tokens are.
#[derive(Args, Clone, Debug, Default)]
pub struct TokenPlace {
    /// The store itself instead of a server, which must not be running on it, such as
    /// sqlite:bookd.db
    #[cfg(feature = "server")]
    #[arg(long, value_name = "URL")]
    pub store: Option<StoreUrl>,
}

/// A scope, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScopeWord {
    /// What is free
    Slots,
    /// Read calendars, appointments and changes
    Read,
    /// Book, hold, move, cancel
    Book,
    /// What staff may and customers may not
    Staff,
    /// Calendars, types, hours
    Manage,
    /// Everything, tokens and erasure among it
    Admin,
}

impl ScopeWord {
    /// The name by which the configuration and the command line know it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::Read => "read",
            Self::Book => "book",
            Self::Staff => "staff",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }
}

impl TokenCommand {
    /// The store that it works on instead of asking a server.
    #[cfg(feature = "server")]
    pub fn store(&self) -> Option<&StoreUrl> {
        match self {
            Self::Create(create) => create.place.store.as_ref(),
            Self::List { place, .. } | Self::Revoke { place, .. } => place.store.as_ref(),
        }
    }

    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Create(_) => "CreateToken",
            Self::List { .. } => "ListTokens",
            Self::Revoke { .. } => "RevokeToken",
        }
    }

    pub(super) fn pages(&self) -> Option<PagedList> {
        match self {
            Self::List { limit, .. } => Some(PagedList {
                field: "tokens",
                limit: limit.limit,
            }),
            Self::Create(_) | Self::Revoke { .. } => None,
        }
    }

    pub(super) fn request(&self) -> Value {
        match self {
            Self::Create(create) => {
                let scopes = create.scopes.iter();
                let scopes: Vec<_> = scopes.map(|it| enumerated("SCOPE", it.word())).collect();
                let request = json!({
                    "name": create.name,
                    "scopes": scopes,
                    "prefix": create.prefix,
                    "ttl": create.expires,
                });
                with_safety(request, &create.safety)
            }
            Self::List { .. } => json!({}),
            Self::Revoke { token, safety, .. } => with_safety(json!({ "token_id": token }), safety),
        }
    }
}
