"""Train the model in tiny-llama/ from scratch: a Llama of 2.9 million parameters, in about an hour on two CPU cores.

    python train_tiny_llama.py tinystories.txt my-llama

The text is plain UTF-8 with `<|endoftext|>` between stories; its last 3 % is held out and measured at the end. Needs
torch, transformers and sentencepiece. The defaults are those the shipped model was trained with, on the first 2 MiB of
TinyStories (Eldan & Li, 2023, arXiv 2305.07759).
"""

import argparse
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from transformers import LlamaConfig, LlamaForCausalLM

BOUNDARY = "<|endoftext|>"
HELD_OUT = 0.03
UNKNOWN, BEGIN, END = 0, 1, 2
"""The first pieces sentencepiece gives every vocabulary: <unk>, <s>, </s>."""
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""What stands for a space inside pieces."""
PIECE_CHARACTERS = 20_000
"""Text is tokenized in pieces of this many characters."""
WARM_UP_STEPS = 40
LAST_SHARE = 0.05
"""What is left of the learning rate at the end."""
MEASURED_WINDOWS = 40


def main() -> None:
    options = read_options()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    text = options.text.read_bytes().decode(errors="ignore").replace("\r\n", "\n")
    cut = int(len(text) * (1 - HELD_OUT))
    processor = train_tokenizer(text[:cut], options)
    write_tokenizer(processor, options)
    tokens = np.array(tokenize(processor, text[:cut]))
    model = build(options)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters:,} parameters, {len(tokens):,} tokens, {options.steps:,} steps", flush=True)
    train(model, tokens, options)
    held_out = measure(model, tokenize(processor, text[cut:]), options.context)
    print(f"perplexity {held_out:.2f} on the held-out {HELD_OUT:.0%}")
    model.to(torch.bfloat16).save_pretrained(options.output)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a small Llama on a text of short stories.")
    parser.add_argument("text", type=Path, help="stories, with <|endoftext|> between them")
    parser.add_argument("output", type=Path, help="directory for the checkpoint")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--batch", type=int, default=16, help="windows per step")
    parser.add_argument("--context", type=int, default=256, help="tokens per window")
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--feed-forward", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--key-value-heads", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=2.5e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def train_tokenizer(text: str, options: argparse.Namespace) -> sentencepiece.SentencePieceProcessor:
    """A byte-pair vocabulary of `text` with a fallback to bytes, kept as tokenizer.model in the output directory."""
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.split("\n")),
        model_writer=trained,
        model_type="bpe",
        vocab_size=options.vocabulary,
        character_coverage=0.9995,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=options.threads,
        max_sentence_length=100_000,
        minloglevel=2,
    )
    Path(options.output, "tokenizer.model").write_bytes(trained.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())


def write_tokenizer(processor: sentencepiece.SentencePieceProcessor, options: argparse.Namespace) -> None:
    """The same vocabulary as tokenizer.json, and the two small files transformers looks for beside it."""
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "model_max_length": options.context,
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": True,
        "clean_up_tokenization_spaces": False,
        "legacy": True,
        **special,
    }
    files = {
        "tokenizer.json": tokenizer_document(processor),
        "tokenizer_config.json": settings,
        "special_tokens_map.json": special,
    }
    for name, content in files.items():
        document = json.dumps(content, ensure_ascii=False, indent=1)
        Path(options.output, name).write_text(document, encoding="utf-8")


def tokenizer_document(processor: sentencepiece.SentencePieceProcessor) -> dict[str, Any]:
    """tokenizer.json: a space in front, spaces as pieces know them, then merges, with bytes for what is unknown."""
    pieces = [processor.id_to_piece(token) for token in range(processor.get_piece_size())]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    begin = {"SpecialToken": {"id": pieces[BEGIN], "type_id": 0}}
    return {
        "version": "1.0",
        "added_tokens": [{"id": token, "content": pieces[token], **flags} for token in (UNKNOWN, BEGIN, END)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, begin, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {pieces[BEGIN]: {"id": pieces[BEGIN], "ids": [BEGIN], "tokens": [pieces[BEGIN]]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "unk_token": pieces[UNKNOWN],
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: token for token, piece in enumerate(pieces)},
            "merges": merges(processor, pieces),
        },
    }


def merges(processor: sentencepiece.SentencePieceProcessor, pieces: list[str]) -> list[tuple[str, str]]:
    """Every pair of pieces whose join is a piece, the likeliest join first; then the pair with the earliest parts."""
    normal = {
        piece: token
        for token, piece in enumerate(pieces)
        if not (processor.is_control(token) or processor.is_unknown(token) or processor.is_byte(token))
    }
    ranked = []
    for piece, token in normal.items():
        for middle in range(1, len(piece)):
            left, right = piece[:middle], piece[middle:]
            if left in normal and right in normal:
                ranked.append((-processor.get_score(token), token, normal[left], normal[right], (left, right)))
    return [pair for *_, pair in sorted(ranked)]


def tokenize(processor: sentencepiece.SentencePieceProcessor, text: str) -> list[int]:
    """The text's tokens, with a <s> before each story."""
    tokens = []
    for story in text.split(BOUNDARY):
        tokens.append(BEGIN)
        for start in range(0, len(story), PIECE_CHARACTERS):
            tokens += processor.encode(story[start : start + PIECE_CHARACTERS])
    return tokens


def build(options: argparse.Namespace) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.width,
        intermediate_size=options.feed_forward,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.key_value_heads,
        max_position_embeddings=options.context,
        rms_norm_eps=1e-5,
        bos_token_id=BEGIN,
        eos_token_id=END,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def batches(tokens: np.ndarray, options: argparse.Namespace) -> Iterator[torch.Tensor]:
    """Batches of windows (batch, context) without end: every window once in random order, then again in another."""
    random = np.random.default_rng(options.seed)
    windows = tokens[: len(tokens) // options.context * options.context].reshape(-1, options.context)
    while True:
        order = random.permutation(len(windows))
        for start in range(0, len(order) - options.batch + 1, options.batch):
            yield torch.from_numpy(windows[order[start : start + options.batch]])


def train(model: LlamaForCausalLM, tokens: np.ndarray, options: argparse.Namespace) -> None:
    """AdamW with warm-up and a cosine to `LAST_SHARE`; only matrices decay."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_share(step, options.steps))
    model.train()
    smooth = None
    for step, batch in zip(range(1, options.steps + 1), batches(tokens, options), strict=False):
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        if step % 25 == 0 or step == options.steps:
            print(f"step {step} loss {smooth:.3f}", flush=True)


def learning_share(step: int, steps: int) -> float:
    """What share of the learning rate step `step` of `steps` uses."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * (LAST_SHARE + (1 - LAST_SHARE) * cosine)


def measure(model: LlamaForCausalLM, tokens: list[int], context: int) -> float:
    """Perplexity over the first windows of `tokens`, each behind a <s> of its own."""
    model.eval()
    losses = []
    for window in range(min(MEASURED_WINDOWS, len(tokens) // context)):
        start = window * context
        given = torch.tensor([[BEGIN, *tokens[start : start + context - 1]]])
        with torch.no_grad():
            losses.append(model(input_ids=given, labels=given).loss.item())
    return math.exp(sum(losses) / len(losses))


if __name__ == "__main__":
    main()
