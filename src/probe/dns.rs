//! A question to a name server: over UDP, and again over TCP where the answer did not fit.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
};

use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE,
    rdata::{RData, TXT},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UdpSocket,
};

use super::{ProbeError, Progress, Reply, broken, failed};
use crate::{
    http::{
        dial::{DialTimes, Opener},
        stream::{Meter, Metered},
    },
    model::{clock, outcome::fail, scenario::RecordType},
};

/// Longest answer over UDP: nobody sends longer ones to who does not ask for them.
const MAX_DATAGRAM: usize = 4096;

/// A question.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) name: &'a str,
    pub(super) kind: RecordType,
    pub(super) rcode: Option<&'a str>,
}

/// What is made of an answer.
#[derive(Debug, PartialEq)]
enum Read {
    /// It answers something else: it is no answer to us.
    Stranger,
    /// It did not fit.
    Truncated,
    /// Code, records of the type asked for, and the document.
    Answer(&'static str, usize, String),
}

/// Asks, and judges the code.
pub(super) async fn ask(opener: &Opener, query: &Query<'_>, progress: &Progress) -> Result<Reply, ProbeError> {
    let id = rand::random();
    let question = query.bytes(id).map_err(|why| failed(fail::PROTOCOL, format!("`{}`: {why}", query.name)))?;
    let mut times = DialTimes::default();
    let addresses = opener.reach().addresses(&mut times).await;
    progress.dial.set(times);
    let address = *addresses?.first().ok_or_else(|| failed(fail::DNS, "the name server has no address"))?;
    let meter = Rc::new(Meter::default());
    progress.meter.replace(Some(meter.clone()));
    let socket = bind(address).await.map_err(|error| failed(fail::CONNECT, format!("{address}: {error}")))?;
    let lost = |error: &std::io::Error| failed(fail::CONNECT, format!("{address}: {error}"));
    meter.note_write(question.len());
    socket.send(&question).await.map_err(|error| lost(&error))?;
    let mut datagram = vec![0; MAX_DATAGRAM];
    let read = loop {
        let length = socket.recv(&mut datagram).await.map_err(|error| lost(&error))?;
        meter.note_read(length);
        match query.read(id, &datagram[..length])? {
            Read::Stranger => {}
            read => break read,
        }
    };
    let read = match read {
        Read::Truncated => over_tcp(opener, query, id, &question, progress).await?,
        read => read,
    };
    let Read::Answer(code, records, document) = read else {
        return Err(failed(fail::PROTOCOL, "the answer over TCP is to another question, or was cut too"));
    };
    let (wanted, found) = (query.rcode.unwrap_or("NOERROR"), format!("{} {:?}", query.name, query.kind));
    if code != wanted {
        return Err(failed(fail::DNS, format!("{found}: the answer is {code}, not {wanted}")));
    }
    if query.rcode.is_none() && records == 0 {
        return Err(failed(fail::DNS, format!("{found}: there is no such record")));
    }
    Ok(Reply { ended: clock::mono(), ..Reply::new(document) })
}

async fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // Nobody else can answer then, and a port where nobody listens says so.
    socket.connect(address).await?;
    Ok(socket)
}

async fn over_tcp(
    opener: &Opener,
    query: &Query<'_>,
    id: u16,
    question: &[u8],
    progress: &Progress,
) -> Result<Read, ProbeError> {
    let (times, stream) = opener.open().await;
    let dns = progress.dial.get().dns;
    progress.dial.set(DialTimes { dns, ..times });
    let meter = progress.meter.borrow().clone().unwrap_or_default();
    let mut stream = Metered::new(stream?, meter);
    let mut framed = u16::try_from(question.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    framed.extend_from_slice(question);
    stream.write_all(&framed).await.map_err(|error| broken(&error))?;
    let length = stream.read_u16().await.map_err(|error| broken(&error))?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(|error| broken(&error))?;
    query.read(id, &answer)
}

impl Query<'_> {
    fn bytes(&self, id: u16) -> Result<Vec<u8>, String> {
        let name = self.name.strip_suffix('.').unwrap_or(self.name);
        if !name.is_empty() && name.split('.').any(|label| label.is_empty() || label.len() > 63) {
            return Err("each part of a name has 1 to 63 characters".to_owned());
        }
        let name = Name::new(name).map_err(|error| error.to_string())?;
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        packet.questions.push(Question::new(name, QTYPE::TYPE(record(self.kind)), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().map_err(|error| error.to_string())
    }

    fn read(&self, id: u16, bytes: &[u8]) -> Result<Read, ProbeError> {
        let fault =
            |why: &dyn std::fmt::Display| failed(fail::PROTOCOL, format!("the answer is no DNS message: {why}"));
        // What others send to our port is not even looked at.
        if bytes.len() < 12 || bytes[..2] != id.to_be_bytes() {
            return Ok(Read::Stranger);
        }
        let packet = Packet::parse(bytes).map_err(|error| fault(&error))?;
        if !packet.has_flags(PacketFlag::RESPONSE) || !packet.questions.iter().all(|asked| self.is(asked)) {
            return Ok(Read::Stranger);
        }
        if packet.has_flags(PacketFlag::TRUNCATION) {
            return Ok(Read::Truncated);
        }
        let kind = record(self.kind);
        let records: Vec<_> = packet.answers.iter().filter(|found| found.rdata.type_code() == kind).collect();
        let code = code(packet.rcode());
        let document = serde_json::json!({
            "rcode": code,
            "answers": records.iter().map(|found| text(&found.rdata)).collect::<Vec<_>>(),
            "ttl": records.iter().map(|found| found.ttl).min(),
            "authoritative": packet.has_flags(PacketFlag::AUTHORITATIVE_ANSWER),
        });
        Ok(Read::Answer(code, records.len(), document.to_string()))
    }

    fn is(&self, asked: &Question<'_>) -> bool {
        let name = self.name.strip_suffix('.').unwrap_or(self.name);
        asked.qtype == QTYPE::TYPE(record(self.kind)) && asked.qname.to_string().eq_ignore_ascii_case(name)
    }
}

fn record(kind: RecordType) -> TYPE {
    match kind {
        RecordType::A => TYPE::A,
        RecordType::AAAA => TYPE::AAAA,
        RecordType::CAA => TYPE::CAA,
        RecordType::CNAME => TYPE::CNAME,
        RecordType::MX => TYPE::MX,
        RecordType::NS => TYPE::NS,
        RecordType::PTR => TYPE::PTR,
        RecordType::SOA => TYPE::SOA,
        RecordType::SRV => TYPE::SRV,
        RecordType::TXT => TYPE::TXT,
    }
}

/// The codes as `dig` names them.
fn code(code: RCODE) -> &'static str {
    match code {
        RCODE::NoError => "NOERROR",
        RCODE::FormatError => "FORMERR",
        RCODE::ServerFailure => "SERVFAIL",
        RCODE::NameError => "NXDOMAIN",
        RCODE::NotImplemented => "NOTIMP",
        RCODE::Refused => "REFUSED",
        RCODE::YXDOMAIN => "YXDOMAIN",
        RCODE::YXRRSET => "YXRRSET",
        RCODE::NXRRSET => "NXRRSET",
        RCODE::NOTAUTH => "NOTAUTH",
        RCODE::NOTZONE => "NOTZONE",
        RCODE::BADVERS => "BADVERS",
        RCODE::Reserved => "RESERVED",
    }
}

/// A record as `dig +short` writes it, but for the dot at the end of names.
fn text(data: &RData<'_>) -> String {
    match data {
        RData::A(a) => Ipv4Addr::from(a.address).to_string(),
        RData::AAAA(aaaa) => Ipv6Addr::from(aaaa.address).to_string(),
        RData::CNAME(name) => name.0.to_string(),
        RData::NS(name) => name.0.to_string(),
        RData::PTR(name) => name.0.to_string(),
        RData::MX(mx) => format!("{} {}", mx.preference, mx.exchange),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target),
        RData::SOA(soa) => format!("{} {} {}", soa.mname, soa.rname, soa.serial),
        RData::TXT(txt) => joined(txt),
        RData::CAA(caa) => format!("{} {} {}", caa.flag, caa.tag, String::from_utf8_lossy(&caa.value)),
        _ => String::new(),
    }
}

/// The parts of a TXT record belong together.
fn joined(txt: &TXT<'_>) -> String {
    String::try_from(txt.clone()).unwrap_or_default()
}
