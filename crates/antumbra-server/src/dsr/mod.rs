//! Data subject requests: their state machine, submission, status, approval and reports.
