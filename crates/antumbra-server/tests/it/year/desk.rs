//! The administrators: they set things up, approve, stop, park, give more time, and look after what failed.

use antumbra_server::{
    dsr::{DsrHead, DsrId, DsrState, DsrStatus},
    runs::{self, RunFilter, RunStatus},
};
use serde_json::{Value, json};

use super::{Asked, Year};
use crate::support::postbox::Answer as MailAnswer;

impl Year {
    /// What is decided once, before the year begins.
    pub(super) async fn configure(&mut self) {
        let actions = self
            .manage("{ actions(first: 100) { nodes { id type } } }")
            .await
            .unwrap();
        for node in actions["nodes"].as_array().unwrap() {
            let text = |name: &str| node[name].as_str().unwrap().to_owned();
            self.workflows.insert(text("type"), text("id"));
        }
        let settings = [
            (
                "ERASURE",
                "waitingPeriod: 3, delay: {time: 10, previewAction: ACCESS}, skipSecondaryIfNoFiles: false",
            ),
            ("ACCESS", "requiresReview: true, downloadAvailabilityDuration: 20"),
            ("CONTACT_OPT_OUT", "requiresReview: false"),
            ("BUSINESS_PURPOSE", "postCompileStatus: VIEW_CATEGORIES"),
        ];
        for (action, settings) in settings {
            let id = &self.workflows[action];
            let change = format!("updateAction(input: {{id: \"{id}\", {settings}}}) {{ clientMutationId }}");
            self.manage(&format!("mutation {{ {change} }}")).await;
        }
        self.configure_preflights().await;
        self.manage(
            "mutation { updateRetention(input: {kind: DELETE_PERSONAL_DATA, afterDays: 60}) { clientMutationId } }",
        )
        .await;
    }

    /// Looks at everything that is open, and decides about some of it.
    pub(super) async fn decide(&mut self) {
        let ids: Vec<DsrId> = self.unfinished.iter().copied().collect();
        for head in self.heads(&ids).await {
            if is_terminal(head.state.status()) {
                self.unfinished.remove(&head.id);
            } else {
                self.decide_about(head).await;
            }
        }
        if self.chance.percent(20) || self.is_calm {
            self.look_after_failures().await;
        }
    }

    async fn decide_about(&mut self, head: DsrHead) {
        let id = head.id;
        let is_calm = self.is_calm;
        let dice = if is_calm { 100 } else { self.chance.below(100) };
        let is_stoppable = !head.state.is_past_stopping() && head.state.is_open();
        let deed = match &head.state {
            DsrState::Approving { .. } | DsrState::SecondaryApproving if is_calm || dice < 40 => {
                format!("approveRequest(input: {{requestId: \"{id}\"}}) {{ clientMutationId }}")
            }
            DsrState::OnHold { held } if is_calm || dice < 15 => {
                let status = held.status();
                format!("updateRequest(input: {{id: \"{id}\", status: {status}}}) {{ clientMutationId }}")
            }
            _ if dice == 98 && is_stoppable => {
                format!("cancelRequest(input: {{requestId: \"{id}\"}}) {{ clientMutationId }}")
            }
            DsrState::Compiling | DsrState::Enriching | DsrState::Waiting { .. } if dice == 97 => {
                format!("updateRequest(input: {{id: \"{id}\", status: ON_HOLD}}) {{ clientMutationId }}")
            }
            state if dice == 96 && state.is_open() && self.may_extend(&head) => {
                format!("notifyAdditionalTime(input: {{requestId: \"{id}\"}}) {{ clientMutationId }}")
            }
            DsrState::Enriching if dice >= 80 => return self.look_at_preflights(id).await,
            DsrState::Compiling | DsrState::Secondary if dice >= 93 => return self.look_at_runs(id).await,
            _ => return,
        };
        match self.try_to_manage(&format!("mutation {{ {deed} }}")).await {
            Ok(_) => {}
            // What must be kept is not taken up again until the case is over.
            Err(refused) if refused.contains("legal hold") && !is_calm => {}
            Err(refused) if refused.contains("legal hold") => self.lift_hold(id).await,
            // Who comes too late to tell of more time is told so.
            Err(refused) if deed.starts_with("notifyAdditionalTime") && refused.contains("`force` extends") => {}
            Err(refused) => self.wrongs.push(format!("{deed}: {refused}")),
        }
    }

    async fn lift_hold(&mut self, id: DsrId) {
        let asked = Asked {
            action: "REMOVE_FROM_LEGAL_HOLD",
            country: None,
            ..self.requests[&id].clone()
        };
        let body = json!({
            "type": asked.action,
            "subjectType": "customer",
            "isSilent": true,
            "subject": { "coreIdentifier": asked.core, "email": format!("{}@example.test", asked.core) },
        });
        self.submit_one(body, asked).await;
    }

    /// Now and then a request begins anew, also one that was over.
    pub(super) async fn begin_one_again(&mut self) {
        let all: Vec<DsrId> = self.requests.keys().copied().collect();
        if self.is_calm || all.is_empty() || !self.chance.percent(3) {
            return;
        }
        let id = self.chance.pick(&all);
        let asked = self.requests[&id].clone();
        let body = json!({
            "type": asked.action,
            "subjectType": "customer",
            "subject": { "coreIdentifier": asked.core, "email": format!("{}@example.test", asked.core) },
            "requestId": id.to_string(),
        });
        let answer = self.post("/v1/data-subject-request", &body).await;
        match answer.status {
            200 => drop(self.unfinished.insert(id)),
            // What it kept about the person is gone, the person has asked for the same again, or it can no longer be stopped.
            400 | 409 => {}
            _ => self
                .wrongs
                .push(format!("a restart: {} {}", answer.status, answer.body)),
        }
    }

    /// Where the law knows an extension, and none was given.
    fn may_extend(&self, head: &DsrHead) -> bool {
        let asked = &self.requests[&head.id];
        let is_new = head.deadline.as_ref().is_some_and(|known| known.extension.is_none());
        is_new && matches!(asked.country, Some("IE" | "DE" | "GB")) && super::check::is_right_of_gdpr(asked.action)
    }

    /// Decides in the place of silos that do not get on, or has them asked again.
    async fn look_at_runs(&mut self, id: DsrId) {
        let filter = RunFilter {
            request: Some(id),
            ..RunFilter::default()
        };
        let listed = {
            let mut reader = self.server.app().store.begin_read().await.unwrap();
            runs::list_runs(&mut reader, self.server.organization, &filter, 0, 100)
                .await
                .unwrap()
        };
        for run in listed.runs.iter().filter(|run| run.is_open()) {
            let id = run.id.0;
            let deed = match run.status() {
                RunStatus::Error | RunStatus::ActionRequired if self.chance.percent(50) || self.is_calm => {
                    format!(
                        "changeRequestDataSiloStatus(input: {{id: \"{id}\", status: SKIPPED}}) {{ clientMutationId }}"
                    )
                }
                RunStatus::Error => format!("retryRequestDataSilo(id: \"{id}\") {{ clientMutationId }}"),
                _ => continue,
            };
            self.manage(&format!("mutation {{ {deed} }}")).await;
        }
    }

    /// Has mails sent again that failed, and jobs tried again that were given up.
    async fn look_after_failures(&mut self) {
        let failed = self
            .manage("{ messages(status: FAILED, first: 100) { nodes { id } } }")
            .await;
        let ids = ids_of(&failed.unwrap());
        if !ids.is_empty() {
            let ids = json!(ids);
            self.manage(&format!(
                "mutation {{ retryMessages(input: {{ids: {ids}}}) {{ count }} }}"
            ))
            .await;
        }
        let parked = self.manage("{ parkedJobs(first: 100) { nodes { id } } }").await;
        for id in ids_of(&parked.unwrap()) {
            self.manage(&format!("mutation {{ retryJob(id: \"{id}\") {{ clientMutationId }} }}"))
                .await;
        }
    }

    /// The mail server has good days and bad days.
    pub(super) fn postbox_changes_its_mind(&mut self) {
        if !self.chance.percent(15) {
            return;
        }
        self.postbox.behaves();
        let say = |text: &str| MailAnswer::Say(text.to_owned());
        let (line, answer) = match self.chance.below(8) {
            0 => ("RCPT", say("450 4.2.1 later")),
            1 => ("RCPT", say("550 5.1.1 nobody here")),
            2 => ("DATA", MailAnswer::HangUp),
            3 => ("DATA", MailAnswer::TakeAndHangUp),
            4 => ("EHLO", MailAnswer::HangUp),
            _ => return self.loses_receipts = false,
        };
        self.loses_receipts = answer == MailAnswer::TakeAndHangUp;
        self.postbox.at(line, answer);
    }
}

fn ids_of(listed: &Value) -> Vec<String> {
    let nodes = listed["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| node["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Whether nothing follows any more by itself.
pub(super) fn is_terminal(status: DsrStatus) -> bool {
    matches!(
        status,
        DsrStatus::Completed
            | DsrStatus::SecondaryCompleted
            | DsrStatus::Canceled
            | DsrStatus::Revoked
            | DsrStatus::FailedVerification
    )
}
