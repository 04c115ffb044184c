//! `stream`: where the tokens of a streamed answer are.

use std::time::Duration;

use crate::{
    config::{
        lower::{At, Lower},
        raw,
    },
    model::scenario::{StreamDone, StreamFormat, StreamSpec},
};

impl Lower<'_> {
    pub(super) fn stream(&mut self, at: &At, raw: &raw::Stream) -> StreamSpec {
        let spec = |word: raw::StreamWord| match word {
            raw::StreamWord::Sse => StreamSpec::sse(),
            raw::StreamWord::Ndjson => StreamSpec::ndjson(),
        };
        let map = match raw {
            raw::Stream::Word(word) => return spec(*word),
            raw::Stream::Full(map) => map,
        };
        let mut stream = spec(map.format);
        if let Some(paths) = &map.token {
            stream.token = Vec::new();
            for (index, path) in paths.iter() {
                stream.token.extend(self.json_path(&at.key("token").item(index), path));
            }
        }
        if let Some(path) = &map.usage {
            stream.usage = self.json_path(&at.key("usage"), path);
        }
        if let Some(text) = &map.done {
            let at = at.key("done");
            stream.done = if text.starts_with('$') {
                self.json_path(&at, text).map(StreamDone::Path)
            } else if let Some(event) = text.strip_prefix("event:") {
                if stream.format == StreamFormat::Ndjson {
                    let help = "write `done: $.done`, or `format: sse`";
                    self.error(&at, "lines of JSON have no events", help);
                }
                Some(StreamDone::Event(event.trim().into()))
            } else {
                Some(StreamDone::Text(text.as_str().into()))
            };
        }
        stream.stall = self.duration(&at.key("stall"), map.stall.as_ref(), StreamSpec::STALL, Duration::from_millis(1));
        stream
    }
}
