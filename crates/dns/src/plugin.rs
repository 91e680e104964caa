//! The plugins that answer, one file each, in the order of plugin.cfg.
//!
//! `errors`, `log`, `debug`, `health`, `ready`, `prometheus`, `reload`, `bind`, `bufsize` and `loop`
//! change no answer and have no handler.
//!
//! # Departures
//! `loop` does not end the process: the question by which CoreDNS finds a loop is not sent. A
//! `forward` that leads back to the server itself cannot be said here, as the world behind it is
//! zones or another server.

pub(crate) mod acl;
pub(crate) mod autopath;
pub(crate) mod cache;
pub(crate) mod file;
pub(crate) mod forward;
pub(crate) mod hosts;
pub(crate) mod kubernetes;
pub(crate) mod loadbalance;
pub(crate) mod rewrite;
pub(crate) mod small;
pub(crate) mod template;
