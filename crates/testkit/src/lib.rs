//! Fixtures, strategies and kernel namespaces for tests.
