//! Windows of dates: to come.
