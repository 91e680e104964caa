//! What real CoreDNS and real resolvers did, beside what podwire says that they do.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod corefile;
mod lint;
mod resolver;
