//! The calendars of one tenant, by their prefix.

use bookd_core::prefixes::Prefixes;

/// The calendars of a tenant: those whose ids begin with one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantPrefix(Prefixes);

impl TenantPrefix {
    /// Reads a prefix such as `acme/`.
    ///
    /// # Errors
    ///
    /// In words: it is empty, or is not the prefix of a grant.
    pub fn parse(text: &str) -> Result<Self, String> {
        match Prefixes::parse(text) {
            Ok(all) if all.is_all() => Err("must not be empty".to_owned()),
            Ok(prefixes) => Ok(Self(prefixes)),
            Err(_) if Prefixes::parse(&format!("{text}/")).is_ok() => {
                Err(format!("must end in /: is {text}/ meant?"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The prefix, which ends in `/`.
    pub fn as_str(&self) -> &str {
        self.0.iter().next().unwrap_or_default()
    }

    /// The calendars.
    pub const fn calendars(&self) -> &Prefixes {
        &self.0
    }
}
