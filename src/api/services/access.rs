//! AccessService: who the caller is.

use crate::proto::v1 as pb;

use crate::api::context::{Answered, Api, Call};

pub(crate) async fn get_principal(
    _api: &Api,
    call: Call<pb::GetPrincipalRequest>,
) -> Answered<pb::GetPrincipalResponse> {
    let principal = call.context.principal;
    let principal = pb::Principal {
        name: principal.name.0.to_string(),
        scopes: principal.scopes.iter().map(i32::from).collect(),
        credential: principal.kind().into(),
    };
    Ok(pb::GetPrincipalResponse {
        principal: Some(principal),
    })
}
