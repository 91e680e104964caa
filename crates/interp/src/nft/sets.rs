//! Sets and maps: as they were declared, and as rules have changed them since.

use std::time::Duration;

use podwire_packet::SimTime;
use podwire_ruleset::nft::{
    Effect, Element, ElementId, Key, Lookup, MapValue, Name, Presence, Set, SetFlags, SetId,
    SetOperation, Span, Value,
};

use super::Walk;

/// What a set holds that rules put elements into, if nothing else is said (`set_size`,
/// src/evaluate.c).
const DYNAMIC_SIZE: u32 = 65_535;

impl<'a> Walk<'a> {
    /// Whether a named set has an element for the values.
    pub(super) fn is_in(&self, set: &Name, values: &[Value]) -> bool {
        let (id, set) = self.set(set);
        match self.changed(id, values) {
            Some(presence) => presence.is_there(self.packet.now),
            None => self.declared(set, values).is_some(),
        }
    }

    /// What a map has for the values.
    pub(super) fn look_up(&mut self, map: &'a Lookup, values: &[Value]) -> Option<&'a MapValue> {
        match map {
            Lookup::Named(name) => {
                let (set, map) = self.set(name);
                if self.changed(set, values) == Some(Presence::Gone) {
                    return None;
                }
                let (element, found) = self.declared(map, values)?;
                self.found = Some(ElementId { set, element });
                found.value.as_ref()
            }
            Lookup::Anonymous(elements) => anonymous(elements, values),
        }
    }

    /// Carries out `add`, `update` or `delete`; whether the rule goes on (`nft_dynset_eval`,
    /// net/netfilter/nft_dynset.c): it does not where a set has no room.
    pub(super) fn change(
        &mut self,
        operation: SetOperation,
        set: &Name,
        key: Box<[Value]>,
        timeout: Option<Duration>,
    ) -> bool {
        let (id, set) = self.set(set);
        let now = self.packet.now;
        let changed = self.changed(id, &key);
        let is_declared = changed.is_none() && self.declared(set, &key).is_some();
        let is_there = is_declared || changed.is_some_and(|presence| presence.is_there(now));
        let timeout = timeout.or(set.timeout).filter(|timeout| !timeout.is_zero());
        let presence = match operation {
            SetOperation::Delete => Presence::Gone,
            SetOperation::Add if is_there => return true,
            // An element without a timeout does not get one.
            SetOperation::Update if changed == Some(Presence::Until { expires: None }) => {
                return true;
            }
            SetOperation::Add | SetOperation::Update => {
                if !is_there && self.is_full(id, set) {
                    return false;
                }
                Presence::Until {
                    expires: timeout.map(|timeout| now + timeout),
                }
            }
        };
        let effects = &mut self.decision.effects;
        effects.push(Effect::Element {
            set: id,
            key,
            presence,
        });
        true
    }

    fn set(&self, name: &Name) -> (SetId, &'a Set) {
        let found = self.table.sets.get_full(name);
        let (index, _, set) = found.expect("NftInterp::new checked every set");
        let id = SetId {
            table: self.base.table,
            set: u32::try_from(index).expect("a table has fewer than 2^32 sets"),
        };
        (id, set)
    }

    /// What rules last did to an element, in this walk or before.
    fn changed(&self, id: SetId, values: &[Value]) -> Option<Presence> {
        let now = self.decision.effects.iter().rev().find_map(|effect| {
            if let Effect::Element { set, key, presence } = effect {
                (*set == id && **key == *values).then_some(*presence)
            } else {
                None
            }
        });
        now.or_else(|| self.state.elements.get(&id)?.get(values).copied())
    }

    /// The element that a set was declared with for the values, with its place.
    fn declared(&self, set: &'a Set, values: &[Value]) -> Option<(u32, &'a Element)> {
        let (key, element) = set.find(values)?;
        let place = set.elements.get_index_of(key)?;
        // The time that it has left begins with the simulation.
        let left = element.expires.or(element.timeout).or(set.timeout);
        let expires = left
            .filter(|left| !left.is_zero())
            .map(|left| SimTime::START + left);
        Presence::Until { expires }
            .is_there(self.packet.now)
            .then_some((u32::try_from(place).ok()?, element))
    }

    /// Whether a set has as many elements as it may have.
    fn is_full(&self, id: SetId, set: &Set) -> bool {
        let is_dynamic = set.flags.contains(SetFlags::DYNAMIC);
        let Some(size) = set.size.or(is_dynamic.then_some(DYNAMIC_SIZE)) else {
            return false;
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let added = self.state.elements.get(&id);
        let at_most =
            set.elements.len() + added.map_or(0, |added| added.len()) + self.decision.effects.len();
        if at_most < size {
            return false;
        }
        let mut after = self.state.clone();
        after.apply(&self.decision.effects);
        let there = after.elements.get(&id).into_iter().flatten();
        let there = there.filter(|(_, presence)| presence.is_there(self.packet.now));
        set.elements.len() + there.count() >= size
    }
}

/// The value of the element that holds the values.
fn anonymous<'m>(elements: &'m [(Key, MapValue)], values: &[Value]) -> Option<&'m MapValue> {
    // The elements behind `numgen` are numbered from 0, one after the other.
    if let [Value::Number(number)] = values
        && let Some((key, value)) = elements.get(*number as usize)
        && **key == [Span::One(Value::Number(*number))]
    {
        return Some(value);
    }
    let exact = elements.iter().find(|(key, _)| key.contains(values));
    exact.map(|(_, value)| value)
}
