//! Which variables a step reads: what it needs is prepared for it, and what it does not is left alone.

use super::step::{Action, Auth, BodySpec, LoopOver, PartData, RequestSpec, Step};
use crate::model::{expr::Expect, template::Template};

impl Step {
    /// The variables that it reads below `root`, as dotted paths, each as often as it stands there.
    pub fn reads(&self, root: &str) -> Vec<String> {
        let mut names = Vec::new();
        match &self.action {
            Action::Http(request) => request_reads(request, &mut names),
            Action::Probe(probe) => {
                names.extend(probe.templates().into_iter().flatten().flat_map(Template::variables));
            }
        }
        let pushed = self.push.iter().flat_map(|(_, items)| items);
        names.extend(pushed.flat_map(crate::model::template::JsonTemplate::variables));
        names.extend(self.tags.iter().flat_map(|(_, template)| template.variables()));
        if let Some(LoopOver::Variable(name)) = self.repeat.as_ref().map(|repeat| &repeat.over) {
            names.push(name.to_string());
        }
        let until = self.until.as_ref().map(|until| &until.condition);
        for condition in self.expect.iter().chain(&self.when).chain(until) {
            names.extend(words_below(condition, root));
        }
        let below =
            |name: &String| name.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        names.retain(below);
        names
    }
}

/// The variables that a request reads.
fn request_reads(request: &RequestSpec, names: &mut Vec<String>) {
    let mut add = |template: &Template| names.extend(template.variables());
    add(&request.path);
    request.headers.iter().for_each(|(_, template)| add(template));
    match &request.auth {
        Some(Auth::Basic { username, password }) => [username, password].into_iter().for_each(&mut add),
        Some(Auth::Bearer(template) | Auth::Header(_, template)) => add(template),
        None => {}
    }
    match &request.body {
        BodySpec::None | BodySpec::Raw(_) | BodySpec::Json(_) => {}
        BodySpec::Text(template) => add(template),
        BodySpec::Form(fields) => fields.iter().for_each(|(_, template)| add(template)),
        BodySpec::Multipart(parts) => parts.iter().for_each(|part| {
            if let PartData::Text(template) = &part.data {
                add(template);
            }
        }),
    }
    if let BodySpec::Json(json) = &request.body {
        names.extend(json.variables());
    }
}

/// The dotted words in a condition that begin with `root`; one in quotes is found too, which does no harm.
fn words_below(condition: &Expect, root: &str) -> Vec<String> {
    let words = condition.source.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'));
    words.filter(|word| word.split('.').next() == Some(root)).map(ToOwned::to_owned).collect()
}
