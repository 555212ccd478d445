//! The kill and power-cut batteries.
