//! A server on a socket.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::RecordType;
use podwire_dns::message::name;
use podwire_dns::serve::Listener;

use crate::answers::{cluster, server_of, text};

fn listener() -> Listener {
    let server = server_of(&cluster(), &text("corefiles/plain.Corefile"), "1.13.2");
    Listener::new(server, "127.0.0.1:0".parse().unwrap()).unwrap()
}

fn question(id: u16, qname: &str, qtype: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message
        .queries
        .push(Query::query(name(qname).unwrap(), qtype));
    message.to_vec().unwrap()
}

fn over_tcp(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap()
}

#[test]
fn datagrams_and_connections_are_answered_alike() {
    let listener = listener();
    let qname = "wide.data.svc.cluster.local";
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(listener.local_addr()).unwrap();
    udp.send(&question(1, qname, RecordType::A)).unwrap();
    let mut buffer = [0; 4_096];
    let length = udp.recv(&mut buffer).unwrap();
    let of_udp = Message::from_vec(&buffer[..length]).unwrap();

    let mut tcp = TcpStream::connect(listener.local_addr()).unwrap();
    // Two questions at once, the second in two pieces.
    let both: Vec<u8> = [2, 3]
        .into_iter()
        .flat_map(|id| {
            let question = question(id, qname, RecordType::A);
            let length = u16::try_from(question.len()).unwrap().to_be_bytes();
            [&length[..], &question].concat()
        })
        .collect();
    let (first, rest) = both.split_at(both.len() - 5);
    tcp.write_all(first).unwrap();
    let of_tcp = over_tcp(&mut tcp);
    tcp.write_all(rest).unwrap();
    assert_eq!(over_tcp(&mut tcp).metadata.id, 3);
    assert_eq!(of_tcp.answers, of_udp.answers);
    assert_eq!(of_udp.answers.len(), 7);
    drop(tcp);

    let metrics = listener.metrics();
    for line in [
        "coredns_dns_requests_total{proto=\"udp\",type=\"A\"} 1",
        "coredns_dns_requests_total{proto=\"tcp\",type=\"A\"} 2",
        "coredns_dns_responses_total{rcode=\"NOERROR\"} 3",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    listener.stop();
}

#[test]
fn an_answer_too_long_for_a_datagram_comes_over_a_connection() {
    let listener = listener();
    let qname = "wide.data.svc.cluster.local";
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.connect(listener.local_addr()).unwrap();
    udp.send(&question(1, qname, RecordType::SRV)).unwrap();
    let mut buffer = [0; 4_096];
    let length = udp.recv(&mut buffer).unwrap();
    let cut = Message::from_vec(&buffer[..length]).unwrap();
    assert!(cut.metadata.truncation && length <= 512);

    let mut tcp = TcpStream::connect(listener.local_addr()).unwrap();
    let question = question(2, qname, RecordType::SRV);
    let length = u16::try_from(question.len()).unwrap().to_be_bytes();
    tcp.write_all(&[&length[..], &question].concat()).unwrap();
    let whole = over_tcp(&mut tcp);
    assert!(!whole.metadata.truncation && whole.additionals.len() > cut.additionals.len());
    assert_eq!(whole.metadata.response_code, ResponseCode::NoError);
    // A connection that is still open does not keep the server.
    listener.stop();
    tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(tcp.read(&mut [0; 1]).unwrap(), 0);
}
