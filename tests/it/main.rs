//! Everything that crosses modules, in one binary: one link step instead of thirty.
