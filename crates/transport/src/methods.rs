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

/// The methods by their paths, `/package.Service/Method`.
#[derive(Clone, Debug, Default)]
pub struct Methods(HashMap<String, Method>);

impl Methods {
    /// The method with this path, and the path as this table has it, which outlives the request.
    pub(crate) fn find(&self, path: &str) -> Option<(&str, Method)> {
        self.0
            .get_key_value(path)
            .map(|(path, method)| (path.as_str(), *method))
    }
}

impl FromIterator<(String, Method)> for Methods {
    fn from_iter<I: IntoIterator<Item = (String, Method)>>(methods: I) -> Self {
        Self(methods.into_iter().collect())
    }
}
