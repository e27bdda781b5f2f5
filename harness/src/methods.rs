//! The registry: methods by name.
