//! What is configured for the story, in the words of a configuration file.

use super::files::CANARY;

/// The file that `antumbra apply` is given.
pub(super) fn configuration(webhook: &str) -> String {
    format!(
        "\
data-subjects:
  - type: customer
    title: Customer
    actions: [ACCESS]

preference-options:
  - {{ title: Weekly, slug: Weekly }}
  - {{ title: Monthly, slug: Monthly }}
  - {{ title: Email, slug: Email }}
  - {{ title: Sms, slug: Sms }}

purposes:
  - name: Advertising
    trackingType: Advertising
  - name: Analytics
    trackingType: Analytics
  - name: Product Updates
    trackingType: Product Updates
    description: News of the shop
    preference-topics:
      - title: Frequency
        slug: Frequency
        type: SELECT
        options: [{{ title: Weekly, slug: Weekly }}, {{ title: Monthly, slug: Monthly }}]
      - title: Channel
        slug: Channel
        type: MULTI_SELECT
        options: [{{ title: Email, slug: Email }}, {{ title: Sms, slug: Sms }}]
      - title: Unsubscribe
        slug: Unsubscribe
        type: BOOLEAN

partitions:
  - name: Web shop
    partition: web-shop

data-silos:
  - title: Web shop
    integrationName: server
    description: The shop's own server
    url: {webhook}
    identity-keys: [email]
    datapoints:
      - key: profile
        title: Profile
      - key: orders
        title: Orders
      - key: profile_picture
        title: Profile picture
      - key: contracts
        title: Contracts
      - key: films
        title: Films
"
    )
}

/// The email address of the story's person.
pub(super) fn email() -> String {
    format!("{CANARY}@example.test")
}
