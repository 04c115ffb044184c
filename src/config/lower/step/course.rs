//! How an iteration goes through a step: whether, how often, until when, and what follows.

use std::time::Duration;

use super::Written;
use crate::{
    config::{
        check::short,
        lower::{At, Lower, Scope, variables::Asked},
        raw,
    },
    model::{
        Name,
        expr::{Condition, Expect, GROUPS, Operand},
        scenario::{Loop, LoopOver, Reaction, Retry, Think, Until},
        template::{Escape, Template},
        units,
    },
};

/// Tags of one step: each of their values makes a series.
const MAX_TAGS: usize = 4;

/// What decides about the course of an iteration.
pub(super) struct Course {
    pub(super) when: Option<Expect>,
    pub(super) repeat: Option<Loop>,
    pub(super) until: Option<Until>,
    pub(super) on_rejected: Reaction,
    pub(super) on_failed: Reaction,
    pub(super) think: Option<Think>,
}

impl Lower<'_> {
    /// `asked`: of an answer.
    pub(super) fn course(
        &mut self,
        written: &Written<'_>,
        scope: Scope<'_>,
        repeat: Option<Loop>,
        asked: Asked<'_>,
    ) -> Course {
        let when = written.field("when", |step| step.when.as_ref());
        let when = when.and_then(|(text, at)| self.condition_on_variables(&at, &text.0, scope));
        let (on_rejected, on_failed) = self.reactions(written);
        let think = written.field("think", |step| step.think.as_ref());
        let think = think.and_then(|(think, at)| self.pause(&at, think));
        Course { when, repeat, until: self.until(written, asked), on_rejected, on_failed, think }
    }

    /// A condition that is asked before there is an answer.
    fn condition_on_variables(&mut self, at: &At, text: &str, scope: Scope<'_>) -> Option<Expect> {
        let expect = self.expect(at, text)?;
        let mut operands = Vec::new();
        let of_an_answer = operands_of(&expect.tree, &mut operands);
        let answer = |operand: &&Operand| {
            use Operand::{Body, Header, Latency, Path, ServiceTime, Status};
            matches!(operand, Status | Latency | ServiceTime | Body | Header(_) | Path(_))
        };
        if of_an_answer || operands.iter().any(answer) {
            let help = "it is asked before the request is sent: capture what it needs in an earlier step";
            self.error(at, "`when` sees variables only, no answer", help);
            return None;
        }
        self.variables(at, text, &expect.tree.variables(), Asked { scope, later: &[], streamed: false, text: true });
        Some(expect)
    }

    pub(super) fn rounds(&mut self, written: &Written<'_>, scope: Scope<'_>) -> Option<Loop> {
        let (raw, at) = written.field("loop", |step| step.repeat.as_ref())?;
        let name = raw.name.as_deref().unwrap_or("item");
        self.own_name(&at.key("as"), name, "the variable of a loop");
        if let Scope::Run(known) = scope
            && known.iter().any(|known| known == name)
        {
            self.error(&at.key("as"), format!("`{name}` is captured by an earlier step"), "choose another name");
        }
        let over = match (&raw.over, &raw.times) {
            (Some(raw::Over::Values(values)), None) => LoopOver::Values(values.clone().into()),
            (Some(raw::Over::Variable(name)), None) => {
                let at = at.key("over");
                let name = name.trim();
                let name = name.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap_or(name).trim();
                self.variable(&at, name, name, scope);
                LoopOver::Variable(name.into())
            }
            (None, Some(raw::Times::Exactly(times))) => LoopOver::Times(*times, *times),
            (None, Some(raw::Times::Between(raw::TimesBetween { between }))) => {
                let [least, most] = between[..] else { return None };
                if least > most || most > 10_000 {
                    let help = "write the smaller number first; the most is 10000";
                    self.error(&at.key("times").key("between"), "these are not two numbers of rounds", help);
                }
                LoopOver::Times(least.min(most), most)
            }
            _ => {
                if !self.troubled(&at) {
                    let help = "write one of `over: [a, b]`, `over: NAME` (a captured list) or `times: 5`";
                    self.key_error(&at, "a loop goes over values, or so many times", help);
                }
                return None;
            }
        };
        Some(Loop { over, name: name.into() })
    }

    fn until(&mut self, written: &Written<'_>, asked: Asked<'_>) -> Option<Until> {
        let every = written.field("every", |step| step.every.as_ref());
        let Some((text, at)) = written.field("until", |step| step.until.as_ref()) else {
            if let Some((_, at)) = every {
                self.key_error(
                    &at,
                    "`every` belongs to `until`",
                    "write `until: \"$.status == 'done'\"`, or remove it",
                );
            }
            return None;
        };
        let condition = self.expect(&at, &text.0)?;
        self.variables(&at, &text.0, &condition.tree.variables(), asked);
        let second = Duration::from_secs(1);
        let (every, every_at) = every.map_or((None, at.clone()), |(text, at)| (Some(text), at));
        let every = self.duration(&every_at, every, second, Duration::from_millis(10));
        let timeout = written.field("timeout", |step| step.timeout.as_ref());
        let (timeout, at) = timeout.map_or((None, at), |(text, at)| (Some(text), at));
        let timeout = self.duration(&at, timeout, Duration::from_mins(1), Duration::from_millis(1));
        Some(Until { condition, every, timeout })
    }

    /// What follows a rejection, and a failure.
    fn reactions(&mut self, written: &Written<'_>) -> (Reaction, Reaction) {
        let on_fail = written.field("on_fail", |step| step.on_fail.as_ref());
        let both = on_fail.as_ref().map_or(Reaction::Stop, |(word, _)| by_word(**word));
        let Some((on, at)) = written.field("on", |step| step.on.as_ref()) else { return (both.clone(), both) };
        if let Some((_, on_fail)) = on_fail
            && on.rejected.is_some()
            && on.failed.is_some()
        {
            self.key_error(&on_fail, "`on` says all of it already", "remove `on_fail`");
        }
        let mut one = |key: &str, raw: &Option<raw::Reaction>| match raw {
            None => both.clone(),
            Some(raw::Reaction::Word(word)) => by_word(*word),
            Some(raw::Reaction::Retry(map)) => Reaction::Retry(self.retry(&at.key(key).key("retry"), &map.retry)),
        };
        (one("rejected", &on.rejected), one("failed", &on.failed))
    }

    fn retry(&mut self, at: &At, raw: &raw::Retry) -> Retry {
        let mut backoff = (Duration::from_secs(1), Duration::from_secs(10));
        if let Some(text) = &raw.backoff {
            let (first, last) = text.split_once("..").unwrap_or((text, text));
            match (units::parse_duration(first.trim()), units::parse_duration(last.trim())) {
                (Ok(first), Ok(last)) if first <= last => backoff = (first, last),
                (Ok(_), Ok(_)) => self.error(&at.key("backoff"), "the pauses would get shorter", "write `1s..10s`"),
                _ => {
                    let message = format!("`{}` is not a backoff", short(text));
                    self.error(&at.key("backoff"), message, "write the first pause and the longest: `1s..10s`");
                }
            }
        }
        Retry { max: raw.max.unwrap_or(3), backoff, honor_retry_after: raw.honor_retry_after.unwrap_or(true) }
    }

    fn pause(&mut self, at: &At, raw: &raw::Pause) -> Option<Think> {
        let none = Duration::ZERO;
        let map = match raw {
            raw::Pause::Constant(text) => return Some(Think::Constant(self.duration(at, Some(text), none, none))),
            raw::Pause::Random(map) => map,
        };
        match (&map.constant, &map.between, &map.poisson) {
            (Some(text), None, None) => {
                Some(Think::Constant(self.duration(&at.key("constant"), Some(text), none, none)))
            }
            (None, Some(both), None) => {
                let at = at.key("between");
                let [least, most] = &both[..] else { return None };
                let least = self.duration(&at.index(0), Some(least), none, none);
                let most = self.duration(&at.index(1), Some(most), none, none);
                if least > most {
                    self.key_error(&at, "the shorter pause comes first", "exchange the two");
                }
                Some(Think::Between(least.min(most), most))
            }
            (None, None, Some(mean)) => Some(Think::Poisson(self.duration(&at.key("poisson"), Some(mean), none, none))),
            _ => {
                if !self.troubled(at) {
                    let help = "write one of `2s`, `{between: [1s, 5s]}` or `{poisson: 3s}`";
                    self.key_error(at, "a pause is said in one way", help);
                }
                None
            }
        }
    }

    /// The labels of a step's series: its `tags:`, and `turn` where its loop counts turns.
    pub(super) fn tags(
        &mut self,
        written: &Written<'_>,
        scope: Scope<'_>,
        repeat: Option<&Loop>,
    ) -> Vec<(Name, Template)> {
        const OTHERS: [&str; 7] = ["step", "status", "outcome", "reason", "timing", "scenario", "overflow"];
        let mut tags: Vec<(Name, Template)> = Vec::new();
        for (fields, at) in written.both("tags", |step| step.tags.as_ref()) {
            for (name, value) in &fields.0 {
                let at = at.key(name);
                self.identifier(&at, name, "a tag");
                if GROUPS.contains(&name.as_str()) || OTHERS.contains(&name.as_str()) {
                    self.key_error(&at, format!("`{name}` is a label of Plimsoll's own"), "choose another name");
                }
                let text = value.text();
                let template = self.template(&at, &text, Escape::None, scope);
                if endless(&template) {
                    let help = "tag by what has few values: each of them is a series of its own";
                    self.error(&at, format!("the tag `{name}` has another value each time"), help);
                }
                tags.retain(|(known, _)| **known != **name);
                tags.push((name.as_str().into(), template));
            }
            if tags.len() > MAX_TAGS {
                self.key_error(
                    &at,
                    format!("a step has {} tags: the most is {MAX_TAGS}", tags.len()),
                    "leave some out",
                );
            }
        }
        if repeat.is_some_and(|repeat| &*repeat.name == "turn") {
            tags.push(("turn".into(), self.template(written.step.1, "${turn}", Escape::None, scope)));
        }
        tags
    }
}

/// Whether it names what is different in each iteration.
fn endless(template: &Template) -> bool {
    let names = template.variables();
    names.iter().any(|name| ["n", "iteration", "uuid", "now", "now_ms", "random"].contains(&name.as_str()))
}

fn by_word(word: raw::OnFail) -> Reaction {
    match word {
        raw::OnFail::Stop => Reaction::Stop,
        raw::OnFail::Continue => Reaction::Continue,
    }
}

/// Adds every operand of the condition; whether it looks into the body in a way that no operand shows.
fn operands_of<'a>(condition: &'a Condition, out: &mut Vec<&'a Operand>) -> bool {
    match condition {
        Condition::And(all) | Condition::Or(all) => all.iter().filter(|inner| operands_of(inner, out)).count() > 0,
        Condition::Not(inner) => operands_of(inner, out),
        Condition::Compare { left, right, .. } | Condition::Contains { left, text: right, .. } => {
            out.extend([left, right]);
            false
        }
        Condition::In { left, any, .. } => {
            out.push(left);
            out.extend(any);
            false
        }
        Condition::Matches { left, .. } | Condition::Exists(left) => {
            out.push(left);
            false
        }
        Condition::All { .. } => true,
    }
}
