//! Prompts to be labelled: text, JSON lines, CSV or Parquet.
//!
//! ```text
//! prompts.txt      one prompt a line
//! prompts.jsonl    {"prompt": "…"} or {"messages": [ … ]}; and where known "prompt_id" (or "id"), "reference", "source", "weight"
//! prompts.csv      columns of these names, but no messages
//! prompts.parquet  the same; a scores file is one
//! ```
//!
//! Prompts without a name of their own are named by what they say, so that they keep it when the file is sorted anew, and one
//! that is there twice is asked once and weighs twice.

use std::collections::BTreeMap;
use std::path::Path;

use routerwise_types::Fingerprint;
use routerwise_types::labels::Question;
use serde_json::{Map, Value};

use crate::columns;
use crate::file::{self, Wrong};
use crate::problem::{Problem, Problems};

/// Problems of one file that are listed; the rest is counted.
const LISTED_MAX: usize = 20;

/// Reads the prompts of a file.
///
/// # Errors
/// What is wrong with it.
pub fn read(path: &Path) -> Result<Vec<Question>, Problems> {
    let mut reader = Reader {
        path,
        problems: Vec::new(),
        questions: Vec::new(),
        places: BTreeMap::new(),
    };
    let ending = path.extension().and_then(|ending| ending.to_str());
    let wrong = match ending {
        Some("txt") => reader.lines(),
        Some("jsonl") => reader.json_lines(),
        Some("csv" | "parquet") => reader.table(),
        _ => Err(Wrong::new(
            "has no ending that says what it holds",
            "name it `.txt` (one prompt a line), `.jsonl`, `.csv` or `.parquet`, after its format",
        )),
    };
    if let Err(wrong) = wrong {
        reader.problems.push(wrong.at(path));
    } else if reader.questions.is_empty() && reader.problems.is_empty() {
        let problem = Problem::new(path, "holds no prompts");
        reader.problems.push(problem.help("add at least one"));
    }
    if reader.problems.is_empty() {
        return Ok(reader.questions);
    }
    let n_more = reader.problems.len().saturating_sub(LISTED_MAX);
    reader.problems.truncate(LISTED_MAX);
    if n_more > 0 {
        reader
            .problems
            .push(Problem::new(path, format!("has {n_more} more problems of this kind")));
    }
    Err(Problems(reader.problems))
}

struct Reader<'a> {
    path: &'a Path,
    problems: Vec<Problem>,
    questions: Vec<Question>,
    /// Where each id was first seen: index and row.
    places: BTreeMap<String, (usize, usize)>,
}

/// What a row of any format says.
#[derive(Default)]
struct Row {
    id: Option<String>,
    text: Option<String>,
    chat: Option<Value>,
    reference: Option<String>,
    source: Option<String>,
    weight: Option<f64>,
}

impl Reader<'_> {
    fn refuse(&mut self, row: usize, what: &str, help: &str) {
        let problem = Problem::new(self.path, format!("row {row} {what}"));
        self.problems.push(problem.help(help));
    }

    fn lines(&mut self) -> Result<(), Wrong> {
        for (ix, line) in file::text(self.path)?.lines().enumerate() {
            if !line.trim().is_empty() {
                let text = Some(line.trim().to_owned());
                self.add(ix + 1, Row { text, ..Row::default() });
            }
        }
        Ok(())
    }

    fn json_lines(&mut self) -> Result<(), Wrong> {
        for (ix, line) in file::text(self.path)?.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            match serde_json::from_str::<Map<String, Value>>(line) {
                Ok(object) => self.object(ix + 1, object),
                Err(error) => {
                    let what = format!("is no JSON object: {error}");
                    self.refuse(ix + 1, &what, "write one object a line, such as {\"prompt\": \"…\"}");
                }
            }
        }
        Ok(())
    }

    fn object(&mut self, row: usize, mut object: Map<String, Value>) {
        let chat = object.remove("messages");
        let text = object.remove("prompt").as_ref().and_then(written);
        let text = text.or_else(|| chat.as_ref().map(user_text));
        if let Some(chat) = &chat
            && !is_chat(chat)
        {
            let help = "write \"messages\": [{\"role\": \"user\", \"content\": \"…\"}, …], as it would be sent";
            return self.refuse(row, "has `messages` that are no chat", help);
        }
        let id = object.remove("prompt_id").or_else(|| object.remove("id"));
        let of = |value: Option<Value>| value.as_ref().and_then(written);
        let given = Row {
            id: of(id),
            text,
            chat,
            reference: of(object.remove("reference")),
            source: of(object.remove("source")),
            weight: object
                .remove("weight")
                .map(|weight| weight.as_f64().unwrap_or(f64::NAN)),
        };
        self.add(row, given);
    }

    fn table(&mut self) -> Result<(), Wrong> {
        let names = ["prompt_id", "id", "prompt", "reference", "source", "weight"];
        let columns = columns::read(self.path, &|name| names.contains(&name))?;
        let Some(texts) = columns.texts("prompt") else {
            return Err(Wrong::new(
                "has no column `prompt`",
                "add one with the text that is to be sent",
            ));
        };
        let ids = columns.texts("prompt_id").or_else(|| columns.texts("id"));
        let references = columns.texts("reference");
        let sources = columns.texts("source");
        let weights = columns.numbers("weight").transpose()?;
        for (ix, text) in texts.into_iter().enumerate() {
            let of = |column: &Option<Vec<Option<String>>>| column.as_ref().and_then(|column| column[ix].clone());
            let given = Row {
                id: of(&ids),
                text,
                chat: None,
                reference: of(&references),
                source: of(&sources),
                weight: weights.as_ref().and_then(|column| column[ix]),
            };
            self.add(ix + 1, given);
        }
        Ok(())
    }

    fn add(&mut self, row: usize, given: Row) {
        let Some(text) = given.text.filter(|text| !text.trim().is_empty()) else {
            return self.refuse(row, "has no prompt", "give it a text, or remove the row");
        };
        let weight = given.weight.unwrap_or(1.0);
        if !(weight > 0.0 && weight.is_finite()) {
            return self.refuse(
                row,
                "has a weight that is no positive number",
                "leave it out to weigh all alike",
            );
        }
        let named = given.id.is_some();
        let id = given.id.unwrap_or_else(|| {
            let said = (&text, &given.chat, &given.reference);
            Fingerprint::of(&said).to_string()[..16].to_owned()
        });
        match self.places.get(&id) {
            Some((_, first)) if named => {
                let what = format!("has the id `{id}` of row {first}");
                self.refuse(row, &what, "name every prompt once, or none");
            }
            Some((ix, _)) => self.questions[*ix].weight += weight,
            None => {
                self.places.insert(id.clone(), (self.questions.len(), row));
                self.questions.push(Question {
                    id,
                    text,
                    chat: given.chat,
                    reference: given.reference,
                    source: given.source,
                    weight,
                });
            }
        }
    }
}

/// A text as it is, a number or truth value written out; nothing for the rest.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn is_chat(chat: &Value) -> bool {
    let of_message = |message: &Value| message["role"].is_string() && !message["content"].is_null();
    chat.as_array()
        .is_some_and(|messages| !messages.is_empty() && messages.iter().all(of_message))
}

/// What the user says in a chat: the texts of the user's messages, one after the other.
fn user_text(chat: &Value) -> String {
    let of_user = chat.as_array().into_iter().flatten();
    let texts = of_user.filter(|message| message["role"] == "user").map(|message| {
        let parts = message["content"].as_array().into_iter().flatten();
        let parts: Vec<&str> = parts.filter_map(|part| part["text"].as_str()).collect();
        message["content"]
            .as_str()
            .map_or_else(|| parts.join("\n"), str::to_owned)
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    #[test]
    fn lines_of_text_are_prompts_and_a_repeated_one_weighs_twice() {
        let (_folder, path) = file("p.txt", "why?\n\nhow?\nwhy?\n");
        let questions = read(&path).unwrap();
        let texts: Vec<_> = questions.iter().map(|q| (q.text.as_str(), q.weight)).collect();
        assert_eq!(texts, [("why?", 2.0), ("how?", 1.0)]);
        assert_ne!(questions[0].id, questions[1].id);
    }

    #[test]
    fn json_lines_may_hold_chats_and_references() {
        let lines = r#"{"id": 7, "prompt": "2+2?", "reference": 4, "source": "sums"}
{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}, {"role": "user", "content": [{"type": "text", "text": "and?"}]}]}
"#;
        let (_folder, path) = file("p.jsonl", lines);
        let questions = read(&path).unwrap();
        assert_eq!(questions[0].id, "7");
        assert_eq!(questions[0].reference.as_deref(), Some("4"));
        assert_eq!(questions[1].text, "hi\n\nand?");
        assert!(questions[1].chat.is_some());
    }

    #[test]
    fn a_table_needs_a_column_of_prompts() {
        let (_folder, path) = file("p.csv", "prompt_id,reference\n1,A\n");
        assert!(
            read(&path).unwrap_err().0[0]
                .message()
                .contains("has no column `prompt`")
        );
        let (_folder, path) = file("p.csv", "prompt_id,prompt,reference\n1,which?,A\n2,where?,\n");
        let questions = read(&path).unwrap();
        assert_eq!(questions[0].reference.as_deref(), Some("A"));
        assert_eq!(questions[1].reference, None);
    }

    #[test]
    fn every_wrong_row_is_named() {
        let lines = "{\"prompt\": \"a\", \"id\": 1}\nnot json\n{\"prompt\": \"\"}\n{\"prompt\": \"b\", \"id\": 1}\n{\"messages\": 3}\n";
        let (_folder, path) = file("p.jsonl", lines);
        let problems = read(&path).unwrap_err();
        let messages: Vec<_> = problems.0.iter().map(|problem| problem.message()).collect();
        assert_eq!(messages.len(), 4, "{messages:?}");
        assert!(messages[0].starts_with("row 2 is no JSON object"));
        assert_eq!(messages[1], "row 3 has no prompt");
        assert_eq!(messages[2], "row 4 has the id `1` of row 1");
        assert_eq!(messages[3], "row 5 has `messages` that are no chat");
    }

    #[test]
    fn an_empty_file_and_an_unknown_ending_are_refused() {
        let (_folder, path) = file("p.txt", "\n");
        assert_eq!(read(&path).unwrap_err().0[0].message(), "holds no prompts");
        let (_folder, path) = file("p.doc", "hello");
        assert!(read(&path).unwrap_err().0[0].message().contains("no ending"));
    }
}
