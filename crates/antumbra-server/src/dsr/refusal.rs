//! The rules that a submission breaks, each with its place, and with the code by which bulk submission knows it.
//!
//! No rule repeats a value that was sent: it may be personal.

use crate::http::Problem;

/// Broken rules that are worth listing.
const BROKEN_MAX: usize = 100;

/// The rules that a body breaks.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<Broken>);

/// A broken rule.
#[derive(Debug)]
pub(crate) struct Broken {
    /// Where it stands in the body.
    pub(crate) path: String,
    /// What it asks for.
    pub(crate) rule: String,
    /// What bulk submission calls it, if it has a name for it.
    pub(crate) code: Option<InputCode>,
}

impl Checks {
    /// Notes a broken rule. `rule` is about the field, never about the value that was sent.
    pub(crate) fn broken(&mut self, path: impl Into<String>, rule: impl Into<String>) {
        self.note(path.into(), rule.into(), None);
    }

    /// The same, of a rule that bulk submission has a code for.
    pub(crate) fn refused(&mut self, code: InputCode, path: impl Into<String>, rule: impl Into<String>) {
        self.note(path.into(), rule.into(), Some(code));
    }

    fn note(&mut self, path: String, rule: String, code: Option<InputCode>) {
        if self.0.len() < BROKEN_MAX {
            self.0.push(Broken { path, rule, code });
        }
    }

    /// Adds what is broken elsewhere.
    pub(crate) fn append(&mut self, others: Checks) {
        self.0.extend(others.0);
        self.0.truncate(BROKEN_MAX);
    }

    /// Whether no rule is broken.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each broken rule.
    pub(crate) fn into_each(self) -> impl Iterator<Item = Broken> {
        self.0.into_iter()
    }
}

impl From<Checks> for Problem {
    fn from(checks: Checks) -> Problem {
        Problem::validation(checks.0.into_iter().map(|broken| (broken.path, broken.rule)))
    }
}

/// Why bulk submission refuses an input. Clients branch on these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what its name on the wire says")]
pub(crate) enum InputCode {
    InvalidWorkflowConfigId,
    MissingCoreIdentifier,
    RestartRequestNotFound,
    RestartTimeLimitExceeded,
    ReceiptTemplateNotFound,
    DropIdentifierCoverageMismatch,
    DuplicateDropRecords,
    InBatchDropIdempotencyKeyCollision,
    DropRecordsRequireDropRunId,
    MaxDropRecordsPerRequestExceeded,
    UnknownDropRecords,
    DropRunNotFound,
    DropRunNotIntakeEligible,
    IdentifierValidationFailed,
    UnsupportedIdentifierName,
    MissingRequiredEmail,
    DataSiloNotInWorkflow,
    TypeNotMatchingWorkflow,
    SubjectTypeNotMatchingWorkflow,
    RegionNotInWorkflow,
}

impl InputCode {
    /// The name on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            InputCode::InvalidWorkflowConfigId => "INVALID_WORKFLOW_CONFIG_ID",
            InputCode::MissingCoreIdentifier => "MISSING_CORE_IDENTIFIER",
            InputCode::RestartRequestNotFound => "RESTART_REQUEST_NOT_FOUND",
            InputCode::RestartTimeLimitExceeded => "RESTART_TIME_LIMIT_EXCEEDED",
            InputCode::ReceiptTemplateNotFound => "RECEIPT_TEMPLATE_NOT_FOUND",
            InputCode::DropIdentifierCoverageMismatch => "DROP_IDENTIFIER_COVERAGE_MISMATCH",
            InputCode::DuplicateDropRecords => "DUPLICATE_DROP_RECORDS",
            InputCode::InBatchDropIdempotencyKeyCollision => "IN_BATCH_DROP_IDEMPOTENCY_KEY_COLLISION",
            InputCode::DropRecordsRequireDropRunId => "DROP_RECORDS_REQUIRE_DROP_RUN_ID",
            InputCode::MaxDropRecordsPerRequestExceeded => "MAX_DROP_RECORDS_PER_REQUEST_EXCEEDED",
            InputCode::UnknownDropRecords => "UNKNOWN_DROP_RECORDS",
            InputCode::DropRunNotFound => "DROP_RUN_NOT_FOUND",
            InputCode::DropRunNotIntakeEligible => "DROP_RUN_NOT_INTAKE_ELIGIBLE",
            InputCode::IdentifierValidationFailed => "IDENTIFIER_VALIDATION_FAILED",
            InputCode::UnsupportedIdentifierName => "UNSUPPORTED_IDENTIFIER_NAME",
            InputCode::MissingRequiredEmail => "MISSING_REQUIRED_EMAIL",
            InputCode::DataSiloNotInWorkflow => "DATA_SILO_NOT_IN_WORKFLOW",
            InputCode::TypeNotMatchingWorkflow => "TYPE_NOT_MATCHING_WORKFLOW",
            InputCode::SubjectTypeNotMatchingWorkflow => "SUBJECT_TYPE_NOT_MATCHING_WORKFLOW",
            InputCode::RegionNotInWorkflow => "REGION_NOT_IN_WORKFLOW",
        }
    }
}
