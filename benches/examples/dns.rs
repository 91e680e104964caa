//! What the names of a cluster take in memory, as `kubernetes` of CoreDNS keeps them here.
//!
//! `dns [SERVICES…]`, 100, 10,000 and 100,000 unless said, each with three endpoints and with none.
//! Bytes are counted by the allocator: what is left after the names are made, the objects not counted.

#![expect(clippy::print_stdout, reason = "what was measured is to be read")]

use std::env;
use std::error::Error;

use podwire_cluster::synthetic;
use podwire_dns::corefile::{Kubernetes, ZoneName};
use podwire_dns::records::Records;

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes: Vec<u32> = env::args()
        .skip(1)
        .map(|size| size.parse())
        .collect::<Result<_, _>>()?;
    if sizes.is_empty() {
        sizes = vec![100, 10_000, 100_000];
    }
    let config = Kubernetes::new(vec![ZoneName::new("cluster.local")], 0);
    println!("services  endpoints  bytes a service");
    for services in sizes {
        for endpoints in [0, 3] {
            let cluster = synthetic::services(services, endpoints);
            let mut records = Records::default();
            let info = allocation_counter::measure(|| records = Records::new(&cluster, &config));
            assert_eq!(records.len(), services as usize);
            let each = info.bytes_current / i64::from(services);
            println!("{services:8}  {endpoints:9}  {each:15}");
        }
    }
    Ok(())
}
