//! The body of a bulk submission, and its answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Request, Submit,
    submit::{id, list, optional, refuse_slips, text},
};
use crate::{
    dsr::{
        Dsr,
        bulk::{INPUTS_MAX, Input, Outcome},
        drop_runs::{self, DropList, DropRecordId, DropRunId, RECORD_ID_MAX},
        refusal::{Broken, Checks, InputCode},
        submission::Draft,
    },
    http::{Code, InputProblem, Problem, parse_uuid},
    organization::{ActionSettings, Settings},
};

/// Members of an input that a single submission does not have.
const ONLY_IN_BULK: [&str; 5] = [
    "workflowConfigId",
    "actionType",
    "attestedAuthContext",
    "dropRunId",
    "dropRecords",
];
/// Records of one input that are read at all; more than may be, so that they are refused by their own name.
const RECORDS_READ_MAX: usize = 10_000;

/// The body of `POST /v1/data-subject-request-bulk`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Batch {
    /// The submissions: those of `POST /v1/data-subject-request`, with `workflowConfigId` in place of `type` and
    /// `attestedAuthContext` in place of `subject`; `dropRunId` and `dropRecords` besides.
    #[schema(value_type = Vec<Object>, required, min_items = 1, max_items = 100, example = json!([{
        "workflowConfigId": "b1d7c6a4-39a6-4c05-8d5d-3a1f0e9b7722",
        "attestedAuthContext": { "coreIdentifier": "acct_80431", "email": "robin.hale@example.org" },
        "subjectType": "customer",
    }]))]
    input: Value,
    /// Of no use here: nothing is encrypted between browsers and this server but the connection.
    #[schema(value_type = Option<String>)]
    dh_encrypted: Value,
}

impl Batch {
    /// Each input. Refuses what is wrong with the call as a whole.
    pub(crate) fn read(self, settings: &Settings) -> Result<Vec<Input>, Problem> {
        let items = match self.input {
            Value::Null => Vec::new(),
            Value::Array(items) => items,
            _ => return Err(Problem::validation([("input", "must be a list")])),
        };
        if items.is_empty() {
            return Err(Problem::new(Code::NoInputsProvided));
        }
        if items.len() > INPUTS_MAX {
            return Err(Problem::new(Code::SubmissionLimitExceeded));
        }
        let sealed = items.iter().filter(|item| {
            item.get("encryptedCEKContext")
                .is_some_and(|context| !context.is_null())
        });
        match sealed.count() {
            0 => {}
            some if some < items.len() => return Err(Problem::new(Code::MixedCekContext)),
            _ if self.dh_encrypted.is_null() => return Err(Problem::new(Code::DhContextRequired)),
            _ => {}
        }
        Ok(items.into_iter().map(|item| read_input(item, settings)).collect())
    }
}

fn read_input(item: Value, settings: &Settings) -> Input {
    let mut checks = Checks::default();
    let mut fields = match item {
        Value::Object(fields) => fields,
        _ => {
            checks.broken("", "must be an object");
            Map::new()
        }
    };
    let workflow = read_workflow(&mut fields, settings, &mut checks);
    let mut subject = fields.remove("attestedAuthContext").unwrap_or_default();
    let said = subject
        .as_object_mut()
        .and_then(|subject| subject.remove("subjectType"));
    if let Some(workflow) = workflow {
        put_subject_type(&mut fields, said, workflow, settings, &mut checks);
        fields.insert("type".to_owned(), workflow.action.as_str().into());
    }
    fields.insert("subject".to_owned(), subject);
    let drop = read_drop(&mut fields, &mut checks);
    refuse_slips(&fields, &ONLY_IN_BULK, "", &mut checks);
    let (mut draft, broken) = match serde_json::from_value::<Submit>(Value::Object(fields)) {
        Ok(submit) => submit.read(),
        Err(slip) => {
            checks.broken("", slip.to_string());
            <(Draft, Checks)>::default()
        }
    };
    draft.words.extend_from_slice(&drop.words());
    // Without a workflow nobody can tell what is missing.
    if workflow.is_some() || checks.is_empty() {
        checks.append(broken);
    }
    Input { draft, checks, drop }
}

/// The action that the input names, by the id of its settings. A type that is said besides must be the same.
fn read_workflow<'a>(
    fields: &mut Map<String, Value>,
    settings: &'a Settings,
    checks: &mut Checks,
) -> Option<&'a ActionSettings> {
    let id = fields.remove("workflowConfigId").unwrap_or_default();
    let id = id.as_str().and_then(parse_uuid);
    let found = id.and_then(|id| settings.actions.iter().find(|action| action.id.0 == id));
    let Some(found) = found else {
        let rule = "is not the id of an action of this organization";
        checks.refused(InputCode::InvalidWorkflowConfigId, "workflowConfigId", rule);
        return None;
    };
    for name in ["type", "actionType"] {
        let said = fields.remove(name).unwrap_or_default();
        if !said.is_null() && said.as_str() != Some(found.action.as_str()) {
            checks.refused(InputCode::TypeNotMatchingWorkflow, name, "is not that of the workflow");
        }
    }
    Some(found)
}

/// The data subject type that is said, or the only one that may demand the workflow's action.
fn put_subject_type(
    fields: &mut Map<String, Value>,
    said: Option<Value>,
    workflow: &ActionSettings,
    settings: &Settings,
    checks: &mut Checks,
) {
    if fields.get("subjectType").is_some_and(|slug| !slug.is_null()) {
        return;
    }
    let said = said.filter(|slug| !slug.is_null());
    let slug = said.unwrap_or_else(|| {
        let mut offering = settings
            .subject_types
            .iter()
            .filter(|known| known.active && known.actions.contains(&workflow.action));
        let first = offering.next();
        if first.is_none() || offering.next().is_some() {
            let rule = "is required, unless exactly one data subject type may demand the workflow's action";
            checks.refused(InputCode::SubjectTypeNotMatchingWorkflow, "subjectType", rule);
        }
        first.map_or_else(|| "customer".into(), |only| only.slug.clone().into())
    });
    fields.insert("subjectType".to_owned(), slug);
}

fn read_drop(fields: &mut Map<String, Value>, checks: &mut Checks) -> drop_runs::Named {
    let run = fields.remove("dropRunId").unwrap_or_default();
    let run = id(run, "dropRunId", checks);
    let given = fields.remove("dropRecords").unwrap_or_default();
    let mut records = Vec::new();
    for (at, item) in list(given, "dropRecords", RECORDS_READ_MAX, checks)
        .into_iter()
        .enumerate()
    {
        let path = format!("dropRecords[{at}]");
        let mut field = |name: &str| {
            let value = item.get(name).cloned().unwrap_or_default();
            optional(text(value, &format!("{path}.{name}"), 1..=RECORD_ID_MAX, checks))
        };
        let (id, name) = (field("dropRecordId"), field("dropListType"));
        match (id, name.as_deref().and_then(DropList::parse)) {
            (Some(id), Some(list)) if !id.chars().any(char::is_control) => records.push(DropRecordId { id, list }),
            _ => checks.broken(
                path,
                "must have a dropRecordId and one of the known values of dropListType",
            ),
        }
    }
    drop_runs::Named {
        run: run.map(DropRunId),
        records,
    }
}

/// The refusal of a whole call because of some of its inputs.
pub(crate) fn batch_refused(broken: Vec<(usize, Broken)>) -> Problem {
    let input = |(index, broken): (usize, Broken)| {
        // The person stands elsewhere in this body than in that of a single submission.
        let path = match broken.path.strip_prefix("subject") {
            Some(rest) if rest.is_empty() || rest.starts_with('.') => format!("attestedAuthContext{rest}"),
            _ => broken.path,
        };
        InputProblem {
            index,
            code: broken.code.map_or("VALIDATION_FAILED", InputCode::as_str),
            message: format!("{path} {}", broken.rule).trim().to_owned(),
        }
    };
    Problem::new(Code::BatchRefused).with_inputs(broken.into_iter().map(input).collect())
}

/// The answer to a bulk submission: what became of each input, in order.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchTaken {
    requests: Vec<TakenIn>,
}

/// What became of one input.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TakenIn {
    #[serde(flatten)]
    request: Request,
    workflow_config: WorkflowConfig,
    /// `CREATED`, `ALREADY_OPEN`, `DROP_RECORDS_LINKED` or `RESTARTED`.
    #[schema(value_type = String, example = "CREATED")]
    outcome: Outcome,
}

/// The workflow of a request: the action, as the organization handles it.
#[derive(Serialize, ToSchema)]
pub(crate) struct WorkflowConfig {
    id: Option<Uuid>,
}

impl BatchTaken {
    /// The answer about these requests, each with the address where an administrator finds it.
    pub(crate) fn new(taken: Vec<(Dsr, Outcome, String)>, settings: &Settings) -> BatchTaken {
        let one = |(dsr, outcome, link): (Dsr, Outcome, String)| TakenIn {
            workflow_config: WorkflowConfig {
                id: settings.find_action(dsr.head.action()).map(|action| action.id.0),
            },
            request: Request::new(dsr, link),
            outcome,
        };
        BatchTaken {
            requests: taken.into_iter().map(one).collect(),
        }
    }
}
