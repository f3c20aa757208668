//! What a principal may do, and on which calendars: the scopes of its grants with their prefixes.

use std::sync::Arc;

use super::scopes::{MethodScopes, Scopes};
use crate::proto::v1::Scope;
use bookd_core::prefixes::Prefixes;

/// The scopes of a principal, each on some calendars. Copies share the grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The scopes of all grants together.
    scopes: Scopes,
    /// The grants; none = the scopes are on all calendars.
    grants: Option<Arc<[(Scopes, Prefixes)]>>,
}

impl Rights {
    /// Every scope on all calendars.
    pub fn all() -> Self {
        Self::of(Scopes::all(), Prefixes::ALL)
    }

    /// These scopes on these calendars.
    pub fn of(scopes: Scopes, prefixes: Prefixes) -> Self {
        let grants = (!prefixes.is_all()).then(|| Arc::from([(scopes, prefixes)]));
        Self { scopes, grants }
    }

    /// The scopes, on whichever calendars.
    pub const fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// The grants: scopes, and the calendars that they are on.
    pub fn grants(&self) -> impl Iterator<Item = (Scopes, Prefixes)> {
        let on_all = self
            .grants
            .is_none()
            .then_some((self.scopes, Prefixes::ALL))
            .filter(|(scopes, _)| *scopes != Scopes::default());
        let some = self.grants.iter().flat_map(|grants| grants.iter());
        on_all.into_iter().chain(some.cloned())
    }

    /// The calendars on which the principal has this scope.
    pub fn calendars_of(&self, scope: Scope) -> Prefixes {
        self.calendars_where(|scopes| scopes.has(scope))
    }

    /// The calendars on which the principal may call a method that wants these scopes.
    pub fn calendars_for(&self, wanted: MethodScopes) -> Prefixes {
        self.calendars_where(|scopes| wanted.is_met_by(scopes))
    }

    fn calendars_where(&self, suits: impl Fn(Scopes) -> bool) -> Prefixes {
        match &self.grants {
            None if suits(self.scopes) => Prefixes::ALL,
            None => Prefixes::nothing(),
            Some(grants) => {
                let suiting = grants.iter().filter(|(scopes, _)| suits(*scopes));
                let both = |one: Prefixes, (_, other): &(Scopes, Prefixes)| one.or(other);
                match suiting.clone().count() {
                    1 => suiting.map(|(_, prefixes)| prefixes.clone()).last(),
                    _ => Some(suiting.fold(Prefixes::nothing(), both)),
                }
                .unwrap_or_else(Prefixes::nothing)
            }
        }
    }

    /// Whether each right of `others` is among these.
    pub fn include(&self, others: &Self) -> bool {
        others.grants().all(|(scopes, prefixes)| {
            let mut wanted = scopes.iter();
            wanted.all(|scope| self.calendars_of(scope).include(&prefixes))
        })
    }
}

impl FromIterator<Self> for Rights {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        let mut grants: Vec<(Scopes, Prefixes)> = Vec::new();
        for (scopes, prefixes) in all
            .into_iter()
            .flat_map(|it| it.grants().collect::<Vec<_>>())
        {
            match grants.iter_mut().find(|(_, known)| *known == prefixes) {
                Some((known, _)) => *known = [*known, scopes].into_iter().collect(),
                None => grants.push((scopes, prefixes)),
            }
        }
        let scopes = grants.iter().map(|(scopes, _)| *scopes).collect();
        let is_on_all = grants.iter().all(|(_, prefixes)| prefixes.is_all());
        Self {
            scopes,
            grants: (!is_on_all).then(|| grants.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(prefix: &str, scopes: &[Scope]) -> Rights {
        Rights::of(
            scopes.iter().map(|it| Scopes::of(*it)).collect(),
            Prefixes::parse(prefix).unwrap_or_else(|_| Prefixes::nothing()),
        )
    }

    #[test]
    fn each_scope_is_on_the_calendars_of_its_own_grants() {
        let both: Rights = [
            on("acme/", &[Scope::Read]),
            on("beta/", &[Scope::Read, Scope::Book]),
        ]
        .into_iter()
        .collect();
        let read = both.calendars_of(Scope::Read);
        assert!(read.has("acme/ada") && read.has("beta/bob") && !read.has("acmeX/ada"));
        let book = both.calendars_of(Scope::Book);
        assert!(!book.has("acme/ada") && book.has("beta/bob"));
        assert!(both.calendars_of(Scope::Manage).is_nothing());
        assert!(both.scopes().has(Scope::Book) && !both.scopes().has(Scope::Admin));
    }

    #[test]
    fn a_grant_on_all_calendars_covers_the_others() {
        let all: Rights = [on("", &[Scope::Read]), on("acme/", &[Scope::Book])]
            .into_iter()
            .collect();
        assert!(all.calendars_of(Scope::Read).is_all());
        assert!(!all.calendars_of(Scope::Book).is_all());
        assert!(Rights::all().include(&all) && !all.include(&Rights::all()));
        assert!(on("acme/", &[Scope::Admin]).include(&on("acme/north/", &[Scope::Book])));
        assert!(!on("acme/", &[Scope::Read]).include(&on("acme/", &[Scope::Book])));
        assert!(Rights::default().grants().next().is_none());
    }
}
