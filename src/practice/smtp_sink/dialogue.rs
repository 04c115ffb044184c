//! The order of an SMTP conversation (RFC 5321): which command may follow which, and what is answered.

use super::MAX_MAIL;

const MAX_RECIPIENTS: usize = 100;

/// How far a client has come.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    greeted: bool,
    from: Option<String>,
    to: Vec<String>,
}

/// What to do about a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Answer and go on.
    Reply(String),
    /// Ask for the mail's text.
    Data,
    /// Answer and hang up.
    Quit(String),
}

impl Dialogue {
    /// Takes one command line, without its CRLF.
    pub(super) fn line(&mut self, line: &str) -> Step {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let text = match (verb.to_ascii_uppercase().as_str(), rest.trim_end()) {
            ("EHLO" | "HELO", "") => "501 say who you are: EHLO name".to_owned(),
            ("EHLO", _) => {
                self.reset();
                self.greeted = true;
                format!("250-plimsoll practice sink\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 SIZE {MAX_MAIL}")
            }
            ("HELO", _) => {
                self.reset();
                self.greeted = true;
                "250 plimsoll practice sink".to_owned()
            }
            ("MAIL", rest) => self.mail(rest),
            ("RCPT", rest) => self.recipient(rest),
            ("DATA", "") if !self.to.is_empty() => return Step::Data,
            ("DATA", "") => "503 MAIL and RCPT come first".to_owned(),
            ("RSET", "") => {
                self.reset();
                "250 reset".to_owned()
            }
            ("NOOP", _) => "250 fine".to_owned(),
            ("QUIT", "") => return Step::Quit("221 bye\r\n".to_owned()),
            ("DATA" | "RSET" | "QUIT", _) => "501 it takes no argument".to_owned(),
            ("STARTTLS" | "AUTH" | "VRFY" | "EXPN" | "HELP", _) => "502 not offered here".to_owned(),
            _ => "500 no such command".to_owned(),
        };
        Step::Reply(text + "\r\n")
    }

    /// Sender and recipients of the mail that was just sent.
    pub(super) fn envelope(&mut self) -> (String, Vec<String>) {
        (self.from.take().unwrap_or_default(), std::mem::take(&mut self.to))
    }

    /// Forgets the envelope.
    pub(super) fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn mail(&mut self, rest: &str) -> String {
        let Some((address, parameters)) = path(rest, "FROM:") else {
            return "501 write MAIL FROM:<address>".to_owned();
        };
        if !self.greeted {
            return "503 EHLO comes first".to_owned();
        }
        if self.from.is_some() {
            return "503 one sender per mail".to_owned();
        }
        for parameter in parameters.split_whitespace() {
            match parameter.to_ascii_uppercase().split_once('=') {
                Some(("SIZE", size)) if size.parse::<usize>().is_ok_and(|size| size <= MAX_MAIL) => {}
                Some(("SIZE", _)) => return "552 the mail is too large".to_owned(),
                Some(("BODY", "7BIT" | "8BITMIME")) => {}
                _ => return format!("555 unknown parameter {}", parameter.escape_default()),
            }
        }
        self.from = Some(address.to_owned());
        "250 sender ok".to_owned()
    }

    fn recipient(&mut self, rest: &str) -> String {
        match path(rest, "TO:") {
            None | Some(("", _)) => "501 write RCPT TO:<address>".to_owned(),
            Some(_) if self.from.is_none() => "503 MAIL comes first".to_owned(),
            Some((_, parameters)) if !parameters.trim().is_empty() => "555 no parameters here".to_owned(),
            Some(_) if self.to.len() == MAX_RECIPIENTS => "452 too many recipients".to_owned(),
            Some((address, _)) => {
                self.to.push(address.to_owned());
                "250 recipient ok".to_owned()
            }
        }
    }
}

/// `FROM:<address> parameters`, the keyword in any case.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (head, tail) = rest.split_at_checked(keyword.len())?;
    let tail = head.eq_ignore_ascii_case(keyword).then_some(tail)?.trim_start();
    let (address, parameters) = tail.strip_prefix('<')?.split_once('>')?;
    let sound = address.is_empty()
        || (address.contains('@') && !address.contains(|letter: char| letter.is_whitespace() || letter.is_control()));
    sound.then_some((address, parameters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strict_conversation() {
        let mut dialogue = Dialogue::default();
        let mut check = |line: &str, expected: &str| {
            let text = match dialogue.line(line) {
                Step::Reply(text) | Step::Quit(text) => text,
                Step::Data => "354".to_owned(),
            };
            assert!(text.starts_with(expected), "{line}: {text}");
        };
        check("MAIL FROM:<a@b>", "503 EHLO");
        check("EHLO", "501");
        check("EHLO me", "250-plimsoll");
        check("RCPT TO:<a@b>", "503 MAIL");
        check("MAIL FROM: a@b", "501");
        check("MAIL FROM:<not an address>", "501");
        check("MAIL FROM:<a@b> SIZE=99999999", "552");
        check("MAIL FROM:<a@b> FOO=1", "555");
        check("mail from:<a@b> SIZE=100 BODY=8BITMIME", "250");
        check("MAIL FROM:<a@b>", "503 one sender");
        check("DATA", "503 MAIL and RCPT");
        check("RCPT TO:<>", "501");
        check("RCPT TO:<c@d>", "250");
        check("DATA now", "501");
        check("DATA", "354");
        check("RSET", "250");
        check("DATA", "503");
        check("MAIL FROM:<>", "250");
        check("AUTH PLAIN x", "502");
        check("HELLO", "500");
        check("\n", "500");
        check("NOOP anything", "250");
        check("QUIT", "221");
    }

    #[test]
    fn recipients_are_bounded() {
        let mut dialogue = Dialogue::default();
        dialogue.line("HELO me");
        dialogue.line("MAIL FROM:<a@b>");
        for n in 0..MAX_RECIPIENTS {
            assert_eq!(dialogue.line(&format!("RCPT TO:<{n}@b>")), Step::Reply("250 recipient ok\r\n".to_owned()));
        }
        assert_eq!(dialogue.line("RCPT TO:<last@b>"), Step::Reply("452 too many recipients\r\n".to_owned()));
        let (from, to) = dialogue.envelope();
        assert_eq!((from.as_str(), to.len()), ("a@b", MAX_RECIPIENTS));
    }
}
