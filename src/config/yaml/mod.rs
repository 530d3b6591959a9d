//! Reading YAML: positions, values, and every mistake with its line.
//!
//! [`document`] reads the text twice: [`positions`] says where each value stands and refuses what YAML allows and this product does
//! not; [`value`] and [`deserialize`] turn the text into the structs of [`super::raw`]. [`path`] names a value, [`problem`] is one
//! mistake. What the values mean is decided in [`super::compile`].

pub(super) mod deserialize;
pub(super) mod document;
pub(super) mod path;
pub(super) mod positions;
pub(super) mod problem;
pub(super) mod value;
