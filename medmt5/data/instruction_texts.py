"""How instructions are worded, in each language: what `instructions` makes rows of.

Another wording is one more line, another language one more entry of `TEXTS`. `{}` of a labelling
instruction stands for what is looked for, one of `named` with its article, or `other` for a label
that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple


class Texts(NamedTuple):
    """The wordings of a language.

    Attributes:
      label: asks for the mentions in a text.
      none: the answer where there are none; the wordings of `label` say so.
      named: label -> what its mentions are called, in the plural.
      other: of any other label, with `{}` for its name.
      explain: asks why an answer is right.
      short, open: ask for the answer of a question: the text of an option, or a free one.
      choice, choices: ask for one letter, or for one or more.
      yes_no: answers that are a choice, whatever the question.
      closed: what tells that a question or its answer speaks of other options or of an image, so
        that the one cannot be answered by the other alone.
    """

    label: tuple[str, ...]
    none: str
    named: Mapping[str, str]
    other: str
    explain: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    choice: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    yes_no: tuple[str, ...] = ()
    closed: re.Pattern[str] | None = None


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(patterns)})\b", re.IGNORECASE)


TEXTS = {
    "en": Texts(
        explain=(
            "Explain why the answer given to this medical question is right.",
            "Here are a medical question, its options and the right answer. Give the reasons for "
            "the answer.",
            "Justify the answer to the following question as a teacher of medicine would.",
        ),
        short=(
            "Answer this medical question briefly.",
            "Give a short answer to the following question.",
            "Answer or complete this examination question in a few words.",
        ),
        open=(
            "Answer the following medical question.",
            "What is the answer to this question?",
            "Reply to this question as a medical expert would.",
        ),
        choice=(
            "Choose the right option and answer with its letter alone.",
            "Read the question and its options. Which one is right? Give only the letter.",
            "Select the best answer to this question; reply with a single letter.",
        ),
        choices=(
            "Choose all the right options and answer with their letters, separated by commas.",
            "One or more of the options are right. Give the letters of all of them, separated by "
            "commas.",
            "Which option or options are right? Reply with the letters alone, with commas between "
            "them.",
        ),
        label=(
            "List {} in the text, separated by semicolons. If there are none, answer: None.",
            "Extract {} from the following text; separate them with semicolons, and write None if "
            "there is nothing to extract.",
            "What are {} in this text? Write a list with semicolons between the items, or None.",
        ),
        none="None",
        named={
            "Disease": "the diseases",
            "Chemical": "the chemicals and drugs",
            "Disability": "the disabilities",
            "ClinicalEntity": "the clinical entities",
            "Premise": "the premises",
            "Claim": "the claims",
        },
        other="the mentions of type “{}”",
        yes_no=("yes", "no", "maybe"),
        closed=_words(
            *("following", "these", "options?", "except", "statements?", "all of", "none of"),
            *("both", "above", "neither", "which one", "true", "false", "(?:in)?correct"),
            *("figure", "image", "shown"),
        ),
    ),
    "es": Texts(
        explain=(
            "Explica por qué es correcta la respuesta que se da a esta pregunta médica.",
            "Estas son una pregunta médica, sus opciones y la respuesta correcta. Expón las "
            "razones que la justifican.",
            "Justifica la respuesta a la siguiente pregunta como lo haría un profesor de medicina.",
        ),
        short=(
            "Responde brevemente a esta pregunta de ciencias de la salud.",
            "Da una respuesta corta a la siguiente pregunta.",
            "Contesta o completa en pocas palabras este enunciado de examen.",
        ),
        open=(
            "Responde a la siguiente pregunta médica.",
            "¿Cuál es la respuesta a esta pregunta?",
            "Contesta a esta pregunta como lo haría un experto en medicina.",
        ),
        choice=(
            "Elige la opción correcta y responde solo con su letra.",
            "Lee la pregunta y sus opciones. ¿Cuál es la correcta? Indica únicamente la letra.",
            "Selecciona la mejor respuesta a esta pregunta; contesta con una sola letra.",
        ),
        choices=(
            "Elige todas las opciones correctas y responde con sus letras, separadas por comas.",
            "Una o varias de las opciones son correctas. Indica las letras de todas ellas, "
            "separadas por comas.",
            "¿Qué opción u opciones son correctas? Contesta únicamente con las letras, separadas "
            "por comas.",
        ),
        label=(
            "Enumera {} del texto, con punto y coma entre un elemento y otro. Si no hay, responde: "
            "Ninguna mención.",
            "Extrae del siguiente texto {}; usa el punto y coma como separador y escribe «Ninguna "
            "mención» si no hay nada que extraer.",
            "¿Cuáles son {} de este texto? Escribe una lista con punto y coma como separador o, si "
            "no hay, «Ninguna mención».",
        ),
        none="Ninguna mención",
        named={
            "Disease": "las enfermedades",
            "Chemical": "los fármacos y las sustancias químicas",
            "Disability": "las discapacidades",
            "ClinicalEntity": "las entidades clínicas",
            "Premise": "las premisas",
            "Claim": "las afirmaciones",
            "NORMALIZABLES": "los fármacos y compuestos químicos normalizables",
            "NO_NORMALIZABLES": "los fármacos y compuestos químicos no normalizables",
            "PROTEINAS": "las proteínas",
            "UNCLEAR": "las sustancias de clase general",
        },
        other="las menciones de tipo «{}»",
        yes_no=("sí", "no"),
        closed=_words(
            *("siguientes?", r"señal\w+", "indique", "indicar", "excepto", "fals[ao]s?", "NO es"),
            *(
                "(?:in)?correct[ao]s?",
                "ciert[ao]s?",
                "verdader[ao]s?",
                r"opci\w+",
                "estas",
                "estos",
            ),
            *("tod[ao]s", "ningun[ao]", "anteriores", "amb[ao]s", "imagen", "figura"),
            *("cuál de l[ao]s", "las respuestas?", r"\w+ y \w+ son"),
        ),
    ),
    "fr": Texts(
        explain=(
            "Expliquez pourquoi la réponse donnée à cette question médicale est correcte.",
            "Voici une question médicale, ses propositions et la bonne réponse. Donnez les raisons "
            "qui la justifient.",
            "Justifiez la réponse à la question suivante comme le ferait un professeur de "
            "médecine.",
        ),
        short=(
            "Répondez brièvement à cette question médicale.",
            "Donnez une réponse courte à la question suivante.",
            "Répondez en quelques mots à cette question d'examen.",
        ),
        open=(
            "Répondez à la question médicale suivante.",
            "Quelle est la réponse à cette question ?",
            "Répondez à cette question comme le ferait un expert en médecine.",
        ),
        choice=(
            "Choisissez la bonne réponse et répondez uniquement par sa lettre.",
            "Lisez la question et les propositions. Laquelle convient ? N'indiquez que la lettre.",
            "Sélectionnez la meilleure réponse à cette question ; répondez par une seule lettre.",
        ),
        choices=(
            "Choisissez toutes les bonnes réponses et donnez leurs lettres, séparées par des "
            "virgules.",
            "Une ou plusieurs des propositions conviennent. Indiquez les lettres de toutes "
            "celles-ci, séparées par des virgules.",
            "Donnez la ou les bonnes réponses : uniquement les lettres, séparées par des virgules.",
        ),
        label=(
            "Relevez dans le texte {}, en les séparant par des points-virgules. S'il n'y en a pas, "
            "répondez : Aucune mention.",
            "Extrayez du texte suivant {} ; utilisez le point-virgule comme séparateur et écrivez "
            "« Aucune mention » s'il n'y a rien à extraire.",
            "Repérez {} dans ce texte et donnez-en la liste, avec des points-virgules entre les "
            "éléments, ou écrivez « Aucune mention ».",
        ),
        none="Aucune mention",
        named={
            "Disease": "les maladies",
            "Chemical": "les médicaments et substances chimiques",
            "ClinicalEntity": "les entités cliniques",
            "Premise": "les prémisses",
            "Claim": "les affirmations",
            "ANAT": "les parties du corps",
            "CHEM": "les médicaments et substances chimiques",
            "DEVI": "les dispositifs médicaux",
            "DISO": "les maladies, troubles et symptômes",
            "GEOG": "les lieux géographiques",
            "LIVB": "les êtres vivants",
            "OBJC": "les objets",
            "PHEN": "les phénomènes",
            "PHYS": "les fonctions physiologiques",
            "PROC": "les actes médicaux",
        },
        other="les mentions de type « {} »",
        yes_no=("oui", "non"),
        closed=_words(
            *(r"suivant\w*", "parmi", "propositions?", "affirmations?", "sauf", "(?:in)?exacte?s?"),
            *("fausses?", "faux", "vraie?s?", "(?:in)?correctes?", "cocher", r"le(?:s)?quel\w*"),
            *("laquelle", "toutes", "tous", r"aucun\w*", r"précédent\w*", "ci-dessus", "figure"),
            *("image", "schéma", "ces", "cette liste"),
        ),
    ),
    "it": Texts(
        explain=(
            "Spiega perché la risposta data a questa domanda di medicina è corretta.",
            "Ecco una domanda di medicina, le sue opzioni e la risposta corretta. Indica le "
            "ragioni che la giustificano.",
            "Giustifica la risposta alla domanda seguente come farebbe un docente di medicina.",
        ),
        short=(
            "Rispondi brevemente a questa domanda di medicina.",
            "Dai una risposta breve alla domanda seguente.",
            "Rispondi in poche parole a questa domanda d'esame.",
        ),
        open=(
            "Rispondi alla seguente domanda di medicina.",
            "Qual è la risposta a questa domanda?",
            "Rispondi a questa domanda come farebbe un esperto di medicina.",
        ),
        choice=(
            "Scegli l'opzione corretta e rispondi solo con la sua lettera.",
            "Leggi la domanda e le opzioni. Qual è quella corretta? Indica soltanto la lettera.",
            "Seleziona la risposta migliore a questa domanda; rispondi con una sola lettera.",
        ),
        choices=(
            "Scegli tutte le opzioni corrette e rispondi con le loro lettere, separate da virgole.",
            "Una o più opzioni sono corrette. Indica le lettere di tutte, separate da virgole.",
            "Qual è l'opzione corretta, o quali sono? Rispondi soltanto con le lettere, separate "
            "da virgole.",
        ),
        label=(
            "Elenca {} presenti nel testo, usando il punto e virgola come separatore. Se non ce ne "
            "sono, rispondi: Nessuna menzione.",
            "Estrai dal testo seguente {}; usa il punto e virgola come separatore e scrivi "
            "«Nessuna menzione» se non c'è nulla da estrarre.",
            "Individua {} in questo testo e scrivine l'elenco, con il punto e virgola tra un "
            "elemento e l'altro, oppure scrivi «Nessuna menzione».",
        ),
        none="Nessuna menzione",
        named={
            "Disease": "le malattie",
            "Chemical": "i farmaci e le sostanze chimiche",
            "ClinicalEntity": "le entità cliniche",
            "Premise": "le premesse",
            "Claim": "le affermazioni",
        },
        other="le menzioni di tipo «{}»",
        yes_no=("sì", "no"),
        closed=_words(
            *("seguent[ei]", "quest[ei]", "tranne", "eccetto", r"opzion\w+", "fals[aeio]"),
            *("(?:in|s)?corrett[aeio]", "ver[aeio]", "tutt[ei]", r"nessun\w*", "precedenti"),
            *(r"entramb\w+", "immagine", "figura", "quale tra", "quale dei"),
        ),
    ),
    "eu": Texts(
        label=(
            "Zerrendatu testuko {}, puntu eta komaz bereizita. Ez badago, erantzun: Bat ere ez.",
            "Atera testu honetatik {}, puntu eta komaz bereizita; ateratzeko ezer ez badago, "
            "idatzi «Bat ere ez».",
            "Bilatu {} testu honetan eta idatzi zerrenda, puntu eta komaz bereizita, edo, ez "
            "badago, «Bat ere ez».",
        ),
        none="Bat ere ez",
        named={
            "Disease": "gaixotasunak",
            "Disability": "desgaitasunak",
            "ClinicalEntity": "entitate klinikoak",
        },
        other="«{}» motako aipamenak",
    ),
    "ru": Texts(
        explain=(
            "Объясните, почему данный ответ на этот медицинский вопрос правильный.",
            "Ниже приведены медицинский вопрос, варианты ответа и правильный ответ. Приведите "
            "доводы в его пользу.",
            "Обоснуйте ответ на следующий вопрос так, как это сделал бы преподаватель медицины.",
        ),
        short=(
            "Кратко ответьте на этот медицинский вопрос.",
            "Дайте короткий ответ на следующий вопрос.",
            "Ответьте в нескольких словах на этот экзаменационный вопрос.",
        ),
        open=(
            "Ответьте на следующий медицинский вопрос.",
            "Каков ответ на этот вопрос?",
            "Ответьте на этот вопрос так, как это сделал бы эксперт в области медицины.",
        ),
        choice=(
            "Выберите правильный вариант и ответьте только его буквой.",
            "Прочитайте вопрос и варианты ответа. Какой из них верный? Укажите только букву.",
            "Выберите лучший ответ на этот вопрос; напишите одну букву.",
        ),
        choices=(
            "Выберите все правильные варианты и напишите их буквы через запятую.",
            "Верными могут быть один или несколько вариантов. Укажите буквы всех верных вариантов "
            "через запятую.",
            "Какой вариант или какие варианты верны? Напишите только буквы, через запятую.",
        ),
        label=(
            "Перечислите {} из текста через точку с запятой. Если их нет, ответьте: Нет.",
            "Выпишите из следующего текста {} через точку с запятой или напишите «Нет», если "
            "выписывать нечего.",
            "Найдите в этом тексте {} и составьте список через точку с запятой; если их нет, "
            "напишите «Нет».",
        ),
        none="Нет",
        named={"Disease": "заболевания", "Chemical": "лекарства и химические вещества"},
        other="упоминания типа «{}»",
        yes_no=("да", "нет"),
        closed=_words(
            *(
                r"следующ\w+",
                r"перечисленн\w+",
                "из них",
                "кроме",
                r"вариант\w*",
                r"(?:не)?верн\w+",
            ),
            *(r"(?:не)?правильн\w+", "все", "ни один", "выше", "оба", "обе", r"рисун\w+"),
        ),
    ),
    "zh": Texts(
        explain=(
            "请解释这道医学题的答案为什么是正确的。",
            "下面是一道医学题、它的选项和正确答案，请说明理由。",
            "请像医学老师那样，为下面这道题的答案写出解析。",
        ),
        short=(
            "请简要回答这道医学题。",
            "请给出下面问题的简短答案。",
            "请用几个字回答或补全这道考题。",
        ),
        open=(
            "请回答下面的医学问题。",
            "这个问题的答案是什么？",
            "请像医学专家那样回答这个问题。",
        ),
        choice=(
            "请选出正确的选项，只回答它的字母。",
            "请阅读题目和选项，哪一项符合题意？只写字母。",
            "请选择这道题的最佳答案，用一个字母作答。",
        ),
        choices=(
            "请选出所有正确的选项，回答它们的字母，用逗号分隔。",
            "选项中有一项或多项符合题意，请写出它们的全部字母，用逗号分隔。",
            "哪些选项是正确的？只写字母，用逗号分隔。",
        ),
        label=(
            "请列出文中的{}，用分号分隔；如果没有，请回答：无。",
            "请从下面的文本中提取{}，用分号分隔；没有可提取的内容时写“无”。",
            "请找出这段文字里的{}，用分号隔开列出；若没有，写“无”。",
        ),
        none="无",
        named={"Disease": "疾病", "Chemical": "药物和化学物质"},
        other="“{}”类实体",
        yes_no=("是", "否"),
        closed=re.compile(
            "下列|以下|上述|下面|哪一?[项个种些]|除外|不包括|不属于|错误|正确|不宜|均|都|全部|图"
        ),
    ),
    "ja": Texts(
        explain=(
            "この医学の問題の答えがなぜ正しいのかを説明してください。",
            "医学の問題とその選択肢、正解を示します。正解の根拠を述べてください。",
            "医学の教員として、次の問題の解答を解説してください。",
        ),
        short=(
            "この医学の問題に簡潔に答えてください。",
            "次の問いに短く答えてください。",
            "次の試験問題に一言で答えてください。",
        ),
        open=(
            "次の医学の質問に答えてください。",
            "この質問の答えは何ですか。",
            "医学の専門家として、この質問に答えてください。",
        ),
        choice=(
            "正しい選択肢を選び、その記号だけを答えてください。",
            "問題と選択肢を読んでください。正解はどれですか。記号だけを書いてください。",
            "この問題に最も適切な選択肢を一つ選び、その記号で答えてください。",
        ),
        choices=(
            "正しい選択肢をすべて選び、その記号をコンマで区切って答えてください。",
            "正解は一つとは限りません。当てはまる選択肢の記号をすべて、コンマで区切って書いてください。",
            "どの選択肢が正解ですか。記号だけを、複数あればコンマで区切って答えてください。",
        ),
        label=(
            "文章中の{}を列挙し、セミコロンで区切ってください。なければ「なし」と答えてください。",
            "次の文章から{}を抜き出し、セミコロンで区切って書いてください。ない場合は「なし」と書いてください。",
            "この文章に出てくる{}を、セミコロン区切りの一覧にしてください。なければ「なし」としてください。",
        ),
        none="なし",
        named={"Disease": "疾患名", "Chemical": "薬剤と化学物質"},
        other="「{}」に分類される語句",
        yes_no=("はい", "いいえ"),
        closed=re.compile("どれ|次の|以下|選べ|誤|正しい|いずれ|すべて|図|写真|別冊|考えにくい"),
    ),
}
