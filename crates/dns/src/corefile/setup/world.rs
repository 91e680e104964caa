//! `autopath [ZONES…] RESOLV-CONF|@PLUGIN`.

use std::path::Path;

use super::super::plugin::{Autopath, SearchFrom};
use super::super::{Refusal, ZoneName, go};
use super::Controller;

pub(super) fn autopath(c: &mut Controller<'_>) -> Result<Autopath, Refusal> {
    let mut found = None;
    while c.next() {
        let args = c.remaining_args();
        let Some((source, zones)) = args.split_last() else {
            return Err(c.plain("no resolv-conf specified"));
        };
        let search = match source.strip_prefix('@') {
            Some(plugin) => SearchFrom::Plugin(plugin.to_owned()),
            None => {
                let text = c.around.read(Path::new(&**source)).map_err(|error| {
                    let why = go::open_error(source, &error);
                    c.plain(format!("failed to parse {source:?}: {why}"))
                })?;
                SearchFrom::List(search_list(&text))
            }
        };
        found = Some(Autopath {
            zones: c.zones(zones),
            search,
        });
    }
    found.ok_or_else(|| c.plain("no resolv-conf specified"))
}

/// The search list of a resolv.conf; the last one counts.
fn search_list(text: &str) -> Vec<ZoneName> {
    let mut search = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let Some("search" | "domain") = words.next() {
            search = words.map(ZoneName::new).collect();
        }
    }
    search
}
