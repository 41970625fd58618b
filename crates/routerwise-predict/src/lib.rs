//! Text in, one score per model out: learned from labelled prompts, calibrated, and judged by what routing gains from it.
