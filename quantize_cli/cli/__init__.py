"""The door: the only place that prints, exits, or imports typer, rich or tqdm. One file per command."""
