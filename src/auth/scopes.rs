//! Sets of scopes, and which of them each method of the contract wants.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use prost::Message;

use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::v1::Scope;
use bookd_core::token::ScopeBits;

/// The scopes with the names by which operators write them.
const NAMES: [(&str, Scope); 6] = [
    ("slots", Scope::Slots),
    ("read", Scope::Read),
    ("book", Scope::Book),
    ("staff", Scope::Staff),
    ("manage", Scope::Manage),
    ("admin", Scope::Admin),
];

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub fn all() -> Self {
        Self::of(Scope::Admin)
    }

    /// What a grant of this scope allows: `admin` has every other scope, any other scope is alone.
    pub fn of(scope: Scope) -> Self {
        match scope {
            Scope::Unspecified => Self::default(),
            Scope::Admin => NAMES
                .into_iter()
                .map(|(_, scope)| Self::bit(scope))
                .collect(),
            Scope::Slots | Scope::Read | Scope::Book | Scope::Staff | Scope::Manage => {
                Self::bit(scope)
            }
        }
    }

    /// What a token with these scopes allows.
    pub fn of_bits(bits: ScopeBits) -> Self {
        named_by(bits).into_iter().map(Self::of).collect()
    }

    const fn bit(scope: Scope) -> Self {
        Self(1 << scope as i32)
    }

    /// Whether this scope is in the set.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & Self::bit(scope).0 != 0
    }

    /// The scopes in the set.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        NAMES
            .into_iter()
            .map(|(_, scope)| scope)
            .filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scopes> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scopes>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |bits, it| bits | it.0))
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(it, _)| *it == name);
        let names = || NAMES.map(|(it, _)| it).join(", ");
        found
            .map(|(_, scope)| Self::of(*scope))
            .ok_or_else(|| format!("`{name}` is no scope; the scopes are {}", names()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().filter(|(_, scope)| self.has(*scope));
        let names: Vec<&str> = named.map(|(name, _)| *name).collect();
        f.write_str(&names.join(", "))
    }
}

/// The scopes as a token keeps them: as they were given, `admin` alone and not with all that it
/// allows.
pub fn bits_of(scopes: impl IntoIterator<Item = Scope>) -> ScopeBits {
    let bits = scopes.into_iter().map(|scope| 1 << scope as i32);
    ScopeBits(bits.fold(0, |all, bit| all | bit))
}

/// The scopes that a token keeps.
pub fn named_by(bits: ScopeBits) -> Vec<Scope> {
    let is_named = |scope: &Scope| bits.0 & (1 << *scope as i32) != 0;
    let all = NAMES.into_iter().map(|(_, scope)| scope);
    all.filter(is_named).collect()
}

/// The scopes of which the caller of a method needs one; none = the method is open to all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodScopes(Scopes);

impl MethodScopes {
    /// What the contract says of the method with this path, such as
    /// `/bookd.v1.SlotsService/ListSlots`. None for a path of no method.
    pub fn of(path: &str) -> Option<Self> {
        METHODS.get(path).copied()
    }

    /// Whether everybody may call the method, with credentials or without.
    pub fn is_open(self) -> bool {
        self.0 == Scopes::default()
    }

    /// Whether the method shows or changes appointments: those that want `read` or `book` and that
    /// neither `slots` nor `manage` opens.
    pub fn is_of_appointments(self) -> bool {
        let is_for_others = self.0.has(Scope::Slots) || self.0.has(Scope::Manage);
        !is_for_others && (self.0.has(Scope::Read) || self.0.has(Scope::Book))
    }

    /// Whether a caller with these scopes may call the method.
    pub fn is_met_by(self, scopes: Scopes) -> bool {
        self.is_open() || self.0.0 & scopes.0 != 0
    }
}

impl fmt::Display for MethodScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The methods of the contract by path.
static METHODS: LazyLock<HashMap<String, MethodScopes>> = LazyLock::new(|| {
    let files =
        FilesRead::decode(FILE_DESCRIPTOR_SET).expect("the descriptors were made by this build");
    let services = files
        .files
        .iter()
        .flat_map(|file| file.services.iter().map(move |service| (file, service)));
    let methods = services.flat_map(|(file, service)| {
        service.methods.iter().map(move |method| {
            let path = format!("/{}.{}/{}", file.package, service.name, method.name);
            let options = method.options.as_ref();
            // A scope is wanted as it is: `admin` is wanted and not all that it allows.
            let wanted = options.map_or(&[][..], |it| &it.scopes);
            let wanted = wanted.iter().map(|number| {
                Scopes::bit(Scope::try_from(*number).expect("protox has checked it"))
            });
            (path, MethodScopes(wanted.collect()))
        })
    });
    methods.collect()
});

// The descriptors as far as they are needed here. The messages of prost-types do not keep options
// that the contract itself defines.

#[derive(Clone, PartialEq, Message)]
struct FilesRead {
    #[prost(message, repeated, tag = "1")]
    files: Vec<FileRead>,
}

#[derive(Clone, PartialEq, Message)]
struct FileRead {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    services: Vec<ServiceRead>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceRead {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    methods: Vec<MethodRead>,
}

#[derive(Clone, PartialEq, Message)]
struct MethodRead {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "4")]
    options: Option<OptionsRead>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionsRead {
    /// `bookd.v1.scopes`.
    #[prost(enumeration = "Scope", repeated, tag = "50051")]
    scopes: Vec<i32>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn every_scope_has_a_name_and_admin_allows_all() {
        let all: Vec<Scope> = Scopes::all().iter().collect();
        assert_eq!(all.len(), NAMES.len());
        for number in 1..=6 {
            assert!(all.contains(&Scope::try_from(number).unwrap()));
        }
        assert!(Scope::try_from(7).is_err(), "a new scope needs a name here");
        for (name, scope) in NAMES {
            let parsed: Scopes = name.parse().unwrap();
            assert!(parsed.has(scope));
            assert_eq!(parsed == Scopes::all(), scope == Scope::Admin);
        }
        let error = "boook".parse::<Scopes>().unwrap_err();
        assert!(
            error.contains("boook") && error.contains("book, staff"),
            "{error}"
        );
        assert_eq!(
            Scopes::all().to_string(),
            "slots, read, book, staff, manage, admin"
        );
    }

    #[test]
    fn only_two_methods_are_open_to_all() {
        let mut open: Vec<&str> = METHODS
            .iter()
            .filter(|(_, scopes)| scopes.is_open())
            .map(|(path, _)| path.as_str())
            .collect();
        open.sort_unstable();
        assert_eq!(
            open,
            [
                "/bookd.v1.AccessService/GetPrincipal",
                "/bookd.v1.ServerInfoService/GetServerInfo"
            ]
        );
        assert_eq!(MethodScopes::of("/bookd.v1.SlotsService/Nothing"), None);
    }

    #[test]
    fn one_of_the_wanted_scopes_is_enough() {
        let of = |path| MethodScopes::of(path).unwrap();
        let reading = of("/bookd.v1.CalendarService/GetCalendar");
        for (scope, may) in [
            (Scope::Slots, false),
            (Scope::Read, true),
            (Scope::Book, false),
            (Scope::Staff, false),
            (Scope::Manage, true),
            (Scope::Admin, true),
        ] {
            assert_eq!(reading.is_met_by(Scopes::of(scope)), may, "{scope:?}");
        }
        let erasing = of("/bookd.v1.BookingService/RedactInvitee");
        assert!(erasing.is_met_by(Scopes::all()));
        assert!(!erasing.is_met_by(Scopes::of(Scope::Manage)));
        assert_eq!(erasing.to_string(), "admin");
    }
}
