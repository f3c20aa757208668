//! Who reaches the server: a start that would serve strangers without asking for credentials is
//! refused, unless the operator says so.

use std::net::SocketAddr;

/// The credentials that a server asks its clients for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials {
    /// A client certificate of an authority that the operator named.
    pub client_certificates: bool,
    /// Those of grants, tokens among them.
    pub grants: bool,
    /// Whether tokens go over the wire inside TLS.
    pub is_encrypted: bool,
}

impl Credentials {
    const fn are_asked_for(self) -> bool {
        self.client_certificates || self.grants
    }
}

/// Whether strangers are served: whoever reaches `listen` from another machine, without
/// credentials.
fn serves_strangers(listen: SocketAddr, credentials: Credentials) -> bool {
    !listen.ip().to_canonical().is_loopback() && !credentials.are_asked_for()
}

/// Whether tokens of other machines go over the wire as they are.
fn shows_tokens(listen: SocketAddr, credentials: Credentials) -> bool {
    let is_local = listen.ip().to_canonical().is_loopback();
    credentials.grants && !credentials.is_encrypted && !is_local
}

/// What the operator says that something else takes care of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Assurances {
    /// Strangers are kept away.
    pub insecure: bool,
    /// A proxy ends TLS.
    pub plaintext_behind_proxy: bool,
}

/// Allows a start, or refuses it with a message that names the ways out.
///
/// # Errors
///
/// Strangers would be served, or tokens be shown to the network, and no assurance says that this
/// is wanted.
pub fn allow(
    listen: SocketAddr,
    credentials: Credentials,
    assurances: Assurances,
) -> Result<(), String> {
    if shows_tokens(listen, credentials) && !assurances.plaintext_behind_proxy {
        return Err(format!(
            "{listen} can be reached from other machines without TLS, and whoever reads along could use the tokens \
             of callers. Give a certificate with --tls-cert and --tls-key, listen on 127.0.0.1, or say \
             --plaintext-behind-proxy if a proxy or a mesh ends TLS"
        ));
    }
    if assurances.insecure || !serves_strangers(listen, credentials) {
        return Ok(());
    }
    Err(format!(
        "{listen} can be reached from other machines, and whoever reaches it could read and change everything. \
         Ask clients for certificates with --client-ca (and --tls-cert and --tls-key) or for tokens with a grant in \
         the configuration file or `bookd token create --store`, listen on 127.0.0.1, or say --insecure if something else keeps strangers away"
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
                is_encrypted: true,
                ..Credentials::default()
            },
            Credentials::default(),
        );
        let (none, insecure) = (
            Assurances::default(),
            Assurances {
                insecure: true,
                ..Assurances::default()
            },
        );
        for local in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            let listen = local.parse().expect("it is an address");
            assert_eq!(allow(listen, without, none), Ok(()), "{local}");
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
            let refusal = allow(listen, without, none).expect_err("strangers are served");
            assert!(refusal.starts_with(open) && refusal.contains("--client-ca"));
            assert!(refusal.contains("--insecure") && serves_strangers(listen, without));
            assert_eq!(allow(listen, without, insecure), Ok(()), "{open}");
            assert_eq!(allow(listen, with, none), Ok(()), "{open}");
        }
    }

    #[test]
    fn tokens_go_over_a_network_inside_tls_unless_a_proxy_ends_it() {
        let plain = Credentials {
            grants: true,
            ..Credentials::default()
        };
        let encrypted = Credentials {
            is_encrypted: true,
            ..plain
        };
        let behind_proxy = Assurances {
            plaintext_behind_proxy: true,
            ..Assurances::default()
        };
        let insecure = Assurances {
            insecure: true,
            ..Assurances::default()
        };
        let [open, local] = ["10.0.0.1:1", "127.0.0.1:1"]
            .map(|it| it.parse::<SocketAddr>().expect("it is an address"));
        for assurances in [Assurances::default(), insecure] {
            let refusal = allow(open, plain, assurances).expect_err("tokens are shown");
            assert!(refusal.contains("--plaintext-behind-proxy"), "{refusal}");
        }
        assert_eq!(allow(open, plain, behind_proxy), Ok(()));
        assert_eq!(allow(open, encrypted, Assurances::default()), Ok(()));
        assert_eq!(allow(local, plain, Assurances::default()), Ok(()));
    }
}
