//! A tenant's client learns nothing of another tenant.
//!
//! `make tenants CALLS=n SEED=n` sends so many calls.

use bookd::store::Store;
use bookd::store::memory::Memory;
use bookd::store::sqlite::Sqlite;
use bookd_kit::chance::budget;
use bookd_kit::tenants::tenants_learn_nothing_of_each_other;

use crate::life::lookup;

const CODE_KEY: u64 = 7;

/// Sends so many calls. Most of them are answered, and a third has something of the other tenant in
/// it: otherwise this would prove little.
fn send(stores: [Box<dyn Store>; 2], calls: u64) {
    let seed = budget("TENANT_SEED", 1);
    let (answered, mixed) = tenants_learn_nothing_of_each_other(stores, calls, seed);
    assert!(answered > calls / 3, "{answered} of {calls} were answered");
    assert!(mixed > calls / 5, "{mixed} of {calls} were mixed");
    println!("{calls} calls, {answered} of them answered, {mixed} with foreign things");
}

#[test]
fn a_tenant_is_told_the_same_whatever_another_tenant_does() {
    let memory = || Box::new(Memory::new(CODE_KEY)) as Box<dyn Store>;
    send([memory(), memory()], budget("TENANT_CALLS", 2_000));
}

#[test]
fn a_tenant_is_told_the_same_by_a_file_that_another_tenant_shares() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let file = folder.path().join(name);
        Box::new(Sqlite::open(&file, lookup(), CODE_KEY).unwrap()) as Box<dyn Store>
    };
    send(
        [file("alone.db"), file("shared.db")],
        budget("TENANT_CALLS", 1_000),
    );
}
