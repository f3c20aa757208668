//! AccessService: who the caller is.

use crate::auth::Rights;
use crate::proto::v1 as pb;

use crate::api::context::{Answered, Api, Call};

/// The grants, one for each prefix.
fn grants(rights: &Rights) -> Vec<pb::Grant> {
    let mut grants = Vec::new();
    for (scopes, reach) in rights.grants() {
        let customer = reach.customer.as_ref().map(|it| it.as_str().to_owned());
        grants.extend(reach.calendars.iter().map(|prefix| pb::Grant {
            scopes: scopes.iter().map(i32::from).collect(),
            prefix: prefix.to_owned(),
            customer: customer.clone().unwrap_or_default(),
        }));
    }
    grants
}

pub(crate) async fn get_principal(
    _api: &Api,
    call: Call<pb::GetPrincipalRequest>,
) -> Answered<pb::GetPrincipalResponse> {
    let principal = call.context.principal;
    let principal = pb::Principal {
        name: principal.name.0.to_string(),
        scopes: principal.rights.scopes().iter().map(i32::from).collect(),
        credential: principal.kind().into(),
        grants: grants(&principal.rights),
    };
    Ok(pb::GetPrincipalResponse {
        principal: Some(principal),
    })
}
