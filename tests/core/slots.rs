//! The search against the checker: to come.
