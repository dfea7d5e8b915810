"""Personal data in sentences from forty countries, written apart from every data set: recall and precision by
kind."""

from __future__ import annotations

import pytest

from biddable.curate.personal_data import detect

# National numbers as people of the country write them, and with the country's code. All are invented; most are
# from the ranges that regulators keep for films or examples.
PHONES = {
    "US": ("(212) 555-0187", "212-555-0187", "212.555.0187", "+1 212 555 0187", "2125550187", "1-800-555-0199"),
    "CA": ("416-555-0123", "+1 (416) 555-0123"),
    "GB": ("020 7946 0958", "07700 900123", "+44 7700 900123", "(0161) 496 0123", "07700900123"),
    "IE": ("01 234 5678", "087 123 4567", "+353 87 123 4567"),
    "DE": ("030 23125 123", "0171 3920055", "0171/3920055", "+49 (0)30 23125123", "+49-171-3920055", "0049 171 3920055"),
    "AT": ("01 5330000", "0664 1234567", "+43 664 1234567"),
    "CH": ("044 668 18 00", "079 123 45 67", "+41 79 123 45 67"),
    "FR": ("06 12 34 56 78", "01.42.68.53.00", "0612345678", "+33 6 12 34 56 78", "01-42-68-53-00"),
    "BE": ("0470 12 34 56", "02 555 12 12", "+32 470 12 34 56"),
    "NL": ("06 12345678", "06-12345678", "020 624 1111", "+31 6 12345678"),
    "ES": ("612 34 56 78", "612 345 678", "91 123 45 67", "+34 612 345 678"),
    "PT": ("912 345 678", "21 123 4567", "+351 912 345 678"),
    "IT": ("06 6982 1234", "312 345 6789", "+39 312 345 6789", "347-1234567"),
    "SE": ("070-174 06 35", "08-465 004 00", "+46 70 174 06 35"),
    "NO": ("406 12 345", "22 12 34 56", "+47 406 12 345"),
    "DK": ("32 12 34 56", "20 12 34 56", "+45 32 12 34 56"),
    "FI": ("041 2345678", "040 123 4567", "+358 41 2345678"),
    "PL": ("512 345 678", "22 123 45 67", "+48 512 345 678"),
    "CZ": ("601 123 456", "+420 601 123 456"),
    "SK": ("0912 123 456", "+421 912 123 456"),
    "HU": ("06 20 123 4567", "+36 20 123 4567"),
    "RO": ("0712 034 567", "+40 712 034 567"),
    "GR": ("21 2345 6789", "691 234 5678", "+30 691 234 5678"),
    "TR": ("0501 234 56 78", "(0501) 234 56 78", "+90 501 234 56 78"),
    "RU": ("8 (912) 345-67-89", "8-912-345-67-89", "+7 912 345-67-89", "89123456789"),
    "UA": ("050 123 4567", "+380 50 123 4567"),
    "IL": ("050-234-5678", "03-123-4567", "+972 50-234-5678"),
    "AE": ("050 123 4567", "+971 50 123 4567"),
    "SA": ("051 234 5678", "+966 51 234 5678"),
    "EG": ("0100 123 4567", "+20 100 123 4567"),
    "NG": ("0802 123 4567", "+234 802 123 4567"),
    "KE": ("0712 123456", "+254 712 123456"),
    "ZA": ("071 123 4567", "+27 71 123 4567"),
    "IN": ("98765 43210", "09876543210", "+91 98765 43210", "9876543210", "022-2345 6789"),
    "PK": ("0301 2345678", "+92 301 2345678"),
    "BD": ("01812-345678", "+880 1812-345678"),
    "CN": ("138 1234 5678", "13812345678", "+86 138 1234 5678", "010-6552 9988", "138-1234-5678"),
    "HK": ("5123 4567", "+852 5123 4567"),
    "TW": ("0912 345 678", "02-2321-2345", "+886 912 345 678"),
    "JP": ("090-1234-5678", "03-1234-5678", "+81 90-1234-5678", "09012345678"),
    "KR": ("010-2000-1234", "02-212-3456", "+82 10-2000-1234", "01020001234"),
    "TH": ("081 234 5678", "02-123-4567", "+66 81 234 5678"),
    "VN": ("091 234 56 78", "0912 345 678", "+84 91 234 56 78"),
    "SG": ("8123 4567", "+65 8123 4567"),
    "MY": ("012-345 6789", "03-2385 6789", "+60 12-345 6789"),
    "ID": ("0812-345-678", "0812 3456 7890", "+62 812-345-678"),
    "PH": ("0905 123 4567", "+63 905 123 4567"),
    "AU": ("0412 345 678", "(02) 5550 1234", "+61 412 345 678"),
    "NZ": ("021 123 4567", "09 123 4567", "+64 21 123 4567"),
    "BR": ("(11) 96123-4567", "11 96123-4567", "+55 11 96123-4567", "(21) 2345-6789"),
    "MX": ("55 1234 5678", "222 123 4567", "+52 222 123 4567"),
    "AR": ("011 2345-6789", "+54 9 11 2345-6789"),
    "CL": ("2 2123 4567", "+56 2 2123 4567"),
    "CO": ("321 123 4567", "+57 321 1234567"),
}  # fmt: skip
UNANNOUNCED = (
    "Please put down {} for tomorrow, thanks.",
    "{}",
    "Ada Winter\nLindengasse Bakery\n{}\nada@example.org",
    "ada,{},member,yes\n",
    "<td>Ada</td><td>{}</td>",
    "我的是{}谢谢",
    "{}までお願いします",
    "ฝากไว้ที่{}นะครับ",
    "{}입니다",
)
ANNOUNCED = (
    "Call me on {} after six",
    "my number is {}",
    '{{"name": "Ada", "phone": "{}"}}',
    "Tel.: {}",
    "Handy {} (privat)",
    "Mon portable : {}",
    "Mi teléfono es {}",
    "Il mio cellulare è {}",
    "Meu celular: {}",
    "Мой телефон {}",
    "电话：{}",
    "電話番号は{}です",
    "전화번호 {}로 연락주세요",
    "โทร {} ได้เลย",
    "मेरा फ़ोन नंबर {} है",
    "رقم هاتفي {}",
    "Telefonum {}",
    '<a href="tel:{}">call</a>',
    "You can text {} or write.",
    "whatsapp {}",
    "Ada: hi, here is my new number: {}",
)
NO_PHONES = (
    "It costs $1,299.00 or 1 299,00 €, and 12 500 000 Kč for the house",
    "On 2024-01-15 12:30:45, 15.01.2024, 01/02/2023, 2024/12/31 and 20240115",
    "ISBN 978-3-16-148410-0, ISBN-10: 0-306-40615-2, ISBN 0306406152",
    "Upgraded from 10.15.7.1234 to 11.2.3.4567, kernel 5.15.0-91",
    "Order 4839201745 was shipped, tracking number 1Z999AA10123456784",
    "order #48392-1745 and order no. 302-4839201-1234567",
    "Bestellnummer 4711081512, Rechnung 2024-001234",
    "commande n° 0612345678 du 3 mai",
    "订单号 13812345678 已发货",
    "注文番号 090-1234-5678 の件",
    "Servers 192.168.10.21 and 10.0.0.138 are down",
    "550e8400-e29b-41d4-a716-446655440000 and d41d8cd98f00b204e9800998ecf8427e",
    "https://example.com/items/0612345678/2125550187.html",
    "population 8 123 456 in 2020, 1998-2004, pages 1200-1450",
    "timestamp 1700000000, epoch 1612345678901",
    "The file has 2125550187 bytes and 9876543210 rows",
    "latitude 48.8566, longitude 2.3522; 40.7127837, -74.0059413",
    "EAN 4006381333931, UPC 036000291452",
    "SELECT 1234567 + 7654321; x = 0x0612345678",
    "invoice INV-2023-000123 of account 12345678",
    "doi:10.1000/182.0612345678 arXiv:2203.02155",
    "between 1990 2000 2010 and 2020, 100 200 300 400",
    "1 2 3 4 5 6 7 8 9 10 11 12",
    "Ticket ABC-0612345 and part no. 0612-345-678",
    "MAC 00:1A:2B:3C:4D:5E, port 8080, pid 123456",
    "3.14159265358979 and 2.718281828459045",
    "version 1.2.3-20240115",
    "Model SM-G991B, serial R58N12ABCDE, batch 20231105",
    "It had 1234567 views and 7654321 likes; 12345678 people",
    "PIN 123456, OTP 839201",
)


@pytest.mark.parametrize(
    ("carriers", "recall"), [(UNANNOUNCED, 0.95), (ANNOUNCED, 0.99)], ids=["unannounced", "announced"]
)
def test_telephone_numbers_of_fifty_countries(carriers: tuple[str, ...], recall: float) -> None:
    numbers = [number for country in PHONES.values() for number in country]
    missed = []
    for number in numbers:
        for carrier in carriers:
            text = carrier.format(number)
            start, end = text.index(number), text.index(number) + len(number)
            spans = [span for span in detect.find(text) if span.kind == "phone"]
            if not any(span.start <= start and end <= span.end for span in spans):
                missed.append(text)
    assert len(missed) <= (1 - recall) * len(numbers) * len(carriers), missed


@pytest.mark.parametrize("text", NO_PHONES)
def test_other_numbers_are_no_telephone_numbers(text: str) -> None:
    assert [text[span.start : span.end] for span in detect.find(text) if span.kind == "phone"] == []


ADDRESSES = (
    ("I live at {} since May.", "221B Baker Street"),
    ("Send it to {}, please", "1600 Amphitheatre Parkway, Apt 4B, Springfield, IL 62704"),
    ("{}", "Lindenstraße 12a, 10969 Berlin"),
    ("Meine Anschrift: {}", "Am Markt 5, 04109 Leipzig"),
    ("Elle habite au {}", "12 bis rue de la Paix, 75002 Paris"),
    ("Vivo en {}", "Calle Mayor 15, 3º B, 28013 Madrid"),
    ("Indirizzo: {}", "Via Giuseppe Verdi 24, 20121 Milano"),
    ("Moro na {}", "Rua das Flores, 123, apto 45"),
    ("Kerk aan de {}", "Kerkstraat 45-2, 1017 GC Amsterdam"),
    ("Adress: {}", "Storgatan 12, 111 23 Stockholm"),
    ("Osoite: {}", "Mannerheimintie 5 A 12, 00100 Helsinki"),
    ("Mieszkam przy {}", "ul. Długa 7 m. 3, 00-238 Warszawa"),
    ("Cím: {}", "Kossuth Lajos utca 14., 1053 Budapest"),
    ("Я живу на {}", "ул. Ленина, д. 10, кв. 5"),
    ("Адрес: {}", "проспект Мира, 25"),
    ("Διεύθυνση: {}", "Οδός Ερμού 12"),
    ("Adres: {}", "Atatürk Caddesi No: 5"),
    ("我住在{}，谢谢", "北京市朝阳区建国路88号3单元502室"),
    ("地址：{}", "台北市信義區信義路五段7號"),
    ("住所は{}です", "東京都渋谷区神南1丁目2-3"),
    ("荷物は{}へ", "大阪府大阪市北区梅田3-1-3"),
    ("주소는 {} 입니다", "서울특별시 강남구 테헤란로 152"),
    ("ที่อยู่ {}", "123 ถนนสุขุมวิท แขวงคลองเตย"),
    ("العنوان: {}", "شارع النيل 25"),
    ("גר ב{}", "רחוב הרצל 5"),
    ("पता: {}", "मकान नंबर 12, गांधी मार्ग"),
    ("Deliver to {}", "P.O. Box 1234"),
    ("Alamat: {}", "Jl. Sudirman No. 15"),
    ('{{"street": "{}"}}', "742 Evergreen Terrace"),
    ("ada,{},member", "18 Elm Grove"),
    ("Ship to:\n{}\n", "48 Acacia Avenue\nFlat 3\nLeeds LS1 4AP"),
)
OTHERS = (
    ("email", "Schreib an {} bitte", "jürgen.groß@müller-söhne.de"),
    ("email", "邮箱是{}谢谢", "zhang.wei@example.cn"),
    ("email", "メールは{}まで", "hanako_s@example.co.jp"),
    ("email", "อีเมล{}ครับ", "somchai@example.co.th"),
    ("email", "почта {} пиши", "иван@пример.рф"),
    ("email", "ईमेल {} पर", "राम@उदाहरण.भारत"),
    ("email", "From: Ada Winter <{}>", "ada.winter+list@mail.example.museum"),
    ("email", "write to {} today", "jane.doe at example dot com"),
    ("email", "mail: {}", "jane [at] example [dot] org"),
    ("email", "{} is best", "jane(at)example.com"),
    ("email", '{{"email":"{}"}}', "a.b@xn--bcher-kva.example"),
    ("email", "mailto:{}?subject=x", "x_y@sub.example.io"),
    ("card", "卡号{}有效", "4111111111111111"),
    ("card", "カード番号は{}です", "5555 5555 5555 4444"),
    ("card", "บัตร{}ครับ", "3782-822463-10005"),
    ("card", "card,{},12/27", "6011111111111117"),
    ("card", "카드 {}로 결제", "5105-1051-0510-5100"),
    ("account", "账号{}汇款", "DE89370400440532013000"),
    ("account", "โอนไปที่{}นะ", "GB82 WEST 1234 5698 7654 32"),
    ("account", "IBAN:{}", "FR14 2004 1010 0505 0001 3M02 606"),
    ("account", "口座は{}です", "NL91ABNA0417164300"),
    ("account", "na konto {}.", "PL61 1090 1014 0000 0712 1981 2874"),
    ("account", "conto {}", "IT60 X054 2811 1010 0000 0123 456"),
    ("account", "cuenta {}", "ES91 2100 0418 4502 0005 1332"),
    ("ip", "服务器{}宕机", "203.0.113.77"),
    ("ip", "http://{}:8080/x", "198.51.100.4"),
    ("ip", "range 198.51.100.1-{}", "198.51.100.99"),
    ("ip", "サーバー{}です", "2001:db8:85a3::8a2e:370:7334"),
    ("ip", "[{}]:443", "2001:db8::1"),
    ("ip", "ping {}", "fe80::1ff:fe23:4567:890a"),
    ("ssn", "SSN{}", " 536-22-8726"),
    ("ssn", "社会安全号码536-22-8726是{}", "536-22-8726"),
)
NOTHING = (
    "550e8400-e29b-41d4-a716-446655440000",
    "id=6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "look at example dot com",
    "He was born in Paris in 1999 and lives in Rome since 2012",
    "Windows 98, Boeing 747 and Chapter 12 on 5 March 2020",
    "He scored 12 points at Gate 7 of Terminal 2",
    "We moved to Python 3 and located 5 bugs in Section 4",
    "第3章第12节 2024年1月15日",
    "価格は1,234,567円です",
    "Two plus two is four, and three times three is nine",
)


@pytest.mark.parametrize(("carrier", "address"), ADDRESSES)
def test_addresses(carrier: str, address: str) -> None:
    text = carrier.format(address)
    start, end = text.index(address), text.index(address) + len(address)
    covered = {
        place for span in detect.find(text) if span.kind == "address" for place in range(span.start, span.end)
    }
    missing = "".join(text[place] for place in range(start, end) if place not in covered)
    assert len(missing) <= 0.35 * len(address), missing


@pytest.mark.parametrize(("kind", "carrier", "value"), OTHERS)
def test_other_kinds_beside_every_script(kind: str, carrier: str, value: str) -> None:
    text = carrier.format(value)
    value = value.strip()
    assert (kind, value) in [(span.kind, text[span.start : span.end]) for span in detect.find(text)]


@pytest.mark.parametrize("text", NOTHING)
def test_nothing_personal(text: str) -> None:
    assert [(span.kind, text[span.start : span.end]) for span in detect.find(text)] == []
