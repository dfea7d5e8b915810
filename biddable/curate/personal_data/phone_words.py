"""The words that announce a telephone number, or say that a number is something else, in some thirty languages.

All are compared with case-folded text. A word counts before a number as far as `BEFORE`, and the nearest decides.
"""

from __future__ import annotations

import re

BEFORE = 56
"""Characters before a number in which the text may announce what it is."""
AFTER = 28
"""Characters after it."""
NEAR = 26
"""Characters between the announcing word and the number where it is said right before."""

MANY_WORDS = re.compile(r"(?:[^\W\d_]{2,}\W+){4}")

PHONE = re.compile(
    r"(?<![^\W_])(?:"
    # English
    r"(?:tele)?phones?|tel|ph|t(?=[:. ])|p(?=[:.])|m(?=[:.])|f(?=[:.])|mobiles?|mob|cell(?:phone|ular)?s?|fax|facsimile|hotline|helpline|landline|voicemail|pager|whats ?app"
    r"|viber|sms|msisdn|texts?|texting|calls?|calling|ring|dial|dialling|dialing|reach(?:ed|able)?|contact|callback|phone_?number"
    r"|my number|his number|her number|their number|new number|old number|work number|home number|emergency"
    # German, Dutch, Scandinavian, Finnish
    r"|telefon\w*|handy\w*|mobil\w*|festnetz\w*|rufnummer\w*|durchwahl|erreich\w*|anruf\w*|anzurufen|rufen|ruf|telefoon\w*|mobiel\w*"
    r"|bel|bellen|gsm|ringa?e?|puhelin\w*|puh|soita\w*|soittaa|sími|símanúmer|tlf|tlfn|mobilnummer"
    # French, Spanish, Portuguese, Italian, Romanian, Catalan
    r"|t[ée]l[ée]phon\w*|t[ée]l|portable|appel\w*|joindre|joignable|tel[ée]fono\w*|tfno|tlfno|m[óo]vil|celular\w*|llam\w*|telefone\w*"
    r"|telem[óo]vel|ligue|ligar|liga|contacto|contato|contatt\w*|cellulare|chiam\w*|sun[aă]\w*|num[eé]ro de t\w*|recados"
    # Slavic, Baltic, Hungarian, Greek, Turkish
    r"|kom[óo]rk\w*|dzwoni\w*|zadzwoni\w*|volejte|zavolej\w*|volat|pozovi\w*|nazovi\w*|poklič\w*|h[íi]v\w*|mobilszám\w*"
    r"|телефон\w*|тел|моб\w*|звон\w*|позвон\w*|дзвон\w*|зателефон\w*|факс|обад\w*|сотов\w*|τηλ\w*|κιν\w*|καλ[έε]σ\w*|φαξ"
    r"|cep|cep tel\w*|arayın|ara|gsm no"
    # Indonesian, Malay, Vietnamese, Filipino, Swahili
    r"|telepon|telp|hp|hubungi|no\.? hp|điện thoại|sđt|đt|gọi|tumawag|tawagan|simu|piga"
    r")(?![^\W_])"
    # scripts whose words need no blanks, or take prefixes
    r"|[☎☏✆📞📱📲]|电话|電話|手机|手機|致电|拨打|拨号|打给|联系方式|聯絡|联系|传真|傳真|热线|熱線|微信|行動|携帯|連絡先|ファックス|ファクス|フリーダイヤル|お問い合わせ"
    r"|전화|휴대폰|휴대전화|핸드폰|연락처|연락|팩스|โทร|มือถือ|เบอร์|แฟกซ์|ໂທ|ទូរស័ព្ទ|ဖုန်း"
    r"|هاتف|الهاتف|جوال|موبايل|تلفون|اتصل|الاتصال|فاكس|تلفن|موبایل|همراه|تماس|فون|טלפון|נייד|להתקשר|התקשר|פקס"
    r"|फ़ोन|फोन|फ़ोन|मोबाइल|कॉल|संपर्क|सम्पर्क|दूरभाष|ফোন|মোবাইল|কল|தொலைபேசி|போன்|ஃபோன்|కాల్|ఫోన్|ಫೋನ್|ഫോൺ|ફોન|ਫ਼ੋਨ|ਫੋਨ"
)
PHONE_AFTER = re.compile(
    r"[\"')\]]{0,2}[\s,]{0,2}(?:is (?:my|his|her|their|our|the) (?:\w+ )?(?:phone|mobile|cell|number|line)|\(?(?:mobile|cell|phone|home|work|office|fax|tel|m|h|w|handy)\b"
    r"|(?:ist|is|est|es|é|è) (?:meine|mijn|mon|mi|o meu|il mio)\b"
    r"|に(?:お)?(?:電話|連絡)|へ(?:お)?(?:電話|連絡)|まで(?:お)?(?:電話|連絡)|(?:으로|로|번으로|번)? ?(?:전화|연락)|是我的(?:电话|手机|号码)|पर (?:कॉल|फ़ोन|फोन|संपर्क))"
)

OTHER = re.compile(
    r"(?<![^\W_])(?:"
    r"orders?(?: (?:no|number|id))?|invoices?|tickets?|receipts?|bookings?|reservations?|tracking|shipments?|parcels?|consignments?|reference|ref|serial"
    r"|sku|ean|upc|gtin|isbn|issn|doi|pmid|arxiv|imei|imsi|vin|iccid|barcodes?|patents?|versions?|ver|build|release|firmware|revision"
    r"|commit|timestamps?|epoch|unix|id|ids|uid|uuid|guid|identifiers?|accounts?|acct|iban|bic|swift|routing|sort code|cards?|passport|licen[cs]e|policy"
    r"|member(?:ship)?|customer (?:no|number|id)|client (?:no|number|id)|case (?:no|number|id)|model|part (?:no|number)|product|item|article|catalog(?:ue)?"
    r"|transaction|txn|confirmation|pin|otp|code|vat|tax|ssn|tin|siret|siren|nhs|population|inhabitants|total|sum|amount|price|costs?|paid|worth|budget|salary"
    r"|pages?|pp|chapters?|verses?|room|flight|train|lot|batch|seed|port|pid|score|coordinates|latitude|longitude|lat|lon|lng|byte|bytes"
    r"|bestell\w*|rechnung\w*|auftrag\w*|artikel\w*|kunden\w*|sendung\w*|vorgang\w*|aktenzeichen|preis|konto\w*|kontonummer|steuer\w*|ausweis\w*|einwohner\w*"
    r"|commandes?|factures?|dossier|r[ée]f[ée]rence|num[ée]ro de (?:commande|dossier|client|compte|s[ée]rie)|prix|compte"
    r"|pedidos?|facturas?|referencia|cuenta|precio|expediente|encomenda|fatura|pre[çc]o|conta|ordine|fattura|prezzo|bestelling\w*|factuur\w*|ordre\w*|ordernummer"
    r"|tilaus\w*|zam[óo]wien\w*|faktur\w*|objedn[áa]v\w*|заказ\w*|сч[её]т\w*|накладн\w*|инн|версия|цена|παραγγελ\w*|sipariş\w*|pesanan|đơn hàng|mã"
    r")(?![^\W_])"
    r"|订单|訂單|单号|單號|编号|編號|发票|快递|版本|价格|身份证|账号|帳號|注文|伝票|請求書|価格|口座|주문|송장|계좌|가격|คำสั่งซื้อ|ใบสั่ง|ราคา|طلب|فاتورة|הזמנה|חשבונית|ऑर्डर|आदेश|चालान|অর্ডার"
)

CODE_BEFORE = re.compile(r"[#№]\s?$|[a-z]\d+[ -]$|(?<![^\W_])[a-z]{1,4}-$")
"""Signs and letters that begin longer codes: #17 ..., GB12 3456 ..., AB-12 ..."""
MONEY = r"[$€£¥₹₩₽₺₴₫฿₱]|(?:usd|eur|gbp|chf|jpy|cny|rmb|inr|rs|krw|rub|try|brl|r\$|kr|sek|nok|dkk|pln|zł|kč|czk|huf|ft|thb|vnd|idr|rp|aud|cad|nzd|mxn|zar|euros?|dollars?)\b\.?"
MONEY_BEFORE = re.compile(rf"(?:(?<![^\W_])(?:{MONEY})|[$€£¥₹₩₽₺₴₫฿₱])\s?-?$")
MONEY_AFTER = re.compile(rf"[.,]?\d{{0,2}}\s?(?:{MONEY}|%|元|円|원|บาท|руб|rupees|pounds|yen|yuan|won|cents)")
UNIT_AFTER = re.compile(
    r"\s?(?:[kmgt]i?b|bytes?|bits?|k?m|cm|mm|km²|m²|kg|mg|g|t|ml|l|ms|s|sec|seconds?|minutes?|hours?|days?|years?|people|persons?|inhabitants"
    r"|users?|votes?|times|copies|units?|tons?|miles|meters|metres|rows|tokens|steps|words|lines|characters|records|einwohner|habitants|habitantes|personen"
    r"|人|个|件|名|回|本|명|개|คน|человек)(?![^\W_])"
)

DIGIT_WORDS = (
    "zero|oh|nought|one|two|three|four|five|six|seven|eight|nine"
    "|null|eins|zwei|zwo|drei|vier|fünf|sechs|sieben|acht|neun"
    "|zéro|un|deux|trois|quatre|cinq|sept|huit|neuf"
    "|cero|uno|dos|tres|cuatro|cinco|seis|siete|ocho|nueve"
)
