//! The pods that policies see, and which of them a selector selects.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use indexmap::IndexMap;
use podwire_cluster::{Cluster, LabelSelector, Namespace, ObjectName, Operator, Pod, Requirement};

/// Pods by number, in the order of namespace and name, so that those of a namespace are a range.
#[derive(Debug)]
pub(super) struct Pods<'c> {
    pods: Vec<&'c Pod>,
    by_address: BTreeMap<IpAddr, usize>,
    /// Addresses of nodes, with the node's name.
    nodes: BTreeMap<IpAddr, &'c str>,
    /// Pods of the host network.
    of_host: BTreeMap<&'c ObjectName, &'c Pod>,
}

impl<'c> Pods<'c> {
    pub(super) fn new(cluster: &'c Cluster) -> Self {
        let alive = |pod: &&Pod| !pod.finished && !pod.ips.is_empty();
        let (of_host, pods): (Vec<&Pod>, Vec<&Pod>) = cluster
            .pods
            .values()
            .filter(alive)
            .partition(|pod| pod.host_network);
        let mut by_address = BTreeMap::new();
        for (number, pod) in pods.iter().enumerate() {
            for &ip in &pod.ips {
                by_address.entry(ip).or_insert(number);
            }
        }
        let mut nodes = BTreeMap::new();
        for pod in &of_host {
            for &ip in &pod.ips {
                nodes.extend(pod.node.as_deref().map(|node| (ip, node)));
            }
        }
        for (name, node) in &cluster.nodes {
            let addresses = node.addresses.iter();
            let addresses = addresses.filter_map(|one| one.address.parse::<IpAddr>().ok());
            let of_nics = node.nics.iter().flat_map(|nic| &nic.addresses);
            let of_bridge = node.pod_cidrs.iter().filter_map(|range| range.nth(1));
            let of_nics = of_nics.map(|&(ip, _)| ip);
            nodes.extend(
                addresses
                    .chain(of_nics)
                    .chain(of_bridge)
                    .map(|ip| (ip, &**name)),
            );
        }
        Self {
            pods,
            by_address,
            nodes,
            of_host: of_host
                .into_iter()
                .map(|pod| (&pod.meta.name, pod))
                .collect(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn get(&self, number: usize) -> &'c Pod {
        self.pods[number]
    }

    /// The number of a pod.
    pub(super) fn number(&self, name: &ObjectName) -> Option<usize> {
        let found = self.pods.binary_search_by(|pod| pod.meta.name.cmp(name));
        found.ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'c Pod> {
        self.pods.iter().copied()
    }

    pub(super) fn by_address(&self, address: IpAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// The node that has an address.
    pub(super) fn node_of(&self, address: IpAddr) -> Option<&'c str> {
        self.nodes.get(&address).copied()
    }

    /// Whether a pod of the host network has that address.
    pub(super) fn is_of_host(&self, name: &ObjectName, address: IpAddr) -> bool {
        let pod = self.of_host.get(name);
        pod.is_some_and(|pod| pod.ips.contains(&address))
    }
}

/// Some pods: a bit for each from the first one on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PodSet {
    /// Number of the first pod that the words are about; a multiple of 64.
    first: usize,
    words: Vec<u64>,
}

impl PodSet {
    /// A set of ascending numbers.
    fn of(numbers: &[u32]) -> Self {
        let (Some(&low), Some(&high)) = (numbers.first(), numbers.last()) else {
            return Self::default();
        };
        let first = low as usize / 64 * 64;
        let mut words = vec![0_u64; (high as usize - first) / 64 + 1];
        for &number in numbers {
            let place = number as usize - first;
            words[place / 64] |= 1 << (place % 64);
        }
        Self { first, words }
    }

    pub(super) fn holds(&self, pod: usize) -> bool {
        let Some(place) = pod.checked_sub(self.first) else {
            return false;
        };
        let word = self.words.get(place / 64);
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.words.iter().enumerate();
        words.flat_map(move |(index, &word)| {
            let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| self.first + index * 64 + bit)
        })
    }
}

/// The number of a set among [`PodSets`].
pub(super) type SetId = usize;

/// What a set is of: the pods of a namespace, or of selected ones; and which of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key<'c> {
    Namespace(&'c str, Option<&'c LabelSelector>),
    Namespaces(&'c LabelSelector, Option<&'c LabelSelector>),
}

/// The pods of every selector, each worked out once.
#[derive(Debug)]
pub(super) struct PodSets<'c> {
    sets: IndexMap<Key<'c>, PodSet>,
    /// The namespaces that have pods, and their pods.
    namespaces: BTreeMap<&'c str, (Range<u32>, Cow<'c, Namespace>)>,
    /// Pods by the keys of their labels.
    labelled: BTreeMap<&'c str, Labelled<'c>>,
}

/// The pods that have a label, ascending.
#[derive(Debug, Default)]
struct Labelled<'c> {
    any: Vec<u32>,
    values: BTreeMap<&'c str, Vec<u32>>,
}

impl<'c> PodSets<'c> {
    pub(super) fn new(cluster: &'c Cluster, pods: &Pods<'c>) -> Self {
        let mut namespaces: BTreeMap<&str, (Range<u32>, Cow<'_, Namespace>)> = BTreeMap::new();
        let mut labelled: BTreeMap<&str, Labelled<'_>> = BTreeMap::new();
        for (number, pod) in (0..).zip(pods.iter()) {
            let name = &*pod.meta.name.namespace;
            let (range, _) = namespaces.entry(name).or_insert_with(|| {
                // Not every dump lists the namespaces; the label that all have is known all the same.
                let unlisted = || Cow::Owned(Namespace::new(name, [].into(), None));
                let listed = cluster.namespaces.get(name).map(Cow::Borrowed);
                (number..number, listed.unwrap_or_else(unlisted))
            });
            range.end = number + 1;
            for (key, value) in &pod.meta.labels {
                let of_key = labelled.entry(key).or_default();
                of_key.any.push(number);
                of_key.values.entry(value).or_default().push(number);
            }
        }
        Self {
            sets: IndexMap::new(),
            namespaces,
            labelled,
        }
    }

    pub(super) fn set(&self, id: SetId) -> &PodSet {
        &self.sets[id]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PodSet> {
        self.sets.values()
    }

    /// The pods of a namespace; all of them without a selector.
    pub(super) fn of_namespace(
        &mut self,
        namespace: &'c str,
        pods: Option<&'c LabelSelector>,
    ) -> SetId {
        let key = Key::Namespace(namespace, pods.filter(|one| !one.requirements().is_empty()));
        self.id(key, |sets| {
            let range = sets.namespaces.get(namespace);
            let range = range.map_or(0..0, |(range, _)| range.clone());
            sets.selected(&[range], pods)
        })
    }

    /// The pods of the namespaces that a selector selects; all of them without a selector.
    pub(super) fn of_namespaces(
        &mut self,
        namespaces: &'c LabelSelector,
        pods: Option<&'c LabelSelector>,
    ) -> SetId {
        let pods = pods.filter(|one| !one.requirements().is_empty());
        self.id(Key::Namespaces(namespaces, pods), |sets| {
            let chosen = sets.namespaces.values();
            let chosen = chosen.filter(|(_, namespace)| namespaces.matches(&namespace.labels));
            let ranges: Vec<_> = chosen.map(|(range, _)| range.clone()).collect();
            sets.selected(&ranges, pods)
        })
    }

    fn id(&mut self, key: Key<'c>, make: impl FnOnce(&Self) -> PodSet) -> SetId {
        if let Some(id) = self.sets.get_index_of(&key) {
            return id;
        }
        let set = make(self);
        self.sets.insert_full(key, set).0
    }

    /// The pods of ascending ranges that a selector selects.
    fn selected(&self, ranges: &[Range<u32>], selector: Option<&LabelSelector>) -> PodSet {
        let requirements = selector.map_or(&[][..], LabelSelector::requirements);
        // What wants a label has few candidates; the rest is asked of each of them.
        let candidates = requirements
            .iter()
            .filter_map(|one| Some((one, self.candidates(one)?)))
            .min_by_key(|(_, numbers)| numbers.len());
        let (asked, mut numbers): (_, Vec<u32>) = match candidates {
            Some((asked, numbers)) => {
                let in_range = |range: &Range<u32>| {
                    let start = numbers.partition_point(|&one| one < range.start);
                    let end = numbers.partition_point(|&one| one < range.end);
                    numbers[start..end].iter().copied()
                };
                (Some(asked), ranges.iter().flat_map(in_range).collect())
            }
            None => (None, ranges.iter().cloned().flatten().collect()),
        };
        for one in requirements {
            if asked.is_some_and(|asked| std::ptr::eq(asked, one)) {
                continue;
            }
            let having = self.having(one);
            let wants_one = matches!(
                one.operator,
                Operator::Equals | Operator::In | Operator::Exists
            );
            numbers.retain(|number| having.binary_search(number).is_ok() == wants_one);
        }
        PodSet::of(&numbers)
    }

    /// The pods that a requirement wants, where it wants a label.
    fn candidates(&self, one: &Requirement) -> Option<Cow<'_, [u32]>> {
        match one.operator {
            Operator::Equals | Operator::In | Operator::Exists => Some(self.having(one)),
            Operator::NotIn | Operator::DoesNotExist => None,
        }
    }

    /// The pods that have the key with one of the values, or with any where there are none.
    fn having(&self, one: &Requirement) -> Cow<'_, [u32]> {
        let Some(labelled) = self.labelled.get(&*one.key) else {
            return Cow::Borrowed(&[]);
        };
        let with = |value: &str| labelled.values.get(value).map_or(&[][..], Vec::as_slice);
        match one.values.as_slice() {
            [] => Cow::Borrowed(&labelled.any),
            [value] => Cow::Borrowed(with(value)),
            values => {
                let numbers = values.iter().flat_map(|value| with(value));
                let mut numbers: Vec<u32> = numbers.copied().collect();
                numbers.sort_unstable();
                Cow::Owned(numbers)
            }
        }
    }
}
