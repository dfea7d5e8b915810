"""Personal data: recall and precision by kind, time by length; with presidio-analyzer installed, beside it.

    BIDDABLE_DATA=FOLDER python bench/personal_data.py

Three measures. The templates of pii_synthetic in five groups, the weakest group shown: the recognisers are rules
and fitted to none, but a frequent template may hide a rare one. Telephone numbers of fifty countries in
carriers of tests/curate/test_personal_data_worldwide.py, with and without a word that announces them. Texts of
growing length: what is linear takes ten times as long for ten times the text.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from biddable.curate.personal_data import detect, masking

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "curate"))
KINDS = {
    "EMAIL_ADDRESS": ("email", "EmailRecognizer"),
    "CREDIT_CARD": ("card", "CreditCardRecognizer"),
    "IBAN_CODE": ("account", "IbanRecognizer"),
    "PHONE_NUMBER": ("phone", "PhoneRecognizer"),
    "IP_ADDRESS": ("ip", "IpRecognizer"),
    "US_SSN": ("ssn", "UsSsnRecognizer"),
    "STREET_ADDRESS": ("address", ""),
}
FOLDS = 5


def templates(data: Path) -> None:
    with gzip.open(data / "pii_synthetic.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    groups = sorted({row["template_id"] for row in rows})
    fold_of = {name: place % FOLDS for place, name in enumerate(groups)}
    detect.find("a@b.org é 0612345678")
    began = time.process_time()
    spans = [detect.find(row["text"]) for row in rows]
    micro = (time.process_time() - began) / len(rows) * 1e6
    print(
        f"{len(rows)} sentences, {len(groups)} templates, all kinds at once: {micro:.0f} microseconds a sentence"
    )
    print(
        "kind      spans  whole: recall  weakest fifth  any part: recall  precision  presidio: recall precision"
    )
    for name, (kind, peer) in KINDS.items():
        counts: Counter[tuple[str, int]] = Counter()
        for row, mine in zip(rows, spans, strict=True):
            fold = fold_of[row["template_id"]]
            gold = [(span["start"], span["end"]) for span in row["spans"] if span["type"] == name]
            ours = [(span.start, span.end) for span in mine if span.kind == kind]
            counts["gold", fold] += len(gold)
            counts["whole", fold] += sum(any(a <= s and e <= b for a, b in ours) for s, e in gold)
            counts["any", fold] += sum(any(a < e and s < b for a, b in ours) for s, e in gold)
            counts["ours", fold] += len(ours)
            counts["right", fold] += sum(any(a < e and s < b for s, e in gold) for a, b in ours)
        total = {
            what: sum(counts[what, fold] for fold in range(FOLDS))
            for what in ("gold", "whole", "any", "ours", "right")
        }
        weakest = min(counts["whole", f] / counts["gold", f] for f in range(FOLDS) if counts["gold", f])
        print(
            f"{kind:9} {total['gold']:5}  {total['whole'] / total['gold']:13.3f}  {weakest:13.3f}  "
            f"{total['any'] / total['gold']:16.3f}  {total['right'] / max(1, total['ours']):9.3f}  {beside(rows, name, peer)}"
        )


def beside(rows: list[dict[str, Any]], name: str, peer: str) -> str:
    """Recall and precision of presidio's recogniser, where it is installed."""
    if not peer or not importlib.util.find_spec("presidio_analyzer"):
        return "-"
    from presidio_analyzer import predefined_recognizers

    recogniser = getattr(predefined_recognizers, peer)()
    hit = right = gold_all = all_theirs = 0
    for row in rows:
        theirs = [(match.start, match.end) for match in recogniser.analyze(row["text"], [name], None) or []]
        gold = [(span["start"], span["end"]) for span in row["spans"] if span["type"] == name]
        gold_all += len(gold)
        all_theirs += len(theirs)
        hit += sum(any(a <= s and e <= b for a, b in theirs) for s, e in gold)
        right += sum(any(a < e and s < b for s, e in gold) for a, b in theirs)
    return f"{hit / gold_all:.3f} {right / max(1, all_theirs):.3f}"


def telephone_numbers() -> None:
    import test_personal_data_worldwide as sentences

    numbers = [number for country in sentences.PHONES.values() for number in country]
    for name, carriers in (("no word near", sentences.UNANNOUNCED), ("announced", sentences.ANNOUNCED)):
        hits = 0
        for number in numbers:
            for carrier in carriers:
                text = carrier.format(number)
                start = text.index(number)
                hits += any(
                    span.kind == "phone" and span.start <= start and start + len(number) <= span.end
                    for span in detect.find(text)
                )
        cases = len(numbers) * len(carriers)
        print(
            f"telephone numbers of {len(sentences.PHONES)} countries, {name}: {hits} of {cases} ({hits / cases:.3f})"
        )
    wrong = sum(span.kind == "phone" for text in sentences.NO_PHONES for span in detect.find(text))
    print(f"lines of other numbers: {len(sentences.NO_PHONES)}, telephone numbers in them: {wrong}")


def lengths() -> None:
    for size in (10_000, 100_000, 1_000_000):
        text = " ".join(f"user{number}@example{number % 977}.org" for number in range(size // 23))
        began = time.process_time()
        _, values = masking.mask_texts([text], detect.KINDS)
        print(
            f"{len(text):9,} characters of e-mail addresses, {len(values):6,} masked: {time.process_time() - began:.2f} s of CPU"
        )


if __name__ == "__main__":
    if folder := os.environ.get("BIDDABLE_DATA"):
        templates(Path(folder))
    telephone_numbers()
    lengths()
