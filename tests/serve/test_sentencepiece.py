"""A SentencePiece vocabulary through the server: blanks, bytes and offsets as a client sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biddable.model import random_model
from tests.model.test_detokenizer import BLANK, PIECES, ids_of, sentencepiece


@pytest.fixture(scope="module")
def sentencepiece_client(
    start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    """A server of a random model with that vocabulary, as OpenAI's client sees it; and the model's folder."""
    import openai

    from biddable.model import checkpoints

    tokenizer = sentencepiece()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}</s>{% endfor %}"
    folder = tmp_path_factory.mktemp("sentencepiece")
    model = random_model.build_model(vocabulary=len(PIECES))
    model.config.eos_token_id = model.generation_config.eos_token_id = PIECES.index("</s>")
    model.save_pretrained(folder / "source")
    tokenizer.save_pretrained(folder / "source")
    checkpoints.import_model(str(folder / "source"), folder / "learn.start" / "model", 0)
    served = start(policies=(folder / "learn.start",))
    client = openai.OpenAI(base_url=served.url + "/v1", api_key=served.key, max_retries=0, timeout=60)
    return client, folder / "learn.start" / "model"


def test_sentencepiece_completions_through_the_client(sentencepiece_client: tuple[Any, Path]) -> None:
    """The answer goes on from the prompt's last word: a first word keeps its blank. Log-probabilities are by
    token, as transformers gives them, and offsets cut the text where its tokens begin."""
    import torch
    from transformers import AutoModelForCausalLM

    client, folder = sentencepiece_client
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    compared = 0
    for seed in range(12):
        prompt = ids_of("<s>", BLANK + "one")
        choice = client.completions.create(
            model="learn.start", prompt=prompt, max_tokens=24, seed=seed, logprobs=5
        ).choices[0]
        logprobs, text = choice.logprobs, choice.text
        assert logprobs.text_offset == sorted(logprobs.text_offset) and logprobs.text_offset[0] == 0
        ids: list[int] = []
        for token, offset in zip(logprobs.tokens, logprobs.text_offset, strict=True):
            if token == " " or (
                len(token) == 1 and token in PIECES
            ):  # a piece or a byte: their texts are one
                break
            if not token.startswith(("bytes:", "<s>", "</s>")):
                assert text[offset : offset + len(token)] == token
            ids.append(id_of(token))
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)[len(prompt) - 1 :]
        for row, id, logp, top in zip(
            logits, ids, logprobs.token_logprobs, logprobs.top_logprobs, strict=False
        ):
            assert logp == pytest.approx(float(row[id]), abs=0.05)
            assert sorted(top.values())[::-1] == pytest.approx(row.topk(5).values.tolist(), abs=0.05)
            compared += 1
    assert compared > 100


def id_of(token: str) -> int:
    """The id of a token from its text in the protocol."""
    if token.startswith("bytes:"):
        return PIECES.index(f"<0x{token[-2:].upper()}>")
    piece = token.replace(" ", BLANK)
    return PIECES.index(piece if piece in PIECES else f"<0x{ord(token):02X}>")


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_only_what_continues_a_text_keeps_its_blank(
    sentencepiece_client: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    """Every drawn token is "▁two": a chat's answer is a text of its own, a completion goes on behind a word,
    and behind a control token it begins a text."""
    from biddable.model import sampler

    client, _ = sentencepiece_client
    draw = sampler.draw

    def draw_two(logits: Any, *rest: Any) -> Any:
        logits = logits.clone()
        logits[:, PIECES.index(BLANK + "two")] = 1e4
        return draw(logits, *rest)

    monkeypatch.setattr(sampler, "draw", draw_two)
    if endpoint == "chat":
        messages = [{"role": "user", "content": "one"}]
        answer = client.chat.completions.create(
            model="learn.start", messages=messages, max_tokens=3, logprobs=True
        )
        assert answer.choices[0].message.content == "two two two"
        entries = answer.choices[0].logprobs.content
        assert [bytes(entry.bytes) for entry in entries] == [b"two", b" two", b" two"]
        assert [entry.token for entry in entries] == ["two", " two", " two"]
        return
    for prompt, text in ((ids_of(BLANK + "one"), " two two"), (ids_of(BLANK + "one", "</s>"), "two two")):
        answer = client.completions.create(model="learn.start", prompt=prompt, max_tokens=2, logprobs=1)
        assert answer.choices[0].text == text
        assert answer.choices[0].logprobs.tokens == [text[:-4], " two"]
        assert answer.choices[0].logprobs.text_offset == [0, len(text) - 4]
