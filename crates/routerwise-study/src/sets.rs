//! Where the study's scores come from.

/// A set of scores of the paper's models or their nearest kin: mistral-7b, a 13B, yi-34b, mixtral-8x7b.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoreSet {
    /// Its folder.
    pub(crate) name: &'static str,
    /// Columns, in the order of the scenario's models.
    pub(crate) columns: &'static [&'static str],
}

/// What ships, in `scenarios/study-paper/scores.parquet`.
pub(crate) const SHIPPED: ScoreSet = ScoreSet {
    // MMLU-Pro, answers written out, base models (ships: Apache-2.0)
    name: "mmlupro-cot",
    columns: &[
        "mistralai/Mistral-7B-v0.1",
        "meta-llama/Llama-2-13b-hf",
        "01-ai/Yi-34B",
        "mistralai/Mixtral-8x7B-v0.1",
    ],
};

/// What ships in `scenarios/study-modern/scores.parquet`.
pub(crate) const MODERN: ScoreSet = ScoreSet {
    // MMLU-Pro, answers written out, chat models (ships: Apache-2.0)
    name: "mmlupro-cot",
    columns: &[
        "meta-llama/Llama-3.1-8B-Instruct",
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "meta-llama/Llama-3.1-70B-Instruct",
    ],
};

/// What may not ship: read from a folder that the user names.
pub(crate) const OF_THE_USER: [ScoreSet; 2] = [
    ScoreSet {
        // a part of RouterBench, the paper's own three models
        name: "routerbench-part",
        columns: &[
            "mistralai/mistral-7b-chat",
            "WizardLM/WizardLM-13B-V1.2",
            "zero-one-ai/Yi-34B-Chat",
            "mistralai/mixtral-8x7b-chat",
        ],
    },
    ScoreSet {
        // Open LLM Leaderboard v2, chat models
        name: "openllm-v2",
        columns: &[
            "mistralai/Mistral-7B-Instruct-v0.2",
            "meta-llama/Llama-2-13b-chat-hf",
            "01-ai/Yi-34B-Chat",
            "mistralai/Mixtral-8x7B-Instruct-v0.1",
        ],
    },
];
