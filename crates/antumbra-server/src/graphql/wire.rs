//! What the slices' parts of the schema share.

use async_graphql::{
    Enum, ID, InputObject, InputValueError, InputValueResult, Scalar, ScalarType, SimpleObject, Value,
};
use jiff::Timestamp;
use uuid::Uuid;

use super::Refusal;

/// The most entries a page may ask for. More is refused rather than cut: clients stop at the first short page.
const FIRST_MAX: i32 = 10_000;

/// An instant, in ISO 8601 with milliseconds and `Z`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Date(pub(crate) Timestamp);

/// An instant, in ISO 8601 with milliseconds and `Z`.
#[Scalar(name = "Date")]
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => text
                .parse()
                .map(Date)
                .map_err(|_| InputValueError::custom("is not an ISO 8601 instant")),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.text())
    }
}

impl Date {
    /// As it stands on the wire.
    pub(crate) fn text(self) -> String {
        format!("{:.3}", self.0)
    }
}

/// A text that people read.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct Message {
    /// Its id.
    pub(crate) id: String,
    /// The text, in the organization's own language.
    pub(crate) default_message: String,
    /// What it is for.
    pub(crate) description: Option<String>,
}

impl Message {
    /// The text `part` of the thing `owner`.
    pub(crate) fn new(owner: Uuid, part: &str, text: &str) -> Message {
        Message {
            id: format!("{owner}.{part}"),
            default_message: text.to_owned(),
            description: None,
        }
    }

    /// The same, where there may be none.
    pub(crate) fn maybe(owner: Uuid, part: &str, text: Option<&str>) -> Option<Message> {
        text.map(|text| Message::new(owner, part, text))
    }
}

/// Something that is only named here.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct Named {
    /// Its name.
    pub(crate) name: String,
}

/// Something that is only mentioned by its title here.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct Titled {
    /// Its title.
    pub(crate) title: String,
}

/// A person or team that is answerable for something. This server knows them by address or name only.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct Person {
    /// An id made from the address or name.
    pub(crate) id: ID,
    /// The address.
    pub(crate) email: String,
    /// The name.
    pub(crate) name: String,
}

/// Someone known by this address or name.
pub(crate) fn person(called: &str) -> Person {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&antumbra_crypto::sha256(called.as_bytes())[..16]);
    let id = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    Person {
        id: id.into(),
        email: called.to_owned(),
        name: called.to_owned(),
    }
}

/// A mutation was carried out.
#[derive(Clone, Copy, Debug, Default, SimpleObject)]
pub(crate) struct Acknowledged {
    /// Always null: this server keeps no ids of mutations.
    pub(crate) client_mutation_id: Option<&'static str>,
}

/// One key to order a list by.
#[derive(Clone, Copy, Debug, InputObject)]
pub(crate) struct OrderBy {
    /// The field that is compared.
    pub(crate) field: OrderField,
    /// Which end comes first.
    #[graphql(default_with = "Direction::Asc")]
    pub(crate) direction: Direction,
    /// Whose field it is, where two things are listed together.
    pub(crate) model: Option<OrderModel>,
}

/// A field that lists can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(rename_items = "camelCase")]
pub(crate) enum OrderField {
    /// The id.
    Id,
    /// When it was made.
    CreatedAt,
    /// When it was last changed.
    UpdatedAt,
    /// The name.
    Name,
    /// The title.
    Title,
    /// The type.
    Type,
}

/// Which end of an order comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(name = "OrderDirection")]
pub(crate) enum Direction {
    /// The smallest.
    Asc,
    /// The largest.
    Desc,
}

/// What a key of an order belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(rename_items = "camelCase")]
pub(crate) enum OrderModel {
    /// The data silo of a silo run.
    DataSilo,
    /// The enricher of a request's enricher.
    Enricher,
}

/// One page of a list, and how long the whole list is.
pub(crate) struct Page<T> {
    /// The entries of the page.
    pub(crate) nodes: Vec<T>,
    /// The entries of the list.
    pub(crate) total_count: i32,
}

impl<T> Page<T> {
    /// Orders a whole list, then cuts a page from it. Without an order the list stays as it is; `key` gives what an
    /// entry is compared by.
    pub(crate) fn cut(
        mut all: Vec<T>,
        order: Option<Vec<OrderBy>>,
        key: impl Fn(&T, OrderField) -> String,
        first: Option<i32>,
        offset: Option<i32>,
    ) -> Result<Page<T>, Refusal> {
        let order = order.unwrap_or_default();
        if order.len() > 8 {
            return Err(Refusal::client("orderBy has more than 8 keys"));
        }
        if !order.is_empty() {
            all.sort_by(|a, b| {
                let compared = order.iter().map(|by| {
                    let ordering = key(a, by.field).cmp(&key(b, by.field));
                    if by.direction == Direction::Desc {
                        ordering.reverse()
                    } else {
                        ordering
                    }
                });
                compared.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
            });
        }
        let total_count = i32::try_from(all.len()).unwrap_or(i32::MAX);
        let offset = bound("offset", offset, i32::MAX)?.unwrap_or(0);
        let first = bound("first", first, FIRST_MAX)?.unwrap_or(usize::MAX);
        Ok(Page {
            nodes: all.into_iter().skip(offset).take(first).collect(),
            total_count,
        })
    }
}

/// A number of entries, refused when it makes no sense.
pub(crate) fn bound(name: &str, given: Option<i32>, max: i32) -> Result<Option<usize>, Refusal> {
    let Some(given) = given else { return Ok(None) };
    match usize::try_from(given) {
        Ok(count) if given <= max => Ok(Some(count)),
        _ => Err(Refusal::client(format!("{name} must be between 0 and {max}"))),
    }
}

/// Whether `title` holds `text`, whatever their case. Absent text is in everything.
pub(crate) fn by_text(title: &str, text: Option<&str>) -> bool {
    text.is_none_or(|text| title.to_lowercase().contains(&text.to_lowercase()))
}

/// Reads an id. One that cannot be an id points at nothing, which is what the refusal says.
pub(crate) fn parse_id(id: &ID, what: &str) -> Result<Uuid, Refusal> {
    id.parse().map_err(|_| Refusal::not_found(what))
}

/// Reads several ids.
pub(crate) fn parse_ids<C: FromIterator<Uuid>>(ids: &[ID], what: &str) -> Result<C, Refusal> {
    ids.iter().map(|id| parse_id(id, what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(page: Page<&str>) -> Vec<&str> {
        page.nodes
    }

    #[test]
    fn pages_are_exact() {
        let cut = |first, offset| Page::cut(vec!["a", "b", "c"], None, |e, _| (*e).to_owned(), first, offset);
        assert_eq!(names(cut(None, None).unwrap()), ["a", "b", "c"]);
        assert_eq!(names(cut(Some(2), None).unwrap()), ["a", "b"]);
        assert_eq!(names(cut(Some(2), Some(2)).unwrap()), ["c"]);
        assert_eq!(names(cut(Some(2), Some(9)).unwrap()), [] as [&str; 0]);
        assert_eq!(cut(Some(0), None).unwrap().total_count, 3);
        for (first, offset) in [(Some(-1), None), (None, Some(-1)), (Some(FIRST_MAX + 1), None)] {
            assert!(cut(first, offset).is_err());
        }
    }

    #[test]
    fn a_list_is_ordered_by_each_key_in_turn() {
        let key = |field, direction| OrderBy {
            field,
            direction,
            model: None,
        };
        let all = vec![("b", "1"), ("a", "2"), ("a", "1")];
        let by = |entry: &(&str, &str), field| match field {
            OrderField::Name => entry.0.to_owned(),
            _ => entry.1.to_owned(),
        };
        let order = vec![
            key(OrderField::Name, Direction::Desc),
            key(OrderField::Id, Direction::Asc),
        ];
        let page = Page::cut(all, Some(order), by, None, None).unwrap();
        assert_eq!(page.nodes, [("b", "1"), ("a", "1"), ("a", "2")]);
    }

    #[test]
    fn dates_have_milliseconds() {
        assert_eq!(
            Date("2026-03-02T10:00:00Z".parse().unwrap()).text(),
            "2026-03-02T10:00:00.000Z"
        );
    }
}
