//! Whole ways through small clusters: each disposition, each kind of Service, each pod network.

#[path = "dispositions/lab.rs"]
mod lab;
#[path = "dispositions/laws.rs"]
mod laws;
#[path = "dispositions/network.rs"]
mod network;
#[path = "dispositions/places.rs"]
mod places;
#[path = "dispositions/policies.rs"]
mod policies;
#[path = "dispositions/services.rs"]
mod services;
#[path = "dispositions/timeline.rs"]
mod timeline;
#[path = "dispositions/userspace.rs"]
mod userspace;
