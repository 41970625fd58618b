//! Labels prompts: asks every model, scores the answers, writes a scores file.
