//! The YAML file as a checked value.
