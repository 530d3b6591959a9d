//! What the fuzz targets share. Nothing here calls the product to judge the product: each reader is written a second time,
//! as naively as it can be, and the targets hold the two against each other.

pub mod http1;
pub mod naive;
pub mod names;
pub mod socket;
pub mod world;
