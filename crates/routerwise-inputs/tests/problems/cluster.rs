//! `cluster.toml`.

use crate::Folder;

fn errors(cluster: &str) -> String {
    Folder::tiny().with("cluster.toml", cluster).errors()
}

#[test]
fn a_cluster_without_nodes() {
    insta::assert_snapshot!(errors("node = []\n"), @r"
     × `node` of the file is empty
      ╭─[cluster.toml:1:8]
    1 │ node = []
      ·        ─┬
      ·         ╰── declared here
      ╰────
     help: write at least one entry
    ");
    insta::assert_snapshot!(errors(""), @r#"
    × the file has no `node`
     ╭─[cluster.toml:1:1]
     ╰────
    help: add `node = [{ name = "node", gpu = "a100-80gb-sxm", gpus = 4 }]`
    "#);
}

#[test]
fn an_unknown_gpu_type() {
    insta::assert_snapshot!(errors("[[node]]\nname = \"n\"\ngpu = \"a100-80gb-smx\"\ngpus = 2\n"), @r#"
     × no GPU type is named `a100-80gb-smx`
      ╭─[cluster.toml:3:7]
    2 │ name = "n"
    3 │ gpu = "a100-80gb-smx"
      ·       ───────┬───────
      ·              ╰── declared here
    4 │ gpus = 2
      ╰────
     help: did you mean `a100-80gb-sxm`? known: `a10-24gb`, `a100-40gb-pcie`, `a100-40gb-sxm`, `a100-80gb-pcie`, `a100-80gb-sxm`, `a40-48gb`, `b200-180gb-sxm`, `h100-80gb-pcie`, `h100-80gb-sxm`, `h100-94gb-nvl`, `h200-141gb-sxm`, `l4-24gb`, `l40s-48gb`, `rtx-4090-24gb`, `rtx-a6000-48gb`, `rtx-pro-6000-96gb`, `t4-16gb`, `v100-32gb-sxm`; describe others in `[[gpu]]`
    "#);
}

#[test]
fn an_unknown_key() {
    insta::assert_snapshot!(errors("[[node]]\nname = \"n\"\ngpu = \"a100-80gb-sxm\"\ngpus = 2\nconut = 3\n"), @r"
     × the node `n` has an unknown key `conut`
      ╭─[cluster.toml:5:1]
    4 │ gpus = 2
    5 │ conut = 3
      · ──┬──
      ·   ╰── unknown key
      ╰────
     help: did you mean `count`?
    ");
}

#[test]
fn two_nodes_of_one_name() {
    let node = "[[node]]\nname = \"n\"\ngpu = \"a100-80gb-sxm\"\ngpus = 2\n";
    insta::assert_snapshot!(errors(&node.repeat(2)), @r#"
     × two nodes are named `n`
      ╭─[cluster.toml:5:1]
    4 │ gpus = 2
    5 │ [[node]]
      · ────┬───
      ·     ╰── the second one
    6 │ name = "n"
      ╰────
     help: rename one of them (an entry with `count = n` makes `name-1` to `name-n`)
    "#);
}

#[test]
fn one_gpu_type_with_two_kinds_of_links() {
    let cluster = "\
[[node]]
name = \"a\"
gpu = \"a100-80gb-sxm\"
gpus = 2

[[node]]
name = \"b\"
gpu = \"a100-80gb-sxm\"
gpus = 2
interconnect = \"pcie\"
";
    insta::assert_snapshot!(errors(cluster), @r#"
     × `a100-80gb-sxm` is linked by nvswitch on node `a` and by pcie on node `b`
      ╭─[cluster.toml:6:1]
    5 │
    6 │ [[node]]
      · ────┬───
      ·     ╰── this node
    7 │ name = "b"
      ╰────
     help: define a variant type, and use it on one of them: `[[gpu]]` with `name = "a100-80gb-sxm-variant"` and `like = "a100-80gb-sxm"`
    "#);
}

#[test]
fn a_variant_type_may_have_other_links() {
    let folder = Folder::tiny().with(
        "cluster.toml",
        "\
usable-memory = \"80 %\"

[[gpu]]
name = \"a100-bridged\"
like = \"a100-80gb-sxm\"
interconnect = \"nvlink-pairs\"
price-per-hour = 1.5

[[node]]
name = \"a\"
count = 2
gpu = \"a100-80gb-sxm\"
gpus = 2

[[node]]
name = \"b\"
gpu = \"a100-bridged\"
gpus = 4
",
    );
    let cluster = folder.load().unwrap().scenario.cluster;
    let names: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["a-1", "a-2", "b"]);
    assert_eq!(cluster.gpu_types[1].price_per_hour, Some(1.5));
    assert_eq!(cluster.gpu_types[1].memory, cluster.gpu_types[0].memory);
    assert_eq!(cluster.gpu_types[0].usable_memory.0, 68_719_476_736);
}

#[test]
fn a_gpu_type_of_ones_own_with_numbers_missing_or_wrong() {
    let gpu = "[[gpu]]\nname = \"mine\"\nmemory = \"-80 GB\"\nbandwidth = nan\n";
    let node = "[[node]]\nname = \"n\"\ngpu = \"mine\"\ngpus = 2\n";
    insta::assert_snapshot!(errors(&format!("usable-memory = 90\n{gpu}{node}")), @r#"
     × `usable-memory` of the file is 90
      ╭─[cluster.toml:1:17]
    1 │ usable-memory = 90
      ·                 ─┬
      ·                  ╰── declared here
    2 │ [[gpu]]
      ╰────
     help: write a share above 0 and at most 1, such as "50 %" or 0.5
     × the GPU type `mine` has no `peak-flops`
      ╭─[cluster.toml:2:1]
    1 │ usable-memory = 90
    2 │ [[gpu]]
      · ───┬───
      ·    ╰── declared here
    3 │ name = "mine"
      ╰────
     help: add `peak-flops = "312 TFLOP/s"`
     × the GPU type `mine` has no `interconnect`
      ╭─[cluster.toml:2:1]
    1 │ usable-memory = 90
    2 │ [[gpu]]
      · ───┬───
      ·    ╰── declared here
    3 │ name = "mine"
      ╰────
     help: add `interconnect = "pcie"`
     × `memory` of the GPU type `mine` is the text "-80 GB"
      ╭─[cluster.toml:4:10]
    3 │ name = "mine"
    4 │ memory = "-80 GB"
      ·          ────┬───
      ·              ╰── declared here
    5 │ bandwidth = nan
      ╰────
     help: write an amount of memory above 0, such as "140 GB" (a plain number is in bytes)
     × `bandwidth` of the GPU type `mine` is nan
      ╭─[cluster.toml:5:13]
    4 │ memory = "-80 GB"
    5 │ bandwidth = nan
      ·             ─┬─
      ·              ╰── declared here
    6 │ [[node]]
      ╰────
     help: write a bandwidth above 0, such as "2039 GB/s" (a plain number is in bytes/s)
    "#);
}

#[test]
fn two_gpu_types_of_one_name() {
    let gpu = "[[gpu]]\nname = \"a100-80gb-sxm\"\nprice-per-hour = 2\n";
    let node = "[[node]]\nname = \"n\"\ngpu = \"a100-80gb-sxm\"\ngpus = 2\n";
    insta::assert_snapshot!(errors(&format!("{gpu}{gpu}{node}")), @r#"
     × two `[[gpu]]` entries are named `a100-80gb-sxm`
      ╭─[cluster.toml:4:1]
    3 │ price-per-hour = 2
    4 │ [[gpu]]
      · ───┬───
      ·    ╰── the second one
    5 │ name = "a100-80gb-sxm"
      ╰────
     help: rename or remove one of them
    "#);
}
