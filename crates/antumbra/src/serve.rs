//! `antumbra serve`: how a server is put together, started, and stopped.
