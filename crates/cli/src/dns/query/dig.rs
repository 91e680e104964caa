//! Answers as dig prints them.

use std::io::{self, Write};

use hickory_proto::rr::Record;
use podwire_dns::message::{Reply, Request, as_text, presentation};

pub(super) fn write(
    request: &Request,
    reply: Option<&Reply>,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(reply) = reply else {
        return writeln!(out, ";; no answer: the server drops this question");
    };
    let mut flags = String::from("qr");
    for (flag, set) in [("aa", reply.authoritative), ("tc", reply.truncated)] {
        if set {
            flags.push(' ');
            flags.push_str(flag);
        }
    }
    let status = presentation::rcode(reply.rcode);
    writeln!(out, ";; ->>HEADER<<- opcode: QUERY, status: {status}")?;
    writeln!(
        out,
        ";; flags: {flags} rd; QUERY: 1, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {}",
        reply.answers.len(),
        reply.authorities.len(),
        reply.additionals.len()
    )?;
    writeln!(out, "\n;; QUESTION SECTION:")?;
    let qtype = presentation::record_type(request.qtype);
    writeln!(
        out,
        ";{}\t\t{}\t{qtype}",
        as_text(&request.name),
        request.class
    )?;
    for (title, section) in [
        ("ANSWER", &reply.answers),
        ("AUTHORITY", &reply.authorities),
        ("ADDITIONAL", &reply.additionals),
    ] {
        write_section(title, section, out)?;
    }
    Ok(())
}

fn write_section(title: &str, records: &[Record], out: &mut impl Write) -> io::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n;; {title} SECTION:")?;
    for record in records {
        writeln!(out, "{}", presentation::line(record))?;
    }
    Ok(())
}
