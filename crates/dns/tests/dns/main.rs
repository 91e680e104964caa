//! What real CoreDNS and real resolvers did, beside what podwire says that they do.

mod corefile;
mod lint;
mod resolver;
