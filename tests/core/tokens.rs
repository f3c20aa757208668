//! Tokens: created until there are as many as may be, revoked once, and never opening a store again
//! that they have guarded.

use std::collections::BTreeSet;
use std::sync::Arc;

use bookd_core::change::{Cause, Change, Event};
use bookd_core::command::Command;
use bookd_core::decide::{Decision, decide};
use bookd_core::ids::{Caller, Revision};
use bookd_core::log::LogEntry;
use bookd_core::prefixes::Prefixes;
use bookd_core::refusal::Refusal;
use bookd_core::state::State;
use bookd_core::time::{DAY, Instant, Seconds};
use bookd_core::token::{
    NewToken, ScopeBits, SecretHash, TOKEN_SECONDS_MAX, TOKENS_MAX, Token, TokenExpiry, TokenId,
    Tokens,
};

const NOW: Instant = Instant::from_seconds(1_799_020_800);

fn token_id(number: usize) -> TokenId {
    let digit =
        |place: u32| char::from(b'a' + u8::try_from(number / 26_usize.pow(place) % 26).unwrap());
    let digits: String = (0..10).map(digit).collect();
    TokenId::parse(&format!("bookd_{digits}")).unwrap()
}

fn new(number: usize, expiry: TokenExpiry) -> Command {
    Command::CreateToken(Box::new(NewToken {
        id: token_id(number),
        hash: SecretHash([7; 32]),
        name: Caller("front".into()),
        scopes: ScopeBits(2),
        prefixes: Prefixes::parse("acme/").unwrap(),
        expiry,
        creator: Caller("root".into()),
        creator_token: None,
    }))
}

fn run(state: &mut State, command: &Command) -> Result<Change, Refusal> {
    let decision = decide(state, command, NOW)?;
    let change = decision.change(state, NOW, Caller("root".into())).unwrap();
    state.apply(&change);
    Ok(change)
}

#[test]
fn a_token_is_created_with_the_stamps_of_its_change_and_no_reader_of_the_log_sees_it() {
    let mut state = State::default();
    assert!(!state.tokens.is_guarded() && state.tokens.is_empty());
    let expiry = TokenExpiry::After(Seconds::new(DAY).unwrap());
    let change = run(&mut state, &new(1, expiry)).unwrap();
    assert_eq!((change.cause, change.events.len()), (Cause::CreateToken, 1));
    let token = state.tokens.find(&token_id(1)).unwrap();
    assert_eq!(token.expire_time, Some(NOW.plus(DAY)));
    assert_eq!((token.create_time, token.revision), (NOW, Revision(1)));
    assert_eq!(&*token.creator.0, "root");
    let entry = LogEntry::of(&change);
    assert!(entry.events.is_empty() && entry.touched().next().is_none());
    assert!(change.events[0].calendars().is_empty());
    assert!(!format!("{token:?}").contains("7, 7"), "{token:?}");
}

#[test]
fn a_revoked_token_is_gone_and_the_store_stays_guarded() {
    let mut state = State::default();
    run(&mut state, &new(1, TokenExpiry::Never)).unwrap();
    let published = state.tokens.clone();
    let revoke = Command::RevokeToken(token_id(1));
    let change = run(&mut state, &revoke).unwrap();
    assert_eq!(change.cause, Cause::RevokeToken);
    assert_eq!(change.events, [Event::TokenRevoked { id: token_id(1) }]);
    assert!(state.tokens.is_empty() && state.tokens.is_guarded());
    assert_eq!(published.len(), 1, "who has a copy keeps it");
    assert_eq!(
        decide(&state, &revoke, NOW),
        Err(Refusal::TokenNotFound(token_id(1)))
    );
}

#[test]
fn an_expiry_lies_after_now_and_at_most_ten_years_ahead() {
    let state = State::default();
    let decided = |expiry| -> Result<Decision, Refusal> { decide(&state, &new(1, expiry), NOW) };
    for wrong in [
        TokenExpiry::At(NOW),
        TokenExpiry::At(NOW.plus(TOKEN_SECONDS_MAX + 1)),
        TokenExpiry::After(Seconds::ZERO),
        TokenExpiry::After(Seconds::new(TOKEN_SECONDS_MAX + 1).unwrap()),
        TokenExpiry::At(Instant::MAX),
    ] {
        let Err(Refusal::FieldInvalid(violations)) = decided(wrong) else {
            panic!("{wrong:?} is taken");
        };
        assert_eq!(violations[0].field, "expire_time");
    }
    for right in [
        TokenExpiry::At(NOW.plus(1)),
        TokenExpiry::At(NOW.plus(TOKEN_SECONDS_MAX)),
        TokenExpiry::Never,
    ] {
        assert!(decided(right).is_ok(), "{right:?}");
    }
}

#[test]
fn there_are_at_most_as_many_tokens_as_may_be_and_no_two_of_one_id() {
    let mut state = State::default();
    let created = decide(&state, &new(0, TokenExpiry::Never), NOW).unwrap();
    let token = created.outcome.token.unwrap();
    let of_id = |number| Token {
        id: token_id(number),
        ..Token::clone(&token)
    };
    state.tokens = Tokens::stored((1..TOKENS_MAX).map(of_id), true);
    let same = decide(&state, &new(5, TokenExpiry::Never), NOW);
    assert!(matches!(same, Err(Refusal::FieldInvalid(_))), "{same:?}");
    run(&mut state, &new(TOKENS_MAX, TokenExpiry::Never)).unwrap();
    assert_eq!(
        decide(&state, &new(TOKENS_MAX + 1, TokenExpiry::Never), NOW),
        Err(Refusal::TooManyTokens)
    );
    let ids: BTreeSet<&TokenId> = state.tokens.iter().map(|it| &it.id).collect();
    assert_eq!(ids.len(), TOKENS_MAX);
    assert!(state.tokens.iter().all(|it| Arc::strong_count(it) == 1));
}

#[test]
fn an_id_is_the_beginning_of_a_token_and_nothing_else() {
    let id = TokenId::parse("bookd_k7x2q5m4hb").unwrap();
    assert_eq!(id.to_string(), "bookd_k7x2q5m4hb");
    for wrong in [
        "",
        "bookd_",
        "bookd_k7x2q5m4h",
        "bookd_k7x2q5m4hbb",
        "bookd_k7x2q5m4h1",
        "bookd_K7X2Q5M4HB",
        "k7x2q5m4hb",
        "bkd_k7x2q5m4hb",
        "bookd_k7x2q5m4hé",
    ] {
        assert!(TokenId::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_a_revoked_token_asked_for_is_not_created() {
    let mut state = State::default();
    run(&mut state, &new(1, TokenExpiry::Never)).unwrap();
    let by_it = || match new(2, TokenExpiry::Never) {
        Command::CreateToken(new) => Command::CreateToken(Box::new(NewToken {
            creator_token: Some(token_id(1)),
            ..*new
        })),
        _ => unreachable!("it creates a token"),
    };
    assert!(decide(&state, &by_it(), NOW).is_ok());
    run(&mut state, &Command::RevokeToken(token_id(1))).unwrap();
    assert_eq!(
        decide(&state, &by_it(), NOW).unwrap_err(),
        Refusal::CallerRevoked
    );
}
