//! Search quality
