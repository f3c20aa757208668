//! Which methods there are, as far as the transport must tell them apart.

use std::collections::HashMap;

/// What is known of a method. By default: of one that there is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Method {
    /// It changes nothing: where its answer is lost, nothing happened.
    pub is_reading: bool,
    /// It tells of the server itself, such as its health: its calls are counted apart, so that a full server still says
    /// that it lives.
    pub is_standard: bool,
}

/// The methods by their paths, `/package.Service/Method`.
#[derive(Clone, Debug, Default)]
pub struct Methods(HashMap<String, Method>);

impl Methods {
    /// The method with this path, and the path as it is written here.
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
