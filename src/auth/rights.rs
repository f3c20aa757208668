//! What a principal may do, and how far: the scopes of its grants with their calendars and customer.

use std::sync::Arc;

use super::scopes::{MethodScopes, Scopes};
use crate::proto::v1::Scope;
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;

/// The scopes of a principal, each with its reach. Copies share the grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The scopes of all grants together.
    scopes: Scopes,
    /// The grants; none = the scopes reach everything.
    grants: Option<Arc<[(Scopes, Reach)]>>,
}

impl Rights {
    /// Whether a grant is narrowed to the appointments of a customer.
    pub(super) fn is_of_customer(&self) -> bool {
        let mut grants = self.grants.iter().flat_map(|it| it.iter());
        grants.any(|(_, reach)| reach.customer.is_some())
    }

    /// Every scope on everything.
    pub fn all() -> Self {
        Self::of(Scopes::all(), Reach::ALL)
    }

    /// These scopes, with this reach.
    pub fn of(scopes: Scopes, reach: Reach) -> Self {
        let grants = (!reach.is_all()).then(|| Arc::from([(scopes, reach)]));
        Self { scopes, grants }
    }

    /// The scopes, whatever they reach.
    pub const fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// The grants: scopes, and what they reach.
    pub fn grants(&self) -> impl Iterator<Item = (Scopes, Reach)> {
        let on_all = self
            .grants
            .is_none()
            .then_some((self.scopes, Reach::ALL))
            .filter(|(scopes, _)| *scopes != Scopes::default());
        let some = self.grants.iter().flat_map(|grants| grants.iter());
        on_all.into_iter().chain(some.cloned())
    }

    /// What the principal reaches with this scope.
    pub fn reach_of(&self, scope: Scope) -> Reach {
        self.reach_where(|scopes| scopes.has(scope))
    }

    /// What the principal reaches by a method that wants these scopes. A method that shows no
    /// appointments is not narrowed to a customer.
    pub fn reach_for(&self, wanted: MethodScopes) -> Reach {
        let suits = |scopes| wanted.is_met_by(scopes);
        if self.grants.is_none() || wanted.is_of_appointments() {
            return self.reach_where(suits);
        }
        let suiting = self.grants().filter(|(scopes, _)| suits(*scopes));
        Reach::on(suiting.fold(Prefixes::nothing(), |one, (_, it)| one.or(&it.calendars)))
    }

    /// Where one of the grants is for everybody's appointments, those for one customer's alone do
    /// not count beside it.
    fn reach_where(&self, suits: impl Fn(Scopes) -> bool) -> Reach {
        let Some(grants) = &self.grants else {
            return if suits(self.scopes) {
                Reach::ALL
            } else {
                Reach::on(Prefixes::nothing())
            };
        };
        let suiting = || {
            let suiting = grants.iter().filter(|(scopes, _)| suits(*scopes));
            suiting.map(|(_, reach)| reach)
        };
        if let (Some(only), 1) = (suiting().next(), suiting().count()) {
            return only.clone();
        }
        let customer = match suiting().find(|it| it.customer.is_none()) {
            Some(_) => None,
            None => suiting().find_map(|it| it.customer.clone()),
        };
        let same = suiting().filter(|it| it.customer == customer);
        let calendars = same.fold(Prefixes::nothing(), |one, it| one.or(&it.calendars));
        Reach {
            calendars,
            customer,
        }
    }
}

impl FromIterator<Self> for Rights {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        let mut grants: Vec<(Scopes, Reach)> = Vec::new();
        for (scopes, reach) in all
            .into_iter()
            .flat_map(|it| it.grants().collect::<Vec<_>>())
        {
            match grants.iter_mut().find(|(_, known)| *known == reach) {
                Some((known, _)) => *known = [*known, scopes].into_iter().collect(),
                None => grants.push((scopes, reach)),
            }
        }
        let scopes = grants.iter().map(|(scopes, _)| *scopes).collect();
        let is_on_all = grants.iter().all(|(_, reach)| reach.is_all());
        Self {
            scopes,
            grants: (!is_on_all).then(|| grants.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bookd_core::appointment::EmailKey;

    fn on(prefix: &str, scopes: &[Scope]) -> Rights {
        Rights::of(
            scopes.iter().map(|it| Scopes::of(*it)).collect(),
            Reach::on(Prefixes::parse(prefix).unwrap_or_else(|_| Prefixes::nothing())),
        )
    }

    /// Whether each right of `others` is among these.
    fn include(these: &Rights, others: &Rights) -> bool {
        others.grants().all(|(scopes, reach)| {
            let mut wanted = scopes.iter();
            wanted.all(|scope| these.reach_of(scope).includes(&reach))
        })
    }

    #[test]
    fn each_scope_is_on_the_calendars_of_its_own_grants() {
        let both: Rights = [
            on("acme/", &[Scope::Read]),
            on("beta/", &[Scope::Read, Scope::Book]),
        ]
        .into_iter()
        .collect();
        let read = both.reach_of(Scope::Read).calendars;
        assert!(read.has("acme/ada") && read.has("beta/bob") && !read.has("acmeX/ada"));
        let book = both.reach_of(Scope::Book).calendars;
        assert!(!book.has("acme/ada") && book.has("beta/bob"));
        assert!(both.reach_of(Scope::Manage).calendars.is_nothing());
        assert!(both.scopes().has(Scope::Book) && !both.scopes().has(Scope::Admin));
    }

    #[test]
    fn a_grant_on_all_calendars_covers_the_others() {
        let all: Rights = [on("", &[Scope::Read]), on("acme/", &[Scope::Book])]
            .into_iter()
            .collect();
        assert!(all.reach_of(Scope::Read).is_all());
        assert!(!all.reach_of(Scope::Book).is_all());
        assert!(include(&Rights::all(), &all) && !include(&all, &Rights::all()));
        assert!(include(
            &on("acme/", &[Scope::Admin]),
            &on("acme/north/", &[Scope::Book])
        ));
        assert!(!include(
            &on("acme/", &[Scope::Read]),
            &on("acme/", &[Scope::Book])
        ));
        assert!(Rights::default().grants().next().is_none());
    }

    #[test]
    fn a_grant_for_one_customer_does_not_count_beside_one_for_everybody() {
        let own = |prefix: &str, address: &str| {
            let calendars = Prefixes::beginning_with(prefix);
            let customer = Some(EmailKey::from_folded(address));
            let scopes = [Scope::Read, Scope::Book].map(Scopes::of);
            let reach = Reach {
                calendars,
                customer,
            };
            Rights::of(scopes.into_iter().collect(), reach)
        };
        let eve = own("acme/", "eve@example.com");
        let both: Rights = [eve.clone(), on("beta/", &[Scope::Read])]
            .into_iter()
            .collect();
        let read = both.reach_of(Scope::Read);
        assert!(read.customer.is_none() && !read.calendars.has("acme/ada"));
        assert_eq!(both.reach_of(Scope::Book), eve.reach_of(Scope::Book));
        let wider: Rights = [eve.clone(), own("beta/", "eve@example.com")]
            .into_iter()
            .collect();
        assert!(include(&wider, &eve) && !include(&eve, &wider));
        assert!(include(&Rights::all(), &eve) && !include(&eve, &own("acme/", "bob@example.com")));
        assert!(!include(&eve, &on("acme/", &[Scope::Read])));
        let listing = |path: &str| both.reach_for(MethodScopes::of(path).unwrap_or_default());
        let calendars = listing("/bookd.v1.CalendarService/ListCalendars");
        assert!(calendars.customer.is_none() && calendars.calendars.has("acme/ada"));
        let appointments = listing("/bookd.v1.ListService/ListAppointments");
        assert!(!appointments.calendars.has("acme/ada"));
    }
}
