//! The messages that ask a data subject to verify an address.

use antumbra_store::Tx;

use super::{
    PreflightError,
    model::Preflight,
    verification::{code, token},
};
use crate::{
    AppState,
    dsr::{self, Deed, Dsr, DsrIdentifier},
    keyring::OrganizationKeys,
    messages::{self, Field},
    organization::MessageKind,
    silos::Enricher,
};

/// Has a message of this kind sent to the address that a run starts from. Nothing if the request gets no messages.
pub(super) async fn post(
    app: &AppState,
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    dsr: &Dsr,
    (run, input, enricher): (&Preflight, &DsrIdentifier, &Enricher),
    kind: MessageKind,
) -> Result<(), PreflightError> {
    let (Some(letter), Some(token), Some(code), Some(ends_at)) =
        (dsr::letter(dsr, kind), token(keys, run), code(keys, run), run.ends_at)
    else {
        return Ok(());
    };
    let mut letter = letter
        .with(
            "verificationLink",
            Field::Link(format!("{}/verify/{token}", app.public_url())),
        )
        .with("verificationCode", Field::Text(code))
        .with("expiryDate", Field::Day(ends_at));
    letter.to.clone_from(&input.value);
    letter.words.template = enricher.verification_template;
    let settings = app.settings.get(tx, keys.organization).await?;
    messages::post(tx, keys, deed.ids, deed.now, &settings, letter).await?;
    Ok(())
}
