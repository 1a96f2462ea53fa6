"""Options that say how tokens are chosen and when to stop, for every command that writes text."""

from typing import Annotated, Optional

import typer

TopK = Annotated[int, typer.Option("--top-k", metavar="N", help="Draw from the N likeliest tokens; 0 for all.")]
TopP = Annotated[
    float, typer.Option("--top-p", metavar="P", help="Draw from the likeliest that together reach P; 1 for all.")
]
MinP = Annotated[
    float, typer.Option("--min-p", metavar="P", help="Draw from those at least P times as likely as the likeliest.")
]
RepeatPenalty = Annotated[
    float, typer.Option("--repeat-penalty", metavar="X", help="Divide the logits of recent tokens; 1 for none.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="The same seed draws the same tokens.")]
Stops = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer on Python 3.10
    typer.Option("--stop", metavar="STRING", help="End before this string; repeatable."),
]
TEMPERATURE_HELP = "Divide the logits by it and draw; 0 takes the likeliest token, always."
