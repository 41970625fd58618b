//! `models.toml`.

use routerwise_types::Bytes;

use crate::Folder;

/// The tiny scenario with another `small` model; what else is wrong than that is not shown.
fn small(lines: &str) -> Folder {
    let models =
        format!("[[model]]\nname = \"small\"\n{lines}\n[[model]]\nname = \"large\"\narchitecture = \"qwen2.5-7b\"\n");
    Folder::tiny().with("models.toml", models)
}

#[test]
fn no_models() {
    insta::assert_snapshot!(Folder::tiny().with("models.toml", "").errors(), @r#"
    × the file has no `model`
     ╭─[models.toml:1:1]
     ╰────
    help: add `model = [{ name = "llama-3.1-8b", architecture = "llama-3.1-8b" }]`
    "#);
}

#[test]
fn two_models_of_one_name() {
    let folder = Folder::tiny().edited("models.toml", "name = \"large\"", "name = \"small\"");
    insta::assert_snapshot!(folder.errors(), @r#"
     × two models are named `small`
      ╭─[models.toml:7:1]
    6 │
    7 │ [[model]]
      · ────┬────
      ·     ╰── the second one
    8 │ name = "small"
      ╰────
     help: rename one of them; `scores = "…"` lets both read one column
    "#);
}

#[test]
fn an_empty_name() {
    let folder = Folder::tiny().edited("models.toml", "name = \"large\"", "name = \" \"");
    insta::assert_snapshot!(folder.errors(), @r#"
     × `name` of the model is empty
      ╭─[models.toml:8:8]
    7 │ [[model]]
    8 │ name = " "
      ·        ─┬─
      ·         ╰── declared here
    9 │ architecture = "qwen2.5-7b"
      ╰────
     help: write at least one character
    "#);
}

#[test]
fn an_unknown_architecture() {
    insta::assert_snapshot!(small("architecture = \"qwen2.5-1.5\"").errors().split("known:").next().unwrap(), @r#"
     × no architecture is named `qwen2.5-1.5`
      ╭─[models.toml:3:16]
    2 │ name = "small"
    3 │ architecture = "qwen2.5-1.5"
      ·                ──────┬──────
      ·                      ╰── declared here
    4 │ [[model]]
      ╰────
     help: did you mean `qwen2.5-1.5b`?
    "#);
}

#[test]
fn neither_architecture_nor_weights() {
    insta::assert_snapshot!(small("").errors(), @r#"
     × the model `small` has neither `architecture` nor `weights`
      ╭─[models.toml:1:1]
    1 │ [[model]]
      · ────┬────
      ·     ╰── declared here
    2 │ name = "small"
      ╰────
     help: add `architecture = "llama-3.1-8b"`, or `weights = "140 GB"` to plan it from profiles alone
     × the model `small` has no `kv-reserve`, and no architecture to derive it from
      ╭─[models.toml:1:1]
    1 │ [[model]]
      · ────┬────
      ·     ╰── declared here
    2 │ name = "small"
      ╰────
     help: add `kv-reserve = "20 GB"`: the KV cache that each replica must have
    "#);
}

#[test]
fn weights_alone_are_enough_when_the_reserve_is_in_bytes() {
    let loaded = small("weights = \"3 GB\"\nkv-reserve = \"1 GB\"").load().unwrap();
    assert_eq!(loaded.scenario.models[0].weights, Bytes(3_000_000_000));
    insta::assert_snapshot!(small("weights = \"3 GB\"\nkv-reserve = \"4096 tokens\"").errors(), @r#"
     × the model `small` has no architecture that would say how large a token is
      ╭─[models.toml:4:14]
    3 │ weights = "3 GB"
    4 │ kv-reserve = "4096 tokens"
      ·              ──────┬──────
      ·                    ╰── declared here
    5 │ [[model]]
      ╰────
     help: write the KV reserve as memory, such as "20 GB"
    "#);
}

#[test]
fn an_architecture_written_out_with_gaps() {
    insta::assert_snapshot!(small("architecture = { layers = 28, hidden-size = 1536, heads = 12, kv-heads = 2, head-dim = 128, intermediate-size = 0, vocab = 151936, experts = { count = 4, active = 8 } }").errors(), @r#"
     × the `architecture` of the model `small` has no `vocab-size`
      ╭─[models.toml:3:16]
    2 │ name = "small"
    3 │ architecture = { layers = 28, hidden-size = 1536, heads = 12, kv-heads = 2, head-dim = 128, intermediate-size = 0, vocab = 151936, experts = { count = 4, active = 8 } }
      ·                ────────────────────────────────────────────────────────────────────────────┬────────────────────────────────────────────────────────────────────────────
      ·                                                                                            ╰── declared here
    4 │ [[model]]
      ╰────
     help: add `vocab-size = 128256`
     × `intermediate-size` of the `architecture` of the model `small` is 0
      ╭─[models.toml:3:113]
    2 │ name = "small"
    3 │ architecture = { layers = 28, hidden-size = 1536, heads = 12, kv-heads = 2, head-dim = 128, intermediate-size = 0, vocab = 151936, experts = { count = 4, active = 8 } }
      ·                                                                                                                 ┬
      ·                                                                                                                 ╰── declared here
    4 │ [[model]]
      ╰────
     help: write a whole number from 1 to 10000000
     × the `architecture` of the model `small` has an unknown key `vocab`
      ╭─[models.toml:3:116]
    2 │ name = "small"
    3 │ architecture = { layers = 28, hidden-size = 1536, heads = 12, kv-heads = 2, head-dim = 128, intermediate-size = 0, vocab = 151936, experts = { count = 4, active = 8 } }
      ·                                                                                                                    ──┬──
      ·                                                                                                                      ╰── unknown key
    4 │ [[model]]
      ╰────
     help: did you mean `vocab-size`?
     × more experts are active than there are
      ╭─[models.toml:3:164]
    2 │ name = "small"
    3 │ architecture = { layers = 28, hidden-size = 1536, heads = 12, kv-heads = 2, head-dim = 128, intermediate-size = 0, vocab = 151936, experts = { count = 4, active = 8 } }
      ·                                                                                                                                                                    ┬
      ·                                                                                                                                                                    ╰── declared here
    4 │ [[model]]
      ╰────
     help: lower `active` or raise `count`
    "#);
}

#[test]
fn heads_that_cannot_be_dealt_out() {
    insta::assert_snapshot!(small("architecture = \"qwen2.5-1.5b\"\ntensor-parallel = [1, 8]").errors(), @r#"
     × 12 attention heads cannot be dealt out to 8 shards
      ╭─[models.toml:4:23]
    3 │ architecture = "qwen2.5-1.5b"
    4 │ tensor-parallel = [1, 8]
      ·                       ┬
      ·                       ╰── declared here
    5 │ [[model]]
      ╰────
     help: remove this degree
    "#);
    insta::assert_snapshot!(small("architecture = \"qwen2.5-1.5b\"\ntensor-parallel = [3]").errors(), @r#"
     × 2 key/value heads can neither be dealt out nor copied evenly to 3 shards
      ╭─[models.toml:4:20]
    3 │ architecture = "qwen2.5-1.5b"
    4 │ tensor-parallel = [3]
      ·                    ┬
      ·                    ╰── declared here
    5 │ [[model]]
      ╰────
     help: remove this degree
    "#);
}

#[test]
fn a_degree_that_no_node_has_gpus_for() {
    insta::assert_snapshot!(small("architecture = \"qwen2.5-1.5b\"\ntensor-parallel = [1, 4]").warnings(), @r#"
     ⚠ no node has more than 2 GPUs, so degree 4 is never used
      ╭─[models.toml:4:23]
    3 │ architecture = "qwen2.5-1.5b"
    4 │ tensor-parallel = [1, 4]
      ·                       ┬
      ·                       ╰── declared here
    5 │ [[model]]
      ╰────
     help: remove this degree
    "#);
}

#[test]
fn weights_larger_than_all_gpus_together() {
    insta::assert_snapshot!(small("architecture = \"llama-3.1-405b\"").errors(), @r#"
     × the model `small` fits nowhere: 811.7 GB of weights, 16.9 GB of KV reserve and 2.0 GB of overhead per shard, where the largest GPU has 77.3 GB to use and the largest node has 2 GPUs
      ╭─[models.toml:1:1]
    1 │ [[model]]
      · ────┬────
      ·     ╰── declared here
    2 │ name = "small"
      ╰────
     help: allow more shards in `tensor-parallel`, choose a smaller `dtype`, lower `kv-reserve`, or take the model out
    "#);
    insta::assert_snapshot!(small("architecture = \"qwen2.5-72b\"\ntensor-parallel = [1]").errors(), @r#"
     × the model `small` fits nowhere: 145.4 GB of weights, 10.7 GB of KV reserve and 2.0 GB of overhead per shard, where the largest GPU has 77.3 GB to use and the largest node has 2 GPUs
      ╭─[models.toml:1:1]
    1 │ [[model]]
      · ────┬────
      ·     ╰── declared here
    2 │ name = "small"
      ╰────
     help: allow more shards in `tensor-parallel`, choose a smaller `dtype`, lower `kv-reserve`, or take the model out
    "#);
}

#[test]
fn shares_said_twice_or_out_of_range() {
    insta::assert_snapshot!(small("architecture = \"qwen2.5-1.5b\"\nshares = [\"50 %\"]\nshare-step = \"10 %\"").errors(), @r#"
     × the model `small` has both `shares` and `share-step`
      ╭─[models.toml:5:14]
    4 │ shares = ["50 %"]
    5 │ share-step = "10 %"
      ·              ───┬──
      ·                 ╰── declared here
    6 │ [[model]]
      ╰────
     help: keep one of them
    "#);
    insta::assert_snapshot!(small("architecture = \"qwen2.5-1.5b\"\nshares = [\"0 %\", 1.5, \"half\"]").errors(), @r#"
     × `shares` of the model `small` is the text "0 %"
      ╭─[models.toml:4:11]
    3 │ architecture = "qwen2.5-1.5b"
    4 │ shares = ["0 %", 1.5, "half"]
      ·           ──┬──
      ·             ╰── declared here
    5 │ [[model]]
      ╰────
     help: write a share above 0 and at most 1, such as "50 %" or 0.5
     × `shares` of the model `small` is 1.5
      ╭─[models.toml:4:18]
    3 │ architecture = "qwen2.5-1.5b"
    4 │ shares = ["0 %", 1.5, "half"]
      ·                  ─┬─
      ·                   ╰── declared here
    5 │ [[model]]
      ╰────
     help: write a share above 0 and at most 1, such as "50 %" or 0.5
     × `shares` of the model `small` is the text "half"
      ╭─[models.toml:4:23]
    3 │ architecture = "qwen2.5-1.5b"
    4 │ shares = ["0 %", 1.5, "half"]
      ·                       ───┬──
      ·                          ╰── declared here
    5 │ [[model]]
      ╰────
     help: write a share above 0 and at most 1, such as "50 %" or 0.5
    "#);
    insta::assert_snapshot!(small("architecture = \"qwen2.5-1.5b\"\nshares = []").errors(), @r#"
     × `shares` of the model `small` is empty
      ╭─[models.toml:4:10]
    3 │ architecture = "qwen2.5-1.5b"
    4 │ shares = []
      ·          ─┬
      ·           ╰── declared here
    5 │ [[model]]
      ╰────
     help: write at least one entry
    "#);
}

#[test]
fn a_share_is_the_same_however_it_is_written() {
    let steps = small("architecture = \"qwen2.5-1.5b\"").load().unwrap();
    let listed = small("architecture = \"qwen2.5-1.5b\"\nshares = [0.7, \"70 %\", \"100 %\"]")
        .load()
        .unwrap();
    assert_eq!(steps.scenario.models[0].shares[6], listed.scenario.models[0].shares[0]);
    assert_eq!(listed.scenario.models[0].shares.len(), 2);
}

#[test]
fn a_context_that_the_kv_reserve_cannot_hold() {
    insta::assert_snapshot!(small("architecture = \"qwen2.5-1.5b\"\nkv-reserve = \"4096 tokens\"\nengine = { max-model-len = 8192 }").errors(), @r#"
     × a request of 8192 tokens may need more KV cache than the reserve, which holds 4096
      ╭─[models.toml:5:28]
    4 │ kv-reserve = "4096 tokens"
    5 │ engine = { max-model-len = 8192 }
      ·                            ──┬─
      ·                              ╰── declared here
    6 │ [[model]]
      ╰────
     help: raise `kv-reserve` to "8192 tokens" or lower `max-model-len`: engines refuse to start like this
    "#);
}

#[test]
fn an_unknown_engine_flag() {
    insta::assert_snapshot!(small("architecture = \"qwen2.5-1.5b\"\nengine = { max-num-seq = 64, block-size = 0 }").errors(), @r#"
     × the `engine` of the model `small` has an unknown key `max-num-seq`
      ╭─[models.toml:4:12]
    3 │ architecture = "qwen2.5-1.5b"
    4 │ engine = { max-num-seq = 64, block-size = 0 }
      ·            ─────┬─────
      ·                 ╰── unknown key
    5 │ [[model]]
      ╰────
     help: did you mean `max-num-seqs`?
     × `block-size` of the `engine` of the model `small` is 0
      ╭─[models.toml:4:43]
    3 │ architecture = "qwen2.5-1.5b"
    4 │ engine = { max-num-seq = 64, block-size = 0 }
      ·                                           ┬
      ·                                           ╰── declared here
    5 │ [[model]]
      ╰────
     help: write a whole number from 1 to 4096
    "#);
}
