//! A million draws of each scheduler that counts, beside the kernel's own loop written out again over a
//! list with a head, as net/netfilter/ipvs/ip_vs_{rr,wrr,lc,wlc,sed,nq}.c have it. Connections end
//! meanwhile, weights change, servers come and go.
//!
//! The schedulers that hash are compared with tables in the module above; `dh`, whose table is asked by
//! virtual address, is here.

use std::collections::VecDeque;

use podwire_ruleset::Choose;

use super::*;

/// A server as `struct ip_vs_dest` has it, of those fields that schedulers read.
#[derive(Clone, Copy, Debug)]
struct Dest {
    number: u8,
    weight: i64,
    active: i64,
}

/// A virtual server in the kernel. Place 0 is the head of its list, which is no server.
struct Kernel {
    list: Vec<Dest>,
    /// `sched_data` of rr, `mark->cl` of wrr.
    current: usize,
    cw: i64,
    mw: i64,
    di: i64,
    /// Numbers of the servers of connections, oldest first, with the second at which they end.
    connections: VecDeque<(u64, u8)>,
}

/// The head.
const HEAD: Dest = Dest {
    number: 0,
    weight: -1,
    active: 0,
};

type Schedule = fn(&mut Kernel) -> Option<usize>;

impl Kernel {
    fn new(weights: &[u16]) -> Self {
        let servers = (1..).zip(weights).map(|(number, &weight)| Dest {
            number,
            weight: weight.into(),
            active: 0,
        });
        let mut kernel = Self {
            list: std::iter::once(HEAD).chain(servers).collect(),
            current: 0,
            cw: 0,
            mw: 0,
            di: 1,
            connections: VecDeque::new(),
        };
        kernel.changed();
        kernel
    }

    /// What wrr calls `mw` and `di`.
    fn cycle(&self) -> (i64, i64) {
        let weights = || self.list[1..].iter().map(|dest| dest.weight);
        let mut di = weights().max().unwrap_or(0).max(1);
        while weights().any(|weight| weight % di != 0) {
            di -= 1;
        }
        if weights().all(|weight| weight == 0) {
            di = 1;
        }
        (weights().max().unwrap_or(0) - (di - 1), di)
    }

    fn next_of(&self, place: usize) -> usize {
        (place + 1) % self.list.len()
    }

    fn rr(&mut self) -> Option<usize> {
        let last = self.current;
        let mut dest = last;
        for _ in 0..2 {
            loop {
                dest = self.next_of(dest);
                if dest == 0 {
                    break;
                }
                if self.list[dest].weight > 0 {
                    self.current = dest;
                    return Some(dest);
                }
                if dest == last {
                    return None;
                }
            }
        }
        None
    }

    fn wrr(&mut self) -> Option<usize> {
        let (mw, di) = (self.mw, self.di);
        if mw == 0 {
            return None;
        }
        let last = self.current;
        let (mut dest, mut stop) = (last, None);
        let (mut last_pass, mut restarted) = (false, false);
        loop {
            loop {
                dest = self.next_of(dest);
                if dest == 0 {
                    break;
                }
                if self.list[dest].weight >= self.cw {
                    self.current = dest;
                    return Some(dest);
                }
                if Some(dest) == stop {
                    self.current = dest;
                    return None;
                }
            }
            self.cw -= di;
            if self.cw <= 0 {
                self.cw = mw;
                if last_pass || last == 0 {
                    self.current = 0;
                    return None;
                }
                restarted = true;
            }
            last_pass = self.cw <= di;
            if last_pass && restarted && last != 0 {
                stop = Some(last);
            }
        }
    }

    fn lc(&mut self) -> Option<usize> {
        self.least(|load, _, least, _| load < least, 0)
    }

    fn wlc(&mut self) -> Option<usize> {
        let is_better = |load, weight, least, of_least| least * weight > load * of_least;
        self.least(is_better, 0)
    }

    fn sed(&mut self) -> Option<usize> {
        let is_better = |load, weight, least, of_least| least * weight > load * of_least;
        self.least(is_better, 1)
    }

    fn nq(&mut self) -> Option<usize> {
        for place in 1..self.list.len() {
            let dest = self.list[place];
            if dest.weight > 0 && dest.active == 0 {
                return Some(place);
            }
        }
        self.sed()
    }

    /// The loop that lc, wlc and sed have in common; `plus` is the connection to come.
    fn least(&self, is_better: fn(i64, i64, i64, i64) -> bool, plus: i64) -> Option<usize> {
        let mut least: Option<usize> = None;
        for place in 1..self.list.len() {
            let dest = self.list[place];
            if dest.weight == 0 {
                continue;
            }
            let load = dest.active + plus;
            let found = match least {
                None => true,
                Some(least) => {
                    let other = self.list[least];
                    is_better(load, dest.weight, other.active + plus, other.weight)
                }
            };
            if found {
                least = Some(place);
            }
        }
        least
    }

    /// A connection begins at that second: who gets it, 0 for nobody.
    fn connect(&mut self, schedule: Schedule, second: u64) -> u8 {
        while self
            .connections
            .front()
            .is_some_and(|(end, _)| *end <= second)
        {
            let (_, number) = self.connections.pop_front().unwrap();
            if let Some(dest) = self.list.iter_mut().find(|dest| dest.number == number) {
                dest.active -= 1;
            }
        }
        let Some(place) = schedule(self) else {
            return 0;
        };
        let dest = &mut self.list[place];
        dest.active += 1;
        // A SYN alone is remembered for a minute.
        self.connections.push_back((second + 60, dest.number));
        dest.number
    }

    fn set_weight(&mut self, number: u8, weight: u16) {
        for dest in &mut self.list {
            if dest.number == number && number != 0 {
                dest.weight = weight.into();
            }
        }
        self.changed();
    }

    /// Takes a server out and puts it in again, at the head of the list.
    fn move_to_front(&mut self, number: u8, is_rr: bool) {
        let place = self
            .list
            .iter()
            .position(|dest| dest.number == number)
            .unwrap();
        let dest = self.list.remove(place);
        if is_rr && self.current >= place {
            // `ip_vs_rr_del_dest` of the current one: the one before it. Those behind it moved up.
            self.current -= 1;
        }
        self.changed();
        self.list.insert(1, dest);
        if is_rr && self.current >= 1 {
            self.current += 1;
        }
        self.changed();
    }

    /// `ip_vs_wrr_dest_changed`; rr does not look.
    fn changed(&mut self) {
        (self.mw, self.di) = self.cycle();
        if self.cw > self.mw || self.cw == 0 {
            self.cw = self.mw;
        } else if self.di > 1 {
            self.cw = self.cw / self.di * self.di + 1;
        }
    }
}

/// Asks both a million times and compares every answer. Those that go around do not look at connections:
/// of UDP with `-o` there are none, which is faster.
fn draws_agree(scheduler: &str, weights: &[u16], schedule: Schedule) {
    const CHANGES: u32 = 40;
    let is_wrr = scheduler == "wrr";
    let (at, options) = match scheduler {
        "rr" | "wrr" => (DNS, "-o"),
        _ => (WEB, ""),
    };
    let mut kernel = Kernel::new(weights);
    let mut ipvs = ipvs_at(at, &format!("-s {scheduler} {options}"), weights);
    let mut chance = Draw(0x5eed);
    let servers = u8::try_from(weights.len()).unwrap();
    let mut counts = vec![0u32; weights.len() + 1];
    for number in 0..DRAWS {
        if number % (DRAWS / CHANGES) == DRAWS / CHANGES / 2 {
            let of = 1 + u8::try_from(chance.one_of(servers.into())).unwrap();
            if chance.one_of(3) == 0 {
                let weight = kernel
                    .list
                    .iter()
                    .find(|dest| dest.number == of)
                    .unwrap()
                    .weight;
                kernel.move_to_front(of, !is_wrr);
                ipvs.apply(&Change::DeleteReal(at, server(of)));
                let weight = u16::try_from(weight).unwrap();
                let real = RealServer::masquerading(server(of).0, server(of).1, weight);
                ipvs.apply(&Change::AddReal(at, real));
            } else {
                let weight = chance.one_of(7);
                let weight = u16::try_from(weight).unwrap();
                kernel.set_weight(of, weight);
                ipvs.apply(&Change::SetWeight(at, server(of), weight));
            }
            if is_wrr {
                kernel.current = 0;
            }
        }
        // Ten connections a second: some 600 at a time.
        let second = u64::from(number / 10);
        let wanted = kernel.connect(schedule, second);
        // Each client is another one for longer than a connection is remembered.
        let (client, port) = (
            client(number / 40_000),
            u16::try_from(number % 40_000 + 1).unwrap(),
        );
        let mut headers = packet(client, port);
        headers.protocol = at.protocol;
        let got = ask(&mut ipvs, &headers, second);
        assert_eq!(got, wanted, "draw {number} of {scheduler}");
        counts[usize::from(got)] += 1;
    }
    let served = counts[1..]
        .iter()
        .filter(|&&count| count > DRAWS / 50)
        .count();
    assert!(served >= 3, "{scheduler} chose {counts:?}");
}

#[test]
fn round_robin_draws_as_the_kernel() {
    draws_agree("rr", &[1, 1, 0, 1, 1], Kernel::rr);
}

#[test]
fn weighted_round_robin_draws_as_the_kernel() {
    draws_agree("wrr", &[4, 2, 0, 6, 3], Kernel::wrr);
}

#[test]
fn least_connections_draw_as_the_kernel() {
    draws_agree("lc", &[1, 2, 0, 3], Kernel::lc);
}

#[test]
fn weighted_least_connections_draw_as_the_kernel() {
    draws_agree("wlc", &[1, 2, 0, 3, 5], Kernel::wlc);
}

#[test]
fn shortest_expected_delays_draw_as_the_kernel() {
    draws_agree("sed", &[1, 2, 0, 3, 5], Kernel::sed);
}

#[test]
fn never_queue_draws_as_the_kernel() {
    draws_agree("nq", &[1, 2, 0, 3, 5], Kernel::nq);
}

#[test]
fn destination_hashing_is_that_of_the_kernel_for_a_thousand_addresses() {
    const ADDRESSES: u32 = 1_000;
    // Virtual servers 10.96.0.1 and on, whose weights do not matter as long as there is one.
    let at = |number: u32| VirtualAddress {
        address: IpAddr::V4((0x0a60_0001 + number * 257).into()),
        ..DNS
    };
    let text: String = (0..ADDRESSES)
        .map(|number| {
            let of = at(number);
            let real = |place: u8| format!("-a {of} -r 10.0.0.{place}:8080 -m -w {place}\n");
            format!("-A {of} -s dh -o\n{}{}{}", real(3), real(2), real(1))
        })
        .collect();
    let mut ipvs = Ipvs::new(&ipvs::parse(&text).unwrap());
    let mut counts = [0u32; 4];
    for number in 0..DRAWS {
        let of = at(number % ADDRESSES);
        let mut headers = packet(client(number), 40_000);
        (headers.protocol, headers.dst) = (of.protocol, of.address);
        let IpAddr::V4(address) = of.address else {
            panic!("IPv4");
        };
        let wanted = u8::try_from(bucket(address.to_bits()) % 3).unwrap() + 1;
        assert_eq!(ask(&mut ipvs, &headers, 0), wanted, "{address}");
        counts[usize::from(wanted)] += 1;
    }
    assert!(
        counts[1..].iter().all(|&count| count > DRAWS / 5),
        "{counts:?}"
    );
}
