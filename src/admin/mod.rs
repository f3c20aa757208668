//! Administration: what a person does to a store as a whole.

pub mod check;
