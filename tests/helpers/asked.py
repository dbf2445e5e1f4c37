"""A question with two right answers, as `formats.questions` gives it."""

QUESTION = {
    "id": "7",
    "question": "¿Qué fármaco es un IECA?",
    "context": "",
    "letters": ["A", "B", "C"],
    "options": ["Ramipril", "Atenolol", "A pill"],
    "answers": ["A", "C"],
    "rationale": "Ramipril inhibe la ECA.",
    "lang": "es",
}
