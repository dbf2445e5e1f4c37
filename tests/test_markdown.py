"""Tables as Markdown, by hand."""

from medmt5 import markdown


def test_numbers_get_commas_and_stand_to_the_right():
    assert markdown.table(["what", "how many"], [("a", 1200), ("b", 3)]).splitlines() == [
        "| what | how many |",
        "|---|---:|",
        "| a | 1,200 |",
        "| b | 3 |",
    ]
    made = markdown.table(["what", "share"], [("a", "10%")], right=[1])
    assert made.splitlines()[1] == "|---|---:|"


def test_no_text_ends_a_cell_or_begins_html():
    made = markdown.table(["a|b"], [("<b>\\ |\nc",)])
    assert made == "| a\\|b |\n|---|\n| \\<b>\\\\ \\| c |"
