//! Prompts to ask: a text file with one on each line, JSON lines, or the table of a scores file.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::columns;
use crate::file::{self, Wrong};
use crate::problem::Problems;
use crate::quantity::whole;

/// One prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptEntry {
    /// Its words.
    pub words: Words,
    /// Its tokens, where the file says.
    pub tokens: Option<u32>,
    /// Tokens that the answer is to have, where the file says.
    pub output_tokens: Option<u32>,
    /// How often it is asked, relative to the others.
    pub weight: f64,
}

/// The words of a prompt.
#[derive(Clone, PartialEq, Eq)]
pub enum Words {
    /// A text.
    Text(String),
    /// The `messages` of a chat, as JSON.
    Messages(String),
}

/// Prompts reach no log.
impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Text(text) | Self::Messages(text)) = self;
        write!(f, "{} bytes", text.len())
    }
}

/// Reads `.txt` (one prompt a line), `.jsonl` (`prompt` or `messages`, and where they are there `max_tokens` and `weight`; ShareGPT's
/// `conversations` too), `.parquet` or `.csv` (a column `prompt`, and `prompt_tokens` and `weight`), by the file's ending.
///
/// # Errors
/// What is wrong with the file.
pub fn read(path: &Path) -> Result<Vec<PromptEntry>, Problems> {
    let read = match path.extension().and_then(|ending| ending.to_str()) {
        Some("txt") => text_lines(path),
        Some("jsonl") => json_lines(path),
        Some("parquet" | "csv") => table(path),
        _ => Err(Wrong::new(
            "has no ending that says what it holds",
            "prompts are `.txt`, `.jsonl`, `.parquet` or `.csv`",
        )),
    };
    let read = read.and_then(|prompts| {
        if prompts.is_empty() {
            Err(Wrong::new("holds no prompts", "add at least one"))
        } else {
            Ok(prompts)
        }
    });
    read.map_err(|wrong| Problems(vec![wrong.at(path)]))
}

fn text_lines(path: &Path) -> Result<Vec<PromptEntry>, Wrong> {
    let text = file::text(path)?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    Ok(lines.map(|line| plain(line.to_owned())).collect())
}

fn plain(text: String) -> PromptEntry {
    PromptEntry {
        words: Words::Text(text),
        tokens: None,
        output_tokens: None,
        weight: 1.0,
    }
}

#[derive(Deserialize)]
struct Line {
    prompt: Option<String>,
    messages: Option<Value>,
    conversations: Option<Vec<Turn>>,
    prompt_tokens: Option<u32>,
    max_tokens: Option<u32>,
    output_tokens: Option<u32>,
    weight: Option<f64>,
}

#[derive(Deserialize)]
struct Turn {
    value: String,
}

fn json_lines(path: &Path) -> Result<Vec<PromptEntry>, Wrong> {
    let text = file::text(path)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let wrong = |what: &str| {
                Wrong::new(
                    format!("cannot be read in line {number}: {what}"),
                    "expected are lines with `prompt` (a text) or `messages` (a list), and where you like `max_tokens` and `weight`",
                )
            };
            let line: Line = serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
            let turns = line.conversations.unwrap_or_default();
            let words = match (line.prompt, line.messages) {
                (Some(prompt), None) => Words::Text(prompt),
                (None, Some(messages)) if messages.is_array() => Words::Messages(messages.to_string()),
                (None, None) => Words::Text(turns.into_iter().next().ok_or_else(|| wrong("it has no prompt"))?.value),
                _ => return Err(wrong("it has not one of `prompt` and `messages`")),
            };
            let weight = line.weight.unwrap_or(1.0);
            if !weight.is_finite() || weight <= 0.0 {
                return Err(wrong(&format!("the weight {weight} is no number above 0")));
            }
            Ok(PromptEntry {
                words,
                tokens: line.prompt_tokens,
                output_tokens: line.max_tokens.or(line.output_tokens).filter(|tokens| *tokens > 0),
                weight,
            })
        })
        .collect()
}

fn table(path: &Path) -> Result<Vec<PromptEntry>, Wrong> {
    let names = ["prompt", "prompt_tokens", "weight"];
    let columns = columns::read(path, &|name| names.contains(&name))?;
    let Some(texts) = columns.texts("prompt") else {
        return Err(Wrong::new(
            "has no column `prompt`",
            "prompts are the texts of that column; a file with ids and scores alone has none to ask",
        ));
    };
    let numbers = |name| columns.numbers(name).transpose();
    let (tokens, weights) = (numbers("prompt_tokens")?, numbers("weight")?);
    let number = |column: &Option<Vec<Option<f64>>>, row: usize| column.as_ref().and_then(|column| column[row]);
    let mut prompts = Vec::with_capacity(texts.len());
    for (row, text) in texts.into_iter().enumerate() {
        let weight = number(&weights, row).unwrap_or(1.0);
        if !weight.is_finite() || weight <= 0.0 {
            return Err(Wrong::new(
                format!("has the weight {weight} in row {}", row + 1),
                "weights are numbers above 0",
            ));
        }
        // A prompt whose text is missing cannot be asked; the others can.
        let Some(text) = text else { continue };
        prompts.push(PromptEntry {
            tokens: number(&tokens, row).map(whole),
            weight,
            ..plain(text)
        });
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> Result<Vec<PromptEntry>, Problems> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn prompts_are_read_from_lines_json_and_tables() {
        assert_eq!(
            file("p.txt", "one\n\ntwo words\n").unwrap()[1].words,
            Words::Text("two words".into())
        );
        let json = "{\"prompt\":\"a\",\"max_tokens\":7}\n{\"messages\":[{\"role\":\"user\",\"content\":\"b\"}],\"weight\":2}\n\
                    {\"conversations\":[{\"from\":\"human\",\"value\":\"c\"}]}\n";
        let json = file("p.jsonl", json).unwrap();
        assert_eq!((json.len(), json[0].output_tokens), (3, Some(7)));
        assert!(matches!(&json[1].words, Words::Messages(text) if text.contains("\"b\"")));
        assert_eq!(json[2].words, Words::Text("c".into()));
        let table = file("s.csv", "prompt_id,prompt,weight,score:a\n1,hello,3,0.5\n2,,1,0.1\n").unwrap();
        assert!(table.len() == 1 && (table[0].weight - 3.0).abs() < 1e-9);
    }

    #[test]
    fn what_holds_no_prompt_is_refused_and_none_is_shown() {
        let said = |name, text| file(name, text).unwrap_err().0[0].message().to_owned();
        assert!(said("p.txt", "\n").contains("no prompts"));
        assert!(said("p.jsonl", "{\"prompt\":\"a\"}\n{\"x\":1}\n").contains("line 2"));
        assert!(said("s.csv", "prompt_id,score:a\n1,0.5\n").contains("no column `prompt`"));
        let prompts = file("p.txt", "a secret\n").unwrap();
        assert!(!format!("{prompts:?}").contains("secret"));
    }
}
