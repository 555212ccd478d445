//! `antumbra apply`
mod file;
