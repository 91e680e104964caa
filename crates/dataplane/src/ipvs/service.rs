//! A virtual server, its destinations, and the schedulers that count.

use podwire_packet::Headers;
use podwire_ruleset::Choose;
use podwire_ruleset::ipvs::{
    Persistence, RealServer, Scheduler, SchedulerFlags, Socket, VirtualServer,
};

use super::{hashing, maglev};

/// A real server with its connections: `struct ip_vs_dest`.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) real: RealServer,
    /// Its weight before that was 0, which a Maglev table is made by (`last_weight`).
    pub(super) last_weight: u16,
    active: u32,
    inactive: u32,
    /// `IP_VS_DEST_F_OVERLOAD`: it has reached its upper threshold.
    is_overloaded: bool,
}

impl Destination {
    const fn new(real: RealServer) -> Self {
        Self {
            real,
            last_weight: real.weight,
            active: 0,
            inactive: 0,
            is_overloaded: false,
        }
    }

    /// Whether it may get connections.
    pub(super) const fn is_available(&self) -> bool {
        self.real.weight > 0 && !self.is_overloaded
    }

    const fn socket(&self) -> Socket {
        self.real.socket()
    }

    /// Active and inactive connections.
    pub(super) const fn counts(&self) -> (u32, u32) {
        (self.active, self.inactive)
    }

    /// A connection of it is over.
    pub(super) fn uncount(&mut self, is_active: bool) {
        let counter = self.counter(is_active);
        *counter = counter.saturating_sub(1);
        self.check_thresholds();
    }

    /// `ip_vs_dest_conn_overhead`: an active connection weighs as much as 256 inactive ones.
    const fn overhead(&self) -> i64 {
        ((self.active as i64) << 8) + self.inactive as i64
    }

    /// `ip_vs_sed_dest_overhead`: active connections, with the one to come.
    const fn expected_delay(&self) -> i64 {
        self.active as i64 + 1
    }

    /// `ip_vs_bind_dest` and `ip_vs_unbind_dest`: between the thresholds it stays as it was.
    fn check_thresholds(&mut self) {
        let total = self.active + self.inactive;
        let RealServer {
            upper_threshold: upper,
            lower_threshold: lower,
            ..
        } = self.real;
        if upper == 0 {
            self.is_overloaded = false;
        } else if total >= upper {
            self.is_overloaded = true;
        } else if lower != 0 {
            if total < lower {
                self.is_overloaded = false;
            }
        } else if u64::from(total) * 4 < u64::from(upper) * 3 {
            self.is_overloaded = false;
        }
    }
}

/// What a scheduler remembers: `svc->sched_data`.
#[derive(Clone, Debug)]
enum Memory {
    Nothing,
    /// The destination chosen last; none is the head of the list.
    Last(Option<usize>),
    Weighted(Mark),
    /// Places of destinations by hash.
    Table(Vec<u32>),
}

/// `struct ip_vs_wrr_mark`.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The destination chosen last; none is the head of the list.
    last: Option<usize>,
    /// The weight that is enough now.
    current: i64,
    /// Where that begins.
    max: i64,
    /// By how much it goes down.
    step: i64,
}

/// A virtual server: `struct ip_vs_service`.
#[derive(Clone, Debug)]
pub(super) struct Service {
    scheduler: Scheduler,
    flags: SchedulerFlags,
    persistence: Option<Persistence>,
    one_packet: bool,
    /// In the kernel's order: the one added last is the first (`__ip_vs_update_dest`).
    destinations: Vec<Destination>,
    memory: Memory,
}

impl Service {
    pub(super) fn new(server: &VirtualServer) -> Self {
        let destinations = server.real_servers.iter().rev();
        let mut service = Self {
            scheduler: server.scheduler,
            flags: server.flags,
            persistence: server.persistence,
            one_packet: server.one_packet,
            destinations: destinations.map(|&real| Destination::new(real)).collect(),
            memory: Memory::Nothing,
        };
        service.memory = service.first_memory();
        service
    }

    pub(super) const fn persistence(&self) -> Option<Persistence> {
        self.persistence
    }

    pub(super) const fn is_one_packet(&self) -> bool {
        self.one_packet
    }

    fn place(&self, socket: Socket) -> Option<usize> {
        self.destinations.iter().position(|d| d.socket() == socket)
    }

    pub(super) fn real_server(&self, socket: Socket) -> Option<RealServer> {
        Some(self.destinations[self.place(socket)?].real)
    }

    pub(super) fn counts(&self, socket: Socket) -> (u32, u32) {
        let found = self.place(socket).map(|place| &self.destinations[place]);
        found.map_or((0, 0), Destination::counts)
    }

    pub(super) fn count(&mut self, socket: Socket, is_active: bool) {
        if let Some(place) = self.place(socket) {
            let destination = &mut self.destinations[place];
            *destination.counter(is_active) += 1;
            destination.check_thresholds();
        }
    }

    pub(super) fn uncount(&mut self, socket: Socket, is_active: bool) {
        if let Some(place) = self.place(socket) {
            self.destinations[place].uncount(is_active);
        }
    }

    pub(super) fn recount(&mut self, socket: Socket, was_active: bool, is_active: bool) {
        if was_active != is_active {
            self.uncount(socket, was_active);
            self.count(socket, is_active);
        }
    }

    /// Adds a real server, with the connections that it had `before`.
    pub(super) fn add(&mut self, real: RealServer, before: Option<Destination>) {
        self.destinations.insert(0, Destination::new(real));
        if let Some(before) = before {
            self.revive(&before);
        }
        if let Memory::Last(Some(last)) = &mut self.memory {
            *last += 1;
        }
        self.changed();
    }

    /// Gives a real server the connections that it had before.
    pub(super) fn revive(&mut self, before: &Destination) {
        if let Some(place) = self.place(before.socket()) {
            let destination = &mut self.destinations[place];
            (destination.active, destination.inactive) = before.counts();
            destination.check_thresholds();
        }
    }

    /// Takes over all of a virtual server but its real servers (`ip_vs_edit_service`).
    pub(super) fn edit(&mut self, server: &VirtualServer) {
        self.flags = server.flags;
        self.persistence = server.persistence;
        self.one_packet = server.one_packet;
        if self.scheduler != server.scheduler {
            self.scheduler = server.scheduler;
            self.memory = self.first_memory();
        }
    }

    pub(super) fn into_destinations(self) -> Vec<Destination> {
        self.destinations
    }

    pub(super) fn remove(&mut self, socket: Socket) -> Option<Destination> {
        let place = self.place(socket)?;
        let gone = self.destinations.remove(place);
        if let Memory::Last(last) = &mut self.memory
            && last.is_some_and(|last| last >= place)
        {
            // `ip_vs_rr_del_dest`: the one before it, so that the next is the one behind it.
            *last = last.and_then(|last| last.checked_sub(1));
        }
        self.changed();
        Some(gone)
    }

    pub(super) fn set_weight(&mut self, socket: Socket, weight: u16) {
        if let Some(place) = self.place(socket) {
            let destination = &mut self.destinations[place];
            destination.real.weight = weight;
            if weight > 0 {
                destination.last_weight = weight;
            }
            self.changed();
        }
    }

    /// What schedulers do when destinations or their weights changed (`add_dest`, `del_dest`,
    /// `upd_dest`).
    fn changed(&mut self) {
        match self.memory {
            Memory::Last(_) => {}
            Memory::Weighted(mark) => {
                let (max, step) = self.weighted_cycle();
                let mut current = mark.current;
                if current > max || current == 0 {
                    current = max;
                } else if step > 1 {
                    current = current / step * step + 1;
                }
                self.memory = Memory::Weighted(Mark {
                    last: None,
                    current,
                    max,
                    step,
                });
            }
            Memory::Nothing | Memory::Table(_) => self.memory = self.first_memory(),
        }
    }

    /// What a scheduler begins with (`init_service`); of one that hashes, its table.
    fn first_memory(&self) -> Memory {
        match self.scheduler {
            Scheduler::RoundRobin => Memory::Last(None),
            Scheduler::WeightedRoundRobin => {
                let (max, step) = self.weighted_cycle();
                Memory::Weighted(Mark {
                    last: None,
                    current: max,
                    max,
                    step,
                })
            }
            Scheduler::SourceHashing => Memory::Table(hashing::by_weight(&self.destinations)),
            Scheduler::DestinationHashing => Memory::Table(hashing::in_turn(&self.destinations)),
            Scheduler::MaglevHashing => Memory::Table(maglev::table(&self.destinations)),
            Scheduler::LeastConnection
            | Scheduler::WeightedLeastConnection
            | Scheduler::LocalityBased
            | Scheduler::LocalityBasedReplicated
            | Scheduler::ShortestExpectedDelay
            | Scheduler::NeverQueue
            | Scheduler::FailOver
            | Scheduler::Overflow
            | Scheduler::TwoRandomChoices => Memory::Nothing,
        }
    }

    /// `ip_vs_wrr_max_weight` less what the last pass is to reach down to 1, and
    /// `ip_vs_wrr_gcd_weight`.
    fn weighted_cycle(&self) -> (i64, i64) {
        let weights = || self.destinations.iter().map(|d| u64::from(d.real.weight));
        let step = match weights().fold(0, gcd) {
            0 => 1,
            step => i64::try_from(step).unwrap_or(1),
        };
        let max = weights().max().map_or(0, |w| i64::try_from(w).unwrap_or(0));
        (max - (step - 1), step)
    }

    /// Puts the scheduler of a virtual server that has run for long to where chance finds it.
    pub(super) fn begin_anywhere(&mut self, choose: &mut impl Choose) {
        let available = self.destinations.iter().filter(|d| d.is_available());
        let count = u32::try_from(available.clone().count()).unwrap_or(u32::MAX);
        match self.scheduler {
            Scheduler::RoundRobin => {
                for _ in 0..choose.one_of(count) {
                    self.round_robin();
                }
            }
            Scheduler::WeightedRoundRobin => {
                let (_, step) = self.weighted_cycle();
                let turns: i64 = available.map(|d| i64::from(d.real.weight) / step).sum();
                for _ in 0..choose.one_of(u32::try_from(turns).unwrap_or(u32::MAX)) {
                    self.weighted_round_robin();
                }
            }
            Scheduler::LeastConnection
            | Scheduler::WeightedLeastConnection
            | Scheduler::LocalityBased
            | Scheduler::LocalityBasedReplicated
            | Scheduler::ShortestExpectedDelay
            | Scheduler::NeverQueue
            | Scheduler::FailOver
            | Scheduler::Overflow => {
                let first = choose.one_of(count) as usize;
                let place = |(place, d): (usize, &Destination)| d.is_available().then_some(place);
                let first = self
                    .destinations
                    .iter()
                    .enumerate()
                    .filter_map(place)
                    .nth(first);
                self.destinations.rotate_left(first.unwrap_or(0));
            }
            Scheduler::DestinationHashing
            | Scheduler::SourceHashing
            | Scheduler::MaglevHashing
            | Scheduler::TwoRandomChoices => {}
        }
    }

    /// Chooses a real server for a packet that begins a connection.
    pub(super) fn schedule(
        &mut self,
        headers: &Headers,
        choose: &mut impl Choose,
    ) -> Option<RealServer> {
        let port = if self.flags.contains(SchedulerFlags::PORT) {
            headers.sport
        } else {
            0
        };
        let falls_back = self.flags.contains(SchedulerFlags::FALLBACK);
        let of_table = |hash: &dyn Fn(u32) -> usize, falls_back| match &self.memory {
            Memory::Table(table) => hashing::look_up(table, &self.destinations, hash, falls_back),
            Memory::Nothing | Memory::Last(_) | Memory::Weighted(_) => None,
        };
        let place = match self.scheduler {
            Scheduler::RoundRobin => self.round_robin(),
            Scheduler::WeightedRoundRobin => self.weighted_round_robin(),
            Scheduler::LeastConnection => self.least_connection(),
            Scheduler::WeightedLeastConnection
            | Scheduler::LocalityBased
            | Scheduler::LocalityBasedReplicated => self.least_of(Destination::overhead),
            Scheduler::ShortestExpectedDelay => self.least_of(Destination::expected_delay),
            Scheduler::NeverQueue => {
                let mut destinations = self.destinations.iter();
                let idle = destinations.position(|d| d.is_available() && d.active == 0);
                idle.or_else(|| self.least_of(Destination::expected_delay))
            }
            Scheduler::FailOver => self.heaviest(|_| true),
            Scheduler::Overflow => self.heaviest(|d| d.active <= u32::from(d.real.weight)),
            Scheduler::SourceHashing => of_table(
                &|offset| hashing::source_bucket(headers.src, port, offset),
                falls_back,
            ),
            Scheduler::DestinationHashing => {
                of_table(&|_| hashing::destination_bucket(headers.dst), false)
            }
            Scheduler::MaglevHashing => of_table(
                &|offset| maglev::place(headers.src, port, offset),
                falls_back,
            ),
            Scheduler::TwoRandomChoices => self.two_random_choices(choose),
        }?;
        Some(self.destinations[place].real)
    }

    /// `ip_vs_rr_schedule`: the next one that is available, once around at most.
    fn round_robin(&mut self) -> Option<usize> {
        let Memory::Last(last) = &mut self.memory else {
            return None;
        };
        let count = self.destinations.len();
        let first = last.map_or(0, |last| last + 1);
        let found = (0..count)
            .map(|step| (first + step) % count)
            .find(|&place| self.destinations[place].is_available())?;
        *last = Some(found);
        Some(found)
    }

    /// `ip_vs_wrr_schedule`.
    fn weighted_round_robin(&mut self) -> Option<usize> {
        let destinations = &self.destinations;
        let Memory::Weighted(mark) = &mut self.memory else {
            return None;
        };
        if mark.max == 0 {
            return None;
        }
        let last = mark.last;
        let mut from = last.map_or(0, |last| last + 1);
        let (mut stop, mut is_last_pass, mut restarted) = (None, false, false);
        loop {
            for (place, destination) in destinations.iter().enumerate().skip(from) {
                let weight = i64::from(destination.real.weight);
                if !destination.is_overloaded && weight >= mark.current {
                    mark.last = Some(place);
                    return Some(place);
                }
                if stop == Some(place) {
                    mark.last = stop;
                    return None;
                }
            }
            from = 0;
            mark.current -= mark.step;
            if mark.current <= 0 {
                mark.current = mark.max;
                if is_last_pass || last.is_none() {
                    mark.last = None;
                    return None;
                }
                restarted = true;
            }
            is_last_pass = mark.current <= mark.step;
            if is_last_pass && restarted {
                // What stands behind the last one was looked at; the others up to it are left.
                stop = last;
            }
        }
    }

    /// `ip_vs_lc_schedule`: of equals the first.
    fn least_connection(&self) -> Option<usize> {
        let destinations = self.destinations.iter().enumerate();
        let available = destinations.filter(|(_, d)| d.is_available());
        Some(available.min_by_key(|(_, d)| d.overhead())?.0)
    }

    /// `ip_vs_wlc_schedule`, `ip_vs_sed_schedule`: the least load for its weight, of equals the first.
    fn least_of(&self, load: fn(&Destination) -> i64) -> Option<usize> {
        let destinations = self.destinations.iter().enumerate();
        let available = destinations.filter(|(_, d)| d.is_available());
        let least = available.reduce(|least, other| {
            let (a, b) = (least.1, other.1);
            let (a, b) = (
                load(a) * i64::from(b.real.weight),
                load(b) * i64::from(a.real.weight),
            );
            if a > b { other } else { least }
        });
        Some(least?.0)
    }

    /// `ip_vs_fo_schedule`, `ip_vs_ovf_schedule`: of equals the first.
    fn heaviest(&self, has_room: impl Fn(&Destination) -> bool) -> Option<usize> {
        let destinations = self.destinations.iter().enumerate();
        let available = destinations.filter(|(_, d)| d.is_available() && has_room(d));
        // `max_by_key` takes the last of equals.
        Some(available.rev().max_by_key(|(_, d)| d.real.weight)?.0)
    }

    /// `ip_vs_twos_schedule`: two are drawn by weight, and the one with less load for its weight gets it.
    fn two_random_choices(&self, choose: &mut impl Choose) -> Option<usize> {
        let available = || {
            let destinations = self.destinations.iter().enumerate();
            destinations.filter(|(_, d)| d.is_available())
        };
        let total: u32 = available().map(|(_, d)| u32::from(d.real.weight)).sum();
        if total == 0 {
            return None;
        }
        let mut draw = || {
            let mut left = i64::from(choose.one_of(total));
            available().find(|(_, d)| {
                left -= i64::from(d.real.weight);
                left <= 0
            })
        };
        let (first, second) = (draw()?, draw()?);
        let weighted = |load: &Destination, weight: &Destination| {
            load.overhead() * i64::from(weight.real.weight)
        };
        let is_second_better = weighted(first.1, second.1) > weighted(second.1, first.1);
        Some(if is_second_better { second.0 } else { first.0 })
    }
}

impl Destination {
    const fn counter(&mut self, is_active: bool) -> &mut u32 {
        if is_active {
            &mut self.active
        } else {
            &mut self.inactive
        }
    }
}

/// The greatest common divisor; that with 0 is the other.
pub(super) const fn gcd(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
