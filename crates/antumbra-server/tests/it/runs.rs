//! Silo runs from outside: notices as a receiver reads them, and what silos report.
