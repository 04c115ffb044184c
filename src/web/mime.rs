//! The readable parts of a mail that we wrote ourselves: enough of MIME to show it, no more.

/// A mail's bodies, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bodies {
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
}

/// Multiparts within multiparts are followed this deep.
const DEPTH: u8 = 4;

/// Finds the first text/plain and the first text/html part.
pub(super) fn bodies(mail: &[u8]) -> Bodies {
    let mut found = Bodies::default();
    walk(&String::from_utf8_lossy(mail).replace("\r\n", "\n"), DEPTH, &mut found);
    found
}

fn walk(part: &str, depth: u8, found: &mut Bodies) {
    let (head, body) = match part.strip_prefix('\n') {
        Some(body) => ("", body),
        None => part.split_once("\n\n").unwrap_or((part, "")),
    };
    let head = head.replace("\n ", " ").replace("\n\t", " ");
    let kind = field(&head, "content-type").unwrap_or("text/plain");
    let media = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media.starts_with("multipart/") && depth > 0 {
        let Some(boundary) = parameter(kind, "boundary") else { return };
        let mark = format!("--{boundary}");
        // A delimiter stands at the start of a line; what is before the first is no part.
        let body = format!("\n{body}");
        for inner in body.split(&format!("\n{mark}")).skip(1).take_while(|inner| !inner.starts_with("--")) {
            walk(inner.trim_start_matches([' ', '\t']).strip_prefix('\n').unwrap_or(inner), depth - 1, found);
        }
        return;
    }
    let slot = match media.as_str() {
        "text/plain" => &mut found.text,
        "text/html" => &mut found.html,
        _ => return,
    };
    if slot.is_none() {
        let encoding = field(&head, "content-transfer-encoding").unwrap_or("7bit").to_ascii_lowercase();
        let bytes = match encoding.as_str() {
            "quoted-printable" => quoted_printable(body),
            "base64" => base64(body),
            _ => body.as_bytes().to_vec(),
        };
        *slot = Some(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
    }
}

/// The value of a header field; names are compared without regard to case.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let mut parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    parameters
        .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().trim_matches('"'))
}

fn quoted_printable(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, soft) = match line.trim_end_matches('\n').trim_end().strip_suffix('=') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let mut rest = line.as_bytes();
        while let Some((byte, after)) = rest.split_first() {
            let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(decoded) if *byte == b'=' => {
                    out.push(decoded);
                    rest = &after[2..];
                }
                _ => {
                    out.push(*byte);
                    rest = after;
                }
            }
        }
        if soft && out.last() == Some(&b'\n') {
            out.pop();
        }
    }
    out
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| {
        Some(match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        })
    };
    let (mut out, mut bits, mut held) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0u8);
    for digit in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use lettre::message::{MultiPart, SinglePart};

    use super::*;

    #[test]
    fn reads_what_lettre_writes() {
        let text = "p95 = 2,4 s — über dem Limit\nlong ".to_owned() + &"x=1 ".repeat(60) + "\nend";
        let html = "<p style=\"color:red\">é</p>\n".repeat(40);
        let mail = lettre::Message::builder()
            .from("plimsoll@example.com".parse().expect("an address"))
            .to("oncall@example.com".parse().expect("an address"))
            .subject("[FIRING critical] ollama")
            .multipart(
                MultiPart::mixed()
                    .multipart(
                        MultiPart::alternative()
                            .singlepart(SinglePart::plain(text.clone()))
                            .multipart(MultiPart::related().singlepart(SinglePart::html(html.clone()))),
                    )
                    .singlepart(SinglePart::plain("an attachment".to_owned())),
            )
            .expect("a mail");
        let found = bodies(&mail.formatted());
        let trimmed = |body: Option<String>| body.map(|body| body.trim_end().to_owned());
        assert_eq!(trimmed(found.text).as_deref(), Some(text.as_str()));
        assert_eq!(trimmed(found.html).as_deref(), Some(html.trim_end()));
    }

    #[test]
    fn reads_what_is_plain_and_survives_what_is_broken() {
        let check =
            |mail: &str, text: Option<&str>| assert_eq!(bodies(mail.as_bytes()).text.as_deref(), text, "{mail}");
        check("Subject: x\r\n\r\nhello\r\nworld", Some("hello\nworld"));
        check("Content-Transfer-Encoding: base64\n\naGVsbG8=\n", Some("hello"));
        check("Content-Transfer-Encoding: quoted-printable\n\na=3Db =C3=A9=\nc=ZZ =", Some("a=b éc=ZZ "));
        check("", Some(""));
        check("Content-Type: multipart/mixed\n\n--x", None);
        check("Content-Type: multipart/mixed; boundary=x\n\n--x\n\nin\n--x--\n\nout", Some("in"));
        check("Content-Type: image/png\n\n123", None);
    }
}
