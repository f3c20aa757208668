//! Who reaches the server: a start that would serve strangers without asking for credentials is
//! refused, unless the operator says so.

use std::net::SocketAddr;

/// The credentials that a server asks its clients for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials {
    /// A client certificate of an authority that the operator named.
    pub client_certificates: bool,
}

impl Credentials {
    const fn are_asked_for(self) -> bool {
        self.client_certificates
    }
}

/// Whether strangers are served: whoever reaches `listen` from another machine, without
/// credentials.
fn serves_strangers(listen: SocketAddr, credentials: Credentials) -> bool {
    !listen.ip().to_canonical().is_loopback() && !credentials.are_asked_for()
}

/// Allows a start, or refuses it with a message that names the ways out.
///
/// # Errors
///
/// Strangers would be served, and `is_insecure` does not say that this is wanted.
pub fn allow(
    listen: SocketAddr,
    credentials: Credentials,
    is_insecure: bool,
) -> Result<(), String> {
    if is_insecure || !serves_strangers(listen, credentials) {
        return Ok(());
    }
    Err(format!(
        "{listen} can be reached from other machines, and whoever reaches it could read and change everything. \
         Ask clients for certificates with --client-ca (and --tls-cert and --tls-key), listen on 127.0.0.1, or say \
         --insecure if something else keeps strangers away"
    ))
}

/// Logs that strangers are served, if they are.
pub fn warn(listen: SocketAddr, credentials: Credentials) {
    if serves_strangers(listen, credentials) {
        tracing::warn!(
            address = %listen,
            "whoever reaches the address may read and change everything, as --insecure says"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_served_without_credentials_unless_the_operator_says_so() {
        let (with, without) = (
            Credentials {
                client_certificates: true,
            },
            Credentials::default(),
        );
        for local in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            let listen = local.parse().expect("it is an address");
            assert_eq!(allow(listen, without, false), Ok(()), "{local}");
            assert!(!serves_strangers(listen, without));
        }
        for open in [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "[::ffff:10.0.0.1]:1",
            "[fe80::1]:1",
        ] {
            let listen = open.parse().expect("it is an address");
            let refusal = allow(listen, without, false).expect_err("strangers are served");
            assert!(refusal.starts_with(open) && refusal.contains("--client-ca"));
            assert!(refusal.contains("--insecure") && serves_strangers(listen, without));
            assert_eq!(allow(listen, without, true), Ok(()), "{open}");
            assert_eq!(allow(listen, with, false), Ok(()), "{open}");
        }
    }
}
