//! Keys: algorithms, loading, publishing.
