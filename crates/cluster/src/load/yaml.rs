//! YAML, through serde-saphyr.
//!
//! A stream is cut into its documents first: a line that begins with `---` or `...` is a marker
//! wherever it stands (YAML 1.2.2, section 9.1.2), so a fault in one document leaves the others
//! readable, and the budget below holds for each document.
//!
//! A document is read twice only if something is wrong with it: the first reading knows the places
//! of objects, the second that of every value, which costs several times as much.

use std::borrow::Cow;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Options, Spanned};

use super::error::{Format, Place, Problem};
use super::object::{self, Found, Item};
use super::tree::{Key, Tree, Value, ValueVisitor};

/// Reads all documents of a text and gives what is in them to `take`.
pub(super) fn read(text: &str, take: &mut dyn FnMut(Found)) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, document) in documents(text) {
        let found = match document_in::<Plain<'_>>(document) {
            Ok(found) if found.iter().all(|f| f.result.is_ok()) => found,
            Ok(_) => document_in::<Placed<'_>>(document)
                .unwrap_or_else(|error| vec![syntax(document, &error)]),
            Err(error) => vec![syntax(document, &error)],
        };
        for mut one in found {
            one.move_down(line);
            take(one);
        }
    }
}

/// A YAML text as one tree, every value with its place.
pub(super) fn tree(text: &str) -> Result<Tree<'_>, Box<Found>> {
    serde_saphyr::from_str_with_options::<Placed<'_>>(text, options(text.len()))
        .map(Tree::from)
        .map_err(|error| Box::new(syntax(text, &error)))
}

/// How much a document may hold.
///
/// The reader's own limits are for configuration files: a cluster's list is larger. What is written
/// out can be no more than one node a byte, so only what aliases multiply needs a limit.
fn options(bytes: usize) -> Options {
    let written = bytes.saturating_add(100_000);
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: written.saturating_mul(3),
            max_nodes: written.saturating_mul(2),
            max_total_scalar_bytes: written.saturating_mul(2),
            max_recorded_anchor_events: written,
            // As deep as serde_json goes; a CustomResourceDefinition's schema needs about 60.
            max_depth: 128,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: written,
        },
        // A name may be `n`. Where a boolean is wanted, the second reading knows that it may be written so.
        strict_booleans: true,
        with_snippet: false,
        emit_comments: false,
    }
}

/// The documents of a stream, each with the number of lines before it.
fn documents(text: &str) -> Vec<(u32, &str)> {
    let mut found = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    let (mut offset, mut line) = (0, 0);
    let mut has_content = false;
    for piece in text.split_inclusive('\n') {
        let marker = piece.starts_with("---") && is_marker(piece);
        let end = piece.starts_with("...") && is_marker(piece);
        if (marker || end) && has_content {
            found.push((start_line, &text[start..offset]));
            (start, start_line) = (offset, line);
            has_content = false;
        }
        if end {
            // What follows is a new document, with directives of its own.
            (start, start_line) = (offset + piece.len(), line + 1);
        } else if marker {
            has_content |= !blank(&piece[3..]);
        } else {
            has_content |= !blank(piece) && !piece.starts_with('%');
        }
        offset += piece.len();
        line += 1;
    }
    if has_content {
        found.push((start_line, &text[start..]));
    }
    found
}

fn is_marker(line: &str) -> bool {
    line[3..].is_empty() || line[3..].starts_with([' ', '\t', '\n', '\r'])
}

fn blank(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn syntax(text: &str, error: &serde_saphyr::Error) -> Found {
    use serde_saphyr::Error as Reader;

    let format = Format::Yaml;
    let mut error = error.without_snippet();
    let place = error.location().map(place).filter(|p| p.line > 0);
    while let Reader::AliasError { error: inner, .. } = error {
        error = inner;
    }
    let problem = if matches!(error, Reader::Eof { .. }) {
        Problem::CutOff { format }
    } else if matches!(
        error,
        Reader::Budget { .. } | Reader::AliasReplayLimitExceeded { .. }
    ) {
        Problem::TooMuch
    } else if let Reader::DuplicateMappingKey { key, .. } = error {
        let field = key.clone().unwrap_or_default();
        Problem::DuplicateField { field }
    } else {
        // The reader has some eighty kinds of fault; its own words do for the rest.
        let reason = reason(error);
        Problem::Syntax { format, reason }
    };
    Found {
        place: place.unwrap_or_else(|| last_place(text)),
        result: Err(problem),
    }
}

/// The reader's message without its place, which is said elsewhere.
fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    let cut = text
        .find(" at line ")
        .or_else(|| text.find(" (line "))
        .unwrap_or(text.len());
    text[..cut].trim_end_matches([':', ',']).to_owned()
}

fn last_place(text: &str) -> Place {
    let lines = text.lines().count().max(1);
    let column = text.lines().last().map_or(0, |l| l.chars().count()) + 1;
    Place {
        line: u32::try_from(lines).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    }
}

fn place(location: Location) -> Place {
    Place {
        line: u32::try_from(location.line()).unwrap_or(u32::MAX),
        column: u32::try_from(location.column()).unwrap_or(u32::MAX),
    }
}

/// A tree without places.
struct Plain<'a>(Value<'a>);

impl<'de> Deserialize<'de> for Plain<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ValueVisitor::<Self>(PhantomData))
            .map(Self)
    }
}

impl<'a> From<Plain<'a>> for Tree<'a> {
    fn from(plain: Plain<'a>) -> Self {
        Self {
            place: Place::default(),
            value: plain.0,
        }
    }
}

/// A text without quotes; some of them YAML 1.1 takes for booleans.
fn word(text: Cow<'_, str>) -> Value<'_> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" => Value::Word(text, true),
        "no" | "off" | "n" => Value::Word(text, false),
        _ => Value::Text(text),
    }
}

/// A tree with places.
struct Placed<'a>(Tree<'a>);

struct PlacedValue<'a>(Value<'a>);

impl<'de> Deserialize<'de> for PlacedValue<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ValueVisitor::<Placed<'de>>(PhantomData))
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Placed<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<PlacedValue<'de>>::deserialize(d)?;
        let length = spanned.referenced.span().len();
        Ok(Self(Tree {
            place: place(spanned.referenced),
            value: match (spanned.value.0, length) {
                (Value::Text(text), length) if length == text.len() as u64 => word(text),
                (value, _) => value,
            },
        }))
    }
}

impl<'a> From<Placed<'a>> for Tree<'a> {
    fn from(placed: Placed<'a>) -> Self {
        placed.0
    }
}

fn document_in<'de, N>(text: &'de str) -> Result<Vec<Found>, serde_saphyr::Error>
where
    N: Deserialize<'de> + Into<Tree<'de>>,
{
    let root: Spanned<Root<'de, N>> =
        serde_saphyr::from_str_with_options(text, options(text.len()))?;
    let at = place(root.referenced);
    Ok(object::document(
        Tree {
            place: at,
            value: root.value.rest,
        },
        root.value.items,
    ))
}

/// A document: its keys, and the objects under `items`, which are made as they are read, as a whole
/// list's tree would be many times its text.
struct Root<'a, N> {
    rest: Value<'a>,
    items: Option<Vec<Item<'a>>>,
    how: PhantomData<N>,
}

struct RootVisitor<N>(PhantomData<N>);

impl<'de, N> Deserialize<'de> for Root<'de, N>
where
    N: Deserialize<'de> + Into<Tree<'de>>,
{
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(RootVisitor::<N>(PhantomData))
    }
}

impl<'de, N> RootVisitor<N>
where
    N: Deserialize<'de> + Into<Tree<'de>>,
{
    fn scalar(value: Value<'de>) -> Root<'de, N> {
        Root {
            rest: value,
            items: None,
            how: PhantomData,
        }
    }
}

impl<'de, N> Visitor<'de> for RootVisitor<N>
where
    N: Deserialize<'de> + Into<Tree<'de>>,
{
    type Value = Root<'de, N>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Self::scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Self::scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Self::Value, E> {
        Ok(Self::scalar(Value::Bool(b)))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Self::scalar(Value::Unsigned(n)))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Self::scalar(Value::Signed(n)))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Self::Value, E> {
        Ok(Self::scalar(Value::Float(n)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Self::scalar(Value::Text(text.to_owned().into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(OneItem(item, _)) = seq.next_element::<OneItem<'de, N>>()? {
            items.push(item);
        }
        Ok(Root {
            rest: Value::Seq(Vec::new()),
            items: Some(items),
            how: PhantomData,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        let mut items = None;
        while let Some(Key(key)) = map.next_key()? {
            if key == "items" {
                let found: ItemList<'de, N> = map.next_value()?;
                items = Some(found.0);
            } else {
                entries.push((key, map.next_value::<N>()?.into()));
            }
        }
        Ok(Root {
            rest: Value::Map(entries),
            items,
            how: PhantomData,
        })
    }
}

/// What stands under `items`; a value that is no list counts as an empty one.
struct ItemList<'a, N>(Vec<Item<'a>>, PhantomData<N>);

impl<'de, N> Deserialize<'de> for ItemList<'de, N>
where
    N: Deserialize<'de> + Into<Tree<'de>>,
{
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let root: Root<'de, N> = d.deserialize_any(RootVisitor::<N>(PhantomData))?;
        Ok(Self(
            match root.rest {
                Value::Seq(_) => root.items.unwrap_or_default(),
                Value::Null
                | Value::Bool(_)
                | Value::Unsigned(_)
                | Value::Signed(_)
                | Value::Float(_)
                | Value::Text(_)
                | Value::Word(..)
                | Value::Map(_) => Vec::new(),
            },
            PhantomData,
        ))
    }
}

struct OneItem<'a, N>(Item<'a>, PhantomData<N>);

impl<'de, N> Deserialize<'de> for OneItem<'de, N>
where
    N: Deserialize<'de> + Into<Tree<'de>>,
{
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<AsTree<'de, N>>::deserialize(d)?;
        let mut tree = spanned.value.0;
        tree.place = place(spanned.referenced);
        Ok(Self(object::item(tree), PhantomData))
    }
}

struct AsTree<'a, N>(Tree<'a>, PhantomData<N>);

impl<'de, N> Deserialize<'de> for AsTree<'de, N>
where
    N: Deserialize<'de> + Into<Tree<'de>>,
{
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // The object itself is a mapping whose values are read as `N` says; its own place is known.
        d.deserialize_any(ValueVisitor::<N>(PhantomData))
            .map(|value| {
                Self(
                    Tree {
                        place: Place::default(),
                        value,
                    },
                    PhantomData,
                )
            })
    }
}
