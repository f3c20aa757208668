//! The methods of the service, as far as the transport distinguishes them.
//!
//! A path that is not in the table is a method that does not exist.

use std::collections::HashMap;

/// What the transport knows of a method. The default is that of a method that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Method {
    /// The method changes nothing: where its answer is lost, nothing happened.
    pub is_reading: bool,
    /// The method reports on the server itself, such as its health. Its calls are counted apart, so
    /// that a full server still answers health checks.
    pub is_standard: bool,
}

/// A method in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownMethod<'a> {
    /// The path as the table has it, which outlives the request.
    pub(crate) path: &'a str,
    /// The number of the method in the table, from 0.
    pub(crate) number: usize,
    pub(crate) method: Method,
}

/// The methods by their paths, `/package.Service/Method`.
#[derive(Clone, Debug, Default)]
pub struct Methods(HashMap<String, (usize, Method)>);

impl Methods {
    /// The method with this path.
    pub(crate) fn find(&self, path: &str) -> Option<KnownMethod<'_>> {
        let (path, (number, method)) = self.0.get_key_value(path)?;
        Some(KnownMethod {
            path,
            number: *number,
            method: *method,
        })
    }

    /// The number of methods.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The paths by the numbers of their methods.
    pub(crate) fn paths(&self) -> Vec<&str> {
        let mut paths: Vec<_> = self.0.iter().collect();
        paths.sort_by_key(|(_, (number, _))| *number);
        paths.into_iter().map(|(path, _)| path.as_str()).collect()
    }
}

impl FromIterator<(String, Method)> for Methods {
    /// Of several methods with one path the last one counts.
    fn from_iter<I: IntoIterator<Item = (String, Method)>>(methods: I) -> Self {
        let by_path: HashMap<String, Method> = methods.into_iter().collect();
        let mut methods: Vec<_> = by_path.into_iter().collect();
        methods.sort_by(|(one, _), (other, _)| one.cmp(other));
        let numbered = methods.into_iter().enumerate();
        Self(
            numbered
                .map(|(number, (path, method))| (path, (number, method)))
                .collect(),
        )
    }
}
