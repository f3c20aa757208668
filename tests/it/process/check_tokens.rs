//! `bookd check` compares the tokens of a store with the log, as far as that is kept.

use bookd_core::command::Command;
use bookd_core::ids::Caller;
use bookd_core::prefixes::Prefixes;
use bookd_core::token::{NewToken, ScopeBits, SecretHash, TokenExpiry, TokenId};

use crate::check_derived::each_is_found;
use crate::stored::{World, open};
use crate::transfer::well;

fn token_id(text: &str) -> TokenId {
    TokenId::parse(text).unwrap()
}

fn create(id: &str, number: u8) -> Command {
    Command::CreateToken(Box::new(NewToken {
        id: token_id(id),
        hash: SecretHash([number; 32]),
        name: Caller("desk".into()),
        scopes: ScopeBits(4),
        prefixes: Prefixes::ALL,
        expiry: TokenExpiry::Never,
        creator: Caller("root".into()),
        creator_token: None,
    }))
}

#[test]
fn changes_of_tokens_between_others_are_no_gap_in_the_log() {
    let mut world = World::sqlite();
    world.run(&create("bookd_aaaaaaaaaa", 1));
    open(&mut world, "ada", "UTC");
    world.run(&create("bookd_bbbbbbbbbb", 2));
    world.run(&Command::RevokeToken(token_id("bookd_aaaaaaaaaa")));
    open(&mut world, "bob", "UTC");
    let folder = world.folder.clone().unwrap();
    drop(world);
    well(folder.path(), &["check"]);
    well(folder.path(), &["backup", "copy.db"]);
}

#[test]
fn each_token_that_the_log_did_not_leave_is_found() {
    let mut world = World::sqlite();
    open(&mut world, "ada", "UTC");
    for (number, id) in (1..).zip(["bookd_aaaaaaaaaa", "bookd_bbbbbbbbbb"]) {
        world.run(&create(id, number));
    }
    world.run(&Command::RevokeToken(token_id("bookd_bbbbbbbbbb")));
    let folder = world.folder.clone().unwrap();
    drop(world);
    each_is_found(
        &folder.path().join("bookd.db"),
        &[
            (
                "delete from tokens",
                "derived: token bookd_aaaaaaaaaa, which revision 3 created, is not there",
            ),
            (
                "update tokens set revision = revision - 1",
                "token bookd_aaaaaaaaaa is of revision 2, which did not create it",
            ),
            (
                "update tokens set id = 'bookd_cccccccccc'",
                "token bookd_cccccccccc is of revision 3, which did not create it",
            ),
            (
                "update tokens set id = 'bookd_bbbbbbbbbb'",
                "token bookd_bbbbbbbbbb was revoked, and is there",
            ),
            (
                "delete from meta where name = 'guarded'",
                "the note that callers need credentials is missing",
            ),
            (
                "update tokens set hash = x'00'",
                "a token cannot be read, in row bookd_aaaaaaaaaa of table tokens",
            ),
            (
                "update tokens set prefix = 'acme'",
                "a token cannot be read, in row bookd_aaaaaaaaaa",
            ),
            ("update tokens set creator = 1000", "a token cannot be read"),
            ("update tokens set id = 'desk'", "a token cannot be read"),
            ("update tokens set scopes = -1", "a token cannot be read"),
        ],
    );
}
