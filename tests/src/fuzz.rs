//! What holds of any bytes. The targets of `fuzz/` call these, and `tests/corpus.rs` runs them on the
//! texts of `fuzz/corpus`.

use podwire_cluster::{Input, load};
use podwire_interp::Interp;
use podwire_packet::{Family, Headers, Mark, Protocol, SimTime};
use podwire_ruleset::iptables::{self, Wording, line_column};
use podwire_ruleset::{
    Classify as _, ConntrackInfo, CtState, Draw, Hook, HostAddresses, Packet, State, TableName,
    ipset,
};

/// `iptables-save` text: what can be read is printed as text that reads the same, and can be asked
/// about packets; what cannot be read has a place.
///
/// # Panics
/// If that does not hold.
pub fn iptables(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for family in [Family::Ipv4, Family::Ipv6] {
        match iptables::parse(&text, family) {
            Err(error) => {
                let span = error.span();
                assert!(span.offset() + span.len() <= text.len(), "{error:?}");
                let (line, column) = line_column(&text, span.offset());
                assert!(line >= 1 && column >= 1, "{error:?}");
            }
            Ok(parsed) => {
                let printed = iptables::print(&parsed.rules, Wording::Save);
                let again = iptables::parse(&printed, family)
                    .unwrap_or_else(|error| panic!("{error}\n{printed}"));
                assert_eq!(iptables::print(&again.rules, Wording::Save), printed);
                ask(
                    &Interp::new(parsed.rules).expect("jumps were checked"),
                    family,
                );
            }
        }
    }
}

/// Asks every table at every hook about one packet.
fn ask(interp: &Interp, family: Family) {
    let (src, dst) = match family {
        Family::Ipv4 => ([10, 244, 0, 5].into(), [10, 96, 0, 20].into()),
        Family::Ipv6 => (family.unspecified(), family.unspecified()),
    };
    let host = HostAddresses::of([src]);
    for hook in Hook::ALL {
        let packet = Packet {
            headers: Headers::first_of_flow(src, dst, Protocol::TCP, 40_000, 80),
            mark: Mark(0),
            hook,
            input: None,
            output: None,
            physdev_in: None,
            physdev_out: None,
            conntrack: ConntrackInfo::of_state(CtState::New),
            host: &host,
            now: SimTime::START,
        };
        for table in TableName::ALL {
            let state = State::default();
            interp.classify(table, &packet, &state, &mut Draw(1), &mut ());
        }
    }
}

/// `ipset save` text: what can be read is printed as text that reads the same.
///
/// # Panics
/// If that does not hold.
pub fn ipset(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(sets) = ipset::parse(&text) {
        let printed = ipset::print(&sets);
        assert_eq!(ipset::parse(&printed), Ok(sets), "{printed}");
    }
}

/// A cluster's file, YAML, JSON or RON: what cannot be read has places in the text.
///
/// # Panics
/// If that does not hold.
pub fn cluster(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    // YAML ends a line at a carriage return, too.
    let lines = text.split(['\n', '\r']).count();
    let path = "input".into();
    if let Err(errors) = load(vec![Input { path, text }]) {
        assert!(!errors.errors.is_empty());
        for error in errors.errors {
            let line = usize::try_from(error.place.line).expect("few lines");
            assert!((1..=lines).contains(&line), "{error}");
            assert!(error.place.column >= 1, "{error}");
        }
    }
}
