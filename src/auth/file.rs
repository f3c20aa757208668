//! Files that a configuration names: tokens and keys.

use std::io::Read;
use std::path::Path;

/// Reads a file of text, at most `bytes_max` of it. What is no file is refused: a pipe that nobody
/// writes to would be waited for.
pub(super) fn read_file(file: &Path, bytes_max: u64) -> std::io::Result<String> {
    if !std::fs::metadata(file)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    std::fs::File::open(file)?
        .take(bytes_max)
        .read_to_string(&mut text)?;
    Ok(text)
}
