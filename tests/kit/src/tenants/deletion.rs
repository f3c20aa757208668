//! A file on which two tenants lived, with appointments on calendars of both: for proofs of the
//! deletion of one of them.

use bookd::store::Store;
use serde_json::Value as Json;

use super::messages::each_calendar;
use super::{OURS, THEIRS, Tenant, World, method, runtime};
use crate::chance::Chance;

/// The prefix of the tenant that is deleted.
pub const DELETED: &str = OURS;
/// The prefix of the tenant that stays.
pub const STAYING: &str = THEIRS;

/// How many calls in a row come of one caller.
const TURN: u64 = 4;

/// Sends so many random calls of two tenants, and of an owner of both whose calls take calendars of
/// either, to a server on this store.
pub fn two_tenants_live(store: Box<dyn Store>, calls: u64, seed: u64) {
    runtime().block_on(async {
        let (mut world, mut chance) = (World::new(store), Chance(seed));
        let mut owner = Tenant::new(&world.engine, "", 1 << 50);
        for tenant in [&mut world.ours, &mut world.theirs] {
            for call in tenant.caller.opening() {
                tenant.act(call).await;
            }
        }
        for _ in 0..calls / TURN {
            if chance.is(10) {
                world.clock.advance(chance.of(&[60, 901, 86_400]));
                world.engine.tick().await.unwrap();
            }
            let who = chance.below(4);
            for _ in 0..TURN {
                let now = world.engine.now().seconds();
                match who {
                    0 => act(&mut world.ours, &mut chance, now).await,
                    1 => act(&mut world.theirs, &mut chance, now).await,
                    _ => act_on_both(&mut owner, &mut chance, now).await,
                }
            }
        }
    });
}

/// Goes on with so many calls of the tenant that stays. Answers all changes that it is told before
/// them, from a revision on.
pub fn one_tenant_goes_on(
    store: Box<dyn Store>,
    start_revision: i64,
    calls: u64,
    seed: u64,
) -> Vec<Json> {
    runtime().block_on(async {
        let (mut world, mut chance) = (World::new(store), Chance(seed));
        let told = world.theirs.watched_from(start_revision).await;
        for _ in 0..calls {
            let now = world.engine.now().seconds();
            act(&mut world.theirs, &mut chance, now).await;
        }
        told
    })
}

async fn act(tenant: &mut Tenant, chance: &mut Chance, now: i64) {
    tenant.caller.chance = chance.fork();
    let call = tenant.caller.any(now);
    tenant.act(call).await;
}

async fn act_on_both(owner: &mut Tenant, chance: &mut Chance, now: i64) {
    owner.caller.chance = chance.fork();
    let call = owner.caller.any(now);
    let mut message = owner.message(&call);
    let seed = chance.next_number();
    let of_either = |id: &str| {
        let number = id.bytes().fold(seed, |sum, it| {
            sum.wrapping_mul(31).wrapping_add(u64::from(it))
        });
        let prefix = if number >> 7 & 1 == 0 { OURS } else { THEIRS };
        format!("{prefix}{id}")
    };
    each_calendar(&mut message, &of_either);
    let method = method(call.name());
    if let Ok(mut answer) = owner.send(&method, &message).await {
        // The caller knows calendars without a prefix.
        each_calendar(&mut answer, &|id| {
            id.split_once('/').map_or(id, |(_, id)| id).to_owned()
        });
        owner.learn(&call, &answer);
    }
}
