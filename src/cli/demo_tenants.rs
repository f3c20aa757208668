//! `bookd demo --tenants`: two tenants and an operator, each known by a token.
//!
//! Each token is in a file of its own in a folder that only the user can read, and that is removed
//! when the demo stops.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::client::{CallError, Client, Server};
use super::commands::ScopeWord;
use super::token;
use super::words::enumerated;
use crate::auth::{Access, GrantConfig, Grants};
use crate::ids::Ids;

/// The tenants. The calendars of each have ids that begin with its name and `/`.
const TENANTS: [&str; 2] = ["clinic", "salon"];
/// What the staff of a tenant may do, on its calendars alone.
const SCOPES: [ScopeWord; 5] = [
    ScopeWord::Slots,
    ScopeWord::Read,
    ScopeWord::Book,
    ScopeWord::Staff,
    ScopeWord::Manage,
];
/// The file of the token with every right on every calendar.
const OPERATOR: &str = "operator";

/// The folder with the files of the tokens.
pub(super) struct TokenFolder(TempDir);

impl TokenFolder {
    /// A folder with the operator's token, which no server knows yet.
    pub(super) fn new() -> Result<Self, String> {
        let cannot = |error| format!("no folder for the tokens of --tenants: {error}");
        let folder = tempfile::Builder::new()
            .prefix("bookd-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(cannot)?;
        let folder = Self(folder);
        let secret = Ids::default().secret()?;
        folder.write(OPERATOR, &secret.into_text())?;
        Ok(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn write(&self, name: &str, token: &str) -> Result<(), String> {
        let file = self.file(name);
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut opened| writeln!(opened, "{token}"));
        written.map_err(|error| format!("{}: {error}", file.display()))
    }

    /// The access of a server that asks every caller for a token, and knows the operator's.
    pub(super) fn access(&self) -> Result<Access, String> {
        let grants = Grants::load(&GrantConfig::default(), Some(&self.file(OPERATOR)));
        grants
            .map(Access::granted)
            .map_err(|error| error.to_string())
    }

    /// The same server, called by the operator.
    pub(super) fn as_operator(&self, server: Server) -> Result<Server, CallError> {
        let token = token::read(Some(&self.file(OPERATOR)))?;
        Ok(match token {
            Some(token) => server.with_token(token),
            None => server,
        })
    }

    /// Creates a token of each tenant in the store, and writes it into the tenant's file.
    pub(super) async fn create_tokens(&self, operator: &Client) -> Result<(), CallError> {
        let scopes = SCOPES.map(|scope| enumerated("SCOPE", scope.word()));
        for tenant in TENANTS {
            let request =
                json!({ "name": tenant, "scopes": scopes, "prefix": format!("{tenant}/") });
            let created = operator.call("CreateToken", request).await?;
            let token = created["token"].as_str().unwrap_or_default();
            self.write(tenant, token)?;
        }
        Ok(())
    }

    /// The lines of the banner that show what each token opens. Each line is a command, and after
    /// `#` comes what it shows.
    pub(super) fn commands(&self, server: &str) -> String {
        let shown = [
            ("calendars", "clinic", "its own two calendars, no others"),
            ("list clinic/dr-lee", "clinic", "its own appointments"),
            ("list salon/kim", "clinic", "PERMISSION_DENIED"),
            ("calendars", "salon", "its own two calendars, no others"),
            ("list salon/kim", "salon", "its own appointments"),
            ("hours clinic/room-1", "salon", "PERMISSION_DENIED"),
            ("calendars", OPERATOR, "all calendars"),
            ("token list", OPERATOR, "the tokens of both tenants"),
        ];
        let lines = shown.map(|(command, name, what)| {
            let command = format!("bookd {command} --token-file \"$TOKENS/{name}\"");
            format!("  {command:<58} # {what}\n")
        });
        format!(
            "Callers need a token here. Those of two tenants and of the operator are in files that only you can read,\n\
             removed when the demo stops. Try them, in another terminal:\n\
             \n\
             \x20 export BOOKD_SERVER={server} TOKENS='{folder}'\n\
             {lines}  {without:<58} # CREDENTIALS_INVALID\n",
            folder = self.path().display(),
            lines = lines.concat(),
            without = "bookd calendars",
        )
    }
}
