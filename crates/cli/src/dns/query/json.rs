//! Answers as JSON.

use hickory_proto::rr::Record;
use podwire_dns::message::{Reply, as_text, presentation};
use serde_json::{Value, json};

/// An answer; `null` stands for the rcode of a question that goes unanswered.
pub(super) fn answer(id: &Value, reply: Option<&Reply>) -> Value {
    let mut answer = match reply {
        None => {
            json!({ "rcode": null, "aa": false, "tc": false, "answer": [], "ns": [], "extra": [] })
        }
        Some(reply) => json!({
            "rcode": presentation::rcode(reply.rcode),
            "aa": reply.authoritative,
            "tc": reply.truncated,
            "answer": records(&reply.answers),
            "ns": records(&reply.authorities),
            "extra": records(&reply.additionals),
        }),
    };
    if let (Value::Object(fields), false) = (&mut answer, id.is_null()) {
        fields.insert("id".to_owned(), id.clone());
    }
    answer
}

fn records(records: &[Record]) -> Vec<Value> {
    let value = |record: &Record| {
        json!({
            "name": as_text(&record.name),
            "type": presentation::record_type(record.record_type()),
            "ttl": record.ttl,
            "rdata": presentation::data(&record.data),
        })
    };
    records.iter().map(value).collect()
}
