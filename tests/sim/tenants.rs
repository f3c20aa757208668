//! A tenant's client learns nothing of another tenant, and nothing of its deletion.
//!
//! `make tenants CALLS=n SEED=n` sends so many calls; `TENANT_SEEDS=n TENANT_LIFE=n` deletes so many
//! tenants, each after so many calls.

use bookd::admin::check::offline::look;
use bookd::admin::tenant::TenantPrefix;
use bookd::admin::tenant_deletion::delete;
use bookd::admin::{Position, Step, StoreFile};
use bookd::store::Store;
use bookd::store::memory::Memory;
use bookd::store::sqlite::{Sqlite, TenantSize};
use bookd_core::ids::AppointmentKey;
use bookd_core::time::Instant;
use bookd_kit::chance::budget;
use bookd_kit::tenants::{
    DELETED, STAYING, one_tenant_goes_on, tenants_learn_nothing_of_each_other, two_tenants_live,
};

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

fn silent(_: Step) -> Position {
    Box::new(|_| {})
}

/// Forgets a part of the log, as a server does that keeps changes for some days. Answers the oldest
/// revision that is kept.
fn forget(store: &mut dyn Store, seed: u64) -> i64 {
    let last = store.boot().unwrap().revision.0;
    let some = usize::try_from(last * (1 + seed % 7) / 8).unwrap();
    let oldest = store.compact_changes(Instant::MAX, some).unwrap().unwrap();
    i64::try_from(oldest.revision.0).unwrap()
}

/// Lets two tenants live on a file, deletes one of them, and lets the other go on.
fn delete_one_of_two(seed: u64, calls: u64) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bookd.db");
    let open = || Box::new(Sqlite::open(&file, lookup(), CODE_KEY).unwrap()) as Box<dyn Store>;
    two_tenants_live(open(), calls, seed);
    let start = if seed.is_multiple_of(2) {
        forget(open().as_mut(), seed)
    } else {
        1
    };
    let before = one_tenant_goes_on(open(), start, 0, seed);
    let store = StoreFile {
        path: file.clone(),
        zones: None,
    };
    let deleted = delete_all_of(DELETED, &store, seed);
    let after = one_tenant_goes_on(open(), start, calls / 4, seed);
    assert!(after.len() >= before.len(), "seed {seed}");
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(
            before, after,
            "seed {seed}: change {number} of the other tenant"
        );
    }
    for change in &after[before.len()..] {
        let command = &change["change"]["command"];
        assert!(
            ["DeleteCalendar", "Expiry"].iter().any(|it| command == it),
            "seed {seed}: {change}"
        );
    }
    expect_no_findings(&store, seed);
    println!(
        "seed {seed}: {deleted:?}, {} changes of the other tenant",
        after.len()
    );
    delete_all_of(STAYING, &store, seed);
    expect_no_findings(&store, seed);
    let (left, _) = open()
        .reader()
        .unwrap()
        .appointments_after(AppointmentKey::default(), 1)
        .unwrap();
    assert!(left.is_empty(), "seed {seed}: {left:?} is nobody's");
    let bytes = std::fs::read(&file).unwrap();
    assert!(!has(&bytes, "deleted-"), "seed {seed}: a remnant is left");
}

fn has(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    bytes.windows(text.len()).any(|it| it == text)
}

/// Deletes the tenant with this prefix, of which nothing is left in the folder then.
fn delete_all_of(prefix: &str, store: &StoreFile, seed: u64) -> TenantSize {
    let tenant = TenantPrefix::parse(prefix).unwrap();
    let deleted = delete(store, &tenant, true, silent)
        .unwrap_or_else(|error| panic!("seed {seed}: {prefix}: {error}"));
    let bytes = std::fs::read(&store.path).unwrap();
    assert!(!has(&bytes, prefix), "seed {seed}: {prefix} is in the file");
    let folder = store.path.parent().unwrap();
    assert!(
        std::fs::read_dir(folder).unwrap().count() == 1,
        "seed {seed}: something stayed beside the file"
    );
    deleted.size
}

fn expect_no_findings(store: &StoreFile, seed: u64) {
    let examined = look(store, silent).unwrap();
    let findings: Vec<_> = examined
        .all()
        .filter(|it| it.name != "drift")
        .flat_map(|it| &it.findings)
        .collect();
    assert!(findings.is_empty(), "seed {seed}: {findings:?}");
}

#[test]
fn a_deleted_tenant_leaves_nothing_in_the_file_and_nothing_else_changes() {
    let first = budget("TENANT_SEED", 1);
    for seed in first..first + budget("TENANT_SEEDS", 6) {
        delete_one_of_two(seed, budget("TENANT_LIFE", 600));
    }
}
