//! Writes the rule sets and packets that podwire and its peers are asked about.
//!
//! `peer_files DIR [SIZE]`: no set has more than SIZE rules or Services, which is 1,000,000 unless told
//! otherwise and at least 1,000.
//!
//! | file | is |
//! |---|---|
//! | `NAME.boxes` | the rules as boxes, in order: 20 bytes each (`podwire_bench::peers::box_bytes`) |
//! | `NAME.CASE.packets` | packets, each with the number of the rule that is right: 40 bytes (`Question`) |
//! | `NAME.rules` | the rules as `iptables-save` prints them |
//! | `NAME.nft` | Services as a verdict map of nftables |

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use podwire_bench::peers::{self, Question};
use podwire_bench::policy::{Policy, Rule};
use podwire_controlplane::kube_proxy::{IptablesProxier, KubeProxyVersion, ServicePorts};
use podwire_packet::Family;
use podwire_ruleset::{Choose as _, Draw};

const SERVICES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Sizes that the kernel is asked about too, and whose last Service is.
const SERVICES_OF_THE_KERNEL: [u32; 2] = [1_000, 10_000];

const RULES: [u32; 2] = [1_000, 10_000];

/// Enough that caches do not hold what a million of Services is looked up in.
const PACKETS_FOR_SERVICES: u32 = 1 << 20;
const PACKETS_FOR_POLICIES: usize = 1 << 16;

/// Seeds of the rules, and of the packets.
const SEEDS: (u64, u64) = (2005, 1);

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || io::Error::other("usage: peer_files DIR [SIZE], SIZE from 1000");
    let dir = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let most: u32 = match arguments.next() {
        Some(size) => size.parse().map_err(|_| usage())?,
        None => 1_000_000,
    };
    if most < SERVICES[0] {
        return Err(usage());
    }
    fs::create_dir_all(&dir)?;
    for count in SERVICES.into_iter().filter(|count| *count <= most) {
        services(&dir, count)?;
    }
    for count in RULES.into_iter().filter(|count| *count <= most) {
        let policy = Policy::like_an_access_list(count as usize, SEEDS.0);
        boxes(&dir, &format!("policy-{count}"), policy.rules.iter())?;
        questions_of(&dir, &format!("policy-{count}"), &policy)?;
        let policy = Policy::unfavourable(count, SEEDS.0);
        questions_of(&dir, &format!("unfavourable-{count}"), &policy)?;
    }
    Ok(())
}

fn services(dir: &Path, count: u32) -> io::Result<()> {
    let name = format!("services-{count}");
    let rules: Vec<Rule> = (0..count).map(peers::service_box).collect();
    boxes(dir, &name, rules.iter())?;
    let mut draw = Draw(SEEDS.1);
    let random = (0..PACKETS_FOR_SERVICES).map(|_| {
        let number = draw.one_of(count);
        peers::to_service(number, &mut draw)
    });
    questions(dir, &format!("{name}.random"), random)?;
    if !SERVICES_OF_THE_KERNEL.contains(&count) {
        return Ok(());
    }
    let mut draw = Draw(SEEDS.1);
    let last = (0..PACKETS_FOR_POLICIES).map(|_| peers::to_service(count - 1, &mut draw));
    questions(dir, &format!("{name}.last"), last)?;
    let cluster = peers::services(count);
    let ports = ServicePorts::new(&cluster, Family::Ipv4, KubeProxyVersion::default());
    let node = cluster.nodes.keys().next().expect("there is a node");
    let proxier = IptablesProxier::new(&cluster, &ports, node).map_err(io::Error::other)?;
    fs::write(dir.join(format!("{name}.rules")), proxier.save_text())?;
    fs::write(dir.join(format!("{name}.nft")), peers::verdict_map(count))
}

fn questions_of(dir: &Path, name: &str, policy: &Policy) -> io::Result<()> {
    fs::write(dir.join(format!("{name}.rules")), policy.iptables_save())?;
    let packets = policy.packets(PACKETS_FOR_POLICIES, SEEDS.1);
    let answered = packets.into_iter().map(|flow| Question {
        flow,
        rule: policy.first_match(&flow),
    });
    questions(dir, &format!("{name}.random"), answered)
}

fn boxes<'a>(dir: &Path, name: &str, rules: impl Iterator<Item = &'a Rule>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(dir.join(format!("{name}.boxes")))?);
    for rule in rules {
        file.write_all(&peers::box_bytes(rule))?;
    }
    file.flush()
}

fn questions(dir: &Path, name: &str, all: impl Iterator<Item = Question>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(dir.join(format!("{name}.packets")))?);
    for question in all {
        file.write_all(&question.to_bytes())?;
    }
    file.flush()
}
