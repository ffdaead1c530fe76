//! The tree as a serde deserializer that notes unknown keys and marks the node that an error belongs to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::fault::Error;
use super::{Fault, Kind, Node, Origin, Reading, quoted_key};
use crate::error::{did_you_mean, nearest};

/// Each pass reports at least one node as faulty and leaves it out of the next, so the loop ends.
pub(super) fn read<T: DeserializeOwned>(root: &Node) -> Reading<T> {
    let faults = RefCell::default();
    let mut complete = true;
    let value = loop {
        let at = At {
            node: root,
            key: String::new(),
            faults: &faults,
        };
        match T::deserialize(at.clone()) {
            Ok(value) => break Some(value),
            Err(error) if error.reported => complete = false,
            Err(error) => {
                at.report(&error);
                break None;
            }
        }
    };
    Reading {
        value,
        complete,
        faults: faults.into_inner().into_iter().collect(),
    }
}

#[derive(Clone)]
struct At<'a> {
    node: &'a Node,
    key: String,
    faults: &'a RefCell<BTreeSet<Fault>>,
}

impl<'a> At<'a> {
    fn field(&self, name: &str, node: &'a Node) -> Self {
        let dot = if self.key.is_empty() { "" } else { "." };
        Self {
            node,
            key: format!("{}{dot}{}", self.key, quoted_key(name)),
            faults: self.faults,
        }
    }

    fn item(&self, index: usize, node: &'a Node) -> Self {
        Self {
            node,
            key: format!("{}[{index}]", self.key),
            faults: self.faults,
        }
    }

    fn fault(&self, message: String) {
        self.faults.borrow_mut().insert(Fault {
            origin: self.node.origin.clone(),
            key: self.key.clone(),
            message,
        });
    }

    /// A required field that is missing because it was faulty has been reported already.
    fn report(&self, error: &Error) {
        let known = error.missing.is_some_and(|field| {
            self.node
                .child(field)
                .is_some_and(|child| child.faulty.get())
        });
        if !known {
            self.fault(error.message.clone());
        }
    }

    fn seed<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.clone()).map_err(|error| {
            if !error.reported {
                self.report(&error);
                self.node.faulty.set(true);
            }
            Error {
                reported: true,
                ..error
            }
        })
    }

    fn note_unknown_keys(
        &self,
        entries: &'a BTreeMap<String, Node>,
        known: &'static [&'static str],
    ) {
        for (name, node) in entries {
            if !known.contains(&name.as_str()) {
                node.faulty.set(true);
                let hint = did_you_mean(&nearest(name, known.iter().copied()));
                self.field(name, node).fault(format!("unknown key{hint}"));
            }
        }
    }

    /// The environment has only text; where a number or boolean is wanted, that is what it means.
    fn text_of_environment(&self) -> Option<&'a str> {
        match (&self.node.kind, &self.node.origin) {
            (Kind::Text(text), Origin::Environment(_) | Origin::Flag(_)) => Some(text),
            _ => None,
        }
    }
}

macro_rules! parse_from_environment {
    ($($method:ident => $parsed:ty, $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.text_of_environment().map(str::parse::<$parsed>) {
                Some(Ok(value)) => visitor.$visit(value),
                _ => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Table(entries) => visitor.visit_map(Entries {
                at: &self,
                left: entries.iter(),
                value: None,
            }),
            Kind::Array(items) => visitor.visit_seq(Items {
                at: &self,
                left: items.iter().enumerate(),
            }),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::Integer(integer) => visitor.visit_i64(*integer),
            Kind::Float(float) => visitor.visit_f64(*float),
            Kind::Boolean(boolean) => visitor.visit_bool(*boolean),
            Kind::Date => Err(Error::invalid_type(
                Unexpected::Other("date or time"),
                &visitor,
            )),
        }
    }

    parse_from_environment! {
        deserialize_bool => bool, visit_bool;
        deserialize_i8 => i64, visit_i64;
        deserialize_i16 => i64, visit_i64;
        deserialize_i32 => i64, visit_i64;
        deserialize_i64 => i64, visit_i64;
        deserialize_u8 => i64, visit_i64;
        deserialize_u16 => i64, visit_i64;
        deserialize_u32 => i64, visit_i64;
        deserialize_u64 => i64, visit_i64;
        deserialize_f32 => f64, visit_f64;
        deserialize_f64 => f64, visit_f64;
    }

    /// The environment writes a list with commas; nothing is the empty list.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Some(text) = self.text_of_environment() else {
            return self.deserialize_any(visitor);
        };
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Kind::Table(entries) = &self.node.kind {
            self.note_unknown_keys(entries, fields);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.kind {
            Kind::Text(text) => visitor.visit_enum(Unit(text)),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map identifier ignored_any
    }
}

struct Entries<'a, 'n> {
    at: &'a At<'n>,
    left: std::collections::btree_map::Iter<'n, String, Node>,
    value: Option<At<'n>>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((name, node)) = self.left.find(|(_, node)| !node.faulty.get()) else {
            return Ok(None);
        };
        self.value = Some(self.at.field(name, node));
        let key: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.value
            .take()
            .expect("serde asks for the key first")
            .seed(seed)
    }
}

struct Items<'a, 'n> {
    at: &'a At<'n>,
    left: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        match self.left.find(|(_, node)| !node.faulty.get()) {
            Some((index, node)) => self.at.item(index, node).seed(seed).map(Some),
            None => Ok(None),
        }
    }
}

/// An enum variant without content, written as its name.
struct Unit<'a>(&'a str);

impl<'de> EnumAccess<'de> for Unit<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Unit<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Error> {
        Err(Error::custom("expected a section, found a name"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("expected a section, found a name"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Error::custom("expected a section, found a name"))
    }
}
