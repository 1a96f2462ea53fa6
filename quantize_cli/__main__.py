"""`python -m quantize_cli` is `quantize`."""

from quantize_cli.cli import main

main()
