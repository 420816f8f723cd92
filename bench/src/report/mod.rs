//! Figures in the forms in which they are read.

#![forbid(unsafe_code)]

pub mod svg;
pub mod table;
pub mod timeline;
pub mod value;
