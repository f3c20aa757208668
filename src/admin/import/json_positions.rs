//! Positions in a JSON text: the path of an offset, the offset of a path, the line of an offset.
//!
//! The text has been parsed before, so it is valid JSON except where the parser stopped.

/// The line of an offset, counted from 1.
pub(super) fn line(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// The offset of a line and column as `serde_json` counts them: from 1, the column in bytes.
pub(super) fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (start + column.saturating_sub(1)).min(text.len())
}

/// The offset of the value at a path such as `rules[2].start_time`; if there is none, of the
/// nearest value above it.
pub(super) fn find(json: &str, path: &str) -> usize {
    let wanted = segments(path);
    let mut best = (0, json.len() - json.trim_start().len());
    let mut walk = ValueWalk::new(json);
    while let Some(offset) = walk.next_value() {
        let matching = walk.stack.len();
        let is_above = matching <= wanted.len()
            && walk
                .stack
                .iter()
                .zip(&wanted)
                .all(|(step, name)| step.is(name));
        if is_above && matching > best.0 {
            best = (matching, offset);
            if matching == wanted.len() {
                break;
            }
        }
    }
    best.1
}

/// The path of the last key or value that begins before an offset.
pub(super) fn path_at(json: &str, offset: usize) -> String {
    let mut path = String::new();
    let mut walk = ValueWalk {
        has_keys: true,
        ..ValueWalk::new(json)
    };
    while let Some(at) = walk.next_value() {
        if at > offset {
            break;
        }
        path = walk.path();
    }
    path
}

/// The segments of a path: a, b, 2, c for `a.b[2].c`.
fn segments(path: &str) -> Vec<String> {
    let names = path
        .split(['.', '['])
        .map(|name| name.trim_end_matches(']').to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// One step from a value to a value in it.
enum PathStep {
    Key(String),
    Index(usize),
}

impl PathStep {
    fn is(&self, name: &str) -> bool {
        match self {
            // In the JSON of the contract, `startTime` and `start_time` are the same field.
            Self::Key(key) => key == name || snake(key) == name,
            Self::Index(index) => name.parse() == Ok(*index),
        }
    }
}

/// Walks the values of a text in order, without recursion, because a text may be arbitrarily deep.
struct ValueWalk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The path of the current value: a step for each open `{` and `[` around it.
    stack: Vec<PathStep>,
    /// Set if the current value is an object (true) or an array (false), which the next value may
    /// lie in.
    opened: Option<bool>,
    /// Whether the next string is a key.
    is_key_next: bool,
    /// Whether `next_value` stops at keys as well as at values.
    has_keys: bool,
}

impl<'a> ValueWalk<'a> {
    fn new(json: &'a str) -> Self {
        Self {
            bytes: json.as_bytes(),
            at: 0,
            stack: Vec::new(),
            opened: None,
            is_key_next: false,
            has_keys: false,
        }
    }

    /// The offset of the next value, whose path is then in `stack`.
    fn next_value(&mut self) -> Option<usize> {
        if let Some(is_object) = self.opened.take() {
            self.stack.push(if is_object {
                PathStep::Key(String::new())
            } else {
                PathStep::Index(0)
            });
            self.is_key_next = is_object;
        }
        while let Some(byte) = self.bytes.get(self.at).copied() {
            let start = self.at;
            match byte {
                b'{' | b'[' => {
                    self.at += 1;
                    self.opened = Some(byte == b'{');
                    return Some(start);
                }
                b'}' | b']' => {
                    self.at += 1;
                    self.stack.pop();
                    self.is_key_next = false;
                }
                b',' => {
                    self.at += 1;
                    match self.stack.last_mut() {
                        Some(PathStep::Index(index)) => *index += 1,
                        Some(PathStep::Key(_)) => self.is_key_next = true,
                        None => {}
                    }
                }
                b'"' if self.is_key_next => {
                    let key = String::from_utf8_lossy(self.string()).into_owned();
                    self.is_key_next = false;
                    if let Some(step) = self.stack.last_mut() {
                        *step = PathStep::Key(key);
                    }
                    if self.has_keys {
                        return Some(start);
                    }
                }
                b'"' => {
                    self.string();
                    return Some(start);
                }
                b' ' | b'\t' | b'\n' | b'\r' | b':' => self.at += 1,
                _ => {
                    let is_in = |byte: &u8| !b",]}: \t\r\n".contains(byte);
                    self.at += self.bytes[start..]
                        .iter()
                        .position(|byte| !is_in(byte))
                        .unwrap_or(self.bytes.len() - start);
                    return Some(start);
                }
            }
        }
        None
    }

    /// Reads a string; answers the bytes between its quotes, escapes included.
    fn string(&mut self) -> &'a [u8] {
        let first = self.at + 1;
        self.at = first;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        let end = self.at.min(self.bytes.len());
        self.at = end + 1;
        &self.bytes[first..end]
    }

    /// The path of the current value, such as `rules[2].start_time`.
    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.stack {
            match step {
                PathStep::Index(index) => path.push_str(&format!("[{index}]")),
                PathStep::Key(key) if path.is_empty() => path.push_str(key),
                PathStep::Key(key) => path.push_str(&format!(".{key}")),
            }
        }
        path
    }
}

/// A key in snake case, as in the proto files.
fn snake(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for character in key.chars() {
        if character.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    const TEXT: &str = "{\n \"a\": [1, {\"startTime\": \"x\\\"},[\"}],\n \"b\": {}, \"c\": [],\n \"d\": {\"e\": true}\n}";

    #[test]
    fn a_path_is_found_at_its_value_or_at_the_nearest_thing_above() {
        let at = |path| &TEXT[find(TEXT, path)..find(TEXT, path) + 2];
        assert_eq!(at("a"), "[1");
        assert_eq!(at("a[0]"), "1,");
        assert_eq!(at("a[1].start_time"), "\"x");
        assert_eq!(at("a[1].missing"), "{\"");
        assert_eq!(at("d.e"), "tr");
        assert_eq!(at("nothing[7]"), "{\n");
        assert_eq!(line(TEXT, find(TEXT, "d.e")), 4);
        assert_eq!(line(TEXT, find(TEXT, "c")), 3);
    }

    #[test]
    fn an_offset_has_the_path_of_what_it_lies_in() {
        assert_eq!(path_at(TEXT, TEXT.find("x\\").unwrap()), "a[1].startTime");
        assert_eq!(path_at(TEXT, TEXT.find("true").unwrap()), "d.e");
        assert_eq!(path_at(TEXT, 0), "");
        assert_eq!(offset_of(TEXT, 2, 1), 2);
        assert_eq!(offset_of(TEXT, 99, 99), TEXT.len());
    }

    #[test]
    fn a_text_as_deep_as_it_is_long_is_walked() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        assert_eq!(find(&deep, "[0]"), 1);
        assert!(find(&deep[..1_000], "x") < 2);
    }
}
