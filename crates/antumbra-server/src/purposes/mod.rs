//! Purposes, preference topics, their options, and partitions.
