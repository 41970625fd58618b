//! What predictors read of a chat that is written as JSON: the same as of a request that is served, or what is learned would be learned
//! from other texts than it is asked about.

use routerwise_predict::{Piece, PromptFacts, Role};
use serde_json::Value;

/// The text that predictors read of a list of messages; nothing where a user says nothing in it.
#[must_use]
pub fn heard(messages: &Value) -> String {
    let mut texts: Vec<(Role, String)> = Vec::new();
    for message in messages.as_array().into_iter().flatten() {
        let role = match message["role"].as_str() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system" | "developer") => Role::System,
            _ => Role::Other,
        };
        match &message["content"] {
            Value::String(text) => texts.push((role, text.clone())),
            Value::Array(parts) => {
                let parts = parts.iter().filter_map(|part| part["text"].as_str());
                texts.extend(parts.map(|text| (role, text.to_owned())));
            }
            _ => texts.push((role, String::new())),
        }
    }
    let pieces: Vec<Piece<'_>> = texts.iter().map(|(role, text)| Piece { role: *role, text }).collect();
    PromptFacts::new(&pieces).text()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_chat_the_last_question_is_read_and_the_one_before_a_short_one() {
        let long = "Write a function that sorts a list of numbers in Haskell, please.";
        let chat = |last: &str| {
            json!([
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": long},
                {"role": "assistant", "content": null, "tool_calls": []},
                {"role": "tool", "content": "42"},
                {"role": "user", "content": [{"type": "text", "text": last}, {"type": "image_url", "image_url": {}}]},
            ])
        };
        assert_eq!(heard(&chat("and in Python?")), format!("{long}\nand in Python?"));
        assert_eq!(
            heard(&chat(&long.replace("Haskell", "C"))),
            long.replace("Haskell", "C")
        );
    }

    #[test]
    fn what_is_no_chat_says_nothing() {
        for nothing in [
            json!(null),
            json!("text"),
            json!([]),
            json!([1, {"role": 3}]),
            json!([{"role": "system", "content": "x"}]),
        ] {
            assert_eq!(heard(&nothing), "", "{nothing}");
        }
    }
}
