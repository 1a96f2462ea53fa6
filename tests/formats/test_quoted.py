from quantize_cli.formats.quoted import quoted


def test_what_a_terminal_would_obey_is_escaped() -> None:
    shown = quoted("\x1b[31m\n\u202e\ud800é")
    assert shown == "'\\x1b[31m\\n\\u202e\\ud800é'"


def test_long_text_is_cut() -> None:
    assert quoted("a" * 5000) == "'" + "a" * 100 + "'... (5000 characters)"
