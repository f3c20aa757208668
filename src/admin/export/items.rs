//! A list of the file, an item on each line.

use std::io::{self, Write};

use serde_json::Value;

/// A list that is being written.
pub(super) struct Items<'a> {
    out: &'a mut dyn Write,
    is_empty: bool,
}

impl<'a> Items<'a> {
    pub(super) fn begin(out: &'a mut dyn Write) -> io::Result<Self> {
        write!(out, "[")?;
        Ok(Self {
            out,
            is_empty: true,
        })
    }

    /// Where the next item is to be written.
    pub(super) fn next_item(&mut self) -> io::Result<&mut dyn Write> {
        write!(self.out, "{}", if self.is_empty { "\n" } else { ",\n" })?;
        self.is_empty = false;
        Ok(&mut *self.out)
    }

    pub(super) fn add(&mut self, item: &Value) -> io::Result<()> {
        write!(self.next_item()?, "{item}")
    }

    pub(super) fn end(self) -> io::Result<()> {
        write!(self.out, "{}]", if self.is_empty { "" } else { "\n" })
    }
}
