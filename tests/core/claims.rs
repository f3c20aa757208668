//! Claims against a sorted list: to come.
