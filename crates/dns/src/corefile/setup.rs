//! What each plugin reads of its directive, and what it refuses.
//!
//! # Sources
//! plugin/*/setup.go of CoreDNS; plugin/proxy/upstream.go of 1.4.0.
//!
//! # Departures
//! Plugins that podwire does not answer with (`etcd`, `dnssec`, `tls`, …) accept anything here.
//! Files of keys and certificates are not looked at. A template is checked for how its actions are
//! nested, not for the functions that it names.

mod access;
mod cache;
mod files;
mod forward;
mod kubernetes;
mod rewrite;
mod selector;
mod server;
mod template;
mod world;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::address::{self, Key};
use super::dispenser::Dispenser;
use super::lexer::Token;
use super::refusal::Refusal;
use super::surroundings::Surroundings;
use super::{Fallthrough, Plugin, ZoneName};
use crate::version::Version;

/// What a plugin says if it stands twice in a block.
const ONCE: &str = "this plugin can only be used once per Server Block";

/// What a plugin's set-up sees: the words of its directive, and the block around it.
pub(super) struct Controller<'c> {
    words: Dispenser,
    plugin: &'static str,
    keys: &'c [Key],
    version: Version,
    around: &'c dyn Surroundings,
    /// Where plugin `root` says that files are.
    root: &'c Path,
}

impl Deref for Controller<'_> {
    type Target = Dispenser;

    fn deref(&self) -> &Dispenser {
        &self.words
    }
}

impl DerefMut for Controller<'_> {
    fn deref_mut(&mut self) -> &mut Dispenser {
        &mut self.words
    }
}

impl Controller<'_> {
    /// Goes to the directive's next use; a second one is refused.
    fn next_and_only(&mut self, uses: &mut u32) -> Result<bool, Refusal> {
        if !self.next() {
            return Ok(false);
        }
        *uses += 1;
        if *uses > 1 {
            return Err(self.plain(ONCE));
        }
        Ok(true)
    }

    /// Goes to the block's next option and names it; one that this release does not have is `""`.
    fn next_option(&mut self) -> Option<Arc<str>> {
        if !self.next_block() {
            return None;
        }
        let option = self.word();
        let known = self.version.has_option(self.plugin, &option);
        Some(if known { option } else { "".into() })
    }

    /// Refuses an option by name.
    fn unknown_property(&self) -> Refusal {
        self.err(format!("unknown property '{}'", self.val()))
    }

    /// The one argument of an option.
    fn one_arg(&mut self) -> Result<Arc<str>, Refusal> {
        if !self.next_arg() {
            return Err(self.arg_err());
        }
        Ok(self.word())
    }

    /// No argument may follow.
    fn no_args(&mut self) -> Result<(), Refusal> {
        if self.next_arg() {
            return Err(self.arg_err());
        }
        Ok(())
    }

    /// A result of Go's standard library, whose words are passed on as they are.
    fn go<T>(&self, result: Result<T, String>) -> Result<T, Refusal> {
        result.map_err(|message| self.plain(message))
    }

    fn zones(&self, args: &[Arc<str>]) -> Vec<ZoneName> {
        address::zones(args, self.keys, self.version)
    }

    /// The zones of `fallthrough`; all if none is named.
    fn fallthrough(&mut self) -> Fallthrough {
        let args = self.remaining_args();
        if args.is_empty() {
            return Fallthrough(vec![ZoneName::root()]);
        }
        let version = self.version;
        Fallthrough(
            args.iter()
                .flat_map(|arg| address::zones_of(arg, version))
                .collect(),
        )
    }

    /// A path, as seen from `root`.
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Sets a plugin up.
pub(super) fn plugin(
    name: &'static str,
    tokens: Vec<Token>,
    keys: &[Key],
    version: Version,
    around: &dyn Surroundings,
    root: &mut PathBuf,
) -> Result<Plugin, Refusal> {
    let mut c = Controller {
        words: Dispenser::new(tokens),
        plugin: name,
        keys,
        version,
        around,
        root: &root.clone(),
    };
    let place = c.words.first_place();
    let other = |place| Plugin::Other {
        name: name.into(),
        place,
    };
    let plugin = match name {
        "root" => server::root(&mut c).map(|path| {
            *root = path;
            other(place)
        }),
        "errors" => server::errors(&mut c),
        "log" => server::log(&mut c),
        "debug" => server::bare(&mut c, Plugin::Debug),
        "health" => server::health(&mut c),
        "ready" => server::ready(&mut c),
        "prometheus" => server::prometheus(&mut c),
        "reload" => server::reload(&mut c),
        "bind" => server::bind(&mut c),
        "bufsize" => server::bufsize(&mut c),
        "chaos" => server::chaos(&mut c),
        "whoami" => server::bare(&mut c, Plugin::Whoami),
        "any" => Ok(Plugin::Any),
        "minimal" => server::bare(&mut c, Plugin::Minimal),
        "local" => server::bare(&mut c, Plugin::Local),
        "loop" => server::looping(&mut c),
        "loadbalance" => server::loadbalance(&mut c),
        "cache" => cache::read(&mut c).map(Plugin::Cache),
        "rewrite" => rewrite::read(&mut c).map(Plugin::Rewrite),
        "template" => template::read(&mut c).map(Plugin::Template),
        "hosts" => files::hosts(&mut c).map(Plugin::Hosts),
        "file" => files::file(&mut c).map(Plugin::File),
        "auto" => files::auto(&mut c).map(Plugin::Auto),
        "autopath" => world::autopath(&mut c).map(Plugin::Autopath),
        "kubernetes" => kubernetes::read(&mut c).map(Plugin::Kubernetes),
        "forward" => forward::read(&mut c).map(Plugin::Forward),
        "proxy" => forward::proxy(&mut c).map(Plugin::Proxy),
        "acl" => access::read(&mut c).map(Plugin::Acl),
        _ => Ok(other(place)),
    };
    plugin.map_err(|refusal| refusal.of(name))
}
