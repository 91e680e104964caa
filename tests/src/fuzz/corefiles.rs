//! Corefiles.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use podwire_dns::corefile::{Corefile, Nothing};
use podwire_dns::lint::lint;
use podwire_dns::resolver::{Answer, ResolvConf, Resolver, Wanted, resolve};
use podwire_dns::version::Version;

/// A Corefile is read or refused by every release; a refusal has a place of the text; what lint makes
/// of it is read as it was printed; and a resolver ends, whatever the search list.
///
/// # Panics
/// If that does not hold.
pub fn corefile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for version in [Version::OLDEST, Version::new(1, 8, 0), Version::NEWEST] {
        if let Err(refusal) = Corefile::load("Corefile", &text, version, &Nothing)
            && let Some(place) = &refusal.place
        {
            let lines = text.split('\n').count();
            assert!((1..=lines).contains(&(place.line as usize)), "{refusal:?}");
            assert!(place.column >= 1, "{refusal:?}");
        }
    }
    if let Some(migrated) = lint("Corefile", &text, Version::NEWEST, &Nothing).migrated {
        let again = lint("Corefile", &migrated.text, Version::NEWEST, &Nothing);
        assert!(
            again.migrated.is_none() || !migrated.left.is_empty() || migrated.refusal.is_some(),
            "{}",
            migrated.text
        );
    }
    let conf = ResolvConf::read(&text);
    let name = text.split_whitespace().next().unwrap_or("a");
    for resolver in Resolver::ALL {
        let mut nobody = |_: &Name, _| Answer {
            rcode: ResponseCode::NXDomain,
            records: Vec::new(),
        };
        let found = resolve(&conf, resolver, name, Wanted::Both, &mut nobody);
        assert!(found.sent.len() <= conf.search.len() + 1, "{found:?}");
    }
}
