"""Texts for comparing tokenizers, by what is unusual about them."""

ORDINARY = "ordinary text"
MARKERS = "added tokens"
OWN_TOKENS = "tokens of its own"
SPACES, COMBINING, STAND_INS = "spaces", "combining letters", "letters that stand for spaces and bytes"

KNOWN_DIFFERENCES = {
    COMBINING: "it composes no letters",
    SPACES: "it keeps all spaces, and puts one first also where there is one",
    MARKERS: "it knows no flags of added tokens, and puts a space after them where it puts one before a text",
    STAND_INS: "it reads them as what they stand for",
}
"""Known differences of llama.cpp, whatever the file says."""

TEXTS = {
    ORDINARY: (
        "The quick brown fox jumps over the lazy dog.",
        "Once upon a time there was a little girl, and her name was Lily",
        'He said: "It is not so simple as that," and left the room.',
        "In general, the method works well for small and medium problems",
        "What is the capital of France? Paris is the capital of France.",
        "Water boils at 100 degrees and freezes at 0 degrees",
        "Please write a short story about a robot who learns to paint",
        "the committee (which met on Tuesday) has not yet decided",
        "Machine learning models are trained on large amounts of data",
        "It was the best of times, it was the worst of times;",
        "Yes, of course! Why would anybody ask such a question?",
        "To be, or not to be, that is the question",
        "def main(arguments): return arguments[0] + 1",
        "for (int i = 0; i < n; i++) { total += values[i]; }",
    ),
    "contractions and capitals": (
        "I've said they'll go, we'd stay, it's what he'd want, don't you think?",
        "I'VE SAID THEY'LL GO, WE'D STAY, DON'T",
        "an iPhone of McDonald's, HTTPServer, snake_case, camelCase, ALL CAPS",
        "O'Neill's 'quoted' ''words'' \u2019s",
    ),
    "numbers": (
        "1234567890",
        "12 345 6789, 3.14159, 1,000,000",
        "v2.0.1 of 2024-01-31 at 12:30",
        "0x1F600 1e-5 ½ ² Ⅷ ٣٤",
    ),
    SPACES: (
        " begins with one",
        "  begins with two",
        "ends with one ",
        "two  inside   three",
        " ",
        "   ",
        "a" + " " * 40 + "b",
        " \n \n",
        "    indented:\n        more",
        "indented:\n    more\n        still more",
    ),
    "line ends": ("one\ntwo\n\nthree\n\n\nfour", "dos\r\nlines\r\n", "\n", "\n\n", "\ttab\t\ttwo"),
    "code": (
        'if (x == NULL) {\n\treturn -1; // "nothing"\n}',
        "SELECT * FROM t WHERE a <> 'b' AND c >= 10;",
        '<a href="https://example.org/?q=1&r=2#top">link</a>',
        "$HOME/.config/x.json --flag=value | grep -E '^[a-z]+$'",
        "\\begin{equation} \\frac{a}{b} \\end{equation}",
    ),
    "other scripts": (
        "größer als naïve café, señor y niño, Œuvre, İstanbul",
        "Съешь же ещё этих мягких французских булок",
        "我们在学习机器学习。人工智能",
        "日本語の文章です。カタカナ",
        "한국어 문장입니다",
        "مرحبا بالعالم",
        "שלום עולם",
        "नमस्ते दुनिया",
        "สวัสดีชาวโลก",
        "Γειά σου Κόσμε",
        "អាច",
    ),
    "symbols": (
        "🚀 👍🏽 👨‍👩‍👧 🏳️‍🌈 🇫🇷",
        "→ ∑ ≠ ∞ € £ © ™ …",
        "«quotes» “curly” — dash – other",
        "!!!??? ... --- === ### ***",
        "()[]{}<>",
    ),
    COMBINING: ("e\u0301 a\u0308 n\u0303", "\u1100\u1161\u11a8", "ﬁ ﬂ Ａ １"),
    "unusual code points": (
        "\u00a0\u3000\u2009\u200b\u200d\ufeff",
        "\x00\x01\x1b\x7f\x85",
        "\ufffd \ue000 \U000f0000 \ufdd0",
        "\u2028\u2029",
    ),
    STAND_INS: ("▁", "a▁b ▁▁", "ĠĊ Ġthe", "<0x0A> <0xFF>"),
}
"""Short, as they are encoded whenever a checkpoint is opened."""


def with_token(marker: str) -> tuple[str, ...]:
    """Texts with a special token in them."""
    return (marker, f"one{marker}two", f"one {marker} two", f"{marker}\none{marker}{marker}")
