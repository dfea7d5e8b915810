"""Pairs in many scripts: different ones that differ in a sign stay, real near-duplicates go."""

from __future__ import annotations

import unicodedata

import pytest

from biddable.curate.prompts import near_duplicates
from biddable.curate.prompts.dedup import fold_case
from biddable.curate.prompts.normalisation import normalise

DIFFERENT = [
    # Latin
    ("What is C++?", "What is C#?"),
    ("What is C?", "What is C++?"),
    ("What is F#?", "What is F?"),
    ("Is this safe?", "Is this not safe?"),
    ("Is it legal to sell wine here?", "Is it illegal to sell wine here?"),
    ("Who was Robert Mann?", "Who was Robert Hann?"),
    ("¿Cuántos anos tiene?", "¿Cuántos años tiene?"),
    ("Was ist schon passiert?", "Was ist schön passiert?"),
    ("Où est-il ?", "Ou est-il ?"),
    ("How do I use < in bash?", "How do I use > in bash?"),
    ("Convert $50 to crowns", "Convert €50 to crowns"),
    ("Is it safe to take aspirin and wine together?", "Is it unsafe to take aspirin and wine together?"),
    ("Write a poem about a cat", "Write a poem about a bat"),
    ("Translate 'good morning' to Spanish", "Translate 'good morning' to Danish"),
    ("What is the capital of Austria?", "What is the capital of Australia?"),
    ("Explain step 1.", "Explain step 2."),
    ("Is -5 a natural number?", "Is 5 a natural number?"),
    ("Was it 3.45 or later?", "Was it 3:45 or later?"),
    ("Hva er øl?", "Hva er al?"),
    ("What does ; mean in C?", "What does : mean in C?"),
    ('What does ";" mean in C?', 'What does "," mean in C?'),
    # Cyrillic
    ("Что такое мир?", "Что такое мор?"),
    ("Можно ли это есть?", "Нельзя ли это есть?"),
    ("Он знает", "Он не знает"),
    ("Где живёт Иван?", "Где живёт Иваны?"),
    ("Какой это край?", "Какои это край?"),
    # Greek
    ("Πότε έφυγε;", "Ποτέ έφυγε;"),
    ("Τι είναι ο νόμος;", "Τι είναι ο νομός;"),
    ("Θέλω νερό", "Δεν θέλω νερό"),
    # Arabic, Hebrew
    ("ما معنى عَلَم؟", "ما معنى عِلْم؟"),
    ("هل هذا صحيح؟", "هل هذا غير صحيح؟"),
    ("أين تقع مصر؟", "أين يقع قصر؟"),
    ("מה פירוש סֵפֶר?", "מה פירוש סַפָּר?"),
    ("אני רוצה", "אני לא רוצה"),
    ("מי זה דן?", "מי זה רן?"),
    # Hindi, Tamil, Bengali
    ("दिन क्या है?", "दीन क्या है?"),
    ("कल का अर्थ", "काल का अर्थ"),
    ("बाल", "बल"),
    ("मैं जाता हूँ", "मैं नहीं जाता हूँ"),
    ("கலை என்றால் என்ன?", "காலை என்றால் என்ன?"),
    ("দিন কী?", "দীন কী?"),
    # Thai
    ("มา", "ม้า"),
    ("ข้าว คืออะไร", "ขาว คืออะไร"),
    ("ใกล้ แปลว่าอะไร", "ไกล แปลว่าอะไร"),
    ("กินได้", "กินไม่ได้"),
    ("ปี", "ปู"),
    # Chinese, Japanese, Korean
    ("什么是土?", "什么是士?"),
    ("我知道", "我不知道"),
    ("请介绍北京", "请介绍南京"),
    ("ビルとは何ですか", "ビールとは何ですか"),
    ("はしとは", "ばしとは"),
    ("食べる?", "食べない?"),
    ("病院はどこですか", "美容院はどこですか"),
    ("물이란?", "불이란?"),
    ("안 먹어요", "먹어요"),
    ("서울은 어디?", "서산은 어디?"),
    # Code
    ("a == b", "a != b"),
    ("a && b", "a || b"),
    ("x++", "x--"),
    ("if (!x) return", "if (x) return"),
    ("f(x)", "f[x]"),
    ("Explain i += 1", "Explain i -= 1"),
    ("a | b", "a & b"),
    ("~x", "x"),
    ("grep a*", "grep a+"),
    ("x << 2", "x >> 2"),
    ("What does @ do in Python?", "What does % do in Python?"),
    ("What is [] in Python?", "What is {} in Python?"),
    # Arithmetic
    ("3 + 4", "3 * 4"),
    ("3 + 4", "3 - 4"),
    ("3 - 4", "3 / 4"),
    ("What is 12 < 13?", "What is 12 > 13?"),
    ("2^3", "2*3"),
    ("x² = 4", "x2 = 4"),
    ("x² = 4", "x³ = 4"),
    ("5! =", "5 ="),
    ("√16", "16"),
    ("½ of 10", "¼ of 10"),
    ("∀x ∃y", "∃x ∀y"),
    ("10%", "10‰"),
    ("1.5 kg", "15 kg"),
    ("20 °C", "20 C"),
    ("f'(x)", "f(x)"),
    ("[0, 1]", "(0, 1)"),
    ("A ∪ B", "A ∩ B"),
    ("3 ≤ 4", "3 ≥ 4"),
    ("7 ± 2", "7 + 2"),
    # Emoji and lone signs
    ("😀", "😢"),
    ("What does 👍 mean?", "What does 👎 mean?"),
    ("What does ❤️ mean?", "What does 💔 mean?"),
    ("🇩🇪", "🇫🇷"),
    ("I am 😀", "I am 😡"),
    ("👋🏻", "👋🏿"),
    ("🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"),
    ("How was it? :)", "How was it? :("),
    ("<", ">"),
    ("?", "!"),
    ("(", ")"),
    ("→", "←"),
    ("♂", "♀"),
    # Long ones: numbers, negations and operators
    (
        "Please write a detailed summary of chapter 3 of the history book that we read together in class.",
        "Please write a detailed summary of chapter 4 of the history book that we read together in class.",
    ),
    (
        "Write a detailed essay for my class in which you argue that zoos should be closed in every country "
        "of the world because animals suffer there",
        "Write a detailed essay for my class in which you argue that zoos should not be closed in every "
        "country of the world because animals suffer there",
    ),
    (
        "Given the arrays first and second of the same length, what does the expression first + second "
        "evaluate to in the language?",
        "Given the arrays first and second of the same length, what does the expression first * second "
        "evaluate to in the language?",
    ),
]
LONG = (
    "Write a short story about a lighthouse keeper who finds a letter in a bottle, reads it to the gulls, "
    "and decides to answer it before the winter storms arrive at the coast."
)
RUSSIAN = (
    "Напиши подробный рассказ о смотрителе маяка, который находит письмо в бутылке, читает его чайкам "
    "и решает ответить до того, как начнутся зимние шторма."
)
CHINESE = (
    "请写一个关于灯塔看守人的短篇故事,他在海边的瓶子里发现了一封来自远方的信,把它读给海鸥听,然后决定在冬天的"
    "暴风雨到来之前写一封长长的回信寄给那个陌生的朋友。"
)
NEAR = [
    ("What is Python?", "what is python"),
    ("What is Python?", "WHAT IS PYTHON??"),
    ("What is Python?", "What  is Python ?"),
    ("What is Python?", "“What is Python?”"),
    ("What is C++?", "what is c++"),
    ("What is C++?", "What is C ++ ?"),
    ("What is C++?", "What is 'C++'?"),
    ("Tell me a joke.", "Tell me a joke!"),
    ("Tell me a joke.", "Tell me a joke..."),
    ("Tell me a joke.", "Tell me a joke…"),
    ("Tell me, please, a joke", "Tell me please a joke"),
    ("Don't panic", "Don’t panic"),
    ("Don't panic", "dont panic."),
    ("a well-known fact", "a well known fact"),
    ("a well-known fact", "a well‐known fact"),
    ("pages 10-12", "pages 10–12"),
    ("pages 10-12", "pages 10 — 12"),
    ("Yes - of course", "Yes — of course"),
    ("Yes - of course", "Yes, of course"),
    ("Hello (world)", "Hello world"),
    ("**Hello** world", "Hello world"),
    ("`print` it", "print it"),
    ("Hello world", "Hello\u00a0world"),
    ("Hello world", "Hello\n\nworld"),
    ("Hello world", "Hello\u200b world"),
    ("Hello world", "\ufeffHello world"),
    ("co\u00adoperate", "cooperate"),
    ("1,000 apples", "1000 apples"),
    ("Café crème", unicodedata.normalize("NFD", "Café crème")),
    ("Straße", "STRASSE"),
    ("eﬃcient ofﬁce", "efficient office"),
    ("Wie heißt du?", "wie heisst du"),
    ("¿Cómo estás?", "cómo estás?"),
    ("Pourquoi ?", "Pourquoi?"),
    ("« Bonjour », dit-il", '"Bonjour", dit-il'),
    ("İstanbul nerede?", "istanbul nerede"),
    ("ABC 123", "\uff21\uff22\uff23 \uff11\uff12\uff13"),
    ("\uff37\uff48\uff41\uff54 is it\uff1f", "What is it?"),
    ("Windows® help", "Windows help"),
    # Cyrillic, Greek
    ("Что такое Python?", "что такое python"),
    ("ЧТО ТАКОЕ МИР?", "Что такое мир"),
    ("Он сказал: «да»", 'Он сказал: "да"'),
    ("Йод и йогурт", unicodedata.normalize("NFD", "йод и йогурт")),
    ("Τι είναι ο νόμος;", "ΤΙ ΕΙΝΑΙ Ο ΝΟΜΟΣ;"),
    ("Πού είναι ο Γιάννης;", "που ειναι ο γιαννης"),
    ("Ποιος είναι ο Σωκράτης", "ποιος είναι ο Σωκράτης;"),
    # Arabic, Hebrew
    ("ما هو الذكاء الاصطناعي؟", "ما هو الذكاء الاصطناعي"),
    ("كَتَبَ الوَلَدُ", "كتب الولد"),
    ("كتب الولد", "كتـــب الولد"),
    ("عدد ١٢", "عدد 12"),
    ("می‌خواهم بروم", "میخواهم بروم"),
    ("מה זה בינה?", "מה זה בינה"),
    ("שָׁלוֹם עולם", "שלום עולם"),
    ('צה"ל', "צה״ל"),
    # Hindi, Thai
    ("भारत क्या है?", "भारत क्या है"),
    ("भारत क्या है।", "भारत क्या है |".replace("|", "॥")),
    ("अंक १२", "अंक 12"),
    ("क\u093cलम", "\u0958लम"),
    ("ข้าวคืออะไร", "ข้าว คืออะไร?"),
    ("ข้าวคืออะไร", "ข้าวคืออะไร ?"),
    ("ทำอะไร", "ท\u0e4d\u0e32อะไร"),
    # Chinese, Japanese, Korean
    ("什么是人工智能?", "什么是人工智能\uff1f"),
    ("什么是人工智能?", "什么是人工智能"),
    ("使用Python编写代码", "使用 Python 编写代码。"),
    ("你好,世界", "你好\uff0c世界\uff01"),
    ("「東京」はどこですか?", "東京はどこですか"),
    ("カタカナとは", "\uff76\uff80\uff76\uff85とは"),
    ("ガラス", unicodedata.normalize("NFD", "ガラス")),
    ("東京はどこですか。", "東京は どこですか?"),
    ("한국은 어디입니까?", "한국은 어디입니까"),
    ("한국은 어디입니까?", "한국은어디입니까?"),
    ("한국", unicodedata.normalize("NFD", "한국")),
    # Code, arithmetic, emoji
    ("3 + 4", "3+4"),
    ("3 + 4 = ?", "3+4=?"),
    ("3 − 4", "3 - 4"),
    ("3-4", "3 – 4"),
    ("\uff13\uff0b\uff14", "3+4"),
    ("3 × 4", "3 * 4"),
    ("a == b", "a==b"),
    ("f(x, y)", "f(x,y)"),
    ("if (x > 3) return;", "if (x>3) return"),
    ("SELECT * FROM users;", "select * from users"),
    ("I am 😀", "i am 😀!"),
    ("❤️ is what?", "❤ is what?"),
    ("What does 👍 mean?", "what does '👍' mean"),
    ("10 %", "10%"),
    ("$ 50", "$50"),
    # Long ones
    (LONG, LONG.upper()),
    (LONG, LONG.replace("winter", "autumn")),
    (LONG, "Please: " + LONG),
    (LONG, LONG.replace("short ", "very short ")),
    (LONG, LONG + " Thank you!"),
    (LONG, LONG.replace(",", " -").rstrip(".")),
    (LONG, LONG.replace("a letter", '"a letter"')),
    (LONG, "😀 " + LONG),
    (LONG, "> " + LONG),
    (RUSSIAN, RUSSIAN.replace("подробный", "короткий")),
    (RUSSIAN, "Пожалуйста! " + RUSSIAN.upper()),
    (CHINESE, CHINESE.replace("海鸥", "孩子")),
    (CHINESE, CHINESE.replace(",", "\uff0c").rstrip("。")),
    (CHINESE, CHINESE.replace(",", ", ")),
    (CHINESE, "请," + CHINESE),
]


def goes(first: str, second: str) -> bool:
    """Whether the second goes, in the presence of the first."""
    keys = [fold_case(text) for text in (first, second)]
    bands = near_duplicates.band_hashes([normalise(key) for key in keys])
    return near_duplicates.find_near_duplicates(keys, bands, 0.8)[1] is not None


def test_there_are_a_hundred_pairs_of_each_kind() -> None:
    assert len(DIFFERENT) >= 100 and len(NEAR) >= 100
    assert all(first != second for first, second in DIFFERENT + NEAR)
    assert len({*DIFFERENT, *NEAR}) == len(DIFFERENT) + len(NEAR)


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_different_texts_stay(first: str, second: str) -> None:
    assert not goes(first, second) and not goes(second, first)


@pytest.mark.parametrize(("first", "second"), NEAR)
def test_near_duplicates_go(first: str, second: str) -> None:
    assert goes(first, second) and goes(second, first)
