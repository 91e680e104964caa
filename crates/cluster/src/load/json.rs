//! JSON, through serde_json: the fast way in.
//!
//! An item of a list is kept as a piece of the text until its kind is known and then read straight
//! into its object; a piece's place in the text gives the object's line. Only an item that cannot be
//! read becomes a tree, to find the place of the fault.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error::{Format, Place, Problem};
use super::object::{self, Found, Item, Kind};
use super::tree::{Key, Tree, Value};

/// Reads a text of one or more JSON values and gives the objects in them to `take`.
pub(super) fn read(text: &str, take: &mut dyn FnMut(Found)) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Lines::new(text);
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Top<'_>>();
    loop {
        let from = stream.byte_offset();
        match stream.next() {
            None => return,
            Some(Ok(top)) => {
                let whole = text[from..stream.byte_offset()].trim();
                top.take(whole, &mut lines, take);
            }
            Some(Err(error)) => {
                take(syntax(&error));
                return;
            }
        }
    }
}

fn syntax(error: &serde_json::Error) -> Found {
    let problem = if error.is_eof() {
        Problem::CutOff {
            format: Format::Json,
        }
    } else {
        Problem::Syntax {
            format: Format::Json,
            reason: reason(error),
        }
    };
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    Found {
        place: Place {
            line: number(error.line()),
            column: number(error.column()),
        },
        result: Err(problem),
    }
}

/// serde_json's message without the place at its end.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// A value at the top of the text.
enum Top<'a> {
    /// An object, and the pieces under `items`.
    Map {
        kind: Option<Cow<'a, str>>,
        api_version: Option<Cow<'a, str>>,
        items: Option<Vec<&'a RawValue>>,
    },
    Seq(Vec<&'a RawValue>),
    Scalar,
}

impl<'a> Top<'a> {
    fn take(self, whole: &'a str, lines: &mut Lines<'a>, take: &mut dyn FnMut(Found)) {
        match self {
            Self::Seq(items) => {
                for piece in items {
                    take(item(piece.get(), None, lines));
                }
            }
            Self::Map {
                kind: Some(kind),
                api_version,
                items: Some(items),
            } if kind.ends_with("List") => {
                let kind = kind.trim_end_matches("List");
                let of_list = (api_version.as_deref().unwrap_or_default(), kind);
                let of_list = Some(of_list).filter(|_| !kind.is_empty());
                for piece in items {
                    take(item(piece.get(), of_list, lines));
                }
            }
            Self::Map {
                kind: Some(kind),
                items: None,
                ..
            } if kind == "List" => {}
            Self::Map { .. } | Self::Scalar => take(item(whole, None, lines)),
        }
    }
}

/// Reads one object; `of_list` is what a typed list says of items that do not say it themselves.
fn item(text: &str, of_list: Option<(&str, &str)>, lines: &mut Lines<'_>) -> Found {
    let header = Header::of(text);
    let said = header
        .kind
        .map(|kind| (header.api_version.unwrap_or_default(), kind));
    if let Some((api_version, kind)) = said.or(of_list) {
        let made = match Kind::of(api_version, kind) {
            None => Some(object::Object::Unused(kind.into())),
            // Told apart by content, or places are told of more than a field's type: these need the tree.
            Some(Kind::ConfigMap | Kind::KubeProxyConfiguration | Kind::Ingress) => None,
            Some(used) => {
                let mut reader = serde_json::Deserializer::from_str(text);
                used.make(&mut reader).ok()
            }
        };
        if let Some(object) = made {
            return Found {
                place: lines.place(first_key(text)),
                result: Ok(object),
            };
        }
    }
    let tree = tree(text, lines, MAX_DEPTH);
    let place = tree.place;
    let found = match (object::item(tree), of_list) {
        (Item::Made(found), _) => found,
        (Item::Bare(tree), Some((api_version, kind))) => object::of_kind(api_version, kind, &tree),
        (Item::Bare(tree), None) => object::not_an_object(&tree),
    };
    match found.result {
        Ok(_) => Found { place, ..found },
        Err(_) => found,
    }
}

/// An object's text from its first key on.
fn first_key(text: &str) -> &str {
    text.strip_prefix('{').map_or(text, str::trim_start)
}

/// What an object says of itself.
#[derive(Default)]
struct Header<'a> {
    kind: Option<&'a str>,
    api_version: Option<&'a str>,
}

impl<'a> Header<'a> {
    /// Reads an object's text as far as it must: the two mostly stand first, and the text is read
    /// again for its fields.
    fn of(text: &'a str) -> Self {
        let mut header = Self::default();
        let mut reader = serde_json::Deserializer::from_str(text);
        // The visitor ends the reading with a fault once it has both, which is no fault of the text.
        let _ended = reader.deserialize_map(HeaderVisitor(&mut header));
        header
    }
}

struct HeaderVisitor<'h, 'a>(&'h mut Header<'a>);

impl<'de> Visitor<'de> for HeaderVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "kind" => self.0.kind = map.next_value()?,
                "apiVersion" => self.0.api_version = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if self.0.kind.is_some() && self.0.api_version.is_some() {
                return Err(serde::de::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

/// How deep a tree goes; no field that podwire uses lies half as deep.
const MAX_DEPTH: u32 = 32;

/// The tree of a text that is known to be JSON; what lies deeper than `depth` is null.
fn tree<'a>(text: &'a str, lines: &mut Lines<'_>, depth: u32) -> Tree<'a> {
    let place = lines.place(first_key(text));
    let value = match text.as_bytes().first() {
        Some(b'{' | b'[') if depth == 0 => Value::Null,
        Some(b'{') => {
            let Pairs(pairs) = serde_json::from_str(text).unwrap_or_default();
            let entries = pairs.into_iter().map(|(key, piece)| {
                let below = tree(piece.get(), lines, depth - 1);
                (key, below)
            });
            Value::Map(entries.collect())
        }
        Some(b'[') => {
            let pieces: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
            Value::Seq(
                pieces
                    .into_iter()
                    .map(|p| tree(p.get(), lines, depth - 1))
                    .collect(),
            )
        }
        Some(b'"') => {
            let Key(text) = serde_json::from_str(text).unwrap_or(Key(Cow::Borrowed("")));
            Value::Text(text)
        }
        Some(_) | None => match serde_json::from_str(text) {
            Ok(serde_json::Value::Bool(b)) => Value::Bool(b),
            Ok(serde_json::Value::Number(n)) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => Value::Unsigned(n),
                (None, Some(n)) => Value::Signed(n),
                (None, None) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
            },
            Ok(
                serde_json::Value::Null
                | serde_json::Value::String(_)
                | serde_json::Value::Array(_)
                | serde_json::Value::Object(_),
            )
            | Err(_) => Value::Null,
        },
    };
    Tree { place, value }
}

/// Places of pieces of a text. Pieces come mostly in order, so it counts on from the last one; a list
/// may be one line of a hundred megabytes.
struct Lines<'a> {
    text: &'a str,
    /// How far it has counted, and the place there.
    offset: usize,
    place: Place,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            offset: 0,
            place: Place { line: 1, column: 1 },
        }
    }

    /// The place where a piece of the text begins.
    fn place(&mut self, piece: &str) -> Place {
        // A piece borrowed from the text: the distance of the two is where it stands.
        let offset = (piece.as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        if offset < self.offset {
            *self = Self::new(self.text);
        }
        let Some(between) = self.text.as_bytes().get(self.offset..offset) else {
            return Place::default();
        };
        let newlines = between.iter().filter(|&&byte| byte == b'\n').count();
        let last_line = if newlines == 0 {
            between
        } else {
            self.place.column = 1;
            let newline = between.iter().rposition(|&byte| byte == b'\n');
            &between[newline.map_or(0, |newline| newline + 1)..]
        };
        // Every byte but those that continue a character of UTF-8.
        let columns = last_line
            .iter()
            .filter(|&&byte| byte & 0xc0 != 0x80)
            .count();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.place.line = self.place.line.saturating_add(number(newlines));
        self.place.column = self.place.column.saturating_add(number(columns));
        self.offset = offset;
        self.place
    }
}

impl<'de> Deserialize<'de> for Top<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Top<'de>, E> {
        Ok(Top::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Top<'de>, E> {
        Ok(Top::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Top<'de>, E> {
        Ok(Top::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Top<'de>, E> {
        Ok(Top::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Top<'de>, E> {
        Ok(Top::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Top<'de>, E> {
        Ok(Top::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Top<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(piece) = seq.next_element()? {
            items.push(piece);
        }
        Ok(Top::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
        let (mut kind, mut api_version, mut items) = (None, None, None);
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "kind" => kind = text(map.next_value()?),
                "apiVersion" => api_version = text(map.next_value()?),
                "items" => {
                    items = match map.next_value::<Top<'de>>()? {
                        Top::Seq(items) => Some(items),
                        Top::Map { .. } | Top::Scalar => None,
                    }
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Top::Map {
            kind,
            api_version,
            items,
        })
    }
}

/// The text that a piece holds, if it is one.
fn text(piece: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(piece.get()).ok().map(|Key(text)| text)
}

/// An object's keys and the pieces under them.
#[derive(Default)]
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Key(key), piece)) = map.next_entry()? {
                    pairs.push((key, piece));
                }
                Ok(Pairs(pairs))
            }
        }
        d.deserialize_map(PairsVisitor)
    }
}
