//! An LLM behind a guard proxy: `/api/generate` as Ollama answers it, `/v1/chat/completions` as OpenAI does.

use serde_json::json;

use super::{Call, Work, model, reply, text_of, tokens_of, tokens_to_send};
use crate::practice::{
    knobs::Knobs,
    stream::{Plan, Shape},
};

/// `POST /api/generate`: one JSON object, or one per token where `stream` is true. (Ollama itself streams where nothing
/// is said; a practice target is asked by hand more often.)
pub(super) fn generate(call: &Call<'_>, knobs: &Knobs) -> Work {
    let prompt = call.json["prompt"].as_str().unwrap_or_default();
    let plan = Plan {
        shape: Shape::Ollama,
        model: model(call.json).to_owned(),
        id: String::new(),
        wall: call.now.wall,
        prompt_tokens: tokens_of(prompt),
        tokens: tokens_to_send(knobs, &call.json["options"]["num_predict"]),
    };
    if call.json["stream"] == true {
        return Work::streaming(plan);
    }
    let mut answer = plan.ollama_end(plan.tokens);
    answer["response"] = format!("Practice makes perfect: {prompt}").into();
    reply(200, &answer).into()
}

/// `POST /v1/chat/completions`.
pub(super) fn chat(call: &Call<'_>, knobs: &Knobs) -> Work {
    let messages = call.json["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let wanted = match &call.json["max_completion_tokens"] {
        serde_json::Value::Null => &call.json["max_tokens"],
        wanted => wanted,
    };
    let plan = Plan {
        shape: Shape::OpenAi,
        model: model(call.json).to_owned(),
        id: (call.id)().simple().to_string(),
        wall: call.now.wall,
        prompt_tokens: messages.iter().map(|message| tokens_of(text_of(&message["content"]))).sum(),
        tokens: tokens_to_send(knobs, wanted),
    };
    if call.json["stream"] == true {
        return Work::streaming(plan);
    }
    let said = messages.last().map_or("", |message| text_of(&message["content"]));
    let message = json!({"role": "assistant", "content": format!("You said: {said}")});
    let answer = json!({
        "id": format!("chatcmpl-{}", plan.id),
        "object": "chat.completion",
        "created": plan.wall.as_second(),
        "model": plan.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": plan.openai_usage(plan.tokens),
    });
    reply(200, &answer).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::practice::backend::{Content, testing::Client};

    #[test]
    fn generate_answers_as_ollama_does() {
        let mut client = Client::new();
        let (_, body) = client.post("/api/generate", &json!({"model": "llama2", "prompt": "Hi", "stream": false}));
        insta::assert_json_snapshot!(body, @r#"
        {
          "model": "llama2",
          "created_at": "1970-01-01T00:00:00Z",
          "response": "Practice makes perfect: Hi",
          "done": true,
          "done_reason": "stop",
          "prompt_eval_count": 1,
          "eval_count": 16
        }
        "#);
    }

    #[test]
    fn chat_answers_as_openai_does() {
        let mut client = Client::new();
        let messages = json!([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]);
        let (_, body) = client.post("/v1/chat/completions", &json!({"messages": messages, "max_tokens": 5}));
        insta::assert_json_snapshot!(body, @r#"
        {
          "id": "chatcmpl-00000001000000000000000000000000",
          "object": "chat.completion",
          "created": 0,
          "model": "default",
          "choices": [
            {
              "index": 0,
              "message": {
                "role": "assistant",
                "content": "You said: Hi"
              },
              "finish_reason": "stop"
            }
          ],
          "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 5,
            "total_tokens": 8
          }
        }
        "#);
    }

    #[test]
    fn streams_are_as_long_as_the_knob_or_the_request_says() {
        let mut client = Client::new();
        let mut tokens = |path: &str, body: serde_json::Value| {
            let (response, _) = client.send("POST", path, "application/json", body.to_string().as_bytes());
            match response.body() {
                Content::Tokens(plan) => (plan.shape, plan.tokens),
                Content::Whole(_) => panic!("a stream"),
            }
        };
        assert_eq!(tokens("/api/generate", json!({"stream": true})), (Shape::Ollama, 16));
        let options = json!({"num_predict": 4});
        assert_eq!(tokens("/api/generate", json!({"stream": true, "options": options})), (Shape::Ollama, 4));
        assert_eq!(tokens("/v1/chat/completions", json!({"stream": true, "max_tokens": 99})), (Shape::OpenAi, 16));
        assert_eq!(tokens("/v1/messages", json!({"stream": true, "max_tokens": 2})), (Shape::Anthropic, 2));
    }
}
