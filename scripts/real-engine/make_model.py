"""Writes a llama-architecture GGUF with random weights: timing, batching and API of a real engine, answers without meaning.

    pip install gguf
    python make_model.py small.gguf --layers 4 --hidden 256 --ffn 704 --heads 8 --kv-heads 4
    python make_model.py big.gguf --layers 16 --hidden 1024 --ffn 2816 --heads 16 --kv-heads 8 --q8
"""

import argparse
import itertools

import gguf
import numpy as np


def vocabulary():
    """Control tokens, all bytes, and short pieces with and without a leading space: (text, score, kind)."""
    kind = gguf.TokenType
    entries = [("<unk>", 0.0, kind.UNKNOWN), ("<s>", 0.0, kind.CONTROL), ("</s>", 0.0, kind.CONTROL)]
    entries += [(f"<0x{byte:02X}>", 0.0, kind.BYTE) for byte in range(256)]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["\u2581"] + list(letters) + list("0123456789.,:;!?'-\n")
    pieces += ["".join(pair) for pair in itertools.product("bcdfghlmnprstw", "aeiou")]
    pieces += ["".join(pair) for pair in itertools.product("aeiou", "nrstlmd")]
    pieces += ["\u2581" + piece for piece in pieces[1:] if piece.isalpha()]
    entries += [(piece, len(piece) - rank / 1000, kind.NORMAL) for rank, piece in enumerate(pieces)]
    while len(entries) % 32:
        entries.append((f"<pad{len(entries)}>", -1e9, kind.UNUSED))
    return entries


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    for name in ["layers", "hidden", "ffn", "heads", "kv-heads"]:
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--q8", action="store_true", help="weights in 8 bits instead of 16")
    args = parser.parse_args()

    entries = vocabulary()
    head = args.hidden // args.heads
    writer = gguf.GGUFWriter(args.out, "llama")
    writer.add_name(f"random {args.layers}x{args.hidden}")
    writer.add_context_length(args.context)
    writer.add_embedding_length(args.hidden)
    writer.add_block_count(args.layers)
    writer.add_feed_forward_length(args.ffn)
    writer.add_head_count(args.heads)
    writer.add_head_count_kv(args.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(entries))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in entries])
    writer.add_token_scores([score for _, score, _ in entries])
    writer.add_token_types([int(kind) for _, _, kind in entries])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{% for m in messages %}{{ m['content'] }}\n{% endfor %}")

    random = np.random.default_rng(1)

    def matrix(name, rows, columns, scale=None):
        values = random.standard_normal((rows, columns), dtype=np.float32) * (scale or columns**-0.5)
        if name == "output.weight":
            # Control, byte and padding tokens have no chance, so answers end only when they are as long as asked.
            values[:259] = 0
            values[[ix for ix, (_, _, kind) in enumerate(entries) if kind == gguf.TokenType.UNUSED]] = 0
        if args.q8:
            quantised = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
        else:
            writer.add_tensor(name, values.astype(np.float16))

    def norm(name):
        writer.add_tensor(name, np.ones(args.hidden, dtype=np.float32))

    matrix("token_embd.weight", len(entries), args.hidden, 1.0)
    norm("output_norm.weight")
    matrix("output.weight", len(entries), args.hidden, 3.0 * args.hidden**-0.5)
    for layer in range(args.layers):
        block = f"blk.{layer}."
        norm(block + "attn_norm.weight")
        norm(block + "ffn_norm.weight")
        matrix(block + "attn_q.weight", args.hidden, args.hidden)
        matrix(block + "attn_k.weight", args.kv_heads * head, args.hidden)
        matrix(block + "attn_v.weight", args.kv_heads * head, args.hidden)
        matrix(block + "attn_output.weight", args.hidden, args.hidden)
        matrix(block + "ffn_gate.weight", args.ffn, args.hidden)
        matrix(block + "ffn_up.weight", args.ffn, args.hidden)
        matrix(block + "ffn_down.weight", args.hidden, args.ffn)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{args.out}: {len(entries)} tokens")


if __name__ == "__main__":
    main()
