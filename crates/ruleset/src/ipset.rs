//! The text of `ipset save`.
