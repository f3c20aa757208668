//! The token that a client command sends to tell who calls.
//!
//! It comes from a file or the environment, never from a flag, which every process of the machine
//! could read. No message has anything of it.

use std::path::Path;

use tonic::metadata::{Ascii, MetadataValue};

use super::client::CallError;

/// The variable that may have the token itself.
const VARIABLE: &str = "BOOKD_TOKEN";

/// The value of the header `authorization` with the token of this file, or else of the environment;
/// none where neither has one.
///
/// # Errors
///
/// The file cannot be read, or what it or the variable has is no token.
pub(super) fn read(file: Option<&Path>) -> Result<Option<MetadataValue<Ascii>>, CallError> {
    match file {
        Some(file) => {
            let shown = format!("--token-file {}", file.display());
            let text = std::fs::read_to_string(file)
                .map_err(|error| CallError::Usage(format!("{shown}: {error}")))?;
            header(&text, &shown).map(Some)
        }
        None => match std::env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => header(&text, VARIABLE).map(Some),
            _ => Ok(None),
        },
    }
}

/// The header of the token in this text; `shown` says where the text is from.
fn header(text: &str, shown: &str) -> Result<MetadataValue<Ascii>, CallError> {
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let mut value = is_token
        .then(|| {
            format!("Bearer {token}")
                .parse::<MetadataValue<Ascii>>()
                .ok()
        })
        .flatten()
        .ok_or_else(|| {
            CallError::Usage(format!(
                "{shown}: it must have one token, without spaces and further lines"
            ))
        })?;
    // What prints requests does not print it.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_as_a_bearer_and_no_message_has_it() {
        let value = header("k7x\n", "--token-file t").unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer k7x");
        assert!(!format!("{value:?}").contains("k7x"));
        for wrong in ["", "  ", "k7x k7x", "k7x\nk7x", "k7ä"] {
            let Err(CallError::Usage(message)) = header(wrong, "--token-file t") else {
                unreachable!("{wrong:?} is taken");
            };
            assert!(
                message.starts_with("--token-file t: ") && !message.contains("k7"),
                "{message}"
            );
        }
        let missing = read(Some(Path::new("/nowhere/token")));
        assert!(matches!(missing, Err(CallError::Usage(it)) if it.contains("/nowhere/token")));
    }
}
