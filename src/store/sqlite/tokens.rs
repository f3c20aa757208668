//! The rows of tokens, and the note that callers need credentials since there was one.
//!
//! A row is written by the change that creates the token and removed by the one that revokes it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SELECT_META;
use super::rows::{self, signed};
use crate::store::StoreError;
use crate::store::codec::record::{self, damaged, in_row};
use bookd_core::ids::Caller;
use bookd_core::prefixes::Prefixes;
use bookd_core::token::{ScopeBits, SecretHash, Token, TokenId, Tokens};

const INSERT_TOKEN: &str = "insert into tokens (id, hash, name, scopes, prefix, create_time, expire_time, creator, revision) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const DELETE_TOKEN: &str = "delete from tokens where id = ?1";
const DELETE_ALL: &str = "delete from tokens";
const SELECT_IDS: &str = "select id from tokens order by id";
/// All of them: the writer has them in memory.
const SELECT_TOKENS: &str = "select t.id, t.hash, t.name, t.scopes, t.prefix, t.create_time, t.expire_time, t.creator, p.name, t.revision \
     from tokens t left join principals p on p.number = t.creator order by t.id";
const PUT_GUARDED: &str = "insert into meta (name, value) values ('guarded', 1) \
     on conflict (name) do nothing";
/// The name of the note in `meta`.
const GUARDED: &str = "guarded";

/// Whether the note is there that callers need credentials.
pub(super) fn has_note(connection: &Connection) -> Result<bool, StoreError> {
    let guarded = connection.query_row(SELECT_META, [GUARDED], |row| row.get::<_, i64>(0));
    Ok(guarded.optional()?.is_some())
}

/// Reads all tokens.
pub(super) fn load(connection: &Connection) -> Result<Tokens, StoreError> {
    let is_guarded = has_note(connection)?;
    let mut select = connection.prepare(SELECT_TOKENS)?;
    let mut rows = select.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        let id = || row.get::<_, String>(0).unwrap_or_default();
        tokens.push(read(row).map_err(|error| in_row("tokens", id(), error))?);
    }
    // Where the note is missing but a token is there, the store is shut all the same.
    let is_guarded = is_guarded || !tokens.is_empty();
    Ok(Tokens::stored(tokens, is_guarded))
}

fn read(row: &Row<'_>) -> Result<Token, StoreError> {
    let what = || damaged("a token");
    let text = |column| row.get::<_, String>(column).map_err(|_| what());
    let hash: [u8; 32] = row.get(1).map_err(|_| what())?;
    let creator = match (
        row.get::<_, Option<i64>>(7)?,
        row.get::<_, Option<String>>(8)?,
    ) {
        (None, _) => Caller::default(),
        (Some(_), Some(name)) => Caller(name.into()),
        (Some(_), None) => return Err(what()),
    };
    let expire_time = row.get::<_, Option<i64>>(6)?;
    Ok(Token {
        id: TokenId::parse(&text(0)?).map_err(|_| what())?,
        hash: SecretHash(hash),
        name: Caller(text(2)?.into()),
        scopes: ScopeBits(row.get(3).map_err(|_| what())?),
        prefixes: Prefixes::parse(&text(4)?).map_err(|_| what())?,
        create_time: rows::instant(row, 5)?,
        expire_time: expire_time.map(record::instant).transpose()?,
        creator,
        revision: rows::revision_of_change(row, 9)?,
    })
}

/// Writes the row of a new token; `creator` is the number of its creator's name.
pub(super) fn insert(
    connection: &Connection,
    token: &Token,
    creator: Option<i64>,
) -> Result<(), StoreError> {
    // A grant of several prefixes is several tokens.
    let prefix = token.prefixes.iter().next().unwrap_or_default();
    connection.prepare_cached(INSERT_TOKEN)?.execute(params![
        token.id.as_str(),
        token.hash.0,
        &*token.name.0,
        token.scopes.0,
        prefix,
        token.create_time.seconds(),
        token.expire_time.map(|it| it.seconds()),
        creator,
        signed(token.revision.0),
    ])?;
    connection.prepare_cached(PUT_GUARDED)?.execute([])?;
    Ok(())
}

/// Removes the row of a token.
pub(super) fn delete(connection: &Connection, id: &TokenId) -> Result<(), StoreError> {
    connection
        .prepare_cached(DELETE_TOKEN)?
        .execute([id.as_str()])?;
    Ok(())
}

/// Removes the rows of all tokens, and returns their ids.
pub(super) fn delete_all(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut select = connection.prepare(SELECT_IDS)?;
    let ids = select.query_map([], |row| row.get(0))?;
    let ids = ids.collect::<rusqlite::Result<_>>()?;
    connection.execute(DELETE_ALL, [])?;
    Ok(ids)
}
