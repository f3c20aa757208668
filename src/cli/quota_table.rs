//! The quotas of tenants, as the configuration file has them.

use serde::Deserialize;

use bookd_core::quota::{Quota, Quotas, Tenant};

/// A `[[quota]]` of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaTable {
    /// What the ids of the tenant's calendars begin with, such as `acme/`; empty for calendars without
    /// `/` in their ids. Left out, the quota is that of each tenant without one of its own.
    tenant: Option<String>,
    /// The most calendars; left out = as many as it likes.
    calendars: Option<u64>,
    /// The most appointments that are held, pending or confirmed and have not ended; left out = as
    /// many as it likes.
    upcoming_appointments: Option<u64>,
}

/// The quotas that these tables make.
///
/// # Errors
///
/// The first table that is wrong, by its number from 1, and why.
pub(super) fn quotas(tables: Vec<QuotaTable>) -> Result<Quotas, String> {
    let (mut quotas, mut others) = (Quotas::default(), None);
    for (number, table) in (1..).zip(tables) {
        let QuotaTable {
            tenant,
            calendars,
            upcoming_appointments,
        } = table;
        let quota = Quota {
            calendars,
            upcoming_appointments,
        };
        if quota == Quota::default() {
            return Err(format!(
                "quota {number}: limits nothing; set calendars, upcoming_appointments or both"
            ));
        }
        let before = match &tenant {
            None => others.replace(quota),
            Some(tenant) => {
                let parsed = Tenant::parse(tenant);
                let tenant = parsed
                    .map_err(|error| format!("quota {number}: tenant \"{tenant}\" {error}"))?;
                quotas.named.insert(tenant, quota)
            }
        };
        if before.is_some() {
            return Err(match tenant {
                None => format!("quota {number}: another one has no tenant either"),
                Some(tenant) => {
                    format!("quota {number}: another one is of tenant \"{tenant}\" too")
                }
            });
        }
    }
    quotas.others = others.unwrap_or_default();
    Ok(quotas)
}
