"""The words of streets, flats and addresses in many languages, as parts of regular expressions."""

from __future__ import annotations

TYPES_AFTER = (
    "Street|St|Str|Avenue|Ave|Av|Road|Rd|Boulevard|Blvd|Bvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|Parkway|Pkwy"
    "|Highway|Hwy|Crescent|Cres|Close|Circle|Cir|Alley|Grove|Gr|Mews|Trail|Trl|Row|Quay|Wharf|Gardens|Gdns|Heights|Hts|Hill|Walk|Green"
    "|Esplanade|Loop|Bend|Ridge|Crossing|Turnpike|Expressway|Freeway|Parade|Pde|Plaza|Point|Run|Pass|Vista|Marg|Nagar|Salai|Sadak|Chowk"
)
"""After a number and a name: 12 Elm Street."""
ENDINGS = (
    "stra(?:ß|ss)e|str\\.|gasse|gässchen|weg|platz|allee|ufer|damm|steig|chaussee|brücke|straat|laan|plein|gracht|kade|kaai|dreef|singel"
    "|steenweg|dijk|gatan|vägen|gränd|torget|gata|gate|gaten|vegen|veien|vei|vej|vænget|stræde|gade|torv|allé|bakken|parken|toften"
    "|vangen|katu|tie|kuja|polku|raitti|kaari|stígur|braut|götu|vegur|utca|iela|gatvė|tänav|vollen"
)
"""Of a name, before a number: Musterstraße 12, Storgatan 5."""
TYPES_BETWEEN = (
    r"u\.|utca|utcája|út|útja|tér|tere|körút|krt\.|köz|sétány|rkp\.|[Ss]tra(?:ß|ss)e|[Ss]tr\.|[Bb]undesstra(?:ß|ss)e|Weg|Allee|Platz|vei|gata|väg"
    r"|tänav|tn|pst|puiestee|mnt|maantee|iela|gatvė|prospektas|Caddesi|Cad\.?|Cd\.|Sokak|Sokağı|Sok\.?|Sk\.?|Bulvarı|Blv\.?|Mahallesi|Mah\.?"
    r"|kapu|lépcső|sugárút|fasor|bulevar|ulica|cesta"
)
"""Between a name and a number: Piroska u. 97, Atatürk Caddesi No: 5."""
TYPES_BEFORE = (
    r"[Rr]ue|[Aa]venue|[Bb]oulevard|[Bb]d\.?|[Cc]hemin|[Ii]mpasse|[Aa]llée|[Qq]uai"
    r"|[Vv]ia|[Vv]iale|[Vv]icolo|[Pp]iazza|[Pp]iazzale|[Cc]orso|[Ll]argo|[Ss]trada|[Cc]ontrada|[Ll]ungomare"
    r"|[Cc]alle|C/|[Cc]arrer|[Aa]venida|[Aa]vda?\.?|[Aa]v\.|[Pp]laza|[Pp]aseo|[Cc]amino|[Cc]arretera|[Cc]tra\.?|[Cc]arrera|[Cc]ra\.?|[Rr]onda|[Tt]raves[ií]a|[Gg]lorieta|[Rr]úa"
    r"|[Rr]ua|[Tt]ravessa|[Pp]raça|[Ee]strada|[Aa]lameda|[Rr]odovia|[Uu]l\.|[Uu]lica|[Aa]l\.|[Aa]leja|[Aa]leje|[Oo]s\.|[Pp]lac|[Pp]l\."
    r"|[Uu]lice|[Nn]áměstí|[Nn]ám\.|[Tt]řída|[Tt]ř\.|[Nn]ábřeží|[Tt]rg|[Cc]esta|[Bb]ulevar(?:dul)?|[Ss]tr\.|[Cc]alea|[Șș]oseaua|[Șș]os\."
    r"|[Jj]l\.?|[Jj]ln\.?|[Jj]alan|[Gg]ang|[Đđ]ường|[Pp]hố|[Nn]gõ|[Hh]ẻm|Am|An der|An den|Auf der|Auf dem|Unter den|Hinter der|In der|Im|Zum|Zur"
    r"|[Уу]лица|[Уу]л\.?|[Пп]роспект|[Пп]р(?:осп|-т|-кт)?\.?|[Пп]ереулок|[Пп]ер\.|[Пп]лощадь|[Пп]л\.|[Бб]ульвар|[Бб]-р|[Шш]оссе|[Нн]абережная|[Нн]аб\.|[Вв]улиця|[Вв]ул\.?"
    r"|[Οο]δός|[Οο]δ\.|[Λλ]εωφόρος|[Λλ]εωφ\.|[Λλ]\.|[Ππ]λατεία"
)
"""Before a name and a number: Via Roma 5, ул. Ленина, 10."""
UNITS = (
    r"apt|apartment|suite|ste|unit|flat|floor|fl|room|rm|bldg|building|bloc|block|blk|wohnung|whg|stock|og|appartement|appt|étage|esc|piso|puerta|pta|depto|dpto|apto|bloco"
    r"|andar|interno|int|scala|lok|m|кв|квартира|корп|корпус|стр|оф|офис|подъезд|daire|kat|em|ajtó|byt|lgh|leilighet|dør|th|tv|bus|bte|διαμ"
)
"""Parts of a house, before their number or letter."""
ANNOUNCING = (
    r"(?:home|mailing|postal|street|shipping|billing|delivery|new|old|his|her|my|our|their|your|primary|secondary|work|current|full|residential|contact)"
    r"\s+address(?:es)?(?:\s+(?:is|was|are)(?:\s+now)?\b|\s*[:=]|\s+to\b)|address(?:es)?\W{0,3}[:=]|his address|addr(?:_?line)?\W{0,3}[:=]|(?:address_?line|street)\W{0,3}[:=]"
    r"|here they are\s*:|following\?|to the same\s*:|deliver(?:ed|y)?\s+(?:it |them |this |that )?to|ship(?:ped|ping)?\s+(?:it |them |this |that |to )?(?:to\b)?"
    r"|(?:li[fv]e[sd]?|living|stay(?:s|ed|ing)?|resid(?:es?|ed|ing)|located|situated|office|offices|house|shop|store|restaurant|hotel|station|meet(?:ing)?(?: (?:you|me|us|them|up))?|arrived|find us"
    r"|visit us|headquartered|grew up|delivered|parked|registered)\s+(?:(?:is|are|was|were)\s+)?(?:(?:now|located|situated|still)\s+)?(?:at|in|on)\b"
    r"|(?:the (?:north|south|east|west|left|right|other) side of)|(?:drops? (?:you|me|us) off|pick (?:you|me|us) up) at"
    r"|moved?(?: recently| back)? (?:to|from)|return(?: it| them)? to|taxi to|drive to|send(?: it| them| the \w+)? to|mail(?: it| them)? to|forward(?: \w+)? to"
    r"|(?:adresse|anschrift|wohnhaft|direcci[oó]n|domicilio|indirizzo|morada|endere[çc]o|adres|adress|adressen|osoite|adresa|lakcím|cím|адрес|διεύθυνση|alamat|địa chỉ|adresi)(?:\s+(?:ist|est|es|é|è|is|är|on|je))?\s*[:=,]?"
    r"|wohn(?:t|e|en|st|ten|te)\s+(?:\w+\s+)?(?:in|an|am|auf)(?: der| dem)?|habite(?:nt|z|r)? (?:au|à|le)|demeurant(?: au)?|vive[ns]? en|vivo en|reside en|abito in|abita in|moro na|mora na|mieszka\w* (?:przy|na)|bor (?:på|i)|asun|woon(?:t)?(?: \w+)? (?:in|op|aan)(?: de)?"
)
"""Words after which an address is expected."""
NOT_NAMES = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
    r"|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember|Montag|Dienstag|Mittwoch|Donnerstag|Freitag|Samstag|Sonntag|Jahr|Kapitel|Alter"
    r"|Corinthians|Samuel|Kings|Chronicles|Thessalonians|Timothy|Peter|John|Gate|Room|Terminal|Platform|Route|Exit|Python|Java|Chapter|Section|Apt|Suite|Unit|Phone|Tel|Mobile|Fax|Date|Desk|Figure|Table|Version|Windows|Boeing|Level|Volume|Act|Scene|Grade|Number|No|Page|Day|Week|Year|Hours?|Minutes?|Days|Weeks|Years"
    r"|GB|MB|KB|TB|AM|PM|USD|EUR|GBP|BC|AD|CE|BCE|UTC|GMT|CET|EST|PST|Euro|Uhr|FC|SV)\b"
)
"""Words with a capital beside numbers that make no street."""
