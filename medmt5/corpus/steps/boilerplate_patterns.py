"""Patterns of boilerplate by language, each list with the reason why its lines are no text.

To add one: write it for a whole line (navigation) or for the end of a text (notices), give an
example in the tests, and look at what it takes from real text before it goes in.
"""

from __future__ import annotations

import itertools
import re

# Longer lines are prose that mentions cookies or a newsletter.
NAVIGATION_LENGTH = 200
HEADING_LENGTH = 60

# What may follow the words of a button. No colon: `Inicio:` heads a paragraph of a clinical note.
_END = r"[\s.!>»|…]*\Z"
# Lines of web pages. They are matched from the line's beginning; with `\Z` nothing may follow.
_NAVIGATION = {
    "any": (
        # Numbers of pages alone on a line: PDFs, at every page break.
        r"[-–—] ?\d{1,4} ?[-–—]\Z",
        # Empty parameters and opened templates of wiki infoboxes: no words of a text.
        r"\|?\s*[\w .-]{1,40}\s*=\s*\.?\Z",
        r"\|?\s*(?:url|izena|irudia|egilea|erreferentzia|isbn|doi|file|image|thumb)\s*=",
        r"erreferentzia\s*\|",
        # Wiki markup of tables and categories.
        r"\{\||\|\}|\|-\s*$|\[\[?(?:File|Image|Category|Archivo|Categoría|Fichier|Catégorie)\b",
    ),
    "en": (
        # Banners that the law asks for: on every page of a site.
        r"(?:this|our) (?:web)?site uses cookies\b",
        r"we (?:and our partners )?use cookies\b",
        r"by (?:continuing to (?:use|browse)|using) (?:this|our) (?:web)?site\b",
        r"(?:accept|reject|manage|allow)(?: all)? cookies\b",
        r"(?:privacy|cookie) (?:policy|notice|settings)\Z",
        # Menus, buttons and links.
        r"skip to (?:main )?(?:content|navigation)\b",
        r"(?:share|follow us|like us|tweet)(?: this)?(?: (?:on|via|by))?"
        r" (?:facebook|twitter|linkedin|x|e-?mail)\b",
        r"(?:sign|log) (?:in|up|out)(?: (?:or|/) (?:sign|log) (?:in|up)| to .{1,40})?\Z",
        r"(?:sign up|subscribe)(?: (?:for|to)) (?:our|the) (?:free )?newsletter\b",
        r"(?:read|learn|see|show|load) (?:more|less)\Z",
        r"(?:back to top|print this page|click here.{0,60})\Z",
        r"(?:download|view) (?:the )?(?:full )?(?:pdf|article|text|abstract)(?: here)?\Z",
        r"(?:please )?enable (?:javascript|cookies)\b",
        r"(?:home|menu|search|contact us|about us|site ?map|advertisement)\Z",
        # Headers and footers of PDF pages.
        r"page \d{1,4}(?: of \d{1,4})?\Z",
        r"downloaded from \S+(?: .{0,120})?\Z",
        r"(?:terms (?:of use|and conditions)|all rights reserved)\Z",
    ),
    "es": (
        r"(?:esta|nuestra) (?:página )?web utiliza cookies\b",
        r"este sitio (?:web )?(?:utiliza|usa) cookies\b",
        r"(?:utilizamos|usamos) cookies\b",
        r"(?:aceptar|rechazar|configurar)(?: todas las)? cookies\b",
        r"(?:política de (?:privacidad|cookies)|aviso legal|mapa (?:del sitio|web))\Z",
        r"(?:saltar|ir) al contenido\b",
        r"compart(?:ir|e)(?: en)? (?:facebook|twitter|linkedin|whatsapp)\b",
        r"(?:iniciar sesión|regístrate|suscríbete.{0,60}|leer más|ver más|volver arriba|inicio)\Z",
        r"(?:descargar|ver)(?: el)? (?:pdf|artículo)\Z",
        r"página \d{1,4}(?: de \d{1,4})?\Z",
        r"todos los derechos reservados\Z",
    ),
    "fr": (
        r"(?:ce|notre) site (?:web )?utilise des cookies\b",
        r"nous utilisons des cookies\b",
        r"(?:accepter|refuser|gérer)(?: tous)?(?: les)? cookies\b",
        r"(?:politique de (?:confidentialité|cookies)|mentions légales|plan du site)\Z",
        r"aller au contenu\b",
        r"partager sur (?:facebook|twitter|linkedin)\b",
        r"(?:se connecter|s'inscrire|abonnez-vous.{0,60}|haut de page)\Z",
        r"(?:lire la suite|en savoir plus)\Z",
        r"télécharger(?: le)? pdf\Z",
        r"page \d{1,4}(?: (?:de|sur) \d{1,4})?\Z",
        r"tous droits réservés\Z",
    ),
    "it": (
        r"(?:questo|il nostro) sito (?:web )?(?:utilizza|usa)(?: i)? cookie\b",
        r"utilizziamo(?: i)? cookie\b",
        r"(?:accetta|rifiuta|gestisci)(?: tutti)?(?: i)? cookie\b",
        r"(?:informativa (?:sulla privacy|sui cookie)|note legali|mappa del sito)\Z",
        r"(?:vai|salta) al contenuto\b",
        r"condividi su (?:facebook|twitter|linkedin)\b",
        r"(?:accedi|registrati|iscriviti alla newsletter.{0,60}|torna su)\Z",
        r"leggi (?:tutto|di più)\Z",
        r"scarica(?: il)? pdf\Z",
        r"pagina \d{1,4}(?: di \d{1,4})?\Z",
        r"tutti i diritti (?:sono )?riservati\Z",
    ),
    "de": (
        r"diese (?:web)?seite (?:verwendet|nutzt) cookies\b",
        r"wir (?:verwenden|nutzen) cookies\b",
        r"(?:alle )?cookies (?:akzeptieren|ablehnen)\b",
        r"(?:datenschutz(?:erklärung)?|impressum|nach oben|weiterlesen|anmelden)\Z",
        r"seite \d{1,4}(?: von \d{1,4})?\Z",
        r"alle rechte vorbehalten\Z",
    ),
    "pt": (
        r"este site (?:utiliza|usa) cookies\b",
        r"(?:aceitar|rejeitar)(?: todos)?(?: os)? cookies\b",
        r"(?:política de (?:privacidade|cookies)|leia mais|voltar ao topo)\Z",
        r"página \d{1,4}(?: de \d{1,4})?\Z",
        r"todos os direitos reservados\Z",
    ),
    "eu": (
        r"webgune honek cookieak erabiltzen ditu\b",
        r"(?:pribatutasun[- ]politika|lege[- ]oharra|irakurri gehiago)\Z",
        r"eskubide guztiak erreserbatuta\Z",
    ),
    "ru": (
        r"(?:этот|наш|данный) сайт использует (?:файлы )?cookie",
        r"мы используем (?:файлы )?cookie",
        r"(?:политика конфиденциальности|пользовательское соглашение|карта сайта)\Z",
        r"(?:войти|регистрация|читать далее|подробнее|наверх|главная|поделиться)\Z",
        r"(?:страница|стр\.) \d{1,4}(?: из \d{1,4})?\Z",
        r"все права защищены\Z",
    ),
    "zh": (
        r"本(?:网站|站)使用\s*(?:cookie|Cookie)",
        r"(?:首页|返回顶部|阅读全文|查看更多|点击(?:下载|查看|进入).{0,20}|登录|注册|免责声明|隐私政策)\Z",
        r"(?:上一篇|下一篇)[:：]",
        r"第\s?\d{1,4}\s?页(?:[,，/ ]?\s?共\s?\d{1,4}\s?页)?\Z",
        r"(?:版权所有|保留所有权利)\Z",
    ),
    "ja": (
        r"(?:当|本)(?:サイト|ウェブサイト)では.{0,10}(?:Cookie|クッキー)を使用",
        r"(?:ホーム|ログイン|新規登録|続きを読む|もっと見る|ページトップへ|サイトマップ|プライバシーポリシー|お問い合わせ)\Z",
        r"(?:前|次)の(?:ページ|記事)\Z",
        r"\d{1,4}\s?/\s?\d{1,4}\s?ページ\Z",
        r"無断転載(?:を)?(?:禁ず|禁止)",
    ),
}
_NAVIGATION_LINE = re.compile(
    r"\s*(?:"
    + "|".join(itertools.chain.from_iterable(_NAVIGATION.values())).replace(r"\Z", _END)
    + ")",
    re.I,
)

# Notices that publishers append to abstracts in Medline, and journals to pages. They follow the
# last sentence, so they are matched up to the text's end and no further back than this.
NOTICE_LENGTH = 400
_HOLDER = r"[^\n]{0,250}"
_NOTICE = re.compile(
    r"(?:^|(?<=[.!?。）)\]\s]))\s*(?:"
    + "|".join(
        (
            # `Copyright © 2014 Elsevier Inc. All rights reserved.` in any language.
            r"(?:copyright|copyrigth|©|\(c\) ?(?=\d{4})|ⓒ)\s*(?:©|\(c\)|ⓒ)?\s*,?\s*"
            rf"(?:the author|\d{{4}}|by\b){_HOLDER}",
            rf"©\s*[^\n]{{0,60}}\d{{4}}{_HOLDER}",
            # Wiley's, without a year.
            r"this article is protected by copyright\.?(?: all rights reserved\.?)?",
            r"this article is a u\.?s\.? government work[^\n]{0,120}",
            r"published by (?:elsevier|wiley|john wiley|springer|oxford university press|bmj)"
            rf"{_HOLDER}",
            r"all rights reserved\.?",
            # Elsevier's journals in Spanish, French, Italian and Portuguese.
            rf"(?:publicado por|publié par|pubblicato da) elsevier{_HOLDER}",
            r"todos los derechos reservados\.?|tous droits réservés\.?",
            r"tutti i diritti (?:sono )?riservati\.?|todos os direitos reservados\.?",
            r"alle rechte vorbehalten\.?|все права защищены\.?",
            r"版权所有[^\n]{0,60}|保留所有权利[。.]?",
        )
    )
    + r")\s*\Z",
    re.I,
)

# A heading alone on its line, numbered or not, in the corpus's languages.
REFERENCES_HEADING = re.compile(
    r"\W*(?:\d{1,2}\W+)?(?:"
    r"references?(?: and notes)?|bibliography|literature cited|works cited"
    r"|bibliografía|referencias(?: bibliográficas)?"
    r"|références(?: bibliographiques)?|bibliographie"
    r"|bibliografia|riferimenti(?: bibliografici)?|referências(?: bibliográficas)?"
    r"|literatur(?:verzeichnis)?|quellen"
    r"|(?:список )?литератур[аы]|библиография|erreferentziak"
    r"|参考文献|引用文献|文献"
    r")\W*",
    re.I,
)
# Numbered in brackets, or with year and pages, journal volume, DOI or PMID.
REFERENCE = re.compile(
    r"^\s*(?:\[\d{1,3}\]|\(\d{1,3}\)|［\d{1,3}］)\s*\S"
    r"|\b(?:19|20)\d\d\b.{0,80}?\d+ ?[-–:] ?\d+|\bdoi\b|\bPMID\b|\bet al\b|\(\d{4}[a-z]?\)",
    re.I,
)


def is_navigation(line: str) -> bool:
    return len(line) <= NAVIGATION_LENGTH and bool(_NAVIGATION_LINE.match(line))


def without_notice(text: str) -> str:
    """Text without the copyright notices at its end."""
    while match := _NOTICE.search(text, max(0, len(text) - NOTICE_LENGTH)):
        text = text[: match.start()].rstrip()
    return text
