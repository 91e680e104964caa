//! Every text of the fuzz corpus, under the toolchain of every day.

use std::fs;

use podwire_tests::{fuzz, root};

#[expect(
    clippy::print_stdout,
    reason = "the last line of a failed test names the text"
)]
fn replay(target: &str, check: fn(&[u8])) {
    let folder = root().join("fuzz/corpus").join(target);
    let texts = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{target}: {error}"));
    let mut count = 0;
    for text in texts {
        let path = text.expect("a file").path();
        println!("{}", path.display());
        check(&fs::read(path).expect("a file"));
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn iptables_text_of_the_corpus_is_read_or_refused() {
    replay("iptables", fuzz::iptables);
}

#[test]
fn nftables_text_of_the_corpus_is_read_or_refused() {
    replay("nft", fuzz::nft);
}

#[test]
fn ipset_text_of_the_corpus_is_read_or_refused() {
    replay("ipset", fuzz::ipset);
}

#[test]
fn clusters_of_the_corpus_are_read_or_refused() {
    replay("cluster", fuzz::cluster);
}

#[test]
fn rules_of_the_corpus_mean_the_same_to_both_evaluators() {
    replay("match_rules", fuzz::match_rules);
}

#[test]
fn streams_of_the_corpus_are_read_as_texts_are() {
    replay("stream", fuzz::stream);
}

#[test]
fn messages_to_a_name_server() {
    replay("dns_message", fuzz::dns_message);
}

#[test]
fn master_files() {
    replay("zone", fuzz::zone);
}

#[test]
fn corefiles_of_the_corpus_are_read_or_refused() {
    replay("corefile", fuzz::corefile);
}
